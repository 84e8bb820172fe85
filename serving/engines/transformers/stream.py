"""Stream: a branch while it decodes. Job: one call of `Engine.decode`, with its streams and where its events go."""

from __future__ import annotations

import codecs
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from grammars.branch import Branch
from grammars.constraint import CompiledConstraint
from grammars.tokenizer import Tokenizer
from serving.engines.base import BranchEnded, BranchEvent, BranchProgress, BranchStarted
from serving.engines.transformers.pool import HeldPrefix
from serving.engines.transformers.sampling import Chooser


class TextDecoder:
    """Tokens to text as they come; a character that is cut between tokens waits for its end."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, tokens: Sequence[int]) -> str:
        """The text that these tokens complete."""
        known = self._tokenizer.grammar_tokenizer
        pieces = []
        for token in tokens:
            if known.is_special_token(token):
                pieces += [self.flush(), self._tokenizer.decode([token])]
            else:
                pieces.append(self._utf8.decode(known.decode_bytes([token])))
        return "".join(pieces)

    def flush(self) -> str:
        """The end: what waits is given out as U+FFFD."""
        return self._utf8.decode(b"", final=True)


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
        self._limit = min(branch.max_new_tokens, room)
        self._written: list[int] = []
        self._text: list[str] = []
        self._decoder = TextDecoder(tokenizer)
        self._steps = 0
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
        self._steps += 1
        self.matcher.consume(token)
        written = [] if self.matcher.finished and self.matcher.ended else [token]
        if self._skip_forced and not self.matcher.finished:
            written += self.matcher.forced()
        return events + self._write(written)

    def _write(self, tokens: list[int]) -> list[BranchEvent]:
        tokens = tokens[: self._limit - len(self._written)]
        self._written += tokens
        self.unread += tokens
        text = self._decoder.push(tokens)
        reason = self._end_reason()
        if reason is not None:
            text += self._decoder.flush()
        self._text.append(text)
        events: list[BranchEvent] = []
        if text:
            events.append(BranchProgress(branch=self.index, text=text, at_s=time.monotonic()))
        if reason is not None:
            events.append(
                BranchEnded(
                    branch=self.index,
                    reason=reason,
                    text="".join(self._text),
                    tokens=tuple(self._written),
                    steps=self._steps,
                    forced_tokens=len(self._written) - self._steps + (1 if self.matcher.ended else 0),
                    at_s=time.monotonic(),
                    error=self.matcher.error or None,
                )
            )
        return events

    def _end_reason(self) -> Literal["complete", "length", "failed"] | None:
        if self.matcher.error:
            return "failed"
        if self.matcher.finished:
            return "complete"
        return "length" if len(self._written) >= self._limit else None


@dataclass(eq=False, kw_only=True)
class Job:
    """One call of `Engine.decode`: its prefix, its live streams, and where its events go."""

    prefix: tuple[int, ...]
    streams: list[Stream]
    deliver: Callable[[BranchEvent | Exception], object]
    held: HeldPrefix | None = None
    cancelled: bool = False

    def emit(self, event: BranchEvent | Exception) -> None:
        """Hand an event on; a reader whose event loop is gone has left, which cancels the job."""
        try:
            self.deliver(event)
        except RuntimeError:
            self.cancelled = True
