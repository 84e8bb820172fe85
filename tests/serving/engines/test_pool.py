"""RowPool: a prefix is read once, then shared, extended or cut back."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from grammars.tree import PREFIX
from serving.engines.common import common_length
from serving.engines.transformers.pool import HeldPrefix, RowPool
from serving.engines.transformers.row import Shape

SHAPE = Shape(layers=1, heads=1, key_width=2, value_width=2, dtype=torch.float32, device=torch.device("cpu"))
TOKEN_BYTES = SHAPE.token_bytes


def read_all(held: HeldPrefix) -> HeldPrefix:
    """What the worker does: read the rest of the prefix into the row."""
    held.row.take(PREFIX, held.read_count, len(held.unread))
    held.unread.clear()
    return held


def write_branch(held: HeldPrefix, tokens: list[int]) -> int:
    """What the worker does with a branch: read its tokens, then let it leave."""
    branch = held.new_branch()
    held.row.take(branch, len(held.tokens), len(tokens))
    held.depart(branch, tokens)
    return branch


@pytest.fixture
def pool() -> RowPool:
    return RowPool(SHAPE, budget_bytes=2**20)


@given(st.lists(st.integers(0, 3)), st.lists(st.integers(0, 3)))
def test_common_length_is_the_longest_common_beginning(first: list[int], second: list[int]) -> None:
    length = common_length(first, second)
    assert first[:length] == second[:length]
    assert length in (len(first), len(second)) or first[length] != second[length]


def test_new_prefix_is_all_unread(pool: RowPool) -> None:
    held = pool.acquire([1, 2, 3])
    assert held is not None
    assert held.unread == [1, 2, 3]


def test_equal_prefix_in_use_is_shared(pool: RowPool) -> None:
    first = pool.acquire([1, 2, 3])
    assert pool.acquire([1, 2, 3]) is first
    assert first is not None
    assert first.users == 2


def test_prefix_through_a_departed_branch_continues_there_without_reading_again(pool: RowPool) -> None:
    held = pool.acquire([1, 2, 3])
    assert held is not None
    read_all(held)
    write_branch(held, [8, 9])
    write_branch(held, [4, 5, 6])
    pool.release(held)
    grown = pool.acquire([1, 2, 3, 4, 5, 7])
    assert grown is held
    assert grown.unread == [7]
    assert len(grown.row.slots_of(PREFIX)) == 5
    assert grown.departed == {}


def test_prefix_that_departs_from_an_idle_one_is_copied_so_that_both_stay_known(pool: RowPool) -> None:
    held = pool.acquire([1, 2, 3, 4])
    assert held is not None
    pool.release(read_all(held))
    other = pool.acquire([1, 2, 3, 9])
    assert other is not held
    assert other is not None
    assert other.unread == [9]
    again = pool.acquire([1, 2, 3, 4])
    assert again is held
    assert again.unread == []


def test_prefix_in_use_is_copied_not_cut(pool: RowPool) -> None:
    held = pool.acquire([1, 2, 3, 4])
    assert held is not None
    read_all(held)
    other = pool.acquire([1, 2, 3, 9])
    assert other is not held
    assert other is not None
    assert other.unread == [9]
    assert held.tokens == [1, 2, 3, 4]


def test_idle_rows_are_dropped_when_memory_is_wanted_the_oldest_first() -> None:
    pool = RowPool(SHAPE, budget_bytes=130 * TOKEN_BYTES)
    for token in (1, 2):
        held = pool.acquire([token] * 60)
        assert held is not None
        pool.release(read_all(held))
    assert pool.acquire([3] * 60) is not None
    assert [held.tokens[0] for held in pool.held] == [2, 3]


def test_full_pool_makes_a_job_wait_but_never_the_only_one() -> None:
    pool = RowPool(SHAPE, budget_bytes=64 * TOKEN_BYTES)
    first = pool.acquire([1] * 100)
    assert first is not None
    read_all(first)
    assert pool.acquire([2] * 100) is None
    pool.release(first)
    assert pool.acquire([2] * 100) is not None


def test_released_prefix_that_was_half_read_keeps_the_half(pool: RowPool) -> None:
    held = pool.acquire([1, 2, 3, 4])
    assert held is not None
    held.row.take(PREFIX, 0, 2)
    del held.unread[:2]
    pool.release(held)
    again = pool.acquire([1, 2, 3, 4])
    assert again is held
    assert again.unread == [3, 4]
