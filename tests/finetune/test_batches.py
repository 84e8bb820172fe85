"""Every epoch has each example once; whoever goes on from a place gets the batches that would have come."""

from __future__ import annotations

from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from finetune.batches import Place, batches, passes
from finetune.rows import Lesson, packed_row

SIZES = st.lists(st.integers(1, 50), min_size=1, max_size=20)


@given(SIZES, st.integers(1, 100), st.integers(0, 5))
def test_an_epoch_has_every_example_once_in_batches_that_have_room(sizes: list[int], room: int, seed: int) -> None:
    taken: list[int] = []
    for batch, place in batches(sizes, room, seed, Place()):
        if place.epoch:
            break
        taken += batch
        assert len(batch) == 1 or sum(sizes[index] for index in batch) <= room
    assert sorted(taken) == list(range(len(sizes)))


@given(SIZES, st.integers(1, 100), st.integers(0, 12))
def test_batches_after_a_place_are_those_that_would_have_come(sizes: list[int], room: int, done: int) -> None:
    all_of_them = list(islice(batches(sizes, room, 1, Place()), done + 5))
    place = all_of_them[done - 1][1] if done else Place()
    assert list(islice(batches(sizes, room, 1, place), 5)) == all_of_them[done:]


def test_epochs_differ_and_seeds_do() -> None:
    sizes = [1] * 30
    first, second = [batch for batch, _ in islice(batches(sizes, 30, 1, Place()), 2)]
    [other] = [batch for batch, _ in islice(batches(sizes, 30, 2, Place()), 1)]
    assert sorted(first) == sorted(second) == sorted(other)
    assert first != second
    assert first != other


@given(st.lists(st.integers(1, 40), min_size=1, max_size=15), st.integers(1, 90))
def test_passes_hold_every_row_once_within_their_room_or_one_row_that_is_longer(sizes: list[int], room: int) -> None:
    rows = [packed_row(range(size), [Lesson(kind="call", written=(1,), weights=(1.0,))]) for size in sizes]
    groups = passes(rows, room)
    assert sorted(len(row) for group in groups for row in group) == sorted(sizes)
    assert all(len(group) == 1 or sum(map(len, group)) <= room for group in groups)
