"""The plans of models that were trained for them: a tally, or an outline, each opened by its mark.

Nothing is said of plans in the prompt: what a stream is for is told by the token that opens it. So the same prompt
serves every form, and training and serving cannot drift apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from grammars.constraint import Constraint
from grammars.conversation import Conversation
from grammars.errors import ConfigurationError
from grammars.marks import Marks
from grammars.plan import Plan, PlannedCall, outline_constraint, read_outline
from grammars.plan_forms import PlanStream, placed

MOST_TALLIED = 9
"""The most calls of one tool that a tally can say: it is one digit."""


@dataclass(frozen=True, kw_only=True)
class MarkedOutline:
    """One stream: the outline of names and subjects."""

    marks: Marks
    name: str = "outline"

    def instructions(self, conversation: Conversation) -> str:
        return ""

    def streams(self, conversation: Conversation) -> list[PlanStream]:
        return [PlanStream(opening=self.marks.outline, constraint=outline_constraint(conversation))]

    def begun(self, texts: Sequence[str], conversation: Conversation) -> Plan:
        choice = conversation.choice
        return read_outline(texts[0], least=choice.least, most=choice.most)

    def read(self, texts: Sequence[str], conversation: Conversation) -> Plan:
        return read_outline(texts[0], least=conversation.choice.least)


@dataclass(frozen=True, kw_only=True)
class MarkedTally:
    """One stream a tool, all at once, one step each: how many calls does it get? The calls then go by ordinals."""

    marks: Marks
    name: str = "tally"

    def instructions(self, conversation: Conversation) -> str:
        return ""

    def streams(self, conversation: Conversation) -> list[PlanStream]:
        most = min(MOST_TALLIED, conversation.choice.most)
        digits = Constraint.choice([str(count) for count in range(most + 1)])
        return [
            PlanStream(opening=tally_opening(tool.name, self.marks), constraint=digits)
            for tool in conversation.callable_tools
        ]

    def begun(self, texts: Sequence[str], conversation: Conversation) -> Plan:
        return Plan()

    def read(self, texts: Sequence[str], conversation: Conversation) -> Plan:
        counts = Counter({tool.name: int(text) for tool, text in zip(conversation.callable_tools, texts, strict=True)})
        calls = [
            PlannedCall(tool=name, subject=ordinal(number, count))
            for name, count in counts.items()
            for number in range(1, count + 1)
        ]
        return placed(calls[: conversation.choice.most])


def tally_opening(name: str, marks: Marks) -> str:
    """What a tool's tally stands on."""
    return f"{marks.tally}{name}:"


def ordinal(number: int, count: int) -> str:
    """The subject of a call that is known by its number only."""
    return f"{number} of {count}"


def marked_form(name: str, marks: Marks) -> MarkedOutline | MarkedTally:
    """The form of this name for a trained model, or a `ConfigurationError` that lists those there are."""
    forms = {form.name: form for form in (MarkedTally(marks=marks), MarkedOutline(marks=marks))}
    if name not in forms:
        raise ConfigurationError(f"a trained model has no form of plan {name!r}; there are {', '.join(forms)}")
    return forms[name]
