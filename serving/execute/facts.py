"""What is known of a tool that the server runs: facts that decide when, where and how often a call of it may run.

The model sees none of them. Whoever declares the tool states them; what is not stated is taken at its most careful.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from grammars.errors import ConfigurationError

DEFAULT_TIMEOUT_S = 30.0
"""How long one attempt at a call may take where its tool does not say."""


@dataclass(frozen=True, kw_only=True)
class Resource:
    """Something that several tools use and that bears only so much, over all turns of the server.

    `capacity` is how many calls may use it at once, `rate_per_s` how many may begin in a second; None is no limit.
    """

    name: str
    capacity: int | None = None
    rate_per_s: float | None = None

    def __post_init__(self) -> None:
        if self.capacity is not None and self.capacity < 1:
            raise ConfigurationError(f"the resource {self.name!r} needs a capacity of 1 or more, not {self.capacity}")
        if self.rate_per_s is not None and not 0 < self.rate_per_s < math.inf:
            raise ConfigurationError(f"the resource {self.name!r} needs a rate_per_s above 0, not {self.rate_per_s}")


@dataclass(frozen=True, kw_only=True)
class ToolFacts:
    """The facts of one tool. A tool without any is neither read-only nor idempotent, and conflicts with nothing.

    `reads` and `writes` are key templates such as `account:{id}`, filled from the arguments: of two calls with a common
    key of which one writes, the later waits for the earlier. `timeout_s` holds for one attempt; `retries` is how many
    more may follow a failed one, and needs a tool that is idempotent or read-only. `duration_s` is what a call usually
    takes, where that is known; otherwise it is learned. `compute` calls run in a process of the pool.
    """

    read_only: bool = False
    idempotent: bool = False
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    resource: str | None = None
    timeout_s: float = DEFAULT_TIMEOUT_S
    retries: int = 0
    duration_s: float | None = None
    approval: Literal["always", "never"] = "never"
    compute: bool = False

    def __post_init__(self) -> None:
        if not self.timeout_s > 0:
            raise ConfigurationError(f"timeout_s must be above 0, not {self.timeout_s}")
        if self.duration_s is not None and not self.duration_s >= 0:
            raise ConfigurationError(f"duration_s must be 0 or more, not {self.duration_s}")
        if self.retries < 0:
            raise ConfigurationError(f"retries must be 0 or more, not {self.retries}")
        if self.retries and not self.repeatable:
            raise ConfigurationError("retries need a tool that is idempotent or read_only")
        if self.read_only and self.writes:
            raise ConfigurationError(f"a read_only tool cannot write {', '.join(map(repr, self.writes))}")

    @property
    def repeatable(self) -> bool:
        """Whether a call may run twice without doing more than once."""
        return self.idempotent or self.read_only
