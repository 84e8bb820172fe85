"""CallRecorder: who is asked before a call does anything, and told what came of it.

The executor knows no journal. It asks the recorder of the turn before the first attempt at a call, when its arguments
are final, and tells it the result after the last attempt, before anyone else hears of it.
"""

from __future__ import annotations

from typing import Protocol

from grammars.tools import ToolCall, ToolResult
from serving.execute.facts import ToolFacts


class CallRecorder(Protocol):
    """Records the calls of one turn. Called on the event loop, for many calls at once. Raises nothing but
    `CancelledError`, and the time that it takes counts neither against a call's timeout nor as its duration.
    """

    async def intent(self, call: ToolCall, facts: ToolFacts) -> ToolResult | None:
        """Before anything is done. `call` has its references replaced. A result stands for the call, which then must
        not run: it is known from before, or the call may not be made. None: go ahead.
        """
        ...

    def outcome(self, call: ToolCall, result: ToolResult) -> None:
        """After the last attempt, once for each call that was told to go ahead; also for one that was cancelled.

        `call` is as it was given to `intent`. Does not wait: what is recorded later is written later.
        """
        ...


class NoRecorder:
    """Lets every call run and keeps nothing."""

    async def intent(self, call: ToolCall, facts: ToolFacts) -> ToolResult | None:
        return None

    def outcome(self, call: ToolCall, result: ToolResult) -> None:
        return None
