"""Ledger: what a round has cost so far, and how it ended."""

from __future__ import annotations

from collections.abc import Sequence

from serving.decode.events import Figures, FinishReason, StreamSpan
from serving.decode.request import Decoding
from serving.decode.streams import StreamEvent
from serving.engines.base import BranchEnded, BranchStarted


class Ledger:
    """Adds up one round. Of streams that decode together, the one that ends last counts on the critical path."""

    def __init__(self, decoding: Decoding, *, prompt_tokens: int) -> None:
        self.reason: FinishReason = "text"
        self.stop: str | None = None
        self.fallbacks = 0
        self.duplicates_removed = 0
        self._decoding = decoding
        self._prompt_tokens = prompt_tokens
        self._cached_tokens: int | None = None
        self._has_begun = False
        self._steps = 0
        self._plan_steps = 0
        self._tally_probability: float | None = None
        self._branches = 0
        self._completion_tokens = 0
        self._spans: list[StreamSpan] = []

    def hear(self, event: StreamEvent) -> None:
        """Note how much of the prompt was held from before: the round's first stream tells it."""
        if isinstance(event, BranchStarted) and not self._has_begun:
            self._has_begun = True
            if event.cached_tokens is not None:
                self._cached_tokens = min(event.cached_tokens, self._prompt_tokens)

    def stream(self, label: str, start_s: float, end: BranchEnded) -> None:
        """Enter a stream that decoded alone, after all others: what it wrote, when it began, and its end."""
        self._steps += end.steps
        self._branches += 1
        self._enter([(label, start_s, end)])

    def together(self, label: str, ended: Sequence[tuple[float, BranchEnded]]) -> None:
        """Enter streams that decoded beside one another, after all others: when each began, and its end."""
        self._steps += max(end.steps for _, end in ended)
        self._branches += len(ended)
        self._enter([(label, start_s, end) for start_s, end in ended])

    def plan(
        self,
        ended: Sequence[tuple[str, float, BranchEnded]],
        *,
        steps: int,
        tally_probability: float | None = None,
    ) -> None:
        """Enter the streams of the plan, which took so many steps together, and how sure its tally was."""
        self._plan_steps = steps
        self._tally_probability = tally_probability
        self._steps = max(self._steps, self._plan_steps)
        self._enter(ended)

    def branch(self, label: str, start_s: float, end: BranchEnded, *, begun_at: int) -> None:
        """Enter a branch of the plan, `begun_at` so many steps of it: beside the rest of the plan, and its siblings."""
        self._steps = max(self._steps, begun_at + end.steps)
        self._branches += 1
        self._enter([(label, start_s, end)])

    def _enter(self, ended: Sequence[tuple[str, float, BranchEnded]]) -> None:
        for label, start_s, end in ended:
            self._completion_tokens += len(end.tokens)
            self._spans.append(
                StreamSpan(
                    label=label,
                    start_s=start_s,
                    end_s=end.at_s,
                    steps=end.steps,
                    forced_tokens=end.forced_tokens,
                )
            )

    def figures(self) -> Figures:
        """The sums."""
        return Figures(
            decoding=self._decoding,
            steps=self._steps,
            plan_steps=self._plan_steps,
            tally_probability=self._tally_probability,
            branches=self._branches,
            fallbacks=self.fallbacks,
            duplicates_removed=self.duplicates_removed,
            prompt_tokens=self._prompt_tokens,
            cached_tokens=self._cached_tokens,
            completion_tokens=self._completion_tokens,
            spans=tuple(self._spans),
        )
