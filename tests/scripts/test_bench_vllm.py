"""scripts/bench decode --engine vllm, short: both sides run for real and make the calls that they are asked for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from bench_stock import array_schema
from jsonschema_rs import is_valid

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_bench_measures_stock_vllm_beside_polycall_and_draws_both(tmp_path: Path) -> None:
    pytest.importorskip("vllm", reason="vLLM is not installed; scripts/setup says where it can be")
    rows_file, plot_file = tmp_path / "rows.json", tmp_path / "plot.png"
    command = [sys.executable, "scripts/bench.py", "decode", "--engine", "vllm", "--calls", "2", "--no-regimes"]
    command += ["--eager"]
    command += ["--json", str(rows_file), "--plot", str(plot_file)]
    environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=580)
    assert done.returncode == 0, done.stderr[-3000:]
    [row] = json.loads(rows_file.read_text())
    assert row["calls"] == 2
    assert row["valid"]
    assert row["vllm_valid"]
    assert row["vllm_tool_calls"] >= 1
    assert row["ratio_vllm"] == pytest.approx(row["vllm_s"] / row["parallel_s"], rel=0.02)
    assert row["parallel_steps"] * 3 < row["sequential_steps"]
    assert "stock vLLM" in done.stdout
    assert plot_file.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("calls", [1, 3])
def test_array_that_stock_vllm_is_asked_for_has_exactly_so_many_calls(calls: int) -> None:
    call = {"name": "get_weather", "arguments": {"city": "Oslo", "temperature_unit": "celsius", "forecast_days": 3}}
    schema = dict(array_schema(calls))
    assert is_valid(schema, [call] * calls)
    assert not is_valid(schema, [call] * (calls + 1))
    assert not is_valid(schema, [{**call, "name": "other"}] * calls)
