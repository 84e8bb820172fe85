"""TurnReport: the extension object `polycall` of an answer, the same on every wire. Times count from its start."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from grammars.tools import CallError
from serving.execute.execute import CallFinished
from serving.turn_events import TurnEnded, TurnFigures


class ErrorReport(BaseModel):
    kind: str
    message: str


class ServerCall(BaseModel):
    """A call that the server ran: `result`, or `error` in its place."""

    id: str
    name: str
    arguments: dict[str, Any]
    result: Any = None
    error: ErrorReport | None = None
    start_s: float
    end_s: float


class ApprovalRequest(BaseModel):
    """A call that waits for the caller's word: the next request decides it by this id."""

    id: str
    name: str
    arguments: dict[str, Any]


class Failure(BaseModel):
    """A call that the model could not write."""

    tool: str
    error: ErrorReport


class Stream(BaseModel):
    """One stream that was decoded: what it wrote, when, and at how many steps."""

    round: int
    label: str
    start_s: float
    end_s: float
    steps: int
    forced_tokens: int


class Times(BaseModel):
    """`wait_s`: how long nothing was decoded because calls still ran."""

    total_s: float
    decode_s: float
    wait_s: float


class TurnReport(BaseModel):
    """What the turn did and cost. GET /v1/turns/{turn_id} has its calls for as long as the journal keeps them."""

    turn_id: str
    decoding: str | None
    rounds: int
    repeats: int
    out_of_time: bool
    steps: int
    plan_steps: int
    branches: int
    fallbacks: int
    duplicates_removed: int
    times: Times
    server_calls: list[ServerCall]
    approval_requests: list[ApprovalRequest]
    failures: list[Failure]
    streams: list[Stream]


def report(ended: TurnEnded) -> TurnReport:
    """The report of a turn."""
    figures = ended.figures
    return TurnReport(
        turn_id=ended.turn_id,
        decoding=figures.rounds[0].decoding if figures.rounds else None,
        rounds=len(figures.rounds),
        repeats=figures.repeats,
        out_of_time=figures.out_of_time,
        steps=figures.steps,
        plan_steps=figures.plan_steps,
        branches=figures.branches,
        fallbacks=figures.fallbacks,
        duplicates_removed=figures.duplicates_removed,
        times=Times(
            total_s=rounded(figures.total_s), decode_s=rounded(figures.decode_s), wait_s=rounded(figures.wait_s)
        ),
        server_calls=[server_call(finished, figures.start_s) for finished in ended.server_calls],
        approval_requests=[
            ApprovalRequest(id=call.id, name=call.name, arguments=dict(call.arguments)) for call in ended.awaiting
        ],
        failures=[Failure(tool=failure.tool, error=error_report(failure.error)) for failure in ended.failures],
        streams=streams(figures),
    )


def server_call(finished: CallFinished, start_s: float) -> ServerCall:
    error = finished.result.error
    return ServerCall(
        id=finished.call.id,
        name=finished.call.name,
        arguments=dict(finished.call.arguments),
        result=finished.result.value,
        error=None if error is None else error_report(error),
        start_s=rounded(finished.start_s - start_s),
        end_s=rounded(finished.end_s - start_s),
    )


def streams(figures: TurnFigures) -> list[Stream]:
    return [
        Stream(
            round=number,
            label=span.label,
            start_s=rounded(span.start_s - figures.start_s),
            end_s=rounded(span.end_s - figures.start_s),
            steps=span.steps,
            forced_tokens=span.forced_tokens,
        )
        for number, round_figures in enumerate(figures.rounds, start=1)
        for span in round_figures.spans
    ]


def error_report(error: CallError) -> ErrorReport:
    return ErrorReport(kind=error.kind, message=error.message)


def rounded(seconds: float) -> float:
    """To the microsecond: more digits would be noise."""
    return round(seconds, 6)
