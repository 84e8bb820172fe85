"""Approvals: calls that the server runs only after the caller has said yes to each of them.

The operator asks for it with a tool's fact `approval = "always"`, a request with `require_approval`; either is enough,
and neither can take back what the other asks. A turn that writes such calls stops once its other calls have ended. The
next request brings a decision for each of them, and goes on where the turn stopped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from grammars.conversation import Message
from grammars.errors import RequestError
from grammars.tools import CallError, ToolCall, ToolResult
from serving.hidden_rounds import HiddenRound, handed_back_name, instructions, restore, round_name

PLACE = "polycall.approvals"


@dataclass(frozen=True, kw_only=True)
class Required:
    """Which tools a request wants to approve: these, or with None all that the server runs."""

    tools: frozenset[str] | None = frozenset()

    def asks_for(self, tool: str) -> bool:
        return self.tools is None or tool in self.tools


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What the caller says to one call that waits. The model reads the reason of a no."""

    call_id: str
    approve: bool
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Opening:
    """A round that waited for approval, and goes on before anything is decoded.

    `before` is all that was said before it, `after` what the client added behind it; `answers` are the results that
    are known already, the server's and the client's. `handed_back`: calls of it are in the client's history.
    """

    name: str
    handed_back: bool
    hidden: HiddenRound
    before: tuple[Message, ...]
    after: tuple[Message, ...]
    answers: tuple[Message, ...]
    decisions: Mapping[str, Decision]

    @property
    def waiting(self) -> tuple[ToolCall, ...]:
        """The calls that are decided now, in call order."""
        return tuple(call for call in self.hidden.calls if call.id in self.hidden.awaiting)


def read_decisions(decisions: Sequence[Decision]) -> dict[str, Decision]:
    """The decisions by the call they are for. Two for one call are refused."""
    by_id: dict[str, Decision] = {}
    for index, decision in enumerate(decisions):
        if decision.call_id in by_id:
            raise RequestError(
                f"the approval {decision.call_id!r} is decided twice", place=f"{PLACE}[{index}].approval_request_id"
            )
        by_id[decision.call_id] = decision
    return by_id


def denied(decision: Decision) -> ToolResult:
    """The result of a call that was not approved."""
    message = "the call was not approved" + (f": {decision.reason}" if decision.reason else "")
    return ToolResult(call_id=decision.call_id, error=CallError(kind="denied", message=message))


def open_round(
    messages: Sequence[Message], kept: Mapping[str, HiddenRound], decisions: Mapping[str, Decision]
) -> Opening | None:
    """The round of the client's history that the decisions are for, or None where nothing waits for any.

    Raises `RequestError` where something waits for decisions that are not there, or nothing for those that are.
    """
    for index, message in enumerate(messages):
        name = handed_back_name(message)
        hidden = kept.get(name or "")
        if name is None or hidden is None or not hidden.awaiting:
            continue
        check_complete(hidden, decisions)
        end = index + 1 + len(message.calls)
        return Opening(
            name=name,
            handed_back=True,
            hidden=hidden,
            before=(*restore(messages[:index], kept), *hidden.before),
            after=restore(messages[end:], kept),
            answers=(*messages[index + 1 : end], *hidden.results),
            decisions=decisions,
        )
    if not decisions:
        return None
    name = round_name(decisions)
    hidden = kept.get(name)
    if hidden is None or not hidden.awaiting:
        raise RequestError("no answer has asked for just these approvals", place=PLACE)
    end = instructions(messages) + hidden.said
    check_unchanged(messages, end)
    before = (*restore(messages[:end], kept), *hidden.before)
    return Opening(
        name=name,
        handed_back=False,
        hidden=hidden,
        before=before,
        after=(),
        answers=hidden.results,
        decisions=decisions,
    )


def check_complete(hidden: HiddenRound, decisions: Mapping[str, Decision]) -> None:
    """Refuse a request that leaves a call undecided, or decides another."""
    missing = [call_id for call_id in hidden.awaiting if call_id not in decisions]
    if missing:
        raise RequestError(f"these calls wait for approval: {', '.join(missing)}", place=PLACE)
    unknown = [call_id for call_id in decisions if call_id not in hidden.awaiting]
    if unknown:
        raise RequestError(f"no call waits for these approvals: {', '.join(unknown)}", place=PLACE)


def check_unchanged(messages: Sequence[Message], end: int) -> None:
    """Refuse decisions that come with another conversation than the one that stopped, which had its `end` there."""
    added = messages[end:]
    if len(messages) < end or any(message.role != "assistant" or message.calls for message in added):
        raise RequestError(
            "approvals come with the messages of the request that stopped, and at most its answer after them",
            place=PLACE,
        )
