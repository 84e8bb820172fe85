"""Counts: how often each tool is called, as the caller's bounds and the model's likelihoods have it.

A tally writes one digit a tool, each stream for itself, so no grammar can see to it that the digits come to a sum. What
the caller asks of the sum is seen to here, by the likelihoods that the streams tell beside their digits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy
from numpy.typing import NDArray

from grammars.conversation import Conversation

MOST_TALLIED = 9
"""The most calls of one tool that a tally can say: it is one digit."""

COUNTS = range(MOST_TALLIED + 1)

LEAST_LIKELY = 1e-12
"""What a count is taken for that is less likely than this, or of which nothing is told."""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How often each of the tools is called, and how likely the least likely of these numbers is, given the bounds."""

    of_tools: tuple[int, ...]
    probability: float


def fixed_calls(conversation: Conversation) -> tuple[str, ...] | None:
    """The tools of the calls, in the order of these, where the caller leaves no choice; else None."""
    choice = conversation.choice
    if choice.exact is not None:
        return choice.exact
    if len(conversation.callable_tools) == 1 and choice.least == choice.most:
        return (conversation.callable_tools[0].name,) * choice.least
    return None


def can_be_tallied(conversation: Conversation) -> bool:
    """Whether digits, one for each tool, can come to what the caller asks for."""
    fixed = fixed_calls(conversation)
    if fixed is not None:
        return max(Counter(fixed).values()) <= MOST_TALLIED
    return conversation.choice.least <= MOST_TALLIED * len(conversation.callable_tools)


def counts_within(least: int, most: int, written: Sequence[int], likelihoods: Sequence[Mapping[int, float]]) -> Counts:
    """The written counts if they come to at least `least` and at most `most` together, else the likeliest that do.

    `likelihoods` has a probability for each count that a tool may have, from 0 to `MOST_TALLIED`; what is missing is
    as good as impossible. Tools count independently of each other but for the bounds: given these, the probability of
    one tool's count is its own times that of all the others' sums that go with it. Needs `can_be_tallied`.
    """
    tools = [numpy.array([max(told.get(count, 0.0), LEAST_LIKELY) for count in COUNTS]) for told in likelihoods]
    of_tools = tuple(written) if least <= sum(written) <= most else likeliest(least, most, written, tools)
    of_no_tools = numpy.ones(1)
    before, after = [of_no_tools], [of_no_tools]
    for tool in tools:
        before.append(numpy.convolve(before[-1], tool))
    for tool in reversed(tools):
        after.append(numpy.convolve(after[-1], tool))
    after.reverse()
    together = before[-1][least : most + 1].sum()

    def probability(place: int, count: int) -> float:
        others = numpy.convolve(before[place], after[place + 1])
        fitting = others[max(0, least - count) : max(0, most - count + 1)].sum()
        return float(tools[place][count] * fitting / together)

    return Counts(of_tools=of_tools, probability=min(probability(place, count) for place, count in enumerate(of_tools)))


def likeliest(
    least: int, most: int, written: Sequence[int], tools: Sequence[NDArray[numpy.float64]]
) -> tuple[int, ...]:
    """The counts with the greatest product of probabilities among those with such a sum; of equals, those nearest to
    the written ones.
    """
    best: dict[int, tuple[float, int, tuple[int, ...]]] = {0: (0.0, 0, ())}
    for tool, said in zip(numpy.log(numpy.array(tools)), written, strict=True):
        longer: dict[int, tuple[float, int, tuple[int, ...]]] = {}
        for total, (likely, nearness, counts) in best.items():
            for count in COUNTS[: max(0, most - total + 1)]:
                # rounded, since equal probabilities that are added up in another order are still equal
                found = (round(likely + float(tool[count]), 9), nearness - abs(count - said), (*counts, count))
                longer[total + count] = max(found, longer.get(total + count, found))
        best = longer
    return max(found for total, found in best.items() if total >= least)[2]
