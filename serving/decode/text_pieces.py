"""Text as it is written, made into the pieces that are handed on."""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Iterator, Sequence

from serving.decode.events import TextWritten
from serving.decode.stop import StopFilter
from serving.decode.streams import StreamEvent
from serving.engines.base import BranchProgress, TokenLogprob


class TextPieces:
    """Text as it is written, made into the pieces that are handed on: up to a stop string, with its tokens' logprobs.

    A token goes with the piece in which the first character stands that it completes.
    """

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._filter = StopFilter(stops)
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._tokens: deque[tuple[int, TokenLogprob]] = deque()
        self._completed = 0
        self._handed_on = 0

    @property
    def stop(self) -> str | None:
        """The stop string that was reached: the text is over."""
        return self._filter.found

    def take(self, text: str, logprobs: Sequence[TokenLogprob], *, ended: bool) -> Iterator[TextWritten]:
        """More text, of these tokens; what of it may be handed on. At the end, so is what was held back."""
        for logprob in logprobs:
            self._tokens.append((self._completed, logprob))
            self._completed += len(self._utf8.decode(bytes(logprob.bytes)))
        text = self._filter.push(text)
        if ended and self.stop is None:
            text += self._filter.flush()
        if text:
            yield self._piece(text)

    def _piece(self, text: str) -> TextWritten:
        self._handed_on += len(text)
        logprobs = []
        while self._tokens and self._tokens[0][0] < self._handed_on:
            logprobs.append(self._tokens.popleft()[1])
        return TextWritten(text=text, logprobs=tuple(logprobs))


def logprobs_of(event: StreamEvent) -> tuple[TokenLogprob, ...]:
    """Those of the tokens that the event tells of."""
    return event.logprobs if isinstance(event, BranchProgress) else ()
