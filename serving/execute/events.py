"""What happens to the calls of a turn that are run here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from grammars.tools import ToolCall, ToolResult


@dataclass(frozen=True, kw_only=True)
class CallStarted:
    """A call began to run on the server. `at_s` is on the clock of `time.monotonic`."""

    call: ToolCall
    at_s: float


@dataclass(frozen=True, kw_only=True)
class CallFinished:
    """A call has its result, be it a value or an error. `start_s` and `end_s` are on the clock of `time.monotonic`.

    One that never began to run has both at the moment at which that was clear.
    """

    call: ToolCall
    result: ToolResult
    start_s: float
    end_s: float


ExecutionEvent = CallStarted | CallFinished

Tell = Callable[[ExecutionEvent], None]
