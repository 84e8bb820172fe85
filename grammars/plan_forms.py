"""The forms that a plan can take. Each says how a model is asked, what it may write, and how that reads as a Plan.

`joint` is the one that polycall uses; the others are there to be compared with it, and because a model may be trained
for another. `docs/decoding.md` says which of them have been measured.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from grammars import worked_example
from grammars.constraint import Constraint
from grammars.conversation import Conversation
from grammars.counts import MOST_TALLIED, fixed_calls
from grammars.errors import ConfigurationError
from grammars.plan import (
    INSTRUCTIONS,
    RULES,
    SUBJECT_CHARACTERS,
    Plan,
    PlannedCall,
    outline_constraint,
    read_outline,
    without_repeats,
)
from grammars.tools import Tool, json_text

ARRAY_INSTRUCTIONS = (
    """\
When the request needs tools, begin with an outline: a list of the calls that it needs, in the order of the request, \
each with the tool's name and the few words of the request that tell this call from the others. A tool that is needed \
for several things gets a call for each of them. Leave out tools that the request does not need; where it needs none, \
write only []. After the outline write the calls.

For example, with the tools {tools}, the outline for "{request}" is:
[{calls}]""".replace("{tools}", worked_example.TOOLS)
    .replace("{request}", worked_example.REQUEST)
    .replace(
        "{calls}",
        ", ".join(json_text({"name": call.name, "request": call.subject}) for call in worked_example.CALLS),
    )
)


@dataclass(frozen=True, kw_only=True)
class PlanStream:
    """One stream of a plan: the text that it stands on, and what it may write."""

    opening: str = ""
    constraint: Constraint


class PlanForm(Protocol):
    """One form of plans. The instructions join the system message; the streams decode together."""

    @property
    def name(self) -> str: ...

    def instructions(self, conversation: Conversation) -> str: ...

    def streams(self, conversation: Conversation) -> list[PlanStream]: ...

    def begun(self, texts: Sequence[str], conversation: Conversation) -> Plan:
        """What the streams' texts say already while they are written; every call is one of the finished plan, too."""
        ...

    def read(self, texts: Sequence[str], conversation: Conversation) -> Plan:
        """The plan that the streams' texts say, in the streams' order."""
        ...


@dataclass(frozen=True, kw_only=True)
class Joint:
    """One stream: an outline of names and subjects in the order of the request. `opening` is what it stands on."""

    name: str
    asked: str
    opening: str = ""

    def instructions(self, conversation: Conversation) -> str:
        return self.asked

    def streams(self, conversation: Conversation) -> list[PlanStream]:
        return [PlanStream(opening=self.opening, constraint=outline_constraint(conversation))]

    def begun(self, texts: Sequence[str], conversation: Conversation) -> Plan:
        choice = conversation.choice
        return read_outline(texts[0], least=choice.least, most=choice.most)

    def read(self, texts: Sequence[str], conversation: Conversation) -> Plan:
        return read_outline(texts[0], least=conversation.choice.least)


@dataclass(frozen=True, kw_only=True)
class Aliases:
    """The joint outline with a letter in place of each name: fewer tokens where forced text is not skipped."""

    name: str = "alias"

    def instructions(self, conversation: Conversation) -> str:
        listed = "\n".join(f"{alias} = {tool.name}" for alias, tool in lettered(conversation))
        asked = INSTRUCTIONS.replace("the tool's name", "the tool's letter")
        asked = asked.replace("the tools add and greet", "the tools a = add and b = greet")
        asked = asked.replace("\nadd: ", "\na: ").replace("\ngreet: ", "\nb: ")
        return f"{asked}\n\nThe letters of your tools:\n{listed}"

    def streams(self, conversation: Conversation) -> list[PlanStream]:
        letters = {tool.name: alias for alias, tool in lettered(conversation)}
        return [PlanStream(constraint=outline_constraint(conversation, letters))]

    def begun(self, texts: Sequence[str], conversation: Conversation) -> Plan:
        choice = conversation.choice
        return named(read_outline(texts[0], least=choice.least, most=choice.most), conversation)

    def read(self, texts: Sequence[str], conversation: Conversation) -> Plan:
        return named(read_outline(texts[0], least=conversation.choice.least), conversation)


@dataclass(frozen=True, kw_only=True)
class Array:
    """One stream: the same outline as a JSON array of calls that have a request in the place of their arguments."""

    name: str = "array"

    def instructions(self, conversation: Conversation) -> str:
        return ARRAY_INSTRUCTIONS

    def streams(self, conversation: Conversation) -> list[PlanStream]:
        choice = conversation.choice
        if choice.exact is not None:
            items = ", ".join(array_item([name]) for name in choice.exact)
        else:
            item = array_item([tool.name for tool in conversation.callable_tools])
            items = f"{item}(, {item}){{{max(choice.least, 1) - 1},{choice.most - 1}}}"
            items = items if choice.least else f"({items})?"
        return [PlanStream(constraint=Constraint.regex(rf"\[{items}\]", pauses='"'))]

    def begun(self, texts: Sequence[str], conversation: Conversation) -> Plan:
        choice = conversation.choice
        return read_array(texts[0], least=choice.least, most=choice.most)

    def read(self, texts: Sequence[str], conversation: Conversation) -> Plan:
        return read_array(texts[0], least=conversation.choice.least)


def array_item(names: Sequence[str]) -> str:
    """A regular expression for one call of the array."""
    subject = rf'[^\s{{}}\[\]"\\][^\n{{}}\[\]"\\]{{0,{SUBJECT_CHARACTERS - 1}}}'
    return rf'\{{"name": "({"|".join(map(re.escape, names))})", "request": "{subject}"\}}'


def read_array(text: str, *, least: int = 0, most: int | None = None) -> Plan:
    """The plan that an array says; with the `most` calls that it may come to, what an unfinished one says so far."""
    found = re.findall(r'\{"name": "([^"]*)", "request": "([^"]*)"\}', text)
    calls = [
        PlannedCall(tool=name, subject=subject.strip(), place=place) for place, (name, subject) in enumerate(found)
    ]
    return without_repeats(calls, least=least, most=most)


@dataclass(frozen=True, kw_only=True)
class Lists:
    """One stream a tool, all at once: a list of the subjects that need it, or "none"."""

    name: str = "lists"

    def instructions(self, conversation: Conversation) -> str:
        return (
            "Before you call a tool, list what the request needs it for: a few words of the request for each call, "
            f'separated by "; ", or "none". For example, for "{worked_example.REQUEST}" '
            "the list of the tool add is: 3 and 4; 5 and 6"
        )

    def streams(self, conversation: Conversation) -> list[PlanStream]:
        subject = r'[^\s;:{}\[\]"][^\n;{}\[\]"]{0,63}'
        most = conversation.choice.most
        constraint = Constraint.regex(rf"(none|{subject}(; {subject}){{0,{most - 1}}})\n", pauses=";\n")
        return [
            PlanStream(opening=f"The list of the tool {tool.name} is: ", constraint=constraint)
            for tool in conversation.callable_tools
        ]

    def begun(self, texts: Sequence[str], conversation: Conversation) -> Plan:
        return Plan()

    def read(self, texts: Sequence[str], conversation: Conversation) -> Plan:
        calls = [
            PlannedCall(tool=tool.name, subject=subject)
            for tool, text in zip(conversation.callable_tools, texts, strict=True)
            if text != "none\n"
            for subject in dict.fromkeys(re.split("; ", text.strip()))
        ]
        return placed(calls[: conversation.choice.most])


@dataclass(frozen=True, kw_only=True)
class Tally:
    """One stream a tool, all at once, one step each: how many calls does it get? The calls then go by ordinals.

    No streams where the caller fixes all counts: there is nothing to plan.

    `opening` is what a tool's stream stands on, with the place `{name}`, and `subject` what a call goes by, with the
    places `{number}` and `{count}`.
    """

    name: str
    asked: str
    opening: str
    subject: str

    def instructions(self, conversation: Conversation) -> str:
        return self.asked

    def streams(self, conversation: Conversation) -> list[PlanStream]:
        if fixed_calls(conversation) is not None:
            return []
        most = min(MOST_TALLIED, conversation.choice.most)
        digits = Constraint.choice([str(count) for count in range(most + 1)])
        return [
            PlanStream(opening=self.opening.format(name=tool.name), constraint=digits)
            for tool in conversation.callable_tools
        ]

    def begun(self, texts: Sequence[str], conversation: Conversation) -> Plan:
        return Plan()

    def read(self, texts: Sequence[str], conversation: Conversation) -> Plan:
        tools = fixed_calls(conversation) or [
            tool.name for tool, text in zip(conversation.callable_tools, texts, strict=True) for _ in range(int(text))
        ]
        counts = Counter(tools)
        calls = [
            PlannedCall(
                tool=name, subject=self.subject.format(number=1 + tools[:place].count(name), count=counts[name])
            )
            for place, name in enumerate(tools)
        ]
        return placed(calls[: conversation.choice.most])


def placed(calls: Sequence[PlannedCall]) -> Plan:
    """The plan of these calls in this order."""
    return Plan(calls=tuple(replace(call, place=place) for place, call in enumerate(calls)))


def lettered(conversation: Conversation) -> list[tuple[str, Tool]]:
    """Each tool with its alias: a, b, ... z, then aa, ab, ..."""
    letters = [chr(ord("a") + index) for index in range(26)]
    aliases = letters + [first + second for first in letters for second in letters]
    return list(zip(aliases, conversation.callable_tools, strict=False))


def named(plan: Plan, conversation: Conversation) -> Plan:
    """A plan that has aliases, with the names for which they stand."""
    names = {alias: tool.name for alias, tool in lettered(conversation)}
    return Plan(calls=tuple(replace(call, tool=names[call.tool]) for call in plan.calls))


JOINT = Joint(name="joint", asked=INSTRUCTIONS)
WITHOUT_EXAMPLE = Joint(name="without-example", asked=RULES)
FIRST_ARGUMENT = Joint(
    name="first-argument",
    asked=INSTRUCTIONS.replace(
        "the few words of the request that tell this call from the others", "the value of the call's first argument"
    )
    .replace("add: 3 and 4", "add: 3")
    .replace("add: 5 and 6", "add: 5"),
)

TALLY = Tally(
    name="tally",
    asked="Before you call tools, count for each tool how many calls of it the request needs, 0 to 9. For example, "
    f'for "{worked_example.REQUEST}" the tool add is needed 2 times.',
    opening="Calls of the tool {name} that are needed:",
    subject="call {number} of {count}",
)

FORMS: dict[str, PlanForm] = {
    form.name: form for form in (JOINT, Array(), WITHOUT_EXAMPLE, FIRST_ARGUMENT, Aliases(), Lists(), TALLY)
}


def form_named(name: str) -> PlanForm:
    """The form of this name, or a `ConfigurationError` that lists those there are."""
    try:
        return FORMS[name]
    except KeyError:
        raise ConfigurationError(f"no form of plan {name!r}; there are {', '.join(FORMS)}") from None
