"""Row: slots, their masks, and what a branch may see."""

from __future__ import annotations

import pytest
import torch

from grammars.tree import PREFIX
from serving.engines.transformers.row import Row, Shape


@pytest.fixture
def shape() -> Shape:
    return Shape(layers=2, heads=1, key_width=4, value_width=4, dtype=torch.float32, device=torch.device("cpu"))


def seen(row: Row, branch: int, position: int, window: int | None = None) -> list[int]:
    """The slots that a query of this branch at this position may see."""
    mask = row.mask(torch.tensor([branch]), torch.tensor([position]), window)
    return (mask[0] == 0).nonzero()[:, 0].tolist()


def test_query_of_a_branch_sees_prefix_and_itself_never_a_sibling(shape: Shape) -> None:
    row = Row(shape)
    prefix = row.take(PREFIX, 0, 3)
    first, second = row.take(1, 3, 2), row.take(2, 3, 2)
    assert seen(row, 1, 4) == prefix + first
    assert seen(row, 2, 4) == prefix + second


def test_query_sees_no_later_position_of_its_own_branch(shape: Shape) -> None:
    row = Row(shape)
    prefix = row.take(PREFIX, 0, 2)
    branch = row.take(1, 2, 3)
    assert seen(row, 1, 3) == prefix + branch[:2]


def test_sliding_window_hides_what_is_too_far_back(shape: Shape) -> None:
    row = Row(shape)
    prefix = row.take(PREFIX, 0, 4)
    branch = row.take(1, 4, 1)
    assert seen(row, 1, 4, window=3) == prefix[2:] + branch


def test_slots_of_a_branch_that_left_are_unseen_and_used_again(shape: Shape) -> None:
    row = Row(shape)
    row.take(PREFIX, 0, 2)
    left = row.take(1, 2, 2)
    row.release(left)
    assert seen(row, 1, 9) == [0, 1]
    used = row.used
    assert sorted(row.take(2, 2, 2)) == left
    assert row.used == used


def test_promoted_branch_is_seen_by_every_branch_like_the_prefix(shape: Shape) -> None:
    row = Row(shape)
    prefix = row.take(PREFIX, 0, 2)
    plan = row.take(1, 2, 2)
    row.promote(plan)
    assert seen(row, 7, 4) == prefix + plan
    assert row.slots_of(PREFIX) == prefix + plan


def test_growing_row_keeps_what_it_holds(shape: Shape) -> None:
    row = Row(shape)
    slots = row.take(PREFIX, 0, 60)
    row.keys[:, :, slots] = 7.0
    capacity = row.capacity
    row.take(1, 60, 100)
    assert row.capacity > capacity
    assert bool((row.keys[:, :, slots] == 7.0).all())
    assert row.slots_of(PREFIX) == slots


def test_copied_row_holds_the_chosen_slots_in_order_and_is_independent(shape: Shape) -> None:
    row = Row(shape)
    slots = row.take(PREFIX, 0, 3)
    row.values[:, :, slots] = torch.tensor([1.0, 2.0, 3.0])[None, None, :, None]
    copied = row.copy(slots[:2])
    row.values.zero_()
    assert copied.slots_of(PREFIX) == [0, 1]
    assert copied.values[0, 0, :2, 0].tolist() == [1.0, 2.0]


def test_bytes_count_keys_and_values_of_every_layer(shape: Shape) -> None:
    row = Row(shape, capacity=64)
    assert row.bytes == 64 * 2 * (4 + 4) * 4
