"""Branch: one stream on top of the prefix, a forced suffix and a constraint for what is still free."""

from __future__ import annotations

from dataclasses import dataclass, field

from grammars.constraint import Constraint


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How a branch chooses among the allowed tokens. Temperature 0 is greedy; equal seeds repeat equal choices."""

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None


@dataclass(frozen=True, kw_only=True)
class Branch:
    """One stream over a prefix.

    `suffix` is already known text that the stream stands on; it is read, not written. `constraint` governs what is
    written after it, at most `max_new_tokens` tokens. With `skip_forced`, tokens about which the constraint leaves no
    choice cost no decode step; without it every token costs one, which is what other servers do.
    """

    suffix: tuple[int, ...] = ()
    constraint: Constraint
    max_new_tokens: int
    sampling: Sampling = field(default_factory=Sampling)
    skip_forced: bool = True
