"""Stream: a branch while it decodes. Job: one call of `Engine.decode`, with its streams and where its events go."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from grammars.branch import Branch
from grammars.constraint import CompiledConstraint
from grammars.tokenizer import Tokenizer
from serving.engines.base import BranchEvent, BranchStarted
from serving.engines.transformers.pool import HeldPrefix
from serving.engines.transformers.sampling import Chooser
from serving.engines.written import Written


class Stream:
    """One branch while it decodes: what it has yet to read, and what it wrote."""

    def __init__(
        self, branch: Branch, index: int, constraint: CompiledConstraint, tokenizer: Tokenizer, room: int
    ) -> None:
        self.index = index
        self.number = 0  # the row's number for it, given when the job is admitted
        self.matcher = constraint.matcher()
        self.chooser = Chooser(branch.sampling)
        self.unread = list(branch.suffix)
        self.read: list[int] = []
        self._skip_forced = branch.skip_forced
        self._written = Written(index, self.matcher, tokenizer, min(branch.max_new_tokens, room))
        self._started = False

    def start(self) -> list[BranchEvent]:
        """Take the text that is forced from the first; the branch may be over before it began."""
        forced = self.matcher.forced() if self._skip_forced else []
        return self._write(forced)

    def advance(self, token: int | None) -> list[BranchEvent]:
        """Take the token chosen by one decode step, and the forced ones after it."""
        events: list[BranchEvent] = []
        if not self._started:
            self._started = True
            events.append(BranchStarted(branch=self.index, at_s=time.monotonic()))
        assert token is not None
        self._written.steps += 1
        self.matcher.consume(token)
        written = [] if self.matcher.finished and self.matcher.ended else [token]
        if self._skip_forced and not self.matcher.finished:
            written += self.matcher.forced()
        return events + self._write(written)

    def _write(self, tokens: list[int]) -> list[BranchEvent]:
        before = len(self._written.tokens)
        events = self._written.add(tokens)
        self.unread += self._written.tokens[before:]
        return events


@dataclass(eq=False, kw_only=True)
class Job:
    """One call of `Engine.decode`: its prefix, its live streams, and where its events go."""

    prefix: tuple[int, ...]
    streams: list[Stream]
    tenant: str
    deliver: Callable[[BranchEvent | Exception], object]
    held: HeldPrefix | None = None
    cancelled: bool = False

    def emit(self, event: BranchEvent | Exception) -> None:
        """Hand an event on; a reader whose event loop is gone has left, which cancels the job."""
        try:
            self.deliver(event)
        except RuntimeError:
            self.cancelled = True
