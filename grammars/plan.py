"""Plan: which tools to call, how often, and what each call is about; and the outline, the short text that says so.

An outline is one line for each call, a tool's name and a subject: the few words that tell this call from its siblings.

    get_weather: Paris
    get_weather: Oslo
    exchange_rate: EUR to USD
    end

It is written by one stream inside a grammar: only names of tools, as many lines as the caller allows, no line without
a subject. The names cost next to nothing where forced text is skipped, for a name is decided by its first token.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from outlines.types import Regex, either
from outlines.types.dsl import QuantifyBetween, Sequence, Term, to_regex

from grammars import worked_example
from grammars.constraint import Constraint
from grammars.conversation import Conversation

END = "end"
"""The last line of an outline; all of it where no tool is needed."""

SUBJECT_CHARACTERS = 64
"""The longest subject: a few words. What tells siblings apart is short; the request itself has the details."""

RULES = """\
When the request needs tools, begin with an outline: one line for each call, in the order of the request, with the \
tool's name, a colon, and the few words of the request that tell this call from the others; then a last line "end". \
A tool that is needed for several things gets a line for each of them. Leave out tools that the request does not need; \
where it needs none, write only "end". After the outline write the calls."""

OUTLINE = "".join(f"{call.name}: {call.subject}\n" for call in worked_example.CALLS) + END

INSTRUCTIONS = f"""\
{RULES}

For example, with the tools {worked_example.TOOLS}, the outline for "{worked_example.REQUEST}" is:
{OUTLINE}"""
"""How a model is asked for an outline: with one worked example."""


@dataclass(frozen=True, kw_only=True)
class PlannedCall:
    """One call to be written: its tool, what it is about, and its place among the plan's lines, repeats counted."""

    tool: str
    subject: str
    place: int = field(default=0, compare=False)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The calls of one round, in the order of the request. Empty: the model answers in text."""

    calls: tuple[PlannedCall, ...] = ()


def outline_constraint(conversation: Conversation, aliases: Mapping[str, str] | None = None) -> Constraint:
    """The outlines that this conversation allows, with names, or with the `aliases` that stand for them."""
    choice = conversation.choice
    written = aliases or {tool.name: tool.name for tool in conversation.tools}
    # Words only: a model that begins to write the arguments themselves would be cut off in the middle of them.
    subject = Regex(rf'[^\s:{{}}\[\]"][^\n{{}}\[\]"]{{0,{SUBJECT_CHARACTERS - 1}}}')
    newline = Regex(r"\n")

    def line(*names: str) -> Term:
        return Sequence([either(*(Regex(re.escape(written[name])) for name in names)), Regex(": "), subject, newline])

    if choice.exact is not None:
        lines = [line(name) for name in choice.exact]
    else:
        names = [tool.name for tool in conversation.callable_tools]
        lines = [QuantifyBetween(line(*names), choice.least, choice.most)]
    return Constraint.regex(to_regex(Sequence([*lines, Regex(END)])), pauses="\n")


def read_outline(text: str, *, least: int = 0, most: int | None = None) -> Plan:
    """The plan that an outline says; with the `most` calls that it may come to, what an unfinished one says so far.

    Lines that say the same as an earlier one are left out, see `without_repeats`.
    """
    calls = []
    for place, written in enumerate(text.split("\n")[:-1]):
        name, _, subject = written.partition(": ")
        calls.append(PlannedCall(tool=name, subject=subject.strip(" "), place=place))
    return without_repeats(calls, least=least, most=most)


def without_repeats(calls: list[PlannedCall], *, least: int, most: int | None = None) -> Plan:
    """The plan of these calls without those that say the same as an earlier one, the later ones first, down to `least`.

    While calls may follow, up to `most` in all, only those repeats are taken that are needed even if all that follow
    are new. So every call of what is read early is also one of the finished plan.
    """
    repeats = [call for index, call in enumerate(calls) if call in calls[:index]]
    sure = least if most is None else least - (most - len(calls))
    removed = {call.place for call in repeats[max(0, len(repeats) - (len(calls) - sure)) :]}
    return Plan(calls=tuple(call for call in calls if call.place not in removed))


def outline_text(plan: Plan) -> str:
    """The outline that says this plan."""
    return "".join(f"{call.tool}: {call.subject}\n" for call in plan.calls) + END
