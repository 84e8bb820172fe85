"""Said values: which values of a result a text says, whatever words stand around them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

NUMBER = re.compile(r"(?<![\w.])-?\d+(?:,\d{3})*(?:\.\d+)?(?!\d)")
"""A number, as in 1,250.5 or 7km; not the digits of a word that begins with letters, such as a name's."""


def values_of(result: str) -> list[str]:
    """What a result says, each once, as it is looked for in a text."""
    return [value for value in dict.fromkeys(map(comparable, scalars(as_json(result)))) if value]


def mentions(text: str, values: Sequence[str]) -> list[str]:
    """Which of the values the text says, in its order, as often as it does; of two in one place the longer."""
    text = comparable(text)
    found: list[tuple[int, int, str]] = []
    for value in sorted(values, key=len, reverse=True):
        end_of_value = r"(?!\d|[.:]\d)" if value[-1].isdigit() else r"(?!\w)"
        for match in re.finditer(rf"(?<![\w.-]){re.escape(value)}{end_of_value}", text):
            if all(match.end() <= begin or match.start() >= end for begin, end, _ in found):
                found.append((match.start(), match.end(), value))
    return [value for _, _, value in sorted(found)]


def comparable(value: Any) -> str:
    """A value, or a text, in the one form in which they are compared: no case, no commas between thousands, no signs
    of typography, whole numbers without a fraction.
    """
    text = value if isinstance(value, str) else json.dumps(value)
    text = " ".join(text.casefold().replace("\N{MINUS SIGN}", "-").split())
    return NUMBER.sub(lambda match: plain_number(match.group()), text)


def plain_number(text: str) -> str:
    text = text.replace(",", "")
    return text.rstrip("0").rstrip(".") if "." in text else text


def numbers_of(text: str) -> set[str]:
    """The numbers that a text says, without their signs: a dash may stand before one."""
    return {number.lstrip("-") for number in NUMBER.findall(comparable(text))}


def scalars(value: Any) -> Iterator[Any]:
    """Texts and numbers, of whatever depth; truth values and null are said in too many ways to look for."""
    if isinstance(value, dict):
        for member in value.values():
            yield from scalars(member)
    elif isinstance(value, list):
        for member in value:
            yield from scalars(member)
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        yield value


def as_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
