"""Planning: the streams of a round's plan, and what they say so far."""

from __future__ import annotations

from grammars.branch import Branch
from grammars.plan import Plan
from serving.decode.request import Round
from serving.decode.streams import StreamEnded, StreamEvent
from serving.engines.base import BranchEnded, BranchProgress


class Planning:
    """The plan of one round while it is written, in the form that the options choose."""

    def __init__(self, round: Round) -> None:
        self._form = round.options.plan_form
        self._conversation = round.conversation
        self.branches = [
            Branch(
                suffix=round.engine.tokenizer.encode(stream.opening),
                constraint=stream.constraint,
                max_new_tokens=round.limit(round.options.plan_tokens),
                sampling=round.sampling(0),
            )
            for stream in self._form.streams(round.conversation)
        ]
        self._texts = [""] * len(self.branches)
        self._steps = [0] * len(self.branches)
        self._ended: dict[int, StreamEnded] = {}

    def take(self, event: StreamEvent) -> None:
        """Enter what one of the streams wrote."""
        if isinstance(event, BranchProgress):
            self._texts[event.branch] += event.text
            self._steps[event.branch] = event.steps
        elif isinstance(event, StreamEnded):
            self._ended[event.index] = event
            self._texts[event.index] = event.end.text
            self._steps[event.index] = event.end.steps

    @property
    def steps(self) -> int:
        """How many decode steps the plan took so far."""
        return max(self._steps)

    @property
    def over(self) -> bool:
        """Whether all its streams have ended."""
        return len(self._ended) == len(self.branches)

    @property
    def complete(self) -> bool:
        """Whether all its streams came to their ends, none cut and none broken."""
        return self.over and all(stream.end.reason == "complete" for stream in self._ended.values())

    @property
    def plan(self) -> Plan:
        """The plan; while it is not complete, the first calls of it."""
        read = self._form.read if self.complete else self._form.begun
        return read(self._texts, self._conversation)

    @property
    def ended(self) -> list[tuple[str, float, BranchEnded]]:
        """The streams for the books."""
        return [("plan", self._ended[index].start_s, self._ended[index].end) for index in sorted(self._ended)]
