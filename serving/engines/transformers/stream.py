"""Stream: a branch while it decodes. Job: one call of `Engine.decode`, with its streams and where its events go."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from grammars.branch import Branch
from grammars.constraint import CompiledConstraint
from grammars.tokenizer import Tokenizer
from serving.engines.base import BranchEvent, BranchStarted, TokenLogprob
from serving.engines.transformers.pool import HeldPrefix
from serving.engines.transformers.sampling import Chooser
from serving.engines.written import Written, likelihood

Likelihoods = tuple[float, Sequence[tuple[int, float]]]
"""The logarithm of the chosen token's probability, and the likeliest tokens, each with its own."""


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
        self.logprobs_wanted = branch.logprobs
        self.cached_tokens = 0  # known when the job is admitted
        self._tokenizer = tokenizer
        self._skip_forced = branch.skip_forced
        self._written = Written(index, self.matcher, tokenizer, min(branch.max_new_tokens, room))
        self._started = False

    def start(self) -> list[BranchEvent]:
        """Take the text that is forced from the first; the branch may be over before it began."""
        forced = self.matcher.forced() if self._skip_forced else []
        return self._write(forced)

    def advance(self, token: int, likely: Likelihoods | None = None) -> list[BranchEvent]:
        """Take the token chosen by one decode step, and the forced ones after it."""
        events: list[BranchEvent] = []
        if not self._started:
            self._started = True
            started = BranchStarted(branch=self.index, at_s=time.monotonic(), cached_tokens=self.cached_tokens)
            events.append(started)
        self._written.steps += 1
        self.matcher.consume(token)
        written = [] if self.matcher.finished and self.matcher.ended else [token]
        if self._skip_forced and not self.matcher.finished:
            written += self.matcher.forced()
        logprobs = [likelihood(self._tokenizer, token, *likely)] if likely is not None and written else []
        return events + self._write(written, logprobs)

    def _write(self, tokens: list[int], logprobs: Sequence[TokenLogprob] = ()) -> list[BranchEvent]:
        before = len(self._written.tokens)
        events = self._written.add(tokens, logprobs)
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
