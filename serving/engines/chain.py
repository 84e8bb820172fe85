"""Chain: a branch decoded as short requests, for engines that take a prompt and give tokens and know no forced text.

Two things make parallel decoding fast: forced text is read and never decoded, and the grammar is exact. A server that
is asked over its API offers neither. So a branch becomes a chain of requests over the server's prefix cache. Text that
the grammar forces is put into the next request's prompt. What is free is asked for in one of three kinds of `Link`:

- a *choice*, where the grammar allows few tokens: one token out of these;
- a *run*, where it allows nearly all, as inside a string: the server writes without constraint up to a pause (the quote
  that ends the string), and the matcher here judges every token. The first one that it refuses is decoded again, as a
  choice. So what comes out is exactly what constrained decoding writes: greedy decoding takes the best allowed token
  either way, and sampling that draws again among the allowed tokens after a refusal has the same distribution;
- a *stream*, for a branch that must not skip forced text, or a server that gives text only: all of it in one request,
  under the server's own grammar, and judged here all the same.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from grammars.branch import Branch, Sampling
from grammars.constraint import CompiledConstraint, Constraint
from grammars.tokenizer import Tokenizer
from serving.engines.base import BranchEvent, BranchStarted, TokenLogprob
from serving.engines.written import Written

CHOICE_TOKENS = 2048
"""Up to so many allowed tokens are asked for as a choice; a vocabulary's numbers and words of an enum are fewer."""


@dataclass(frozen=True, kw_only=True)
class Link:
    """One request: what stands before it, and how the server may go on.

    One of `allowed` (a choice), `grammar` (a stream) or neither (a run). The server stops after any of `stops`, which
    is then the last token, and after `most_tokens`. With `stops_later`, the grammar allows none of them at first.
    `logprobs` asks how likely each token was, and for so many of the likeliest in its place.
    """

    prompt: tuple[int, ...]
    most_tokens: int
    sampling: Sampling
    stops: frozenset[int] = frozenset()
    stops_later: bool = False
    allowed: tuple[int, ...] | None = None
    grammar: Constraint | None = None
    logprobs: int | None = None

    @property
    def watched(self) -> bool:
        """Whether tokens are wanted as they come: the matcher ends a run at the first that it refuses."""
        return self.allowed is None


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What a server wrote for a link at a time. `logprobs`, where the link asks for them, has one for each token.

    `cached_tokens`: how much of the link's prompt the server still held, if it says so.
    """

    tokens: Sequence[int]
    logprobs: Sequence[TokenLogprob] = ()
    cached_tokens: int | None = None


class Chain:
    """One branch over a prefix, from link to link. Pure: it asks nobody, it only says what to ask."""

    def __init__(
        self,
        branch: Branch,
        index: int,
        constraint: CompiledConstraint,
        tokenizer: Tokenizer,
        *,
        prefix: Sequence[int],
        room: int,
        stops: frozenset[int],
        chained: bool = True,
        choice_tokens: int = CHOICE_TOKENS,
    ) -> None:
        self._branch = branch
        self._index = index
        self._matcher = constraint.matcher()
        self._read = (*prefix, *branch.suffix)
        self._stops = stops
        self._choice_tokens = choice_tokens
        self._skips = branch.skip_forced and chained
        self._completes = branch.skip_forced
        self._written = Written(index, self._matcher, tokenizer, min(branch.max_new_tokens, room))
        self._links = 0
        self._before = 0
        self._choices_due = 0
        self._distrust = 0
        self._open: Link | None = None
        self._started = False

    def start(self) -> list[BranchEvent]:
        """Take the text that is forced from the first; the branch may be over before it began."""
        forced = self._matcher.forced() if self._skips else []
        self._start_s = time.monotonic()
        return self._written.add(forced)

    def next_link(self) -> Link | None:
        """What to ask for next; None once the branch is over."""
        self._open = None
        if self._written.end_reason is None:
            self._open = self._link()
            self._links += 1
            self._before = len(self._written.tokens)
        return self._open

    def begin(self, cached_tokens: int | None) -> list[BranchEvent]:
        """The server begins to write; the first time it says how much of what the branch stands on it still held."""
        if self._started:
            return []
        self._started = True
        return [BranchStarted(branch=self._index, at_s=self._start_s, cached_tokens=cached_tokens)]

    def take(self, token: int, logprob: TokenLogprob | None = None) -> list[BranchEvent]:
        """Judge the next token of the open link. If it is refused, or forced text follows, the link is over."""
        link = self._open
        assert link is not None
        self._written.steps += 1
        if not self._matcher.allows(token):
            self._open = None
            return self._refused(link)
        if link.allowed is None:
            self._distrust = 0
        else:
            self._choices_due -= 1
        self._matcher.consume(token)
        tokens = [] if self._matcher.ended else [token]
        if self._skips and not self._matcher.finished:
            tokens += self._matcher.forced()
        if len(tokens) != 1 or self._matcher.finished or token in link.stops:
            self._open = None
        return self._written.add(tokens, [logprob] if logprob is not None and tokens else ())

    def end_link(self) -> list[BranchEvent]:
        """The server has stopped, or was told to. A stream that is still open is completed by what is forced, or fails;
        and so does a link that brought nothing, for asking once more would bring nothing again.
        """
        link, self._open = self._open, None
        if link is None or self._written.end_reason is not None:
            return []
        forced = self._matcher.forced() if link.grammar is not None and self._completes else []
        events = self._written.add(forced)
        if self._written.end_reason is None and (link.grammar is not None or len(self._written.tokens) == self._before):
            events += self._written.fail("the server stopped before the text was complete")
        return events

    @property
    def link_is_open(self) -> bool:
        """Whether more tokens of the last link are wanted."""
        return self._open is not None and self._written.end_reason is None

    def _link(self) -> Link:
        prompt = (*self._read, *self._written.tokens)
        sampling = self._sampling()
        if not self._skips:
            grammar = self._branch.constraint
            return Link(
                prompt=prompt,
                most_tokens=self._written.left,
                sampling=sampling,
                grammar=grammar,
                logprobs=self._branch.logprobs,
            )
        most = None if self._choices_due > 0 else self._choice_tokens
        allowed = self._matcher.allowed(most)
        # The quote that begins a string is a pause as well as the one that ends it. One link reads over it.
        begins = self._choices_due <= 0 and allowed is not None and self._stops.issuperset(allowed)
        if allowed is not None and not begins:
            return Link(prompt=prompt, most_tokens=1, sampling=sampling, allowed=allowed)
        stops = self._stops.difference(allowed or ())
        return Link(
            prompt=prompt,
            most_tokens=self._written.left,
            sampling=sampling,
            stops=stops,
            stops_later=not any(map(self._matcher.allows, stops)),
        )

    def _refused(self, link: Link) -> list[BranchEvent]:
        """The next token must be a choice; after runs that brought nothing, so must ever more tokens."""
        if self._matcher.error:
            return self._written.add(())
        if link.grammar is not None:
            return self._written.fail("the server wrote what its grammar should not allow")
        self._choices_due = 2**self._distrust
        self._distrust = min(self._distrust + 1, 6)
        return []

    def _sampling(self) -> Sampling:
        """The branch's sampling; with a seed, each link has one of its own, or all would draw alike."""
        sampling = self._branch.sampling
        if sampling.seed is None:
            return sampling
        seed = (sampling.seed * 1_000_003 + self._links) % 2**31
        return Sampling(temperature=sampling.temperature, top_p=sampling.top_p, seed=seed)
