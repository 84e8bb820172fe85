"""RowPool: which prefixes are held, so that a prefix is read once and then shared, extended or cut, never read again.

The plan of a turn becomes part of the prefix of its branches, and a turn's next round begins with all of this round:
so when a branch leaves, what it wrote stays in its row until the memory is wanted, and a longer prefix that goes
through it continues from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

from grammars.tree import PREFIX
from serving.engines.common import common_length
from serving.engines.transformers.row import Row, Shape

DEPARTED_TOKENS = 4096
"""How many tokens of branches that left a row remembers; the oldest branch goes first."""

clock = count(1)


@dataclass(eq=False, kw_only=True)
class HeldPrefix:
    """One row and the prefix that it holds, or is still to read (`unread`). `users` counts the turns standing on it.

    It serves one `tenant` only: whether a prefix is held can be told from how long its reading takes.
    """

    row: Row
    tokens: list[int]
    tenant: str = ""
    unread: list[int] = field(default_factory=list)
    departed: dict[int, list[int]] = field(default_factory=dict)
    users: int = 0
    used_at: int = 0
    next_branch: int = PREFIX + 1

    @property
    def read_count(self) -> int:
        return len(self.tokens) - len(self.unread)

    def new_branch(self) -> int:
        """A branch number that this row never used before."""
        self.next_branch += 1
        return self.next_branch - 1

    def depart(self, branch: int, tokens: list[int]) -> None:
        """A branch leaves. Its `tokens` that were read stay, as long as the row is not wanted otherwise."""
        if tokens:
            self.departed[branch] = tokens
        while len(self.departed) > 1 and sum(map(len, self.departed.values())) > DEPARTED_TOKENS:
            self._forget(next(iter(self.departed)))

    def forget_departed(self) -> None:
        """A new turn begins on the row: give it the slots of all that left."""
        for branch in list(self.departed):
            self._forget(branch)

    def _forget(self, branch: int) -> None:
        self.row.release(self.row.slots_of(branch))
        del self.departed[branch]

    def common(self, prefix: Sequence[int]) -> tuple[int, int | None]:
        """How many of the first tokens of `prefix` are already read here, and the departed branch they run through."""
        read = common_length(self.tokens[: self.read_count], prefix)
        if read < self.read_count:
            return read, None
        best, through = read, None
        for branch, tokens in self.departed.items():
            length = read + common_length(tokens, prefix[read:])
            if length > best:
                best, through = length, branch
        return best, through

    def slots(self, length: int, through: int | None) -> list[int]:
        """The slots of the first `length` tokens of what `common` found."""
        slots = self.row.slots_of(PREFIX)
        if through is not None:
            slots = slots + self.row.slots_of(through)
        return slots[:length]

    def become(self, prefix: Sequence[int], length: int, through: int | None) -> None:
        """Hold `prefix` from now on and keep its first `length` tokens. Only while nobody stands on the row."""
        keep = self.slots(length, through)
        if through is not None:
            self.row.promote(keep)
        for branch in (PREFIX, *self.departed):
            kept = set(keep) if branch in (PREFIX, through) else set()
            self.row.release([slot for slot in self.row.slots_of(branch) if slot not in kept])
        self.departed.clear()
        self.tokens, self.unread = list(prefix), list(prefix[length:])


class RowPool:
    """All rows of one engine, within a budget of bytes. Used from the worker's thread."""

    def __init__(self, shape: Shape, budget_bytes: int) -> None:
        self._shape = shape
        self._budget_bytes = budget_bytes
        self.held: list[HeldPrefix] = []

    @property
    def bytes(self) -> int:
        """The memory of all rows."""
        return sum(held.row.bytes for held in self.held)

    def acquire(self, prefix: Sequence[int], tenant: str = "") -> HeldPrefix | None:
        """The row for this prefix: shared, grown out of a known one, or new. `None` if memory must be freed first.

        The caller stands on it until `release`.
        """
        held = self._find(prefix, tenant) or self._grow(prefix, tenant)
        if held is not None:
            if held.users == 0:
                held.forget_departed()
            held.users += 1
            held.used_at = next(clock)
        return held

    def release(self, held: HeldPrefix) -> None:
        """One turn less stands on the row. It stays, for the next turn that begins alike."""
        held.users -= 1
        if held.users == 0 and held.unread:
            # Nobody is left to wait for the rest of the prefix: keep what was read.
            del held.tokens[held.read_count :]
            held.unread.clear()

    def drop_idle(self) -> None:
        """Forget the rows on which nobody stands."""
        self.held = [held for held in self.held if held.users]

    def clear(self) -> None:
        """Forget every row, after a failed forward pass left their contents unknown."""
        self.held.clear()

    def _find(self, prefix: Sequence[int], tenant: str) -> HeldPrefix | None:
        wanted = list(prefix)
        return next((held for held in self.held if held.tenant == tenant and held.tokens == wanted), None)

    def _grow(self, prefix: Sequence[int], tenant: str) -> HeldPrefix | None:
        best, length, through = None, 0, None
        for held in (held for held in self.held if held.tenant == tenant):
            common, branch = held.common(prefix)
            if common > length:
                best, length, through = held, common, branch
        if best is not None and best.users == 0 and length >= best.read_count:
            # The new prefix goes on from the old one, as the next round of the same turn does.
            best.become(prefix, length, through)
            return best
        if not self._make_room(len(prefix) * self._shape.token_bytes, keep=best):
            return None
        row = best.row.copy(best.slots(length, through)) if best is not None and length else Row(self._shape)
        held = HeldPrefix(row=row, tokens=list(prefix), tenant=tenant, unread=list(prefix[length:]))
        self.held.append(held)
        return held

    def _make_room(self, needed_bytes: int, keep: HeldPrefix | None) -> bool:
        """Drop idle rows, the least recently used first. One turn alone is always admitted, whatever the budget."""
        idle = sorted(
            (held for held in self.held if held.users == 0 and held is not keep), key=lambda held: held.used_at
        )
        while idle and self.bytes + needed_bytes > self._budget_bytes:
            self.held.remove(idle.pop(0))
        return self.bytes + needed_bytes <= self._budget_bytes or all(held.users == 0 for held in self.held)
