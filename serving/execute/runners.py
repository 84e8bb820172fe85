"""Runners of Python functions: on the event loop if async, else in a thread or a process, so that none blocks it."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from pydantic import TypeAdapter, ValidationError

from grammars.tools import json_text
from serving.execute.server_tool import InvalidArguments, ToolFailed
from serving.execute.signatures import readable

Work = Callable[[], Any]
Place = Callable[[Work], Awaitable[Any]]
"""Where functions run: takes one with its arguments, and gives what it returns or raises what it raises."""


class FunctionRunner:
    """Runs a Python function with the arguments of a call, read as its annotations say."""

    def __init__(self, function: Callable[..., Any], arguments: TypeAdapter[dict[str, Any]], place: Place) -> None:
        self._function = function
        self._arguments = arguments
        self._place = place

    def read(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments as the function's annotations want them, or `InvalidArguments`."""
        try:
            return self._arguments.validate_json(json_text(arguments))
        except ValidationError as error:
            raise InvalidArguments(readable(error)) from error
        except Exception as error:  # a validator of the tool's own may raise anything
            raise InvalidArguments(f"{type(error).__name__}: {error}") from error

    async def run(self, arguments: Mapping[str, Any]) -> Any:
        return await self._place(partial(self._function, **self.read(arguments)))


class BatchFunctionRunner(FunctionRunner):
    """One with a batch form besides: a function that takes a list of what the other takes one by one."""

    def __init__(
        self,
        function: Callable[..., Any],
        arguments: TypeAdapter[dict[str, Any]],
        place: Place,
        batch: Callable[[list[dict[str, Any]]], Any],
        batch_place: Place,
    ) -> None:
        super().__init__(function, arguments, place)
        self._batch = batch
        self._batch_place = batch_place

    async def run_batch(self, arguments: Sequence[Mapping[str, Any]]) -> Sequence[Any]:
        """Calls whose arguments do not fit stay out of the batch; their `InvalidArguments` stands in their place."""
        outcomes: list[Any] = []
        fitting: list[dict[str, Any]] = []
        for given in arguments:
            try:
                fitting.append(self.read(given))
                outcomes.append(None)
            except InvalidArguments as error:
                outcomes.append(error)
        values = list(await self._batch_place(partial(self._batch, fitting))) if fitting else []
        if len(values) != len(fitting):
            raise ToolFailed(f"the batch form gave {len(values)} results for {len(fitting)} calls")
        results = iter(values)
        return [next(results) if outcome is None else outcome for outcome in outcomes]


async def on_loop(work: Work) -> Any:
    """Run an async function here."""
    return await work()


async def in_thread(work: Work) -> Any:
    """Run in a thread of its own: a pool would be used up by functions that hang, and would hold up the exit."""
    loop = asyncio.get_running_loop()
    # the outcome is data, since a future cannot carry every exception
    future: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()
    context = contextvars.copy_context()

    def settle(value: Any, raised: BaseException | None) -> None:
        if not future.done():
            future.set_result((value, raised))

    def run() -> None:
        try:
            outcome: tuple[Any, BaseException | None] = context.run(work), None
        except BaseException as error:
            outcome = None, error
        try:
            loop.call_soon_threadsafe(settle, *outcome)
        except RuntimeError:  # the loop is closed: nobody is left to tell
            return

    threading.Thread(target=run, name=f"tool {name_of(work)}", daemon=True).start()
    value, raised = await future
    if isinstance(raised, StopIteration):  # which no coroutine may raise
        raise RuntimeError(str(raised) or "StopIteration") from raised
    if raised is not None:
        raise raised
    return value


def name_of(work: Work) -> str:
    function = work.func if isinstance(work, partial) else work
    return getattr(function, "__name__", str(function))
