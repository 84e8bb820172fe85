"""GET /v1/turns/{id}: which calls stand behind an answer, for as long as the journal keeps them."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel

from grammars.errors import NotFound
from serving.api.requests import caller_of
from serving.api.turn_report import ErrorReport, error_report
from serving.execute.journal import JournaledCall, JournaledTurn, TurnState
from serving.turn_runner import TurnRunner


class TurnCall(BaseModel):
    """A call that the server ran, with its final arguments. `begun`: nobody has written down how it ended.

    Times are seconds since 1970. `round` 0: the call waited for approval, which the turn brought.
    """

    id: str
    round: int
    name: str
    arguments: dict[str, Any]
    state: Literal["begun", "ended"]
    result: Any = None
    error: ErrorReport | None = None
    started_at: float
    ended_at: float | None


class TurnView(BaseModel):
    id: str
    object: Literal["turn"] = "turn"
    state: TurnState
    created_at: float
    idempotency_key: str | None
    calls: list[TurnCall]


def turns_router(runner: TurnRunner) -> APIRouter:
    """The turns of the caller that asks; others do not exist for it."""
    router = APIRouter()

    @router.get("/v1/turns/{turn_id}")
    async def turn(turn_id: str, request: Request) -> TurnView:
        found = await runner.journal.turn(turn_id, caller_of(request).name)
        if found is None:
            raise NotFound(f"there is no turn {turn_id!r}", place="turn_id")
        return view(found)

    return router


def view(turn: JournaledTurn) -> TurnView:
    return TurnView(
        id=turn.id,
        state=turn.state,
        created_at=turn.created_s,
        idempotency_key=turn.key,
        calls=[call_view(call) for call in turn.calls],
    )


def call_view(call: JournaledCall) -> TurnCall:
    error = None if call.result is None else call.result.error
    return TurnCall(
        id=call.id,
        round=call.round,
        name=call.name,
        arguments=dict(call.arguments),
        state="begun" if call.result is None else "ended",
        result=None if call.result is None else call.result.value,
        error=None if error is None else error_report(error),
        started_at=call.started_s,
        ended_at=call.ended_s,
    )
