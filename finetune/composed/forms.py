"""Forms of asking: how people ask for several calls at once, made from a request for one.

Each form is a pure function of a request, other values for its arguments, and chance. It gives the text and the calls
that are right for it, in the order in which the text names them, or `None` where the request does not lend itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from random import Random
from typing import Any

from finetune.composed.spoken import Spoken, in_words, listed
from finetune.composed.values import Values
from grammars.tools import Tool, json_text


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request, the tools that it needs, and the calls that are right for it. A tool of the name `withheld` is none
    that may be offered.
    """

    text: str
    tools: tuple[Tool, ...]
    calls: tuple[tuple[str, Mapping[str, Any]], ...]
    withheld: str | None = None


Form = Callable[[Spoken, Values, int, Random], Asked | None]
"""A form of asking for so many calls of one tool."""


def single(spoken: Spoken) -> Asked:
    """The request as it is."""
    return asked(spoken, spoken.text, [{}])


def in_list(spoken: Spoken, values: Values, count: int, random: Random) -> Asked | None:
    """`the weather in Rome, Oslo and Lima`: siblings differ in one place, all else is said once for all."""
    name, others = varied(spoken, values, count, random)
    if name is None:
        return None
    words = [spoken.slots[name].written(value) for value in others]
    return asked(spoken, spoken.saying({name: listed(words)}), [{name: value} for value in others])


def announced_list(spoken: Spoken, values: Values, count: int, random: Random) -> Asked | None:
    """`... for each of the following: Rome; Oslo; Lima`."""
    name, others = varied(spoken, values, count, random)
    if name is None or spoken.text[spoken.slots[name].begin - 1] != " ":
        return None
    words = [spoken.slots[name].written(value) for value in others]
    opening = random.choice(["each of these", "each of the following", f"each {in_words(name)} of this list"])
    head = spoken.saying({name: opening}).rstrip(".?! ")
    mark = random.choice(["; ", ", "])
    return asked(spoken, f"{head}: {mark.join(words)}.", [{name: value} for value in others])


def afterthought(spoken: Spoken, values: Values, count: int, random: Random) -> Asked | None:
    """`... in Rome. Do the same for Oslo and Lima.`"""
    name, others = varied(spoken, values, count, random)
    if name is None:
        return None
    words = listed([spoken.slots[name].written(value) for value in others[1:]])
    more = random.choice(
        [
            "Do the same for {}.",
            "Then the same for {}.",
            "Oh, and also for {}, please.",
            "I need that for {} as well.",
            "And for {}?",
            "Repeat it with {}.",
            "Likewise for {}.",
        ]
    )
    text = f"{spoken.text.rstrip()} {more.format(words)}"
    return asked(spoken, text, [{}, *({name: value} for value in others[1:])])


def restated(spoken: Spoken, values: Values, count: int, random: Random) -> Asked | None:
    """The whole request again for each call, with some or all values exchanged."""
    changes = several_changes(spoken, values, count, random)
    if changes is None:
        return None
    texts = [spoken.with_values(change) for change in changes]
    if random.random() < 0.3:
        lines = [f"{number}. {text}" for number, text in enumerate(texts, start=1)]
        return asked(spoken, "\n".join(lines), changes)
    return asked(spoken, joined_texts(texts, random), changes)


def respectively(spoken: Spoken, values: Values, count: int, random: Random) -> Asked | None:
    """`from Rome and Oslo to Lima and Kyiv, respectively`: values of two arguments in lists that run side by side."""
    if len(spoken.slots) < 2:
        return None
    one, two = random.sample(sorted(spoken.slots), 2)
    found = {name: other_values(spoken, values, name, count, random) for name in (one, two)}
    if any(len(its) < count for its in found.values()):
        return None
    words = {name: listed([spoken.slots[name].written(value) for value in its]) for name, its in found.items()}
    text = spoken.saying(words)
    body = text.rstrip(".?! ")
    text = f"{body}, respectively{text[len(body) :]}"
    return asked(spoken, text, [{one: found[one][place], two: found[two][place]} for place in range(count)])


def crossed(spoken: Spoken, values: Values, count: int, random: Random) -> Asked | None:
    """Every value of one argument with every value of another: twice two or twice three calls."""
    if count not in (4, 6) or len(spoken.slots) < 2:
        return None
    one, two = sorted(random.sample(sorted(spoken.slots), 2), key=lambda name: spoken.slots[name].begin)
    found = {
        one: other_values(spoken, values, one, 2, random),
        two: other_values(spoken, values, two, count // 2, random),
    }
    if len(found[one]) < 2 or len(found[two]) < count // 2:
        return None
    words = {name: listed([spoken.slots[name].written(value) for value in its]) for name, its in found.items()}
    more = random.choice([" Do it for every combination.", " I want all the combinations.", " Try each with each."])
    changes = [{one: first, two: second} for first, second in product(found[one], found[two])]
    return asked(spoken, spoken.saying(words).rstrip() + more, changes)


REPEATED: tuple[Form, ...] = (in_list, in_list, announced_list, afterthought, restated, restated, respectively, crossed)
"""The forms that ask for several calls of one tool; those that people use most stand here twice."""


def together(parts: Sequence[Asked], random: Random) -> Asked:
    """Several requests as one. Their tools differ in their names."""
    return Asked(
        text=joined_texts([part.text for part in parts], random),
        tools=tuple(tool for part in parts for tool in part.tools),
        calls=tuple(call for part in parts for call in part.calls),
    )


def joined_texts(texts: Sequence[str], random: Random) -> str:
    """Sentences one after another, with the words that people put between them."""
    said = [texts[0]]
    joint = random.random() < 0.7
    for place, text in enumerate(texts[1:], start=2):
        words = ["Also,", "And", "Then", "Additionally,", "After that,", "I also need this:", "Next,", "Plus,"]
        word = random.choice([*words, "Finally,"] if place == len(texts) else words)
        said.append(f"{word} {lower_first(text)}" if joint else text)
    return " ".join(text if text.rstrip()[-1:] in set('.?!:"') else f"{text.rstrip()}." for text in said)


def lower_first(text: str) -> str:
    """Without the capital of a sentence, unless the word is written in capitals or is `I`."""
    if len(text) < 2 or text[1].isupper() or text[1] in " '.":
        return text
    return text[0].lower() + text[1:]


def asked(spoken: Spoken, text: str, changes: Sequence[Mapping[str, Any]]) -> Asked:
    """The text with a call for each of the changes to the request's own arguments."""
    calls = tuple((spoken.tool.name, {**spoken.arguments, **change}) for change in changes)
    return Asked(text=text, tools=(spoken.tool,), calls=calls)


def varied(spoken: Spoken, values: Values, count: int, random: Random) -> tuple[str | None, list[Any]]:
    """An argument that can be exchanged, and so many values for it, its own first."""
    for name in random.sample(sorted(spoken.slots), len(spoken.slots)):
        found = other_values(spoken, values, name, count, random)
        if len(found) == count:
            return name, found
    return None, []


def other_values(spoken: Spoken, values: Values, name: str, count: int, random: Random) -> list[Any]:
    """At most so many values of an argument, its own first, no two of which read the same."""
    found = {json_text(spoken.arguments[name]).casefold(): spoken.arguments[name]}
    for _ in range(4 * count):
        if len(found) == count:
            break
        other = values.other(spoken.tool, name, spoken.arguments[name], random)
        if other is None:
            break
        found.setdefault(json_text(other).casefold(), other)
    return list(found.values())


def several_changes(spoken: Spoken, values: Values, count: int, random: Random) -> list[Mapping[str, Any]] | None:
    """So many sets of values, no two alike, the first the request's own; one argument changes in all of them."""
    name, others = varied(spoken, values, count, random)
    if name is None:
        return None
    changes: list[Mapping[str, Any]] = [{}]
    for value in others[1:]:
        change = {name: value}
        for beside in sorted(spoken.slots.keys() - {name}):
            other = values.other(spoken.tool, beside, spoken.arguments[beside], random)
            if other is not None and random.random() < 0.6:
                change[beside] = other
        changes.append(change)
    return changes
