"""Row: the keys and values of one prefix and of the branches that stand on it, each held once.

A row is a set of numbered slots, one token each. `branch` and `position` say whose token a slot holds; the mask is
computed from them by `grammars.tree.visible`, so slots need no order: those of a branch that left are used again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from grammars.tree import PREFIX, visible

FREE = -1
"""The branch number of a slot that holds nothing."""

GROWTH = 1.25
GRANULE = 64
"""A full row grows by a quarter, in whole granules: few copies, and little memory that is held but not used."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What a row must know of the model: its layers, and one layer's keys."""

    layers: int
    heads: int
    key_width: int
    value_width: int
    dtype: torch.dtype
    device: torch.device

    @property
    def token_bytes(self) -> int:
        """The memory of one token's keys and values over all layers."""
        return self.layers * self.heads * (self.key_width + self.value_width) * self.dtype.itemsize


class Row:
    """Keys and values of one prefix and its branches. Owned by the worker's thread; not safe to share."""

    def __init__(self, shape: Shape, capacity: int = 0) -> None:
        self.shape = shape
        self.used = 0
        self.free: list[int] = []
        self._allocate(capacity)

    def _allocate(self, capacity: int) -> None:
        shape = self.shape
        size = (shape.layers, shape.heads, capacity)
        self.keys = torch.empty((*size, shape.key_width), dtype=shape.dtype, device=shape.device)
        self.values = torch.empty((*size, shape.value_width), dtype=shape.dtype, device=shape.device)
        self.branch = torch.full((capacity,), FREE, dtype=torch.int32, device=shape.device)
        self.position = torch.zeros((capacity,), dtype=torch.int32, device=shape.device)

    @property
    def capacity(self) -> int:
        """The tokens for which memory is held."""
        return int(self.branch.shape[0])

    @property
    def bytes(self) -> int:
        """The memory of all slots, used or not."""
        return self.capacity * self.shape.token_bytes

    def take(self, branch: int, first_position: int, count: int) -> list[int]:
        """Claim `count` slots for a branch's next tokens, at positions from `first_position` on."""
        reused = [self.free.pop() for _ in range(min(count, len(self.free)))]
        fresh = count - len(reused)
        if self.used + fresh > self.capacity:
            self._grow(self.used + fresh)
        slots = [*reused, *range(self.used, self.used + fresh)]
        self.used += fresh
        where = torch.tensor(slots, device=self.shape.device)
        self.branch[where] = branch
        self.position[where] = torch.arange(
            first_position, first_position + count, dtype=torch.int32, device=self.shape.device
        )
        return slots

    def release(self, slots: Sequence[int]) -> None:
        """Give slots back. What they held can no longer be seen."""
        if slots:
            self.branch[torch.tensor(slots, device=self.shape.device)] = FREE
            self.free.extend(slots)

    def promote(self, slots: Sequence[int]) -> None:
        """Make a branch's tokens part of the prefix, for every later branch to see."""
        if slots:
            self.branch[torch.tensor(slots, device=self.shape.device)] = PREFIX

    def copy(self, slots: Sequence[int]) -> Row:
        """A new row whose prefix is what these slots hold, in this order."""
        count = len(slots)
        row = Row(self.shape, capacity=round_up(count))
        where = torch.tensor(slots, dtype=torch.long, device=self.shape.device)
        row.keys[:, :, :count] = self.keys[:, :, where]
        row.values[:, :, :count] = self.values[:, :, where]
        row.take(PREFIX, 0, count)
        return row

    def slots_of(self, branch: int) -> list[int]:
        """The slots of a branch's tokens, in the order of their positions."""
        slots = (self.branch[: self.used] == branch).nonzero()[:, 0]
        order = self.position[slots].argsort()
        ordered: list[int] = slots[order].tolist()
        return ordered

    def mask(self, branch: torch.Tensor, position: torch.Tensor, window: int | None) -> torch.Tensor:
        """What these queries may see, as an additive mask `[queries, used]`; `window` is a layer's sliding window."""
        key_position = self.position[None, : self.used]
        seen = visible(
            query_branch=branch[:, None],
            query_position=position[:, None],
            key_branch=self.branch[None, : self.used],
            key_position=key_position,
        )
        if window is not None:
            seen &= position[:, None] - key_position < window
        zero = torch.zeros((), dtype=self.shape.dtype, device=self.shape.device)
        return zero.expand(seen.shape).masked_fill(~seen, float("-inf"))

    def _grow(self, needed: int) -> None:
        keys, values, branch, position, used = self.keys, self.values, self.branch, self.position, self.used
        self._allocate(round_up(max(needed, int(self.capacity * GROWTH))))
        self.keys[:, :, :used] = keys[:, :, :used]
        self.values[:, :, :used] = values[:, :, :used]
        self.branch[:used] = branch[:used]
        self.position[:used] = position[:used]


def round_up(count: int) -> int:
    """`count` slots in whole granules."""
    return -(-count // GRANULE) * GRANULE
