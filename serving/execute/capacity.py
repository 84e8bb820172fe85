"""Places: what of each resource is in use, over all turns of the server. Pure: whoever asks says what time it is."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable

from serving.execute.facts import Resource


class Place:
    """The use of one resource. The clock is the caller's, in seconds, and must not go back."""

    def __init__(self, resource: Resource) -> None:
        self.resource = resource
        self.in_use = 0
        rate = resource.rate_per_s
        # a rate of 10 is ten begins in any second, one of 0.5 is one begin in any two
        self._begins: deque[float] | None = None if rate is None else deque(maxlen=max(1, math.floor(rate)))
        self._window_s = 0.0 if rate is None else max(1, math.floor(rate)) / rate

    def free_at_s(self, now_s: float) -> float:
        """The earliest time at which one more may begin: `now_s` if now, infinity if somebody must leave first."""
        if self.resource.capacity is not None and self.in_use >= self.resource.capacity:
            return math.inf
        if self._begins is None or len(self._begins) < (self._begins.maxlen or 0):
            return now_s
        return max(now_s, self._begins[0] + self._window_s)

    def take(self, now_s: float) -> None:
        """One more has begun."""
        self.in_use += 1
        if self._begins is not None:
            self._begins.append(now_s)

    def give_back(self) -> None:
        """One has ended."""
        assert self.in_use > 0, f"nobody uses {self.resource.name!r}"
        self.in_use -= 1


def take_all(places: Iterable[Place], now_s: float) -> float | None:
    """Take every place, or none of them: None if taken, otherwise the earliest time at which it may be worth asking."""
    places = tuple(places)
    free_at_s = max((place.free_at_s(now_s) for place in places), default=now_s)
    if free_at_s > now_s:
        return free_at_s
    for place in places:
        place.take(now_s)
    return None
