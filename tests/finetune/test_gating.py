"""Gating: a run at any threshold, out of one by the tally and one by the outline; the best one; how sure is right."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.gating import BINS, THRESHOLDS, Scored, best, gated, gated_score, reliability, score
from grammars.errors import ConfigurationError

Pair = tuple[Scored, Scored]


@st.composite
def pairs(draw: st.DrawFn) -> Pair:
    """One case by the tally and by the outline."""
    flags, steps = st.booleans(), st.integers(1, 40)
    tally = Scored(
        id="case",
        is_right=draw(flags),
        is_right_count=draw(flags),
        steps=draw(steps),
        plan_steps=draw(st.integers(1, 2)),
        tally_probability=draw(st.none() | st.floats(0, 1) | st.sampled_from(THRESHOLDS)),
    )
    outline = Scored(
        id="case", is_right=draw(flags), is_right_count=draw(flags), steps=draw(steps), plan_steps=draw(steps)
    )
    return tally, outline


RUNS = st.lists(pairs(), min_size=1, max_size=20).map(
    lambda made: ([one for one, _ in made], [other for _, other in made])
)


def case(right: bool, *, steps: int = 1, sure: float | None = None, id: str = "case") -> Scored:
    return Scored(
        id=id, is_right=right, is_right_count=right, steps=steps, plan_steps=min(steps, 1), tally_probability=sure
    )


@given(RUNS)
def test_always_the_tally_is_the_run_by_the_tally(runs: tuple[list[Scored], list[Scored]]) -> None:
    assert gated(*runs, 0.0) == runs[0]


@given(RUNS, st.floats(0, 1.5))
def test_each_case_is_the_one_run_s_or_the_other_s_after_the_step_of_the_tally(
    runs: tuple[list[Scored], list[Scored]], threshold: float
) -> None:
    for tally, outline, made in zip(*runs, gated(*runs, threshold), strict=True):
        if tally.tally_probability is None or tally.tally_probability >= threshold:
            assert made == tally
        else:
            assert (made.is_right, made.is_right_count) == (outline.is_right, outline.is_right_count)
            assert made.steps == outline.steps + tally.plan_steps
            assert not made.is_tallied(threshold)


@given(RUNS)
def test_higher_thresholds_leave_less_to_the_tally(runs: tuple[list[Scored], list[Scored]]) -> None:
    shares = [gated_score(*runs, threshold).tallied.cases for threshold in THRESHOLDS]
    assert shares == sorted(shares, reverse=True)


@given(RUNS)
def test_best_has_the_most_right_and_of_those_the_fewest_steps(runs: tuple[list[Scored], list[Scored]]) -> None:
    table = [gated_score(*runs, threshold) for threshold in THRESHOLDS]
    chosen = best(table)
    assert all(other.right.cases <= chosen.right.cases for other in table)
    assert all(other.decode_steps >= chosen.decode_steps for other in table if other.right.cases == chosen.right.cases)


def test_gating_takes_the_right_run_for_each_case() -> None:
    tally = [case(True, steps=5, sure=0.95), case(False, steps=5, sure=0.6)]
    outline = [case(False, steps=20), case(True, steps=20)]
    by_threshold = {
        threshold: (made.right.cases, made.decode_steps, made.tallied.cases)
        for threshold in (0.0, 0.8, 1.0)
        for made in [gated_score(tally, outline, threshold)]
    }
    assert by_threshold == {0.0: (1, 5.0, 2), 0.8: (2, 13.0, 1), 1.0: (1, 21.0, 0)}
    assert score(outline).decode_steps == 20.0


@pytest.mark.parametrize("outline", [[], [case(True, id="other")], [case(True), case(True)]])
def test_runs_of_other_cases_cannot_be_gated(outline: list[Scored]) -> None:
    with pytest.raises(ConfigurationError, match="the runs are not of the same cases"):
        gated([case(True, sure=0.5)], outline, 0.5)


@given(RUNS)
def test_every_tally_is_in_one_bin(runs: tuple[list[Scored], list[Scored]]) -> None:
    bins = reliability(runs[0])
    tallies = [one for one in runs[0] if one.tally_probability is not None]
    assert sum(one.right_count.of for one in bins) == len(tallies)
    assert sum(one.right_count.cases for one in bins) == sum(one.is_right_count for one in tallies)
    assert all(one.low - 1e-4 <= one.mean <= one.high + 1e-4 for one in bins)


def test_bins_hold_their_lower_edge_and_the_last_one_both() -> None:
    (low,) = reliability([case(True, sure=BINS[-2])])
    (high,) = reliability([case(True, sure=1.0)])
    assert (low.low, low.high) == (high.low, high.high) == BINS[-2:]
    (below,) = reliability([replace(case(False), tally_probability=0.9989)])
    assert below.high == BINS[-2]
    assert (below.right_count.cases, below.right_count.of) == (0, 1)
