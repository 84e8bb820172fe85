"""Spoken calls: one call and the request that asks for it, with the places in the text where its values stand.

Values that stand there word for word can be exchanged for others in request and call alike; from that all forms of
asking for several calls are made.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from finetune.composed.values import Values, is_plain, properties
from finetune.readers.example import Example
from grammars.tools import Tool, json_text

QUOTES = {'"': '"', "'": "'", "“": "”"}


@dataclass(frozen=True, kw_only=True)
class Slot:
    """Where a value stands in a text, with the quotation marks around it if it has some."""

    begin: int
    end: int
    quotes: tuple[str, str] = ("", "")

    def written(self, value: Any) -> str:
        """Another value as it stands there."""
        return f"{self.quotes[0]}{said(value)}{self.quotes[1]}"


@dataclass(frozen=True, kw_only=True)
class Spoken:
    """A request that asks for one call. `slots` are the arguments whose values can be exchanged."""

    tool: Tool
    text: str
    arguments: Mapping[str, Any]
    slots: Mapping[str, Slot]

    def saying(self, words: Mapping[str, str]) -> str:
        """The text with these words where the values of some slots stand."""
        text = self.text
        for name, slot in sorted(self.slots.items(), key=lambda item: -item[1].begin):
            if name in words:
                text = text[: slot.begin] + words[name] + text[slot.end :]
        return text

    def with_values(self, values: Mapping[str, Any]) -> str:
        """The text with other values."""
        return self.saying({name: self.slots[name].written(value) for name, value in values.items()})


def said(value: Any) -> str:
    """A value as it stands in a sentence."""
    return value if isinstance(value, str) else json_text(value)


def spoken(example: Example) -> Spoken | None:
    """The example as a request for one call, if it is one: a single message that asks for a single call."""
    if len(example.calls) != 1 or len(example.conversation.messages) != 1 or "\n" in example.request:
        return None
    [call] = example.calls
    tool = next(tool for tool in example.conversation.tools if tool.name == call.name)
    return Spoken(
        tool=tool, text=example.request, arguments=call.arguments, slots=slots_of(example.request, call.arguments)
    )


def slots_of(text: str, arguments: Mapping[str, Any]) -> dict[str, Slot]:
    """Where the values stand that stand in the text exactly once, and apart from one another."""
    found: dict[str, Slot] = {}
    for name, value in arguments.items():
        if isinstance(value, bool) or not isinstance(value, str | int | float) or not is_plain(said(value)):
            continue
        places = list(re.finditer(rf"(?<![\w.]){re.escape(said(value))}(?!\w|[.,]\d)", text))
        if len(places) == 1:
            begin, end = places[0].span()
            mark = text[begin - 1 : begin]
            if mark and QUOTES.get(mark) == text[end : end + 1]:
                found[name] = Slot(begin=begin - 1, end=end + 1, quotes=(mark, QUOTES[mark]))
            else:
                found[name] = Slot(begin=begin, end=end)
    spans = list(found.values())
    return {
        name: slot
        for name, slot in found.items()
        if all(other is slot or other.end <= slot.begin or slot.end <= other.begin for other in spans)
    }


OPENINGS = ["", "", "", "", "Please ", "Could you ", "I need you to ", "I want to ", "Can you "]
JOINTS = [
    ("with", "{name} {value}"),
    ("for", "{name} {value}"),
    (":", "{name} {value}"),
    (":", "{name} = {value}"),
    ("where", "the {name} is {value}"),
    ("using", "{value} as the {name}"),
]


def spoken_of(tool: Tool, values: Values, random: Random) -> Spoken | None:
    """A request for a call of the tool in the words of its own schema; `None` where it has a parameter of which no
    value is known. Not every optional argument is asked for.
    """
    required = set(tool.parameters.get("required", ()))
    names = [name for name in properties(tool) if name in required or random.random() < 0.3]
    arguments = {name: values.any(tool, name, random) for name in names}
    if not arguments or any(value is None for value in arguments.values()):
        return None
    task = tool.description.strip().rstrip(".")
    if not task or "." in task or len(task) > 120:
        return None
    opening = random.choice(OPENINGS)
    end = "?" if opening in ("Could you ", "Can you ") else "."
    joint, phrase = random.choice(JOINTS)
    mark = random.choice(["", "'", '"'])
    phrases = []
    for name, value in arguments.items():
        quote = mark if isinstance(value, str) else ""
        phrases.append(phrase.format(name=in_words(name), value=f"{quote}{said(value)}{quote}"))
    task = task if not opening else task[0].lower() + task[1:]
    text = f"{opening}{task}{joint if joint == ':' else ' ' + joint} {listed(phrases)}{end}"
    return Spoken(tool=tool, text=text, arguments=arguments, slots=slots_of(text, arguments))


def in_words(name: str) -> str:
    """A parameter's name as one would say it: `cityName` and `city_name` as `city name`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).replace("_", " ").lower()


def listed(words: list[str]) -> str:
    """`a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
