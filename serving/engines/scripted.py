"""ScriptedEngine: writes what a script says, inside the same constraints as a model. For tests, and for trying wires.

It needs no weights, and its tokens are bytes. Where the script has nothing to say it walks the constraint by a seeded
choice that tends towards the end.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass

import numpy

from grammars.branch import Branch
from grammars.constraint import CompiledConstraint, Constraint, compile_constraint
from grammars.errors import Overloaded
from grammars.tokenizer import Tokenizer
from serving.engines.base import SHARED, BranchEvent, BranchStarted, Scope, TokenLogprob, room_after
from serving.engines.byte_tokenizer import END_ID, ByteTokenizer
from serving.engines.common import common_length
from serving.engines.written import Written, likelihood

CLOSING = numpy.array([END_ID, *b"]}\n"])
"""What the walk prefers: the end, and the bytes that bring it nearer. A quote goes before them where it may stand."""
QUOTE = ord('"')
PLAIN = numpy.array([*b"abcdefghijklmnopqrstuvwxyz0123456789"])
"""What it writes otherwise, where it can."""
SHORTEST_TEXT = 8
"""The walk ends no text of its own accord before so many tokens."""
REMEMBERED = 4
"""So many prefixes count as held, for the figures of what was cached."""
WALK_PATIENCE = 64
"""After so many tokens the walk closes whatever it can."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """In place of an answer: the branch ends as `failed` at its first step, with this error."""

    error: str


Answer = str | Failure | None
"""What to write. `None`: the script has nothing to say."""

Script = Callable[[str, Constraint], Answer]
"""Says, for the whole text that a branch stands on and its constraint, what the branch writes."""


class ScriptedEngine:
    """An `Engine` that writes what its script says: a function, or answers of which each branch takes the first that
    its constraint accepts as a whole.

    Every token goes through the constraint, and steps and forced tokens are counted as a model's would be; one step of
    all branches of a call takes `step_s`. At most `capacity` branches decode at once. All tokens that are allowed count
    as equally likely.
    """

    def __init__(
        self,
        script: Script | Sequence[Answer] = (),
        *,
        model: str = "scripted",
        context_length: int = 65_536,
        step_s: float = 0.0,
        seed: int = 0,
        capacity: int | None = None,
    ) -> None:
        self._script = script
        self._model = model
        self._context_length = context_length
        self._step_s = step_s
        self._seed = seed
        self._capacity = capacity
        self._tokenizer = ByteTokenizer()
        self._live = 0
        self._last: deque[tuple[str, Sequence[int], numpy.ndarray]] = deque(maxlen=REMEMBERED)
        self._closed = False

    @property
    def model(self) -> str:
        return self._model

    @property
    def adapters(self) -> tuple[str, ...]:
        return ()

    @property
    def tokenizer(self) -> Tokenizer:
        return self._tokenizer

    @property
    def context_length(self) -> int:
        return self._context_length

    @property
    def healthy(self) -> bool:
        return not self._closed

    @property
    def live_branches(self) -> int:
        """How many branches decode now, over all calls."""
        return self._live

    async def decode(
        self, prefix: Sequence[int], branches: Sequence[Branch], scope: Scope = SHARED
    ) -> AsyncGenerator[BranchEvent, None]:
        compiled = await asyncio.to_thread(self._compile, branches)
        writers = [
            self._writer(index, prefix, branch, constraint)
            for index, (branch, constraint) in enumerate(zip(branches, compiled, strict=True))
        ]
        self._check_open()
        if self._capacity is not None and self._live + len(writers) > self._capacity:
            raise Overloaded(f"no room for {len(writers)} more branches, {self._live} of {self._capacity} decode")
        live = list(writers)
        self._live += len(live)
        try:
            cached = self._read(prefix, scope)
            for writer in writers:
                yield BranchStarted(branch=writer.branch, at_s=time.monotonic(), cached_tokens=cached)
            while live:
                for writer in list(live):
                    events = writer.advance()
                    if writer.over:
                        live.remove(writer)
                        self._live -= 1
                    for event in events:
                        yield event
                await asyncio.sleep(self._step_s)
                self._check_open()
        finally:
            self._live -= len(live)

    async def close(self) -> None:
        self._closed = True

    def _read(self, prefix: Sequence[int], scope: Scope) -> int:
        """How much of the prefix stands at the beginning of one of the last that this tenant's branches stood on."""
        if any(tenant == scope.tenant and earlier is prefix for tenant, earlier, _ in self._last):
            return len(prefix)  # as for most branches: their round's plan stood on it
        read = numpy.array(prefix)
        lengths = [common_length(read, earlier) for tenant, _, earlier in self._last if tenant == scope.tenant]
        self._last.append((scope.tenant, prefix, read))
        return max(lengths, default=0)

    def _check_open(self) -> None:
        if self._closed:
            raise Overloaded("the engine is shutting down")

    def _compile(self, branches: Sequence[Branch]) -> list[CompiledConstraint]:
        return [compile_constraint(branch.constraint, self._tokenizer) for branch in branches]

    def _writer(self, index: int, prefix: Sequence[int], branch: Branch, constraint: CompiledConstraint) -> Writer:
        read = (*prefix, *branch.suffix)
        room = room_after(len(read), self._context_length)
        text = self._tokenizer.decode(read)
        seed = self._seed if branch.sampling.seed is None else branch.sampling.seed
        return Writer(
            index,
            constraint,
            self._answer(text, branch.constraint, constraint),
            self._tokenizer,
            limit=min(branch.max_new_tokens, room),
            skip_forced=branch.skip_forced,
            logprobs=branch.logprobs,
            random=random.Random(f"{seed} {text}"),
        )

    def _answer(
        self, text: str, constraint: Constraint, compiled: CompiledConstraint
    ) -> tuple[int, ...] | Failure | None:
        if callable(self._script):
            answer = self._script(text, constraint)
            return self._tokenizer.encode(answer) if isinstance(answer, str) else answer
        for answer in self._script:
            if not isinstance(answer, str):
                return answer
            tokens = (*self._tokenizer.encode(answer), END_ID)
            if compiled.matcher().accepts(tokens) == len(tokens):
                return tokens[:-1]
        return None


class Writer:
    """One branch while it decodes."""

    def __init__(
        self,
        branch: int,
        constraint: CompiledConstraint,
        answer: tuple[int, ...] | Failure | None,
        tokenizer: Tokenizer,
        *,
        limit: int,
        skip_forced: bool,
        logprobs: int | None,
        random: random.Random,
    ) -> None:
        self.branch = branch
        self._matcher = constraint.matcher()
        self._written = Written(branch, self._matcher, tokenizer, limit)
        self._answer = answer
        self._tokenizer = tokenizer
        self._skip_forced = skip_forced
        self._logprobs_wanted = logprobs
        self._logprobs: list[TokenLogprob] = []
        self._random = random
        self._error: str | None = None
        self._begun = False

    @property
    def over(self) -> bool:
        return self._written.end_reason is not None

    def advance(self) -> list[BranchEvent]:
        """One decode step and the forced tokens after it; the first time, only the tokens forced from the start."""
        tokens: list[int] = []
        if self._begun:
            tokens = self._step()
        self._begun = True
        if self._skip_forced and self._error is None and not self._matcher.finished:
            tokens += self._forced(len(self._written.tokens) + len(tokens))
        events = self._written.add(tokens, self._logprobs)
        self._logprobs = []
        if self._error is not None and not self.over:
            events += self._written.fail(self._error)
        return events

    def _step(self) -> list[int]:
        self._written.steps += 1
        if isinstance(self._answer, Failure):
            self._error = self._answer.error
            return []
        token = self._walk() if self._answer is None else self._scripted(len(self._written.tokens))
        if self._matcher.accepts([token]) != 1:
            self._error = f"the constraint does not allow what the script writes after {self._text!r}"
            return []
        logprob = self._equally_likely(token)
        self._matcher.consume(token)
        if self._matcher.ended:
            return []
        self._logprobs += logprob
        return [token]

    def _equally_likely(self, token: int) -> list[TokenLogprob]:
        """The token's logprob, if that is wanted: a script has no better reason for it than for any that is allowed."""
        if self._logprobs_wanted is None:
            return []
        allowed = self._matcher.allowed() or ()
        logprob = -math.log(len(allowed))
        others = [(other, logprob) for other in allowed[: self._logprobs_wanted]]
        return [likelihood(self._tokenizer, token, logprob, others)]

    @property
    def _text(self) -> str:
        return self._tokenizer.decode(self._written.tokens)

    def _forced(self, position: int) -> list[int]:
        forced = self._matcher.forced()
        if isinstance(self._answer, tuple):
            for offset, token in enumerate(forced):
                # Behind the script's end forced text may go on: whoever writes a call need not know how calls end.
                if position + offset < len(self._answer) and self._answer[position + offset] != token:
                    self._error = f"the constraint forces other text than the script's after {self._text!r}"
                    return forced[:offset]
        return forced

    def _scripted(self, position: int) -> int:
        assert isinstance(self._answer, tuple)
        if position < len(self._answer):
            return self._answer[position]
        only = self._matcher.only_choice()
        return only[0] if only else END_ID

    def _walk(self) -> int:
        bits = numpy.unpackbits(self._matcher.mask().view(numpy.uint8), bitorder="little")
        closing = numpy.array([QUOTE]) if bits[QUOTE] else CLOSING[bits[CLOSING] == 1]
        plain = PLAIN[bits[PLAIN] == 1]
        length = len(self._written.tokens)
        if length < SHORTEST_TEXT and len(plain):
            closing = closing[closing != END_ID]
        if len(closing) and (not len(plain) or length > WALK_PATIENCE or self._random.random() < 0.5):
            return int(self._random.choice(closing))
        return int(self._random.choice(plain if len(plain) else bits.nonzero()[0]))
