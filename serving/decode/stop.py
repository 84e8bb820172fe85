"""Stop strings in streamed text."""

from __future__ import annotations


class StopFilter:
    """Passes text on up to the first of the stop strings, and holds back what may be the beginning of one."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = stops
        self._held = ""
        self.reached = False

    def push(self, text: str) -> str:
        """More text; what of it may be given out."""
        text = self._held + text
        found = [position for position in (text.find(stop) for stop in self._stops) if position >= 0]
        if found:
            self.reached, self._held = True, ""
            return text[: min(found)]
        keep = max((overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def flush(self) -> str:
        """The end of the text: what was held back after all."""
        held, self._held = self._held, ""
        return held


def overlap(text: str, stop: str) -> int:
    """The length of the longest end of `text` with which `stop` begins."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if stop.startswith(text[len(text) - size :])), 0)
