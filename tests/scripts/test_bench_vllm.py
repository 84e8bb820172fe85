"""scripts/bench decode --engine vllm, short: both sides run for real and make the calls that they are asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import bench
import bench_vllm
import pytest
from bench import app
from bench_questions import HOTELS, TOOL
from bench_stock import array_schema
from bench_vllm_report import VllmReport
from jsonschema_rs import is_valid
from typer.testing import CliRunner


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("default")  # vLLM's own warnings are its makers' to mend
def test_bench_measures_stock_vllm_beside_polycall_and_draws_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("vllm", reason="vLLM is not installed; scripts/setup says where it can be")

    def measured_once(*given: Any, **options: Any) -> VllmReport:
        model, dtype, counts, repeats, console, question = given
        assert repeats == 5
        return bench_vllm.measure_vllm(model, dtype, counts, 1, console, question, **options)

    monkeypatch.setattr(bench, "measure_vllm", measured_once)
    monkeypatch.setattr(bench_vllm, "SETTLE_S", 0.0)
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    rows_file, plot_file = tmp_path / "rows.json", tmp_path / "plot.png"
    arguments = ["decode", "--engine", "vllm", "--calls", "2", "--no-regimes", "--eager"]
    files = ["--json", str(rows_file), "--plot", str(plot_file)]
    result = CliRunner().invoke(app, [*arguments, *files], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    [row] = json.loads(rows_file.read_text())
    assert row["calls"] == 2
    assert row["valid"]
    assert row["vllm_valid"]
    assert row["vllm_tool_calls"] >= 1
    assert row["ratio_vllm"] == pytest.approx(row["vllm_s"] / row["parallel_s"], rel=0.02)
    assert row["parallel_steps"] * 3 < row["sequential_steps"]
    assert "stock vLLM" in result.output
    assert plot_file.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("calls", [1, 3])
def test_array_that_stock_vllm_is_asked_for_has_exactly_so_many_calls(calls: int) -> None:
    call = {"name": "get_weather", "arguments": {"city": "Oslo", "temperature_unit": "celsius", "forecast_days": 3}}
    schema = dict(array_schema(calls, [TOOL]))
    assert is_valid(schema, [call] * calls)
    assert not is_valid(schema, [call] * (calls + 1))
    assert not is_valid(schema, [{**call, "name": "other"}] * calls)


def test_array_of_two_tools_takes_calls_of_both() -> None:
    weather = {"name": "get_weather", "arguments": {"city": "Oslo", "temperature_unit": "celsius", "forecast_days": 3}}
    hotels = {"name": "find_hotels", "arguments": {"city": "Oslo", "room": "single", "nights": 3}}
    schema = dict(array_schema(2, [TOOL, HOTELS]))
    assert is_valid(schema, [weather, hotels])
    assert not is_valid(schema, [weather, {**hotels, "arguments": weather["arguments"]}])
