"""Other numbers: a finding once more, with numbers that nobody would expect there, so that they must be copied."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

from finetune.readers.example import Example
from finetune.said_values import as_json, comparable, mentions, scalars
from grammars.findings import known_texts
from grammars.tools import json_text

NEGATIVE = 0.3
"""The share of numbers that get a minus sign."""

DRAWS = 9
"""How often a value is drawn that must not be one of the result's own."""

CLOCK = re.compile(r"\d\d:\d\d")


def with_other_numbers(finding: Example, random: Random) -> Example | None:
    """The finding with other numbers and clock times in its result, and in its text, or None where there is none that
    both say once, word for word, and that the question and the call do not say.

    A number keeps how many digits stand before its point, and whether any stand after it; it may get, or lose, a minus
    sign.
    """
    *before, result = finding.conversation.messages
    value = as_json(result.text)
    taken = comparable("\n".join(known_texts(replace(finding.conversation, messages=tuple(before)))))
    said = list(scalars(value))
    changed: dict[str, Any] = {}
    places: list[tuple[int, int, str]] = []
    for index, old in enumerate(said):
        place = written_once(json_text(old).strip('"'), finding.text)
        others = [comparable(other) for other in (*said[:index], *said[index + 1 :])]
        if place is None or mentions("\n".join([taken, *others]), [comparable(old)]):
            continue
        draws = (other_value(old, random) for _ in range(DRAWS))
        new = next((drawn for drawn in draws if drawn not in (*said, *changed.values())), None)
        if new is None:
            continue
        changed[json_text(old)] = new
        places.append((*place, json_text(new).strip('"')))
    if not changed:
        return None
    text = finding.text
    for begin, end, new_text in sorted(places, reverse=True):
        text = text[:begin] + new_text + text[end:]
    value = with_values(value, lambda old: changed.get(json_text(old), old))
    told = replace(result, text=value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    conversation = replace(finding.conversation, messages=(*before, told))
    return replace(finding, id=f"{finding.id}-other", conversation=conversation, text=text)


def written_once(value: str, text: str) -> tuple[int, int] | None:
    """Where the text has this number or time, if it has it in one place."""
    found = list(re.finditer(rf"(?<![\w.:,/-]){re.escape(value)}(?![\w:/-]|[.,]\d)", text))
    return found[0].span() if len(found) == 1 else None


def other_value(old: Any, random: Random) -> Any:
    """Another of its form, or None for what is neither number nor clock time."""
    if isinstance(old, str):
        return f"{random.randrange(24):02}:{random.randrange(60):02}" if CLOCK.fullmatch(old) else None
    sign = -1 if random.random() < NEGATIVE else 1
    whole, _, fraction = json_text(abs(old)).partition(".")
    if not (whole + fraction).isdigit():
        return None  # as 1e-9 is written
    digits = str(random.randint(10 ** (len(whole) - 1), 10 ** len(whole) - 1))
    if isinstance(old, int):
        return sign * int(digits)
    return sign * float(f"{digits}.{''.join(random.choice('0123456789') for _ in fraction)}")


def with_values(value: Any, change: Callable[[Any], Any]) -> Any:
    """The same JSON with its texts and numbers changed."""
    if isinstance(value, dict):
        return {name: with_values(member, change) for name, member in value.items()}
    if isinstance(value, list):
        return [with_values(member, change) for member in value]
    return value if value is None or isinstance(value, bool) else change(value)
