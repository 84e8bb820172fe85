"""Failure modes: in which ways the calls of one turn differ from the right ones.

What was emitted is held against gold by one optimal matching (`finetune.matching`). A case may show several modes; none
of them means that it is right. `DEFINITIONS` says what each one is, and `docs/finetuning.md` says it again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from jsonschema_rs import is_valid

from finetune.gold import Gold, GoldCall, call_meant
from finetune.matching import Matching, Pair, argument_faults, is_right, match
from grammars.tools import ErrorKind, Tool, ToolCall

Mode = Literal[
    "under_emission",
    "over_emission",
    "duplicate",
    "wrong_tool",
    "missing_argument",
    "extra_argument",
    "wrong_argument",
    "argument_bleed",
    "dependency_violation",
    "invalid_json",
    "call_where_none_is_due",
    "no_call_where_one_is_due",
    "truncation",
]

MODES: tuple[Mode, ...] = get_args(Mode)

DEFINITIONS: dict[Mode, str] = {
    "under_emission": "Calls were made, but a call that is due has none that stands for it, finished or failed",
    "over_emission": "Calls are due, and one was made that stands for none of them and repeats none",
    "duplicate": "A call says the same as an earlier one, and more often than gold asks for it",
    "wrong_tool": "A call stands for one of another tool; where any call is right, its tool was not offered",
    "missing_argument": "A call lacks an argument that is neither optional nor at its schema's default",
    "extra_argument": "A call has an argument that gold lacks, other than its schema's default",
    "wrong_argument": "An argument has a value that gold does not accept",
    "argument_bleed": "A wrong or extra argument has the value of a sibling: of the same argument there, or, if it is "
    "text, of any. Counts in place of the other two; true, false and null are never bleed",
    "dependency_violation": "A call that needs another's result was made without it: with anything but a reference to "
    "the call that stands for the other",
    "invalid_json": "The arguments of a call are no JSON, or break its tool's schema and are not what gold asks for",
    "call_where_none_is_due": "A call was made, and gold has none",
    "no_call_where_one_is_due": "Gold has calls, and none was made or begun",
    "truncation": "A limit cut a call, or the stream that wrote the calls",
}


@dataclass(frozen=True, kw_only=True)
class FailedCall:
    """A call that was begun and could not be finished: its tool, and what was wrong with it."""

    tool: str
    kind: ErrorKind


@dataclass(frozen=True, kw_only=True)
class Emission:
    """What a model made of one turn. `is_cut`: a limit ended the stream that wrote the calls."""

    calls: tuple[ToolCall, ...] = ()
    failed: tuple[FailedCall, ...] = ()
    is_cut: bool = False


def find_failures(gold: Gold, emission: Emission, tools: Sequence[Tool]) -> Counter[Mode]:
    """How often each mode occurs in one case; modes that do not occur are left out. Empty: the case is right.

    `tools` are those that were offered.
    """
    found: Counter[Mode] = Counter()
    distinct = without_duplicates(emission.calls, gold)
    cut = sum(failed.kind == "truncated" for failed in emission.failed)
    found["duplicate"] = len(emission.calls) - len(distinct)
    found["truncation"] = max(cut, emission.is_cut)
    found["invalid_json"] = len(emission.failed) - cut + count_invalid(emission.calls, gold, tools)
    if gold.any_call or gold.due:
        if not emission.calls and not emission.failed:
            found["no_call_where_one_is_due"] = 1
        elif gold.any_call:
            offered = {tool.name for tool in tools}
            found["wrong_tool"] = sum(call.name not in offered for call in distinct)
        else:
            found += compare(gold, distinct, emission.failed)
    else:
        found["call_where_none_is_due"] = len(distinct)
    return +found


def without_duplicates(calls: Sequence[ToolCall], gold: Gold) -> list[ToolCall]:
    """The calls, each as often as gold accepts it, and once if it does not."""
    kept: list[ToolCall] = []
    for call in calls:
        accepted = sum(is_right(one, call) for one in gold.calls)
        if sum(call.same_as(other) for other in kept) < max(1, accepted):
            kept.append(call)
    return kept


def count_invalid(calls: Sequence[ToolCall], gold: Gold, tools: Sequence[Tool]) -> int:
    """How many calls break their tool's schema and are not what gold asks for all the same."""
    schemas = {tool.name: dict(tool.parameters) for tool in tools}
    return sum(
        call.name in schemas
        and not is_valid(schemas[call.name], dict(call.arguments))
        and not any(is_right(one, call) for one in gold.calls)
        and not any(call_meant(value) for value in call.arguments.values())
        for call in calls
    )


def compare(gold: Gold, calls: Sequence[ToolCall], failed: Sequence[FailedCall]) -> Counter[Mode]:
    """The modes that show only beside gold, where calls are due."""
    found: Counter[Mode] = Counter()
    matching = match(gold.calls, calls)
    unanswered = sum(one.is_due for one in matching.gold_left)
    found["under_emission"] = max(0, unanswered - len(failed))
    found["over_emission"] = len(matching.calls_left)
    for pair in matching.pairs:
        if not pair.same_tool:
            found["wrong_tool"] += 1
            continue
        if violates_dependency(pair, matching):
            found["dependency_violation"] += 1
        siblings = [one for one in gold.due if one is not pair.gold]
        for fault, name in argument_faults(pair.gold, pair.call):
            argument = pair.gold.arguments.get(name)
            if argument is not None and argument.needs is not None:
                continue  # the violation says so already
            if fault != "missing" and bleeds(name, pair.call.arguments[name], pair.gold, siblings):
                found["argument_bleed"] += 1
            elif fault == "missing":
                found["missing_argument"] += 1
            elif fault == "extra":
                found["extra_argument"] += 1
            else:
                found["wrong_argument"] += 1
    return found


def violates_dependency(pair: Pair, matching: Matching) -> bool:
    """Whether an argument that takes another call's result is no reference to the call that stands for that one."""
    standing_for = {other.call.id: other.gold.id for other in matching.pairs if other.same_tool}
    return any(
        standing_for.get(call_meant(pair.call.arguments.get(name)) or "") != argument.needs
        for name, argument in pair.gold.arguments.items()
        if argument.needs is not None
    )


def bleeds(name: str, value: Any, own: GoldCall, siblings: Sequence[GoldCall]) -> bool:
    """Whether a value that is wrong here is right for a sibling."""
    if value is None or isinstance(value, bool) or value == "":
        return False
    return any(
        argument.accepts(value)
        for sibling in siblings
        for other, argument in sibling.arguments.items()
        if (sibling.tool == own.tool and other == name) or isinstance(value, str)
    )
