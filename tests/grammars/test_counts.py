"""Counts of calls: those that were written where the caller's bounds allow them, else the likeliest that these do."""

from __future__ import annotations

from itertools import product
from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grammars.conversation import Choice, Conversation, Message
from grammars.counts import COUNTS, LEAST_LIKELY, MOST_TALLIED, can_be_tallied, counts_within, fixed_calls
from grammars.tools import Tool

TOLD = st.lists(st.floats(0.001, 1), min_size=len(COUNTS), max_size=len(COUNTS)).map(
    lambda weights: {count: weight / sum(weights) for count, weight in zip(COUNTS, weights, strict=True)}
)
"""What a stream tells: a probability for each count."""


@st.composite
def cases(draw: st.DrawFn) -> tuple[int, int, list[int], list[dict[int, float]]]:
    likelihoods = draw(st.lists(TOLD, min_size=1, max_size=3))
    written = [draw(st.sampled_from(COUNTS)) for _ in likelihoods]
    least = draw(st.integers(0, MOST_TALLIED * len(likelihoods)))
    return least, draw(st.integers(least, 30)), written, likelihoods


def conversation(names: str, choice: Choice) -> Conversation:
    return Conversation.read([Message(role="user", text="?")], [Tool(name=name) for name in names], choice)


@given(cases())
def test_counts_are_the_written_or_the_likeliest_and_their_probability_is_bayes_own(
    case: tuple[int, int, list[int], list[dict[int, float]]],
) -> None:
    least, most, written, likelihoods = case
    allowed = {
        counts: prod(told[count] for told, count in zip(likelihoods, counts, strict=True))
        for counts in product(COUNTS, repeat=len(likelihoods))
        if least <= sum(counts) <= most
    }
    found = counts_within(least, most, written, likelihoods)
    if tuple(written) in allowed:
        assert found.of_tools == tuple(written)
    else:
        assert allowed[found.of_tools] == pytest.approx(max(allowed.values()))
    of_each = [
        sum(likely for counts, likely in allowed.items() if counts[place] == count) / sum(allowed.values())
        for place, count in enumerate(found.of_tools)
    ]
    assert found.probability == pytest.approx(min(of_each))


def test_bounds_that_allow_one_sum_of_one_tool_leave_no_doubt() -> None:
    found = counts_within(4, 4, [7], [{7: 0.99, 4: 0.001}])
    assert (found.of_tools, found.probability) == ((4,), pytest.approx(1.0))


def test_of_equally_likely_counts_those_nearest_to_the_written_ones_are_taken() -> None:
    nothing_told: list[dict[int, float]] = [{}, {}, {}]
    assert counts_within(0, 5, [3, 0, 3], nothing_told).of_tools in ((3, 0, 2), (2, 0, 3))
    assert sum(counts_within(8, 9, [3, 0, 3], nothing_told).of_tools) == 8


def test_count_of_which_nothing_is_told_is_as_good_as_impossible() -> None:
    found = counts_within(3, 3, [1, 1], [{1: 0.9, 2: 0.1}, {1: 1.0}])
    assert (found.of_tools, found.probability) == ((2, 1), pytest.approx(1.0))
    assert counts_within(0, 9, [5], [{1: 1.0}]).probability == pytest.approx(LEAST_LIKELY)


def test_most_tools_that_are_tallied_are_counted_without_underflow() -> None:
    found = counts_within(64, 64, [0] * 16, [{0: 1.0}] * 16)
    assert sum(found.of_tools) == 64
    assert 0 < found.probability <= 1


@pytest.mark.parametrize(
    ("names", "choice", "fixed"),
    [
        ("ab", Choice(exact=("b", "a", "b")), ("b", "a", "b")),
        ("a", Choice(mode="required", least=3, most=3), ("a", "a", "a")),
        ("ab", Choice(mode="required", least=3, most=3, allowed=frozenset("b")), ("b", "b", "b")),
        ("ab", Choice(mode="required", least=3, most=3), None),
        ("a", Choice(mode="required", least=1, most=3), None),
        ("a", Choice(mode="auto"), None),
    ],
)
def test_calls_are_fixed_where_the_caller_leaves_no_choice(
    names: str, choice: Choice, fixed: tuple[str, ...] | None
) -> None:
    assert fixed_calls(conversation(names, choice)) == fixed


@pytest.mark.parametrize(
    ("names", "choice", "can"),
    [
        ("a", Choice(mode="required", least=9, most=9), True),
        ("a", Choice(mode="required", least=10, most=12), False),
        ("ab", Choice(mode="required", least=19, most=20), False),
        ("ab", Choice(mode="required", least=18, most=18), True),
        ("ab", Choice(exact=("a",) * 10, most=12), False),
    ],
)
def test_digits_can_come_to_what_the_caller_asks_or_not(names: str, choice: Choice, can: bool) -> None:
    assert can_be_tallied(conversation(names, choice)) is can
