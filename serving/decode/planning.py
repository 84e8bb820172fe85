"""Planning: the streams of a round's plan, and what they say so far.

A model that was trained for it plans by a tally, one step for all tools at once, in which the caller's bounds have the
last word; where its own probability is below what the options ask for, the outline is written after all. Where the
caller fixes how often each tool is called, such a model has nothing to plan. A stock model writes an outline, in the
form that the options choose.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from grammars.branch import Branch
from grammars.conversation import Conversation
from grammars.counts import COUNTS, can_be_tallied, counts_within, fixed_calls
from grammars.dialects import Dialect
from grammars.marked_forms import marked_outline, marked_tally
from grammars.plan import Plan
from grammars.plan_forms import JOINT, PlanForm, Tally
from serving.decode.request import DecodeOptions, Round
from serving.decode.streams import StreamEnded, StreamEvent
from serving.engines.base import BranchEnded, BranchProgress

TALLIED_TOOLS = 16
"""The most tools that are tallied: each is a stream of the plan's one step."""


def plan_forms(options: DecodeOptions, dialect: Dialect, conversation: Conversation) -> tuple[PlanForm, ...]:
    """The forms in which this round may be planned, the first one first; all are asked for in the same words."""
    if options.plan_form is not None:
        return (options.plan_form,)
    if dialect.marks is None:
        return (JOINT,)
    tally, outline = marked_tally(dialect.marks), marked_outline(dialect.marks)
    if not can_be_tallied(conversation):
        return (outline,)
    if fixed_calls(conversation) is not None:
        return (tally,)
    return (tally, outline) if len(conversation.callable_tools) <= TALLIED_TOOLS else (outline,)


class Planning:
    """The plan of one round while it is written."""

    def __init__(self, round: Round) -> None:
        self._round = round
        self._forms = list(plan_forms(round.options, round.dialect, round.conversation))
        self._given_up: list[StreamEnded] = []
        self.tally_probability: float | None = None
        """How likely the least likely digit is, given the bounds, of a tally that is asked how sure it is."""
        self._begin()

    def _begin(self) -> None:
        """The first of the forms that are left."""
        self._form = self._forms.pop(0)
        # Only a form that another one may take the place of is asked how sure it is: a tally, of all its digits.
        logprobs = len(COUNTS) if self._forms else None
        self.branches = [
            Branch(
                suffix=self._round.engine.tokenizer.encode(stream.opening),
                constraint=stream.constraint,
                max_new_tokens=self._round.limit(self._round.options.plan_tokens),
                sampling=self._round.sampling(0),
                skip_forced=logprobs is None,
                logprobs=logprobs,
            )
            for stream in self._form.streams(self._round.conversation)
        ]
        self._texts = [""] * len(self.branches)
        self._steps = [0] * len(self.branches)
        self._likelihoods: list[dict[int, float]] = [{} for _ in self.branches]
        self._ended: dict[int, StreamEnded] = {}

    def take(self, event: StreamEvent) -> None:
        """Enter what one of the streams wrote."""
        if isinstance(event, BranchProgress):
            self._texts[event.branch] += event.text
            self._steps[event.branch] = event.steps
            for token in event.logprobs:
                self._likelihoods[event.branch] |= {int(top.text): math.exp(top.logprob) for top in (*token.top, token)}
        elif isinstance(event, StreamEnded):
            self._ended[event.index] = event
            self._texts[event.index] = event.end.text
            self._steps[event.index] = event.end.steps
            if self._forms and self.complete:
                self._count()

    def _count(self) -> None:
        """Let the tally's digits come to what the caller allows."""
        choice, written = self._round.conversation.choice, [int(text) for text in self._texts]
        counts = counts_within(choice.least, choice.most, written, self._likelihoods)
        self._texts = [str(count) for count in counts.of_tools]
        self.tally_probability = counts.probability

    @property
    def is_unsure(self) -> bool:
        """Whether the plan is over, and one of its streams was less likely than the options ask for, or broken, while
        there is another form to plan in.
        """
        if not self._forms or not self.over:
            return False
        return self.tally_probability is None or self.tally_probability < self._round.options.sure_tally

    def plan_anew(self) -> None:
        """Give the streams up, and begin those of the next form."""
        self._given_up += self._ended.values()
        self._begin()

    @property
    def is_tally(self) -> bool:
        """Whether the calls are known by their numbers, all at once."""
        return isinstance(self._form, Tally)

    @property
    def steps(self) -> int:
        """How many decode steps the plan took so far."""
        return max((stream.end.steps for stream in self._given_up), default=0) + max(self._steps, default=0)

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
        return read(self._texts, self._round.conversation)

    @property
    def ended(self) -> Sequence[tuple[str, float, BranchEnded]]:
        """The streams for the books, those that were given up first."""
        streams = [*self._given_up, *(self._ended[index] for index in sorted(self._ended))]
        return [("plan", stream.start_s, stream.end) for stream in streams]
