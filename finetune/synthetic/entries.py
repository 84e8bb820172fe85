"""Entries: the catalogue of tools, each with the words in which people ask for it.

An entry names its arguments with a kind of value and a description, and has templates: `asks` are sentences, `does`
are clauses that follow "please", `item` is one call in few words, `many` ask for several calls at once. In a template
`{city}` is an argument, `[ on {date}]` is there if its arguments are said, `{city*}` is a list of values, one a call,
and `{*}` a list of items. `pairs` have two lists that go together one by one, `grid` two of which every pair is meant.
A joint request asks for several tools with the same values.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from finetune.synthetic.templates import slots
from finetune.synthetic.values import Kind, read_kind
from grammars.errors import ConfigurationError

TEMPLATES = ("asks", "does", "many", "pairs", "grid")
KEYS = {"names", "about", "need", "may", "item", *TEMPLATES}


@dataclass(frozen=True, kw_only=True)
class Argument:
    """One argument of a tool."""

    name: str
    kind: Kind
    description: str
    required: bool

    @property
    def label(self) -> str:
        """Its name in words."""
        return self.name.replace("_", " ")


@dataclass(frozen=True, kw_only=True, eq=False)
class Entry:
    """A tool of the catalogue. The first of its names is the usual one."""

    topic: str
    names: tuple[str, ...]
    about: str
    arguments: Mapping[str, Argument]
    item: str
    asks: tuple[str, ...]
    does: tuple[str, ...]
    many: tuple[str, ...]
    pairs: tuple[str, ...]
    grid: tuple[str, ...]

    @property
    def required(self) -> set[str]:
        return {name for name, argument in self.arguments.items() if argument.required}


@dataclass(frozen=True, kw_only=True)
class Joint:
    """A request for several tools at once, which take their arguments from the same values."""

    entries: tuple[Entry, ...]
    asks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """All that examples are made from. `openings` are sentences to begin with, by topic; `chat` asks for no tool."""

    entries: tuple[Entry, ...]
    joints: tuple[Joint, ...]
    openings: Mapping[str, tuple[str, ...]]
    chat: tuple[str, ...]
    synonyms: Mapping[str, Sequence[str]]


@cache
def catalogue() -> Catalogue:
    """The catalogue that is shipped. Raises `ConfigurationError`, with the place, for what is wrong in it."""
    folder = files("finetune.synthetic") / "catalogue"
    topics = {
        path.name.removesuffix(".toml"): tomllib.loads(path.read_text(encoding="utf-8"))
        for path in sorted(folder.iterdir(), key=lambda path: path.name)
        if path.name.endswith(".toml")
    }
    words = tomllib.loads((files("finetune.synthetic") / "words.toml").read_text(encoding="utf-8"))
    entries = [read_entry(row, topic) for topic, rows in topics.items() for row in rows["tool"]]
    by_name = {entry.names[0]: entry for entry in entries}
    joints = [read_joint(row, topic, by_name) for topic, rows in topics.items() for row in rows.get("joint", ())]
    return Catalogue(
        entries=tuple(entries),
        joints=tuple(joints),
        openings={topic: tuple(rows.get("openings", ())) for topic, rows in topics.items()},
        chat=tuple(words["chat"]),
        synonyms=words["synonyms"],
    )


def read_entry(row: Mapping[str, Any], topic: str) -> Entry:
    place = f"{topic}.toml, {row.get('names', ['?'])[0]}"
    if unknown := row.keys() - KEYS:
        raise ConfigurationError(f"{place}: unknown keys: {', '.join(sorted(unknown))}")
    arguments = {
        name: read_argument(name, text, required=key == "need", place=place)
        for key in ("need", "may")
        for name, text in row.get(key, {}).items()
    }
    required = {name for name, argument in arguments.items() if argument.required}
    item = row.get("item", "")
    for key in TEMPLATES:
        for template in row.get(key, ()):
            check_template(template, item, arguments, required, f"{place}, {key}")
    return Entry(
        topic=topic,
        names=tuple(row["names"]),
        about=row["about"],
        arguments=arguments,
        item=item,
        **{key: tuple(row.get(key, ())) for key in TEMPLATES},
    )


def read_argument(name: str, text: str, *, required: bool, place: str) -> Argument:
    kind, separator, description = text.partition(" -- ")
    if not separator:
        raise ConfigurationError(f"{place}: the argument {name!r} has no description after ' -- '")
    return Argument(name=name, kind=read_kind(kind), description=description, required=required)


def check_template(template: str, item: str, arguments: Mapping[str, Argument], required: set[str], place: str) -> None:
    """Every slot is an argument, and every required argument is said."""
    said = slots(template)
    if "*" in said:
        said = said - {"*"} | slots(item)
    names = {name.rstrip("*") for name in said}
    if unknown := names - arguments.keys():
        raise ConfigurationError(f"{place}: {template!r} has slots that are no arguments: {', '.join(unknown)}")
    always = {name.rstrip("*") for name in slots(re.sub(r"\[.*?\]", "", template.replace("{*}", item)))}
    if missing := required - always:
        raise ConfigurationError(f"{place}: {template!r} does not say {', '.join(sorted(missing))}")


def read_joint(row: Mapping[str, Any], topic: str, by_name: Mapping[str, Entry]) -> Joint:
    entries = tuple(by_name[name] for name in row["tools"])
    needed = set().union(*(entry.required for entry in entries))
    for template in row["asks"]:
        if slots(template) != needed:
            raise ConfigurationError(f"{topic}.toml: {template!r} must say just {', '.join(sorted(needed))}")
    return Joint(entries=entries, asks=tuple(row["asks"]))
