"""scripts/bench frontend, for few requests: both sides give the same answers, and what must hold on any machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bench import app
from bench_frontend import CALLS, Case, report_of
from frontend_servers import events_of, script
from typer.testing import CliRunner

from grammars.constraint import Constraint


@pytest.mark.slow
def test_bench_frontend_writes_a_row_for_each_case_and_side(tmp_path: Path) -> None:
    rows_file = tmp_path / "rows.json"
    arguments = ["frontend", "--requests", "20", "--no-vllm", "--json", str(rows_file)]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    rows = json.loads(rows_file.read_text())
    cases = [Case(calls=calls, streamed=streamed).name for calls in CALLS for streamed in (False, True)]
    assert [(row["case"], row["side"]) for row in rows] == [
        (case, side) for case in cases for side in ("fastapi", "polycall")
    ]
    for echo, polycall in zip(rows[::2], rows[1::2], strict=True):
        assert echo["ratio"] == 1.0
        assert polycall["turn_p50_ms"] < polycall["p50_ms"]
        assert 0 < polycall["first_byte_p50_ms"] <= polycall["p50_ms"] <= polycall["p95_ms"]
        assert polycall["rest_p50_ms"] > 0


@pytest.mark.parametrize("calls", CALLS)
def test_the_scripted_model_calls_as_often_as_it_is_asked_to(calls: int) -> None:
    asked = f"Call {calls} times. Write an outline."
    outline = script(asked, Constraint(lark="start: TEXT"))
    assert outline.count("get_weather: ") == calls
    arguments = [json.loads(script(f'{asked} city {number} "arguments": ', Constraint(lark=""))) for number in (1, 2)]
    assert [found["city"] for found in arguments] == ["City 1", "City 2"]


def test_the_report_is_found_in_both_forms() -> None:
    whole = '{"polycall": {"steps": 1}}'
    streamed = f"data: {{}}\r\n\r\ndata: {whole}\r\n\r\ndata: [DONE]\r\n\r\n"
    assert report_of(whole.encode()) == report_of(streamed.encode()) == {"steps": 1}
    assert events_of(streamed) == ["{}", whole, "[DONE]"]
