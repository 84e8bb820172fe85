"""Gating: a trained model's tally where it is sure of itself, its outline where it is not, at any threshold.

Two runs over the same cases are enough, one that always goes by the tally and one by the outline: what a gated run
would come to at a threshold is, case by case, what one or the other of them came to. Pure arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, zip_longest

from finetune.evaluate import Rate, rate
from grammars.errors import ConfigurationError

THRESHOLDS = (0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1.0)
"""Those of tables, among which the best is chosen. Trained models are sure: the upper end is where they differ."""

BINS = (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999, 1.0)
"""Where the bins of a tally's probability begin and end."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """What a run made of one case. `tally_probability` is None where no tally was there to be trusted or not."""

    id: str
    is_right: bool
    is_right_count: bool
    steps: int
    plan_steps: int
    tally_probability: float | None = None

    def is_tallied(self, threshold: float) -> bool:
        """Whether the tally decides where it must be at least so sure of itself."""
        return self.tally_probability is not None and self.tally_probability >= threshold


@dataclass(frozen=True, kw_only=True)
class Score:
    """A run in a line: the cases that are right, those with as many calls as are due, and its mean decode steps."""

    right: Rate
    right_count: Rate
    decode_steps: float


@dataclass(frozen=True, kw_only=True)
class GatedScore(Score):
    """The same of a gated run, and the share of cases in which the tally decides."""

    threshold: float
    tallied: Rate


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Tallies whose probability is at least `low`, and below `high` unless that is 1, and how often they were right.

    `mean` is the mean probability; a tally is calibrated where it lies in the interval of `right_count`.
    """

    low: float
    high: float
    mean: float
    right_count: Rate


def gated(tally: Sequence[Scored], outline: Sequence[Scored], threshold: float) -> list[Scored]:
    """What a run that trusts tallies from `threshold` on makes of each case, by one run of each kind over them.

    A tally that is not trusted costs its steps before those of the outline. Where the tally's run had none to trust
    (more tools than are tallied, counts that the caller gives, a broken stream), any threshold makes the same of it.
    Raises `ConfigurationError` if the runs are not of the same cases.
    """
    check_same_cases(tally, outline)
    return [
        counted
        if counted.tally_probability is None or counted.is_tallied(threshold)
        else replace(
            outlined,
            steps=outlined.steps + counted.plan_steps,
            plan_steps=outlined.plan_steps + counted.plan_steps,
            tally_probability=counted.tally_probability,
        )
        for counted, outlined in zip(tally, outline, strict=True)
    ]


def check_same_cases(one: Sequence[Scored], other: Sequence[Scored]) -> None:
    """Raise `ConfigurationError`, naming a case that differs, unless both runs are of the same cases in one order."""
    for first, second in zip_longest(one, other):
        if first is None or second is None or first.id != second.id:
            ids = " beside ".join(repr(case.id) if case else "none" for case in (first, second))
            raise ConfigurationError(f"the runs are not of the same cases: {ids}")


def score(cases: Sequence[Scored]) -> Score:
    """A run in a line."""
    return Score(
        right=rate(sum(case.is_right for case in cases), len(cases)),
        right_count=rate(sum(case.is_right_count for case in cases), len(cases)),
        decode_steps=mean([case.steps for case in cases]),
    )


def gated_score(tally: Sequence[Scored], outline: Sequence[Scored], threshold: float) -> GatedScore:
    """A gated run in a line."""
    cases = gated(tally, outline, threshold)
    whole = score(cases)
    return GatedScore(
        right=whole.right,
        right_count=whole.right_count,
        decode_steps=whole.decode_steps,
        threshold=threshold,
        tallied=rate(sum(case.is_tallied(threshold) for case in cases), len(cases)),
    )


def best(scores: Sequence[GatedScore]) -> GatedScore:
    """The one with the most right cases; of equals that with the fewest steps, and then the highest threshold."""
    return max(scores, key=lambda one: (one.right.cases, -one.decode_steps, one.threshold))


def reliability(tally: Sequence[Scored]) -> list[Bin]:
    """The tallies by their own probability, and how often as many calls came of them as are due. No bin is empty."""
    bins = []
    for low, high in pairwise(BINS):
        held = [
            (case.tally_probability, case.is_right_count)
            for case in tally
            if case.tally_probability is not None
            and case.tally_probability >= low
            and (case.tally_probability < high or high == BINS[-1])
        ]
        if held:
            right = sum(is_right for _, is_right in held)
            bins.append(
                Bin(
                    low=low,
                    high=high,
                    mean=mean([probability for probability, _ in held]),
                    right_count=rate(right, len(held)),
                )
            )
    return bins


def mean(values: Sequence[float]) -> float:
    """The mean; of nothing 0."""
    return round(sum(values) / len(values), 4) if values else 0.0
