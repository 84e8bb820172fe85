"""Drawing: which arguments of a tool a request says this time, and with which values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from random import Random

from finetune.synthetic.entries import Entry
from finetune.synthetic.templates import slots
from finetune.synthetic.values import Value

Values = Mapping[str, Value]


@dataclass(frozen=True, kw_only=True)
class Meant:
    """A call that a request means: the tool, and its arguments."""

    entry: Entry
    values: Values


def meant(entry: Entry, values: Values) -> Meant:
    return Meant(entry=entry, values={name: values[name] for name in entry.arguments if name in values})


def texts(values: Values) -> dict[str, str]:
    return {name: value.text for name, value in values.items()}


def said_in(template: str, random: Random) -> set[str]:
    """The slots of a template that are said this time: all that must be, and some of the optional ones."""
    always = slots(fill_nothing(template))
    maybe = slots(template) - always
    return always | ({name for name in sorted(maybe) if random.random() < 0.5} if random.random() < 0.8 else set())


def fill_nothing(template: str) -> str:
    """The template without its optional parts."""
    kept, depth = [], 0
    for character in template:
        depth += character == "["
        if depth == 0:
            kept.append(character)
        depth -= character == "]"
    return "".join(kept)


def draw(entry: Entry, names: set[str], random: Random) -> dict[str, Value]:
    drawn: dict[str, Value] = {}
    for name in sorted(names):
        kind = entry.arguments[name].kind
        alike = [drawn[other] for other in drawn if entry.arguments[other].kind.schema == kind.schema]
        drawn[name] = kind.draw_unlike(alike, random) or kind.draw(random)
    return drawn


def draw_column(
    entry: Entry, name: str, count: int, random: Random, *, first: Value | None = None
) -> list[Value] | None:
    """So many different values of one argument, or None."""
    column = [first] if first is not None else []
    while len(column) < count:
        value = entry.arguments[name].kind.draw_unlike(column, random)
        if value is None:
            return None
        column.append(value)
    return column


def draw_rows(entry: Entry, names: set[str], count: int, random: Random) -> list[dict[str, Value]] | None:
    """So many different rows of values of these arguments; one in three has values that others have, too."""
    rows: list[dict[str, Value]] = []
    for _ in range(count * 8):
        row = draw(entry, names, random)
        if rows and len(names) > 1 and random.random() < 0.35:
            kept = random.choice(sorted(names))
            row[kept] = random.choice(rows)[kept]
        if len({value.text for value in row.values()}) < len(row):
            continue
        if not any(same(row, other) for other in rows):
            rows.append(row)
        if len(rows) == count:
            return rows
    return None


def same(row: Values, other: Values) -> bool:
    return row.keys() == other.keys() and all(
        row[name].json == other[name].json or row[name].text == other[name].text for name in row
    )


def every_call(parts: Sequence[tuple[Entry, int]], random: Random) -> list[Meant] | None:
    """The calls of these tools, so many of each. Optional arguments are said where every template can say them."""
    calls: list[Meant] = []
    for entry, count in parts:
        if not entry.asks or not entry.does:
            return None
        common = set.intersection(*(slots(template) for template in entry.asks + entry.does))
        optional = {name for name in sorted(common - entry.required) if random.random() < 0.4}
        rows = draw_rows(entry, entry.required | optional, count, random)
        if rows is None:
            return None
        plain = [{name: row[name] for name in row if name in entry.required} for row in rows]
        if random.random() < 0.3 and not any(same(row, other) for row, other in combinations(plain, 2)):
            rows = [random.choice(pair) for pair in zip(rows, plain, strict=True)]
        calls.extend(meant(entry, row) for row in rows)
    return calls
