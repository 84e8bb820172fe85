"""Policy: how long a call may take, how often it is tried, and how large its result may be.

What a tool does wrong becomes a `CallError` here, whatever it was, and nothing of it gets past.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json, to_json
from tenacity import AsyncRetrying, RetryCallState, retry_if_result, stop_after_attempt, wait_random_exponential

from grammars.tools import CallError, ErrorKind
from serving.execute.server_tool import (
    BatchRunner,
    InvalidArguments,
    JsonBytes,
    Runner,
    ServerTool,
    ToolFailed,
    ToolRefused,
)

BACKOFF_S = 0.1
"""Before its first retry a call waits up to so long, chosen at random; before each further one up to twice as long."""

MOST_BACKOFF_S = 10.0

MESSAGE_CHARACTERS = 2000
"""How much of an exception's words the model reads."""

Arguments = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a call: a JSON value, or an error, which may pass if the call is tried again."""

    value: Any = None
    error: CallError | None = None
    may_pass: bool = False


@dataclass(frozen=True, kw_only=True)
class Raised:
    """An exception as data, since a task cannot carry every one of them."""

    error: BaseException


async def outcomes(tool: ServerTool, calls: Sequence[Arguments], *, result_bytes: int) -> list[Outcome]:
    """One outcome for each call, in order. Several calls are one invocation of the tool's batch form.

    Calls of a batch are tried again one by one: those that failed, as often as the tool's facts allow; all of them once
    more where the batch failed as a whole and the tool is repeatable, so that one bad call does not cost the others.
    Raises nothing but `CancelledError`.
    """
    attempts = 1 + tool.facts.retries
    if len(calls) == 1:
        return [await tried(tool, calls[0], attempts=attempts, result_bytes=result_bytes)]
    found = await attempt(tool, calls, result_bytes=result_bytes)
    failed_whole = all(outcome is found[0] for outcome in found)
    left = attempts if failed_whole and tool.facts.repeatable else tool.facts.retries
    if left == 0:
        return found

    async def again(arguments: Arguments, outcome: Outcome) -> Outcome:
        if not outcome.may_pass:
            return outcome
        return await tried(tool, arguments, attempts=left, result_bytes=result_bytes)

    return list(await asyncio.gather(*map(again, calls, found)))


async def tried(tool: ServerTool, arguments: Arguments, *, attempts: int, result_bytes: int) -> Outcome:
    """The outcome of one call after at most so many attempts, with jittered and growing waits between them."""

    async def once() -> Outcome:
        (outcome,) = await attempt(tool, [arguments], result_bytes=result_bytes)
        return outcome

    if attempts == 1:
        return await once()

    def last(state: RetryCallState) -> Outcome:
        assert state.outcome is not None
        outcome: Outcome = state.outcome.result()
        return outcome

    retrying = AsyncRetrying(
        stop=stop_after_attempt(attempts),
        wait=wait_random_exponential(multiplier=BACKOFF_S, max=MOST_BACKOFF_S),
        retry=retry_if_result(lambda outcome: outcome.may_pass),
        retry_error_callback=last,
    )
    return await retrying(once)


async def attempt(tool: ServerTool, calls: Sequence[Arguments], *, result_bytes: int) -> list[Outcome]:
    """The outcomes of one invocation, within the tool's time. If it fails as a whole, all are the same object."""
    running = asyncio.ensure_future(invoked(tool.runner, calls))
    try:
        # `wait` leaves at the limit even if the tool refuses to be cancelled; the tool is then left behind
        done, _ = await asyncio.wait({running}, timeout=tool.facts.timeout_s)
    finally:
        running.cancel()
    if not done:
        return [failure("timeout", f"no result within {tool.facts.timeout_s:g} s", may_pass=True)] * len(calls)
    if running.cancelled():
        return [failure("tool_error", "the tool cancelled itself", may_pass=True)] * len(calls)
    answer = running.result()
    if isinstance(answer, Raised):
        return [failure_of(answer.error)] * len(calls)
    return [accepted(value, result_bytes) for value in answer]


async def invoked(runner: Runner, calls: Sequence[Arguments]) -> list[Any] | Raised:
    """What the runner returns for the calls, one by one, or what it raised."""
    try:
        if len(calls) == 1:
            return [await runner.run(calls[0])]
        assert isinstance(runner, BatchRunner), "only a batch form takes several calls"
        values = list(await runner.run_batch(calls))
        if len(values) != len(calls):
            raise ToolFailed(f"the batch form gave {len(values)} results for {len(calls)} calls")
        return values
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # here and now: a task that ends with SystemExit takes the event loop with it
        return Raised(error=error)


def accepted(value: Any, result_bytes: int) -> Outcome:
    """The value as JSON has it, detached from whatever the tool still holds, or why it cannot be one."""
    if isinstance(value, BaseException):
        return failure_of(value)
    try:
        if isinstance(value, str) and len(value) > result_bytes:
            return too_large(len(value), result_bytes)
        text = value if isinstance(value, JsonBytes) else to_json(value)
        if len(text) > result_bytes:
            return too_large(len(text), result_bytes)
        return Outcome(value=from_json(text, allow_inf_nan=False))
    except Exception as error:  # serialisers of the tool's own may raise anything
        return failure("tool_error", f"the result is not JSON: {words_of(error)}")


def too_large(size: int, result_bytes: int) -> Outcome:
    return failure("result_too_large", f"the result has {size} bytes or more, and {result_bytes} are allowed")


def failure_of(error: BaseException) -> Outcome:
    """What an exception of a runner means."""
    match error:
        case InvalidArguments():
            return failure("invalid_arguments", words_of(error))
        case ToolRefused():
            return failure("tool_error", words_of(error))
        case ToolFailed():
            return failure("tool_error", words_of(error), may_pass=True)
        case _:
            words = words_of(error)
            name = type(error).__name__
            return failure("tool_error", f"{name}: {words}" if words else name, may_pass=True)


def failure(kind: ErrorKind, message: str, *, may_pass: bool = False) -> Outcome:
    return Outcome(error=CallError(kind=kind, message=message), may_pass=may_pass)


def words_of(error: BaseException) -> str:
    """What an exception says, in letters that every wire can carry, and no more of it than a model should read."""
    try:
        words = str(error).encode(errors="backslashreplace").decode()
    except Exception:  # an exception of the tool's own may fail even at this
        words = "it cannot say what is wrong"
    if len(words) <= MESSAGE_CHARACTERS:
        return words
    return f"{words[:MESSAGE_CHARACTERS]}... ({len(words)} characters in all)"
