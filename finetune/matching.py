"""Matching: which emitted call stands for which gold call, as one optimal assignment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from networkx import Graph
from networkx.algorithms.matching import max_weight_matching

from finetune.gold import GoldCall, call_meant
from grammars.tools import ToolCall

ArgumentFault = Literal["missing", "extra", "wrong"]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """An emitted call and the gold call that it stands for. Their tools may differ."""

    gold: GoldCall
    call: ToolCall

    @property
    def same_tool(self) -> bool:
        return self.gold.tool == self.call.name


@dataclass(frozen=True, kw_only=True)
class Matching:
    """All pairs, in the order of the emitted calls, and what is left over on both sides."""

    pairs: tuple[Pair, ...]
    gold_left: tuple[GoldCall, ...]
    calls_left: tuple[ToolCall, ...]


def match(gold: Sequence[GoldCall], calls: Sequence[ToolCall]) -> Matching:
    """The assignment that is best, each rule before the next:

    as many pairs of the same tool as there can be; as few faults in their arguments as there can be; as many gold calls
    that are due as there can be, here also with calls of other tools; and those in the same place of both orders.
    """
    # Whole numbers have no bound here: each rule weighs more than all that come after it together.
    size = len(gold) + len(calls) + 1
    due = size * size
    fault = size * (due + size)
    most_faults = sum(len(one.arguments) for one in gold) + sum(len(call.arguments) for call in calls)
    same_tool = size * (most_faults + 1) * fault
    graph: Graph[tuple[str, int]] = Graph()
    for place, one in enumerate(gold):
        for index, call in enumerate(calls):
            weight = one.is_due * due + size - abs(place - index)
            if one.tool == call.name:
                weight += same_tool - fault * len(list(argument_faults(one, call)))
            elif not one.is_due:
                continue
            graph.add_edge(("gold", place), ("call", index), weight=weight)
    found = {}
    for edge in max_weight_matching(graph):
        (_, place), (_, index) = sorted(edge, reverse=True)
        found[index] = place
    return Matching(
        pairs=tuple(Pair(gold=gold[found[index]], call=calls[index]) for index in sorted(found)),
        gold_left=tuple(one for place, one in enumerate(gold) if place not in found.values()),
        calls_left=tuple(call for index, call in enumerate(calls) if index not in found),
    )


def argument_faults(gold: GoldCall, call: ToolCall) -> Iterator[tuple[ArgumentFault, str]]:
    """What is wrong with the arguments of a call that stands for this gold call, by name.

    For an argument that needs another call's result any reference will do here: which call it means takes the whole
    matching to say.
    """
    for name, argument in gold.arguments.items():
        if name not in call.arguments:
            if not argument.optional:
                yield "missing", name
        elif not (argument.accepts(call.arguments[name]) or (argument.needs and call_meant(call.arguments[name]))):
            yield "wrong", name
    for name in call.arguments:
        if name not in gold.arguments:
            yield "extra", name


def is_right(gold: GoldCall, call: ToolCall) -> bool:
    """Whether the call is the one that is due, in every argument."""
    return gold.is_due and gold.tool == call.name and next(argument_faults(gold, call), None) is None
