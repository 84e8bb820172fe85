"""What is kept of a request: enough to write its response again, and no credentials."""

from __future__ import annotations

import json
from typing import Any

from serving.api.openai_responses.stored import StoredRequest, read_stored
from serving.api.openai_responses.wire import ResponsesRequest
from serving.decode.events import TextWritten
from serving.turn_events import TurnEnded, TurnFigures

FAR = {
    "type": "mcp", "server_label": "far", "server_url": "https://example.org/a-secret-path?key=a-secret-key",
    "authorization": "a-secret-token", "headers": {"x-key": "a-secret-header"}, "allowed_tools": ["look"],
    "require_approval": {"never": {"tool_names": ["look"]}},
}  # fmt: skip
MAP = {"type": "function", "name": "map", "parameters": {"type": "object"}, "strict": True}
EVENTS = [TextWritten(text="Hello."), TurnEnded(turn_id="turn_1", reason="text", figures=TurnFigures())]


def stored(**fields: Any) -> StoredRequest:
    body = ResponsesRequest.model_validate({"model": "m", "input": "Hello?", **fields})
    return StoredRequest(body=body, earlier=("turn_0",), approved=frozenset({"call_1"}))


def test_what_is_read_again_gives_the_same_response() -> None:
    said = {
        "tools": [MAP, FAR], "tool_choice": {"type": "mcp", "server_label": "far"}, "metadata": {"a": "b"},
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}},
        "instructions": "Be kind.", "max_output_tokens": 9, "polycall": {"max_calls": 3},
    }  # fmt: skip
    first = stored(**said)
    again = read_stored(first.written())
    assert again is not None
    assert (again.earlier, again.approved) == (("turn_0",), {"call_1"})
    assert again.response("turn_1", 1.0, EVENTS).to_dict() == first.response("turn_1", 1.0, EVENTS).to_dict()


def test_no_credentials_are_kept_or_repeated() -> None:
    request = stored(tools=[FAR])
    for text in (request.written(), json.dumps(request.response("turn_1", 1.0, EVENTS).to_dict(mode="json"))):
        assert "https://example.org" in text
        assert "a-secret" not in text


def test_items_come_back_as_they_were_brought() -> None:
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "Go — 世界 \ud800"}]},
        {"type": "function_call", "call_id": "call_1", "name": "map", "arguments": "{}", "async": False},
        {"type": "function_call_output", "call_id": "call_1", "output": "shown"},
    ]
    first = stored(input=items)
    again = read_stored(first.written())
    assert again is not None
    assert again.items == first.items


def test_what_another_wire_keeps_is_no_response() -> None:
    assert read_stored(json.dumps({"wire": "other", "body": {}})) is None
    assert read_stored(json.dumps([1])) is None
