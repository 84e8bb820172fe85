"""Values: others that an argument could have, for calls that are to differ from one another in a telling way."""

from __future__ import annotations

import re
import string
from collections import defaultdict
from collections.abc import Iterable, Mapping
from random import Random
from typing import Any

from grammars.tools import Tool, ToolCall

DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
CODE = re.compile(r"(?=.*\d)(?=.*[A-Za-z])[A-Za-z0-9_-]{4,}|\d{3,}")
"""What is a name of nobody and nothing: letters with digits among them, or digits alone."""

EXAMPLES = re.compile(r"\((?:e\.g\.|for example|such as|i\.e\.)[,:]?\s*([^()]+)\)|(?:e\.g\.|such as)[,:]?\s*([^().;]+)")
LONGEST = 40
"""No value of more characters is drawn: it would be most of the request."""


class Values:
    """What values arguments have, in calls that were made and in what tools say of their parameters."""

    def __init__(self, tools: Iterable[Tool], calls: Iterable[ToolCall]) -> None:
        self._called: dict[str, set[str]] = defaultdict(set)
        for tool in tools:
            for name, schema in properties(tool).items():
                self._called[key(name)] |= set(named_in(schema))
        for call in calls:
            for name, value in call.arguments.items():
                if isinstance(value, str) and is_plain(value) and is_name(value):
                    self._called[key(name)].add(value)

    def other(self, tool: Tool, name: str, value: Any, random: Random) -> Any:
        """A value that the argument could have in place of this one, of its form; `None` if none is known."""
        if isinstance(value, bool):
            return None
        if isinstance(value, int):
            return random.randint(1, max(12, 3 * abs(value)))
        if isinstance(value, float):
            digits = min(3, len(str(value).partition(".")[2]))
            return round(random.uniform(0.1, max(2.0, 3 * abs(value))), digits)
        return self._other_text(properties(tool).get(name, {}), name, value, random) if isinstance(value, str) else None

    def any(self, tool: Tool, name: str, random: Random) -> Any:
        """A value for an argument of which nothing is known but its tool; `None` if there is none."""
        schema = properties(tool).get(name, {})
        if "enum" in schema:
            return random.choice(schema["enum"])
        kind = schema.get("type")
        if kind == "integer":
            return random.randint(1, random.choice([10, 100, 2000]))
        if kind == "number":
            return round(random.uniform(0.5, random.choice([10, 100, 1000])), random.choice([1, 2]))
        if kind != "string":
            return None
        if re.search(r"id$", key(name)):
            return "".join(random.choices(string.ascii_uppercase, k=3)) + str(random.randint(10, 9999))
        if "date" in key(name):
            return some_date(random)
        known = sorted(set(named_in(schema)) or self._called[key(name)])
        return random.choice(known) if known else None

    def _other_text(self, schema: Mapping[str, Any], name: str, value: str, random: Random) -> str | None:
        if "enum" in schema:
            known = [one for one in schema["enum"] if isinstance(one, str)]
        elif DATE.fullmatch(value):
            return some_date(random)
        elif CODE.fullmatch(value):
            return "".join(like(letter, random) for letter in value)
        else:
            known = sorted({*named_in(schema), *self._called[key(name)]})
        alike = [
            one for one in known if one.casefold() != value.casefold() and one[:1].isupper() == value[:1].isupper()
        ]
        return random.choice(alike) if alike else None


def properties(tool: Tool) -> Mapping[str, Any]:
    found: Mapping[str, Any] = tool.parameters.get("properties", {})
    return found


def key(name: str) -> str:
    """A parameter's name as all spell it: `cityName` as `city_name`."""
    return re.sub(r"[^a-z0-9]", "", name.casefold())


def named_in(schema: Mapping[str, Any]) -> list[str]:
    """The values that a parameter's own description names as examples."""
    if schema.get("type") != "string":
        return []
    match = EXAMPLES.search(str(schema.get("description", "")))
    if match is None:
        return []
    parts = [one.strip(" .'\"") for one in re.split(r",|;| or | and ", match[1] or match[2])]
    return [part for part in parts if is_plain(part) and part != "etc"]


def is_plain(value: str) -> bool:
    """Whether a value can stand in a sentence, and be found there again."""
    return bool(value) and len(value) <= LONGEST and value == value.strip() and not set(value) & set('"\n{}[]')


def is_name(value: str) -> bool:
    """Whether a value may be a name of something: mostly letters, as neither dates nor addresses of machines are."""
    letters = sum(letter.isalpha() or letter == " " for letter in value)
    return 4 * letters >= 3 * len(value) and not CODE.fullmatch(value)


def some_date(random: Random) -> str:
    return f"{random.randint(1990, 2030)}-{random.randint(1, 12):02}-{random.randint(1, 28):02}"


def like(letter: str, random: Random) -> str:
    """Another letter for a letter, another digit for a digit."""
    for kind in (string.ascii_lowercase, string.ascii_uppercase, string.digits):
        if letter in kind:
            return random.choice(kind)
    return letter
