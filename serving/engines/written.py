"""Written: what one branch has written so far, and the events that tell of it. The same for every engine."""

from __future__ import annotations

import codecs
import time
from collections.abc import Sequence
from typing import Literal

from grammars.constraint import Matcher
from grammars.tokenizer import Tokenizer
from serving.engines.base import BranchEnded, BranchEvent, BranchProgress, TokenLogprob


def likelihood(tokenizer: Tokenizer, token: int, logprob: float, top: Sequence[tuple[int, float]] = ()) -> TokenLogprob:
    """How likely a token was, and these others, each with its logarithm."""
    known = tokenizer.grammar_tokenizer
    special = known.is_special_token(token)
    spelled = tokenizer.decode([token]).encode() if special else known.decode_bytes([token])
    return TokenLogprob(
        text=spelled.decode(errors="replace"),
        bytes=tuple(spelled),
        logprob=logprob,
        top=tuple(likelihood(tokenizer, other, its) for other, its in top),
    )


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


class Written:
    """The tokens of one branch, at most `limit`, which its matcher has already consumed."""

    def __init__(self, branch: int, matcher: Matcher, tokenizer: Tokenizer, limit: int) -> None:
        self.tokens: list[int] = []
        self.steps = 0
        self._branch = branch
        self._matcher = matcher
        self._limit = limit
        self._error: str | None = None
        self._text: list[str] = []
        self._decoder = TextDecoder(tokenizer)

    @property
    def left(self) -> int:
        """How many tokens may still be written."""
        return self._limit - len(self.tokens)

    @property
    def end_reason(self) -> Literal["complete", "length", "failed"] | None:
        """Why the branch is over, or None while it is not."""
        if self._error or self._matcher.error:
            return "failed"
        if self._matcher.finished:
            return "complete"
        return None if self.left else "length"

    def fail(self, error: str) -> list[BranchEvent]:
        """The branch is over and has failed."""
        self._error = error
        return self.add(())

    def add(self, tokens: Sequence[int], logprobs: Sequence[TokenLogprob] = ()) -> list[BranchEvent]:
        """Take these tokens, as many as the limit allows, and tell of them; and of the branch's end if it is over."""
        tokens, logprobs = tokens[: self.left], tuple(logprobs[: self.left])
        self.tokens += tokens
        text = self._decoder.push(tokens)
        reason = self.end_reason
        if reason is not None:
            text += self._decoder.flush()
        self._text.append(text)
        events: list[BranchEvent] = []
        if text or logprobs:
            now_s = time.monotonic()
            progress = BranchProgress(branch=self._branch, text=text, steps=self.steps, at_s=now_s, logprobs=logprobs)
            events.append(progress)
        if reason is not None:
            events.append(
                BranchEnded(
                    branch=self._branch,
                    reason=reason,
                    text="".join(self._text),
                    tokens=tuple(self.tokens),
                    steps=self.steps,
                    forced_tokens=max(0, len(self.tokens) + (1 if self._matcher.ended else 0) - self.steps),
                    at_s=time.monotonic(),
                    error=self._error or self._matcher.error or None,
                )
            )
        return events
