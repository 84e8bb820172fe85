"""RoundLedger: what one round has written so far, what of it runs, and what it adds to the conversation."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from grammars.conversation import Message
from grammars.tools import CallError, ToolCall, ToolResult
from serving.approvals import Opening, denied
from serving.decode.events import CallFailed, CallWritten, Figures, RoundEnded, TextWritten
from serving.execute.execute import CallFinished
from serving.turn_events import CallHandedBack, TurnEvent


@dataclass(frozen=True, kw_only=True)
class CallRules:
    """What becomes of a call: whether the server runs it, whether it waits for approval first, whether it refers to the
    results of others, how it is started; and how many calls of the server's the round may have, if that is bounded.
    """

    runs: Callable[[str], bool]
    wants_approval: Callable[[str], bool]
    refers: Callable[[ToolCall], bool]
    start: Callable[[ToolCall], None]
    most: int | None = None


class RoundLedger:
    """The book of one round.

    Calls that the server runs are started the moment they are written. One that was answered before in this turn waits
    until the round asks for something new: a round of nothing but repeats is not run again. Calls that want approval
    are not started but listed as `awaiting`, in call order, unless it could not be seen what is approved.
    """

    def __init__(self, rules: CallRules, answered: Sequence[ToolCall]) -> None:
        self.text = ""
        self.awaiting: list[ToolCall] = []
        self.handed_back: list[ToolCall] = []
        self.finished: dict[str, CallFinished] = {}
        self.failures: list[CallFailed] = []
        self.ended: RoundEnded | None = None
        self._rules = rules
        self._answered = answered
        self._answers: dict[str, Message] = {}
        self._written: dict[int, ToolCall] = {}
        self._repeats: list[ToolCall] = []
        self._asks_something_new = False
        self._next_index = 0
        self._taken = 0
        self._decoded_s: float | None = None

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The calls that were written, in call order."""
        return tuple(self._written[index] for index in sorted(self._written))

    @property
    def repeated(self) -> bool:
        """Whether all that the round asks for was answered before in this turn."""
        return bool(self._written) and not self._asks_something_new

    @property
    def complete(self) -> bool:
        """Whether all of the round was written and every call has its answer: what `messages` needs."""
        answered = {*self.finished, *self._answers}
        return self.ended is not None and all(call.id in answered for call in self.calls)

    @property
    def wait_s(self) -> float:
        """How long the last call ran on after everything was decoded."""
        if self._decoded_s is None or not self.finished:
            return 0.0
        return max(0.0, max(finished.end_s for finished in self.finished.values()) - self._decoded_s)

    def take(self, event: TurnEvent) -> list[CallHandedBack | CallFinished]:
        """Enter the event, and start the calls that may run now. Returns the calls that can be handed back by it, and
        the results of those that cannot be approved.
        """
        refused: list[CallFinished] = []
        match event:
            case TextWritten():
                self.text += event.text
            case CallWritten():
                self._written[event.index] = event.call
                refused = self._start_or_hold(event.call)
            case CallFailed():
                self.failures.append(event)
            case CallFinished():
                self.finished[event.call.id] = event
            case RoundEnded():
                self.ended = event
                self._decoded_s = time.monotonic()
        return [*self._in_call_order(), *refused]

    def reopen(self, opening: Opening) -> list[CallFinished]:
        """Enter a round that waited for approval: start what is approved. Returns the results of what is not."""
        self._written = dict(enumerate(opening.hidden.calls))
        self.text = opening.hidden.text
        self._answers = {str(message.call_id): message for message in opening.answers}
        self.ended = RoundEnded(reason="calls", figures=Figures(decoding="parallel"))
        self._decoded_s = time.monotonic()
        self._asks_something_new = True
        self._next_index = len(self._written)  # what was the client's was handed back then
        refused = []
        for call in opening.waiting:
            decision = opening.decisions[call.id]
            if not decision.approve:
                refused.append(finished_at_once(call, denied(decision)))
            elif self._rules.runs(call.name):
                self._rules.start(call)
            else:  # what the caller may use has changed since it was asked
                error = CallError(kind="unknown_tool", message=f"the server has no tool {call.name!r}")
                refused.append(finished_at_once(call, ToolResult(call_id=call.id, error=error)))
        return refused

    def give_up(self) -> list[CallFinished]:
        """The turn ends here, as cut: the results of calls that nobody will be asked about any more."""
        error = CallError(kind="cancelled", message="the turn ended before the call could be approved")
        given_up = [finished_at_once(call, ToolResult(call_id=call.id, error=error)) for call in self.awaiting]
        self.awaiting.clear()
        return given_up

    def messages(self) -> tuple[Message, ...]:
        """The round as the model reads it when the server goes on: its calls, and their results in call order.

        A call that could not be written stands there without arguments, and its error is its result.
        """
        calls = dict(self._written)
        results = {call_id: finished.result for call_id, finished in self.finished.items()}
        for failure in self.failures:
            call = ToolCall(id=f"call_{uuid.uuid4().hex}", name=failure.tool, arguments={})
            calls[failure.index] = call
            results[call.id] = ToolResult(call_id=call.id, error=failure.error)
        ordered = tuple(calls[index] for index in sorted(calls))
        answer = Message(role="assistant", text=self.text, calls=ordered)
        known = {**{call_id: result_message(result) for call_id, result in results.items()}, **self._answers}
        return (answer, *(known[call.id] for call in ordered))

    def _start_or_hold(self, call: ToolCall) -> list[CallFinished]:
        refused: list[CallFinished] = []
        if not self._asks_something_new and any(call.same_as(earlier) for earlier in self._answered):
            self._repeats.append(call)
            return refused
        self._asks_something_new = True
        for ready in (*self._repeats, call):
            if not self._rules.runs(ready.name):
                continue
            refusal = self._refusal(ready)
            if refusal is not None:
                self.finished[ready.id] = finished_at_once(ready, refusal)
                refused.append(self.finished[ready.id])
                continue
            self._taken += 1
            if self._rules.wants_approval(ready.name):
                waiting = {ready.id, *(earlier.id for earlier in self.awaiting)}
                self.awaiting = [known for known in self.calls if known.id in waiting]
            else:
                self._rules.start(ready)
        self._repeats.clear()
        return refused

    def _refusal(self, call: ToolCall) -> ToolResult | None:
        """The result of a call that is neither run nor asked about."""
        if self._rules.most is not None and self._taken >= self._rules.most:
            error = CallError(kind="denied", message="not run: the request allows no more calls of the server's tools")
            return ToolResult(call_id=call.id, error=error)
        return not_to_be_seen(call) if self._rules.wants_approval(call.name) and self._rules.refers(call) else None

    def _in_call_order(self) -> Iterator[CallHandedBack]:
        """The client's calls up to the first index of which nothing is known yet; all of them once the round ended."""
        known = {*self._written, *(failure.index for failure in self.failures)}
        last = max(known, default=-1)
        while self._next_index <= last and (self.ended is not None or self._next_index in known):
            call = self._written.get(self._next_index)
            self._next_index += 1
            if call is not None and not self._rules.runs(call.name):
                self.handed_back.append(call)
                yield CallHandedBack(position=len(self.handed_back) - 1, call=call)


def not_to_be_seen(call: ToolCall) -> ToolResult:
    """The result of a call that wants approval, and whose arguments are not known yet."""
    words = "the call wants approval, so its arguments must be values and not references to other calls"
    return ToolResult(call_id=call.id, error=CallError(kind="invalid_arguments", message=words))


def finished_at_once(call: ToolCall, result: ToolResult) -> CallFinished:
    """The end of a call that never began."""
    now_s = time.monotonic()
    return CallFinished(call=call, result=result, start_s=now_s, end_s=now_s)


def result_message(result: ToolResult) -> Message:
    """The result as a message of the conversation."""
    return Message(role="tool", text=result.text, call_id=result.call_id)


def answered_calls(messages: Sequence[Message], runs: Callable[[str], bool]) -> tuple[ToolCall, ...]:
    """The calls that the server answered since the user last spoke."""
    answered: list[ToolCall] = []
    for message in messages:
        if message.role == "user":
            answered.clear()
        answered += [call for call in message.calls if runs(call.name)]
    return tuple(answered)
