"""The object `polycall`, the same on every wire: what a request may ask in it, and what an answer tells in it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.api.extension import Extension
from serving.api.turn_report import TurnReport
from tests.serving.api.api_server import Server, serving

DOCUMENT = Path(__file__).parents[2] / "docs" / "wires.md"
QUESTION = "What is the weather, wherever you like?"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 8}}, "required": ["city"]}
USER = {"role": "user", "content": QUESTION}
FUNCTION = {"name": "weather", "parameters": SCHEMA}

WIRES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "chat": (
        "/v1/chat/completions",
        "/v1/chat/completions",
        {"model": "scripted", "messages": [USER], "tools": [{"type": "function", "function": FUNCTION}]},
    ),
    "responses": (
        "/v1/responses",
        "/v1/responses",
        {"model": "scripted", "input": QUESTION, "tools": [{"type": "function", **FUNCTION}]},
    ),
    "messages": (
        "/v1/messages",
        "/v1/messages",
        {
            "model": "scripted",
            "max_tokens": 9999,
            "messages": [USER],
            "tools": [{"name": "weather", "input_schema": SCHEMA}],
        },
    ),
    "gemini": (
        "/v1beta/models/scripted:generateContent",
        "/v1beta/models/scripted:streamGenerateContent?alt=sse",
        {
            "contents": [{"role": "user", "parts": [{"text": QUESTION}]}],
            "tools": [{"functionDeclarations": [{"name": "weather", "parametersJsonSchema": SCHEMA}]}],
        },
    ),
}
"""For each: where to ask for a whole answer, where for a stream, and the same question."""

FIXED = ("decoding", "rounds", "repeats", "out_of_time", "steps", "plan_steps", "branches", "fallbacks")
"""What does not depend on the clock."""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server whose model writes what the grammar allows, by a walk seeded with what it reads."""
    for serve in serving():
        yield serve(lambda _text, _constraint: None)


def ask(server: Server, wire: str, extension: dict[str, Any]) -> httpx.Response:
    path, _, body = WIRES[wire]
    return httpx.post(f"{server.url}{path}", json={**body, "polycall": extension})


def streamed_reports(server: Server, wire: str, extension: dict[str, Any]) -> list[Any]:
    _, path, body = WIRES[wire]
    asked = {**body, "polycall": extension} | ({} if wire == "gemini" else {"stream": True})
    lines = httpx.post(f"{server.url}{path}", json=asked).text.splitlines()
    data = [line.removeprefix("data: ") for line in lines if line.startswith("data: {")]
    return [report for event in data for report in reports_in(json.loads(event))]


def reports_in(value: Any) -> list[Any]:
    """Every report within a piece of JSON."""
    if isinstance(value, dict):
        found = [value["polycall"]] if value.get("polycall") else []
        return found + [report for name, inner in value.items() if name != "polycall" for report in reports_in(inner)]
    return [report for inner in value for report in reports_in(inner)] if isinstance(value, list) else []


@pytest.mark.parametrize("decoding", ["parallel", "sequential"])
def test_every_wire_reads_the_same_request_and_tells_the_same_figures_whole_and_streamed(
    server: Server, decoding: str
) -> None:
    extension = {"min_calls": 3, "max_calls": 5, "decoding": decoding}
    whole = {wire: reports_in(ask(server, wire, extension).json()) for wire in WIRES}
    streamed = {wire: streamed_reports(server, wire, extension) for wire in WIRES}
    told = [*whole.values(), *streamed.values()]
    assert [len(reports) for reports in told] == [1] * 8
    figures = [{name: reports[0][name] for name in FIXED} for reports in told]
    assert figures == [figures[0]] * 8
    assert figures[0]["decoding"] == decoding
    assert figures[0]["branches"] == 1 if decoding == "sequential" else 3 <= figures[0]["branches"] <= 5
    assert all(set(reports[0]) == set(TurnReport.model_fields) for reports in told)


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize(
    ("extension", "place"),
    [
        ({"min_calls": -1}, "polycall.min_calls"),
        ({"max_calls": 65}, "polycall.max_calls"),
        ({"min_calls": 5, "max_calls": 4}, "polycall"),
        ({"exact_tools": ["weather", "no_such_tool"]}, "no_such_tool"),
        ({"exact_tools": []}, "polycall.exact_tools"),
        ({"decoding": "backwards"}, "polycall.decoding"),
        ({"decoding": "sequential", "parallel_dependencies": True}, "polycall.parallel_dependencies"),
        ({"require_approval": {"always": {"tool_names": ["weather"]}}}, "polycall.require_approval"),
        ({"approvals": [{"approval_request_id": "", "approve": True}]}, "polycall.approvals[0].approval_request_id"),
        ({"calls": 3}, "polycall.calls"),
    ],
)
def test_every_wire_refuses_the_same_by_its_place(
    server: Server, wire: str, extension: dict[str, Any], place: str
) -> None:
    refused = ask(server, wire, extension)
    assert refused.status_code == 400
    assert place in refused.text


@pytest.mark.parametrize(
    ("fields", "heading"), [(Extension.model_fields, "In a request"), (TurnReport.model_fields, "In an answer")]
)
def test_the_document_has_a_line_for_every_field(fields: dict[str, Any], heading: str) -> None:
    section = DOCUMENT.read_text(encoding="utf-8").split("## The extension `polycall`")[1].split(f"{heading}")[1]
    table = re.search(r"\n\n(\|.*?)\n\n", section, re.DOTALL)
    assert table
    assert re.findall(r"`(\w+)`", "\n".join(line.split("|")[1] for line in table[1].splitlines())) == list(fields)
