"""scripts/bench decode, on real weights, for few calls: the columns, and what must hold on any machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import bench
import pytest
from bench import app
from bench_decode import DecodeRow, measure_decode
from typer.testing import CliRunner

pytestmark = pytest.mark.slow


def test_bench_decode_writes_rows_and_a_plot_of_calls_decoded_three_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured_once(*given: Any) -> list[DecodeRow]:
        engine, name, counts, repeats, console, question, options = given
        assert repeats == 5
        return measure_decode(engine, name, counts, 1, console, question, options)

    monkeypatch.setattr(bench, "measure_decode", measured_once)
    rows_file, plot_file = tmp_path / "rows.json", tmp_path / "plot.png"
    arguments = ["decode", "--engine", "transformers", "--model", "smollm2-135m", "--calls", "1,4"]
    files = ["--json", str(rows_file), "--plot", str(plot_file)]
    result = CliRunner().invoke(app, [*arguments, *files], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    one, four = json.loads(rows_file.read_text())
    assert (one["calls"], four["calls"]) == (1, 4)
    assert all(row["valid"] and row["engine"] == "transformers" for row in (one, four))
    assert four["sequential_skipping_steps"] < four["sequential_steps"]
    assert four["parallel_steps"] * 2 < four["sequential_steps"]
    assert one["parallel_steps"] <= one["sequential_steps"]
    assert four["ratio"] > 1.5
    # Four branches over a prefix of a thousand tokens hold it once: well under twice one branch's memory.
    assert four["peak_mib"] < 1.5 * four["peak_mib_one_branch"]
    assert plot_file.read_bytes().startswith(b"\x89PNG")


def test_bench_decode_without_an_engine_of_that_name_is_refused() -> None:
    result = CliRunner().invoke(app, ["decode", "--engine", "abacus"])
    assert result.exit_code == 2
    assert "abacus" in result.output
