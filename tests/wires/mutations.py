"""Bodies that are nearly right: valid requests with a few seeded faults in them, in their values or in their bytes."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator, Sequence
from typing import Any

ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 0.5, -0.0, 1e308, 2**31, 2**63, -(2**63) - 1, 10**400, "", "x", "0", "null", "auto",
    "\x00", "\ud800", "é\u0301", "a" * 3000, "{", "{}", "[]", '{"$ref": "#"}', [], {}, [None], [[]], [{}], {"": None},
    {"type": "object"}, {"type": "function"}, {"$ref": "#"}, {"type": "string", "pattern": "("}, float("inf"),
)  # fmt: skip
"""What stands where something else was expected."""

DEEP = "a place for something deep"

Path = tuple[str | int, ...]


def mutated_bodies(valid: Sequence[dict[str, Any]], count: int, seed: int) -> Iterator[bytes]:
    """So many bodies; the same ones for the same seed."""
    chance = random.Random(seed)
    for _ in range(count):
        body = copy.deepcopy(chance.choice(valid))
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            body = mutate(body, chance)
        written = json.dumps(body).replace(json.dumps(DEEP), deep(chance)).encode()
        yield written if chance.random() < 0.9 else damage(written, chance)


def mutate(body: Any, chance: random.Random) -> Any:
    """One fault in a value: another one in its place, gone, twice, or under another name."""
    paths = list(paths_of(body))
    path = chance.choice(paths)
    if not path:
        return chance.choice((body, [body], {"body": body}, None, *ODD_VALUES[:4]))
    holder = at(body, path[:-1])
    key = path[-1]
    match chance.randrange(7):
        case 0:
            del holder[key]
        case 1 | 2:
            holder[key] = copy.deepcopy(chance.choice(ODD_VALUES))
        case 3:
            holder[key] = copy.deepcopy(at(body, chance.choice(paths)))
        case 4 if isinstance(holder, list):
            holder.insert(chance.randrange(len(holder) + 1), copy.deepcopy(holder[key]))
        case 4:
            holder[chance.choice((key + "s", key.upper(), "", "mystery"))] = holder.pop(key)
        case 5:
            holder[key] = varied(holder[key], chance)
        case _:
            holder[key] = chance.choice(([holder[key]], {"type": "object", "properties": holder[key]}, DEEP))
    return body


def varied(value: Any, chance: random.Random) -> Any:
    """A value a little beside this one."""
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int | float):
        return value + chance.choice((-1, 1, 0.5, 1e9))
    if isinstance(value, str):
        place = chance.randrange(len(value) + 1)
        return value[:place] + chance.choice(('"', "\\", "\n", "é", "x", "\x7f", "")) + value[place + 1 :]
    if isinstance(value, list):
        return chance.sample(value, len(value))
    return {**value, "mystery": 1}


def deep(chance: random.Random) -> str:
    """A value in many others, as text."""
    opening, closing = chance.choice((("[", "]"), ('{"properties":', "}"), ('{"items":', "}")))
    depth = chance.choice((20, 150, 1000))
    return opening * depth + "{}" + closing * depth


def damage(body: bytes, chance: random.Random) -> bytes:
    """A fault in the bytes, after which they are seldom JSON."""
    place = chance.randrange(len(body) + 1)
    match chance.randrange(4):
        case 0:
            return body[:place]
        case 1:
            return body[:place] + bytes([chance.randrange(256)]) + body[place + 1 :]
        case 2:
            return body[:place] + body[chance.randrange(len(body)) :]
        case _:
            return chance.choice((b"\xef\xbb\xbf" + body, body + body, b" " * 100 + body, b"[" * 5000, b""))


def paths_of(value: Any, path: Path = ()) -> Iterator[Path]:
    """The path to every part of the value, itself first."""
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from paths_of(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from paths_of(inner, (*path, index))


def at(value: Any, path: Path) -> Any:
    for key in path:
        value = value[key]
    return value
