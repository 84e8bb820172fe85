"""scripts/eval bfcl: real cases, real weights, the official checker; and what it adds up."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from eval import app
from eval_bfcl import Outcome, report_of
from typer.testing import CliRunner

from finetune.bfcl import Verdict

needs_bfcl = pytest.mark.skipif(find_spec("bfcl_eval") is None, reason="bfcl-eval is not installed")


@needs_bfcl
@pytest.mark.slow
@pytest.mark.parametrize("decoding", ["parallel", "sequential"])
def test_eval_bfcl_reports_accuracy_errors_and_steps_of_the_first_cases(tmp_path: Path, decoding: str) -> None:
    report_file, cases_file = tmp_path / "report.json", tmp_path / "cases.jsonl"
    arguments = ["bfcl", "--model", "smollm2-135m", "--category", "parallel", "--limit", "1", "--decoding", decoding]
    result = CliRunner().invoke(
        app, [*arguments, "--json", str(report_file), "--cases", str(cases_file)], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    report = json.loads(report_file.read_text())
    assert (report["category"], report["cases"], report["decoding"]) == ("parallel", 1, decoding)
    assert report["invalid_calls"] == 0
    assert report["accuracy"] in (0, 1)
    assert sum(report["errors"].values()) == 1 - report["accuracy"]
    assert report["decode_steps"] > 0
    assert len(cases_file.read_text().splitlines()) == 1


@needs_bfcl
def test_eval_bfcl_refuses_a_category_that_it_cannot_score() -> None:
    result = CliRunner().invoke(app, ["bfcl", "--category", "multi_turn_base"])
    assert result.exit_code != 0
    assert "multi_turn_base" in str(result.exception)


def outcome(error_type: str | None, *, steps: int) -> Outcome:
    return Outcome(
        id="case",
        calls=(),
        verdict=Verdict(valid=error_type is None, error_type=error_type),
        invalid_calls=0,
        failed_calls=1,
        right_count=error_type is None,
        steps=steps,
        plan_steps=2,
        fallbacks=1,
    )


def test_report_counts_errors_by_the_checkers_type_and_takes_means_of_steps() -> None:
    outcomes = [outcome(None, steps=10), outcome("wrong_count", steps=20), outcome("wrong_count", steps=30)]
    report = report_of("parallel", "m", "parallel", "joint", outcomes)
    assert (report.right, report.accuracy, report.right_count) == (1, 0.3333, 1)
    assert report.errors == {"wrong_count": 2}
    assert (report.decode_steps, report.plan_steps, report.fallbacks, report.failed_calls) == (20.0, 2.0, 3, 3)


def test_report_of_a_sequential_run_names_no_plan_form() -> None:
    assert report_of("parallel", "m", "sequential", "joint", [outcome(None, steps=1)]).plan_form is None
