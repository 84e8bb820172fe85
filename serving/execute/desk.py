"""Desk: who may begin next, where turns want more of a resource than there is.

Every invocation takes a place of each resource that it uses, and gives it back at its end: of its tool's own resource,
of the processes if it computes, and of the limit on all that runs. Turns that wait take turns, so that one with
hundreds of calls does not hold up one with a single call; within a turn the longest way goes first.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import Protocol

from serving.execute.capacity import Place, take_all
from serving.execute.facts import Resource, ToolFacts


class Waiting(Protocol):
    """A turn at the desk."""

    def begin_next(self) -> bool:
        """Begin one invocation, if one is ready and gets its places from the desk."""
        ...

    @property
    def has_ready(self) -> bool:
        """Whether anything is ready that has not begun."""
        ...


class Desk:
    """One for the whole server; belongs to one event loop."""

    def __init__(self, *, resource: Callable[[str], Resource], running: int, processes: int) -> None:
        self._resource = resource
        self._all = Place(Resource(name="all calls", capacity=running))
        self._processes = Place(Resource(name="processes", capacity=processes))
        self._places: dict[str, Place] = {}
        self._queue: dict[Waiting, None] = {}
        self._next_s = math.inf
        self._call: asyncio.Handle | None = None

    def take(self, facts: ToolFacts) -> tuple[Place, ...] | None:
        """A place of everything that an invocation of such a tool uses, or None for now."""
        places = self._places_of(facts)
        free_at_s = take_all(places, time.monotonic())
        if free_at_s is None:
            return places
        self._next_s = min(self._next_s, free_at_s)
        return None

    def give_back(self, places: tuple[Place, ...]) -> None:
        """The invocation is over; whoever waits is served once the loop turns."""
        for place in places:
            place.give_back()
        self._serve_soon()

    def ask(self, waiting: Waiting) -> None:
        """Something became ready: begin it at once if nobody waits, otherwise in turn."""
        if self._queue:
            self._queue.setdefault(waiting)
            self._serve_soon()
            return
        self._queue[waiting] = None
        self._serve()

    def ask_soon(self, waiting: Waiting) -> None:
        """Likewise, once the loop turns, so that what becomes ready at the same time can begin together."""
        self._queue.setdefault(waiting)
        self._serve_soon()

    def leave(self, waiting: Waiting) -> None:
        """The turn wants nothing any more."""
        self._queue.pop(waiting, None)

    def _places_of(self, facts: ToolFacts) -> tuple[Place, ...]:
        places = [self._all]
        if facts.compute:
            places.append(self._processes)
        if facts.resource is not None:
            if facts.resource not in self._places:
                self._places[facts.resource] = Place(self._resource(facts.resource))
            places.append(self._places[facts.resource])
        return tuple(places)

    def _serve_soon(self) -> None:
        if self._call is not None:
            self._call.cancel()
        self._call = asyncio.get_running_loop().call_soon(self._serve)

    def _serve(self) -> None:
        """Let each that waits begin one invocation, again and again until nobody can."""
        self._next_s = math.inf
        served = True
        while served:
            served = False
            for waiting in list(self._queue):
                if waiting.begin_next():
                    served = True
                    self._queue.pop(waiting, None)  # to the end of the queue
                    self._queue[waiting] = None
                elif not waiting.has_ready:
                    self._queue.pop(waiting, None)
        if self._call is not None:
            self._call.cancel()
            self._call = None
        if self._queue and self._next_s < math.inf:
            wait_s = max(0.0, self._next_s - time.monotonic())
            self._call = asyncio.get_running_loop().call_later(wait_s, self._serve)
