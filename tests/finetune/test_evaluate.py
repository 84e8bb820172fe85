"""Rates, their intervals, and changes between two runs."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.evaluate import Rate, change, changes, mode_rates, rate, read_report
from finetune.failures import MODES, Mode
from finetune.gold import Gold, gold_of
from grammars.errors import ConfigurationError
from grammars.tools import ToolCall

RATES = st.integers(1, 500).flatmap(lambda of: st.integers(0, of).map(lambda cases: rate(cases, of)))


@pytest.mark.parametrize(
    ("cases", "of", "low", "high"),
    [  # Newcombe 1998, Statistics in Medicine 17:857-872, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_interval_is_wilsons(cases: int, of: int, low: float, high: float) -> None:
    found = rate(cases, of)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)


def test_rate_of_no_case_says_nothing() -> None:
    assert rate(0, 0) == Rate(cases=0, of=0, rate=0.0, low=0.0, high=1.0)


@given(st.integers(1, 500), st.data())
def test_interval_holds_the_rate_and_narrows_with_more_cases(of: int, data: st.DataObject) -> None:
    cases = data.draw(st.integers(0, of))
    few, many = rate(cases, of), rate(10 * cases, 10 * of)
    assert 0 <= few.low <= few.rate <= few.high <= 1
    assert many.high - many.low < few.high - few.low


@given(RATES, RATES)
def test_change_holds_the_difference_and_turns_its_sign_with_the_runs(before: Rate, after: Rate) -> None:
    forth, back = change(before, after), change(after, before)
    assert forth.low - 1e-3 <= forth.difference <= forth.high + 1e-3
    assert (forth.difference, forth.low) == pytest.approx((-back.difference, -back.high), abs=1e-3)
    assert forth.is_clear == back.is_clear


def test_change_is_newcombes() -> None:
    # Newcombe 1998, Statistics in Medicine 17:873-890, table II, method 10: 56/70 less 48/80
    found = change(rate(48, 80), rate(56, 70))
    assert (found.difference, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=2e-4)
    assert found.is_clear
    assert not change(rate(5, 10), rate(6, 10)).is_clear


def call(name: str, **arguments: str) -> ToolCall:
    return ToolCall(id="1", name=name, arguments=arguments)


NONE, ANY, ONE = Gold(), Gold(any_call=True), gold_of([call("f")], ())
TWO = gold_of([call("f"), ToolCall(id="2", name="g", arguments={})], ())
CHAIN = gold_of([call("f"), ToolCall(id="2", name="g", arguments={"x": "$ref:1"})], ())


def of(mode: Mode, *golds: Gold) -> int:
    return mode_rates([(gold, Counter()) for gold in golds])[mode].of


@pytest.mark.parametrize(
    ("mode", "count"),
    [
        ("call_where_none_is_due", 1),
        ("no_call_where_one_is_due", 4),
        ("under_emission", 3),
        ("argument_bleed", 1),
        ("dependency_violation", 1),
        ("duplicate", 5),
        ("truncation", 5),
    ],
)
def test_rate_is_a_share_of_the_cases_in_which_the_mode_can_occur(mode: Mode, count: int) -> None:
    assert of(mode, NONE, ANY, ONE, TWO, CHAIN) == count


def test_rates_count_cases_once_and_occurrences_each_time() -> None:
    shown: list[tuple[Gold, Counter[Mode]]] = [
        (TWO, Counter({"wrong_argument": 2})),
        (TWO, Counter({"wrong_argument": 1, "duplicate": 1})),
        (TWO, Counter()),
        (NONE, Counter()),
    ]
    rates = mode_rates(shown)
    assert tuple(rates) == MODES
    wrong = rates["wrong_argument"]
    assert (wrong.cases, wrong.of, wrong.occurrences, wrong.rate) == (2, 3, 3, 0.6667)
    assert (rates["duplicate"].cases, rates["duplicate"].of) == (1, 4)


REPORT = {"category": "parallel", "model": "m", "decoding": "parallel", "cases": 20, "right": 5}


def write(tmp_path: Path, report: object) -> Path:
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report))
    return path


def test_earlier_report_stands_beside_what_both_have(tmp_path: Path) -> None:
    modes = {"duplicate": {"cases": 4, "of": 20, "rate": 0.2, "low": 0, "high": 1, "occurrences": 9}}
    earlier = read_report(write(tmp_path, {**REPORT, "failure_modes": modes}), "parallel")
    both = changes(earlier, rate(10, 20), {"duplicate": rate(1, 20), "wrong_tool": rate(0, 20)})
    assert {name: one.difference for name, one in both.items()} == {"right": 0.25, "duplicate": -0.15}


def test_earlier_report_without_failure_modes_has_its_accuracy(tmp_path: Path) -> None:
    earlier = read_report(write(tmp_path, REPORT), "parallel")
    assert (earlier.accuracy, earlier.failure_modes) == (rate(5, 20), {})


@pytest.mark.parametrize(
    ("report", "reason"),
    [
        ({**REPORT, "category": "multiple"}, "reports on 'multiple', and cannot stand beside 'parallel'"),
        ({"category": "parallel"}, "is no report of scripts/eval"),
        ([REPORT], "is no report of scripts/eval"),
        ({**REPORT, "right": "five"}, "is no report of scripts/eval"),
    ],
)
def test_file_that_is_no_report_of_the_same_is_refused(tmp_path: Path, report: object, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        read_report(write(tmp_path, report), "parallel")


def test_report_that_is_not_there_or_no_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.json cannot be read"):
        read_report(tmp_path / "none.json", "parallel")
    (tmp_path / "report.json").write_text("{")
    with pytest.raises(ConfigurationError, match="is no report"):
        read_report(tmp_path / "report.json", "parallel")
