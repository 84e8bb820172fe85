"""What stands in the tables, as the journal's own words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from grammars.tools import ToolResult
from serving.execute.journal import JournaledCall, JournaledTurn, TurnState

RESULT = TypeAdapter(ToolResult)


def text_of(value: Any) -> str:
    """JSON in ASCII: no database stumbles over what a tool may have in its strings."""
    return json.dumps(value, ensure_ascii=True, allow_nan=False)


def result_text(result: ToolResult) -> str:
    error = None if result.error is None else {"kind": result.error.kind, "message": result.error.message}
    return text_of({"call_id": result.call_id, "value": result.value, "error": error})


def call_row(turn_id: str, call: JournaledCall) -> dict[str, Any]:
    return {
        "turn_id": turn_id,
        "id": call.id,
        "round": call.round,
        "name": call.name,
        "arguments": text_of(plain(call.arguments)),
        "repeatable": int(call.repeatable),
        "started_s": call.started_s,
        "ended_s": call.ended_s,
        "result": None if call.result is None else result_text(call.result),
    }


def journaled_call(row: Any) -> JournaledCall:
    result = None if row.result is None else RESULT.validate_python({**json.loads(row.result), "call_id": row.id})
    return JournaledCall(
        id=row.id,
        round=row.round,
        name=row.name,
        arguments=json.loads(row.arguments),
        repeatable=bool(row.repeatable),
        started_s=row.started_s,
        ended_s=row.ended_s,
        result=result,
    )


def journaled_turn(
    row: Any, state: TurnState, rounds: tuple[str, ...], calls: tuple[JournaledCall, ...]
) -> JournaledTurn:
    return JournaledTurn(
        id=row.id,
        caller=row.caller,
        key=row.idempotency_key,
        state=state,
        created_s=row.created_s,
        answer=row.answer,
        rounds=rounds,
        calls=calls,
    )


def plain(value: Any) -> Any:
    """Mappings and sequences of any kind as JSON's own."""
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
