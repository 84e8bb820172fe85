"""Places: never more at once, nor more in a window, than the resource says, and all or none of them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.execute.capacity import Place, take_all
from serving.execute.facts import Resource


def place(*, capacity: int | None = None, rate_per_s: float | None = None) -> Place:
    return Place(Resource(name="api", capacity=capacity, rate_per_s=rate_per_s))


def test_a_resource_without_limits_is_always_free() -> None:
    assert all(take_all([place()], 0.0) is None for _ in range(1000))


def test_a_full_resource_is_free_once_somebody_leaves() -> None:
    one = place(capacity=2)
    assert take_all([one], 0.0) is None
    assert take_all([one], 0.0) is None
    assert take_all([one], 1.0) == math.inf
    one.give_back()
    assert take_all([one], 1.0) is None


def test_a_rate_says_when_the_next_may_begin() -> None:
    one = place(rate_per_s=2.0)
    assert [take_all([one], now_s) for now_s in (0.0, 0.25, 0.5)] == [None, None, 1.0]
    assert take_all([one], 1.0) is None
    assert take_all([one], 1.0) == 1.25


def test_a_rate_below_one_a_second_spaces_the_begins() -> None:
    one = place(rate_per_s=0.25)
    assert [take_all([one], now_s) for now_s in (0.0, 3.9, 4.0)] == [None, 4.0, None]


def test_of_several_resources_all_are_taken_or_none() -> None:
    free, full = place(capacity=1), place(capacity=1)
    full.take(0.0)
    assert take_all([free, full], 0.0) == math.inf
    assert free.in_use == 0
    full.give_back()
    assert take_all([free, full], 0.0) is None
    assert (free.in_use, full.in_use) == (1, 1)


def test_what_nobody_took_cannot_be_given_back() -> None:
    with pytest.raises(AssertionError, match="nobody uses 'api'"):
        place().give_back()


@given(
    st.floats(0.1, 20.0),
    st.lists(st.floats(0.0, 0.5), min_size=1, max_size=60),
)
def test_no_window_holds_more_begins_than_the_rate(rate_per_s: float, pauses_s: list[float]) -> None:
    one, now_s, begins = place(rate_per_s=rate_per_s), 0.0, []
    for pause_s in pauses_s:
        now_s += pause_s
        free_at_s = take_all([one], now_s)
        if free_at_s is not None:
            now_s = free_at_s  # who comes back at that time gets it
            assert take_all([one], now_s) is None
        begins.append(now_s)
    most = max(1, math.floor(rate_per_s))
    for first, last in zip(begins, begins[most:], strict=False):
        assert last - first >= most / rate_per_s - 1e-9
