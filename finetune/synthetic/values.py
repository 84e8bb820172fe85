"""Values: what an argument can be, in the words of a request and as JSON.

A kind is written in a few words, so that a catalogue stays readable:

    city                        one of the strings of that pool (`pools.toml`)
    int 2..40 days              a whole number, with its unit in the text; "three days" at times
    num 0.5..20 m               a number, whole or with decimals
    year 1900..2020             a whole number, never written 1,999
    percent 1..15, rate 1..15   "5%", which is 5 for the first and 0.05 for the second
    date, time                  "March 3rd, 2024" for 2024-03-03, "7:30 pm" for 19:30
    enum a|b::in words          one of these strings; after `::` the words for it
    bool words|other words      true in these words, false in the others
    ints 3..6 1..99, nums ...   a list of so many numbers
    words 2..3 city             a list of so many strings of a pool
    point -9..9                 "(3, -4)", a list of two numbers
    size 2..9 m                 "4 m by 6 m", an object with width and height
"""

from __future__ import annotations

import calendar
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from random import Random
from typing import Any

from grammars.errors import ConfigurationError

COUNT_WORDS = dict(enumerate(("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"), start=2))
"""Small numbers of days, people and the like are at times written out."""

MORE_DRAWS = 40
"""How often a value is drawn again to differ from its siblings before the pool is held to be too small."""


@dataclass(frozen=True, kw_only=True)
class Value:
    """What an argument is, as JSON, and the words that say so."""

    text: str
    json: Any


@dataclass(frozen=True, kw_only=True)
class Kind:
    """The values of an argument: the JSON Schema that they fit, and how one is drawn."""

    schema: Mapping[str, Any]
    draw: Callable[[Random], Value]
    converts: bool = False
    """Whether the text and the JSON differ, so that a description must say how."""

    def draw_unlike(self, others: list[Value], random: Random) -> Value | None:
        """A value that is none of `others`, in words or as JSON; None if none was found."""
        for _ in range(MORE_DRAWS):
            value = self.draw(random)
            if all(value.json != other.json and value.text != other.text for other in others):
                return value
        return None


def read_kind(text: str) -> Kind:
    """The kind that these words name, or `ConfigurationError`."""
    head, _, rest = text.partition(" ")
    if head in READERS:
        return READERS[head](rest)
    if text in pools():
        return choice_kind([option(entry) for entry in pools()[text]], {"type": "string"})
    raise ConfigurationError(f"{text!r} is no kind of value, and no pool has that name")


@cache
def pools() -> Mapping[str, list[str]]:
    """The pools of strings by name."""
    return tomllib.loads((files("finetune.synthetic") / "pools.toml").read_text(encoding="utf-8"))


def option(entry: str) -> Value:
    """`"USD::US dollars"` is the string USD, in these words; without `::` the words are the string."""
    value, _, words = entry.partition("::")
    return Value(text=words or value, json=value)


def choice_kind(options: list[Value], schema: Mapping[str, Any]) -> Kind:
    return Kind(
        schema=schema,
        draw=lambda random: random.choice(options),
        converts=any(option.text != option.json for option in options),
    )


def enum_kind(rest: str) -> Kind:
    options = [option(entry) for entry in rest.split("|")]
    return choice_kind(options, {"type": "string", "enum": list(dict.fromkeys(option.json for option in options))})


def bool_kind(rest: str) -> Kind:
    true, _, false = rest.partition("|")
    options = [Value(text=true, json=True)] + ([Value(text=false, json=False)] if false else [])
    return choice_kind(options, {"type": "boolean"})


def whole_kind(rest: str) -> Kind:
    span, _, unit = rest.partition(" ")
    low, high = map(int, span.split(".."))

    def draw(random: Random) -> Value:
        value = whole(low, high, random)
        if unit.isalpha() and len(unit) > 3 and value in COUNT_WORDS and random.random() < 0.15:
            return Value(text=f"{COUNT_WORDS[value]} {unit}", json=value)
        return measured(value, unit)

    return Kind(schema={"type": "integer"}, draw=draw, converts=bool(unit))


def number_kind(rest: str) -> Kind:
    span, _, unit = rest.partition(" ")
    low, high = map(float, span.split(".."))
    return Kind(
        schema={"type": "number"}, draw=lambda random: measured(number(low, high, random), unit), converts=bool(unit)
    )


def year_kind(rest: str) -> Kind:
    low, high = map(int, rest.split(".."))

    def draw(random: Random) -> Value:
        year = random.randint(low, high)
        return Value(text=str(year), json=year)

    return Kind(schema={"type": "integer"}, draw=draw)


def percent_kind(rest: str, *, share: bool) -> Kind:
    low, high = map(float, rest.split(".."))

    def draw(random: Random) -> Value:
        percent = number(low, high, random)
        return Value(text=f"{percent}%", json=round(percent / 100, 6) if share else percent)

    return Kind(schema={"type": "number"}, draw=draw, converts=True)


def date_kind(_: str) -> Kind:
    def draw(random: Random) -> Value:
        year, month, day = random.randint(2022, 2027), random.randint(1, 12), random.randint(1, 28)
        name = calendar.month_name[month]
        text = random.choice([f"{name} {day}, {year}", f"{name} {ordinal(day)}, {year}", f"{day} {name} {year}"])
        iso = f"{year}-{month:02}-{day:02}"
        return Value(text=iso if random.random() < 0.2 else text, json=iso)

    return Kind(schema={"type": "string"}, draw=draw, converts=True)


def time_kind(_: str) -> Kind:
    def draw(random: Random) -> Value:
        hour, minute = random.randint(6, 22), random.choice([0, 0, 15, 30, 45])
        clock = f"{hour:02}:{minute:02}"
        half = "am" if hour < 12 else "pm"
        spoken = f"{(hour - 1) % 12 + 1}{f':{minute:02}' if minute else ''} {half}"
        return Value(text=clock if random.random() < 0.3 else spoken, json=clock)

    return Kind(schema={"type": "string"}, draw=draw, converts=True)


def numbers_kind(rest: str, *, decimals: bool) -> Kind:
    length, span = rest.split(" ")
    shortest, longest = map(int, length.split(".."))
    low, high = map(int, span.split(".."))

    def draw(random: Random) -> Value:
        count = random.randint(shortest, longest)
        listed = [number(low, high, random) if decimals else random.randint(low, high) for _ in range(count)]
        texts = list(map(str, listed))
        return Value(
            text=f"[{', '.join(texts)}]" if random.random() < 0.7 else f"{', '.join(texts[:-1])} and {texts[-1]}",
            json=listed,
        )

    items = {"type": "number" if decimals else "integer"}
    return Kind(schema={"type": "array", "items": items}, draw=draw)


def words_kind(rest: str) -> Kind:
    length, name = rest.split(" ")
    shortest, longest = map(int, length.split(".."))
    options = [option(entry) for entry in pools()[name]]

    def draw(random: Random) -> Value:
        chosen = random.sample(options, random.randint(shortest, longest))
        texts = [option.text for option in chosen]
        text = f"{', '.join(texts[:-1])} and {texts[-1]}" if len(texts) > 1 else texts[0]
        return Value(text=text, json=[option.json for option in chosen])

    return Kind(schema={"type": "array", "items": {"type": "string"}}, draw=draw)


def point_kind(rest: str) -> Kind:
    low, high = map(int, rest.split(".."))

    def draw(random: Random) -> Value:
        point = [random.randint(low, high), random.randint(low, high)]
        return Value(text=f"({point[0]}, {point[1]})", json=point)

    return Kind(schema={"type": "array", "items": {"type": "number"}}, draw=draw)


def size_kind(rest: str) -> Kind:
    side = number_kind(rest)

    def draw(random: Random) -> Value:
        width, height = side.draw(random), side.draw(random)
        return Value(text=f"{width.text} by {height.text}", json={"width": width.json, "height": height.json})

    members = {"width": {"type": "number"}, "height": {"type": "number"}}
    return Kind(
        schema={"type": "object", "properties": members, "required": ["width", "height"]}, draw=draw, converts=True
    )


READERS: Mapping[str, Callable[[str], Kind]] = {
    "enum": enum_kind,
    "bool": bool_kind,
    "int": whole_kind,
    "num": number_kind,
    "year": year_kind,
    "percent": lambda rest: percent_kind(rest, share=False),
    "rate": lambda rest: percent_kind(rest, share=True),
    "date": date_kind,
    "time": time_kind,
    "ints": lambda rest: numbers_kind(rest, decimals=False),
    "nums": lambda rest: numbers_kind(rest, decimals=True),
    "words": words_kind,
    "point": point_kind,
    "size": size_kind,
}


def whole(low: int, high: int, random: Random) -> int:
    """A whole number in the span: of a wide span mostly a round one, as people name them."""
    value = random.randint(low, high)
    if high - low < 300 or random.random() < 0.2:
        return value
    size = int(10 ** max(len(str(abs(value))) - 2, 0))
    return min(max(value // size * size, low), high)


def number(low: float, high: float, random: Random) -> int | float:
    """A number in the span: half the time a whole one, if there is one."""
    first, last = -(-low // 1), high // 1
    if first <= last and random.random() < 0.5:
        return whole(int(first), int(last), random)
    value = round(random.uniform(low, high), 1 if high - low >= 5 else 2)
    return int(value) if value == int(value) else value


def measured(value: int | float, unit: str) -> Value:
    """The value with its unit, as it is written: `$1,500`, `25°C`, `15 km`."""
    plain = f"{value:,}" if abs(value) >= 10_000 or (unit == "$" and abs(value) >= 1000) else str(value)
    if unit in ("$", "€", "£"):
        plain = plain if isinstance(value, int) else f"{value:,.2f}"
        return Value(text=f"{unit}{plain}", json=value)
    return Value(text=f"{plain}{'' if unit[:1] == '°' else ' '}{unit}" if unit else plain, json=value)


def ordinal(day: int) -> str:
    ending = "th" if 11 <= day <= 13 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    return f"{day}{ending}"
