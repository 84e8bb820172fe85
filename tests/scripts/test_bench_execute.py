"""scripts/bench execute: its workloads and bounds, and on a few of them what must hold on any machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from bench import app
from bench_overlap import covered_s
from bench_workloads import TIMEOUT_S, Plan, Task, critical_path_s, io_workloads, sound
from typer.testing import CliRunner


@pytest.mark.parametrize(
    ("plan", "bound_s"),
    [
        ((Task(id="a", seconds=0.5), Task(id="b", seconds=0.2)), 0.5),
        ((Task(id="a", seconds=0.5), Task(id="b", seconds=0.2, needs=("a",))), 0.7),
        ((Task(id="a", seconds=0.5, account=1), Task(id="b", seconds=0.2, account=1)), 0.7),
        ((Task(id="a", seconds=0.5, account=1), Task(id="b", seconds=0.2, account=2)), 0.5),
        ((Task(id="a", seconds=0.1, fault="hangs"), Task(id="b", seconds=0.2, needs=("a",))), TIMEOUT_S),
        ((Task(id="a", seconds=0.1, fault="raises"), Task(id="b", seconds=9.0, needs=("a",))), 0.1),
    ],
)
def test_bound_is_the_longest_way(plan: Plan, bound_s: float) -> None:
    assert critical_path_s(plan) == pytest.approx(bound_s)


def test_calls_that_need_a_faulty_one_have_no_value() -> None:
    plan = (
        Task(id="a", seconds=0.1),
        Task(id="b", seconds=0.1, fault="raises"),
        Task(id="c", seconds=0.1, needs=("a", "a_too")),
        Task(id="d", seconds=0.1, needs=("b",)),
        Task(id="e", seconds=0.1, needs=("a",)),
    )
    assert sound(plan) == {"a": 1, "e": 2}


def test_workloads_are_the_same_for_a_seed_and_only_for_that() -> None:
    assert io_workloads(1, None) == io_workloads(1, None) != io_workloads(2, None)


def test_plans_take_the_shape_of_the_question_sets(tmp_path: Path) -> None:
    questions = {
        "parallelqa_dataset.json": {"question": "?", "branch": 3},
        "movie_recommendations_formatted.json": {"question": "Like A, B\nOptions:\nC\nD\nE\n"},
        "hotpotqa_comparison.json": {"question": "?"},
    }
    for name, question in questions.items():
        (tmp_path / name).write_text(json.dumps([question] * 6))
    shapes = {workload.name: [len(plan) for plan in workload.plans] for workload in io_workloads(1, tmp_path)[-3:]}
    assert shapes == {"ParallelQA": [7] * 5, "Movie": [5] * 5, "HotpotQA": [3] * 5}


@pytest.mark.parametrize(
    ("spans", "seconds"),
    [([(0, 1)], 1), ([(0, 1), (2, 3)], 2), ([(0, 2), (1, 3)], 3), ([(0, 3), (1, 2)], 3), ([(1, 2), (0, 1)], 2)],
)
def test_spans_cover_their_union_once(spans: list[tuple[float, float]], seconds: float) -> None:
    assert covered_s(spans) == seconds


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], dict[str, Any]]:
    """The rows of a few workloads, by workload and runner."""
    folder = tmp_path_factory.mktemp("bench")
    files = ["--json", str(folder / "rows.json"), "--plot", str(folder / "plot.png")]
    only = "5 x 0.5 s,conflicts,faults,batch,overlap"
    result = CliRunner().invoke(app, ["execute", "--only", only, "--repeats", "1", *files], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert (folder / "plot.png").read_bytes().startswith(b"\x89PNG")
    found = json.loads((folder / "rows.json").read_text())
    return {(row["workload"], row["runner"]): row for row in found}


@pytest.mark.slow
def test_rows_compare_all_runners_and_polycall_loses_nothing(rows: dict[tuple[str, str], dict[str, Any]]) -> None:
    runners = {runner for workload, runner in rows if workload == "5 x 0.5 s"}
    assert runners == {"sequential", "thread pool", "gather", "ToolNode", "polycall"}
    for (_, runner), row in rows.items():
        assert {"workload", "runner", "makespan_s", "bound_s", "ratio", "results_lost"} <= row.keys()
        if runner == "polycall":
            assert (row["results_lost"], row["out_of_order"]) == (0, 0)
    assert 1.0 <= rows["5 x 0.5 s", "polycall"]["ratio"] < 1.2
    assert rows["5 x 0.5 s", "sequential"]["ratio"] > 4.9


@pytest.mark.slow
def test_runners_that_know_no_conflicts_and_no_timeouts_show_it(rows: dict[tuple[str, str], dict[str, Any]]) -> None:
    for runner in ("gather", "ToolNode"):
        assert rows["conflicts", runner]["out_of_order"] > 0
        assert rows["faults", runner]["results_lost"] > 0


@pytest.mark.slow
def test_like_calls_are_one_invocation(rows: dict[tuple[str, str], dict[str, Any]]) -> None:
    assert rows["8 like calls", "polycall"]["invocations"] == 1
    assert rows["8 like calls", "thread pool"]["invocations"] == 8


@pytest.mark.slow
def test_a_call_begins_before_the_last_is_written(rows: dict[tuple[str, str], dict[str, Any]]) -> None:
    row = rows["8 x 0.3 s, decoded by scripted", "polycall"]
    assert row["first_call_s"] < row["decode_s"]
    assert row["saving_s"] > 0


def test_a_workload_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["execute", "--only", "nothing", "--plot", str(tmp_path / "plot.png")])
    assert result.exit_code == 2
    assert "nothing" in result.output
