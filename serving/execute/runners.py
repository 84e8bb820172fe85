"""Runners of Python functions: on the event loop if async, else in a thread, so that no tool blocks the loop."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from pydantic import TypeAdapter, ValidationError

from grammars.tools import json_text
from serving.execute.server_tool import InvalidArguments
from serving.execute.signatures import readable


class FunctionRunner:
    """Runs a Python function with the arguments of a call, read as its annotations say."""

    def __init__(self, function: Callable[..., Any], arguments: TypeAdapter[dict[str, Any]], *, is_async: bool) -> None:
        self._function = function
        self._arguments = arguments
        self._is_async = is_async

    def read(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments as the function's annotations want them, or `InvalidArguments`."""
        try:
            return self._arguments.validate_json(json_text(arguments))
        except ValidationError as error:
            raise InvalidArguments(readable(error)) from error
        except Exception as error:  # a validator of the tool's own may raise anything
            raise InvalidArguments(f"{type(error).__name__}: {error}") from error

    async def run(self, arguments: Mapping[str, Any]) -> Any:
        read = self.read(arguments)
        if self._is_async:
            return await self._function(**read)
        return await in_thread(self._function, read)


async def in_thread(function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """Run in a thread of its own: a pool would be used up by functions that hang, and would hold up the exit."""
    loop = asyncio.get_running_loop()
    # the outcome is data, since a future cannot carry every exception
    future: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()
    context = contextvars.copy_context()

    def settle(value: Any, raised: BaseException | None) -> None:
        if not future.done():
            future.set_result((value, raised))

    def work() -> None:
        try:
            outcome: tuple[Any, BaseException | None] = context.run(partial(function, **arguments)), None
        except BaseException as error:
            outcome = None, error
        try:
            loop.call_soon_threadsafe(settle, *outcome)
        except RuntimeError:  # the loop is closed: nobody is left to tell
            return

    threading.Thread(target=work, name=f"tool {getattr(function, '__name__', function)}", daemon=True).start()
    value, raised = await future
    if isinstance(raised, StopIteration):  # which no coroutine may raise
        raise RuntimeError(str(raised) or "StopIteration") from raised
    if raised is not None:
        raise raised
    return value
