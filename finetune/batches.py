"""Batches: which examples each step learns from. A pure function of the seed: a run goes on where it broke off."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from finetune.rows import Row


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the order of the examples stands: `taken` of this epoch are done."""

    epoch: int = 0
    taken: int = 0


def epoch_order(count: int, seed: int, epoch: int) -> list[int]:
    """All examples, in an order of this epoch's own."""
    return [int(index) for index in np.random.default_rng([seed, epoch]).permutation(count)]


def batches(sizes: Sequence[int], batch_tokens: int, seed: int, place: Place) -> Iterator[tuple[list[int], Place]]:
    """Endless batches from `place` on, and the place after each: examples of at most `batch_tokens` tokens in all, at
    least one. `sizes` are the examples' tokens. A batch does not span two epochs.
    """
    while True:
        order = epoch_order(len(sizes), seed, place.epoch)
        taken = place.taken
        while taken < len(order):
            batch = [order[taken]]
            room = batch_tokens - sizes[order[taken]]
            taken += 1
            while taken < len(order) and sizes[order[taken]] <= room:
                room -= sizes[order[taken]]
                batch.append(order[taken])
                taken += 1
            place = Place(epoch=place.epoch, taken=taken)
            yield batch, place
        place = Place(epoch=place.epoch + 1)


def passes(rows: Sequence[Row], pass_tokens: int) -> list[list[Row]]:
    """The rows in groups of at most `pass_tokens` tokens, the longest first, so that few groups are half empty. A row
    that is longer is a group by itself.
    """
    groups: list[list[Row]] = []
    rooms: list[int] = []
    for row in sorted(rows, key=len, reverse=True):
        fit = next((index for index, room in enumerate(rooms) if len(row) <= room), None)
        if fit is None:
            groups.append([row])
            rooms.append(pass_tokens - len(row))
        else:
            groups[fit].append(row)
            rooms[fit] -= len(row)
    return groups
