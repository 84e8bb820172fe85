"""Naming: the same tool under other names, so that none is known by heart but for what its description says."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from finetune.synthetic.entries import Argument, Entry
from grammars.tools import Tool


@dataclass(frozen=True, kw_only=True)
class Named:
    """A tool as one example offers it: its schema, and what its arguments are called there."""

    tool: Tool
    arguments: Mapping[str, str]


def named(entry: Entry, synonyms: Mapping[str, Sequence[str]], random: Random, *, renamed: bool) -> Named:
    """The tool of an entry: under its usual name, or with name, style and arguments drawn."""
    name = entry.names[0]
    arguments = {argument: argument for argument in entry.arguments}
    if renamed:
        name = random.choice(entry.names)
        arguments = other_names(entry, synonyms, random)
        style = random.choice(["as it is", "as it is", "camel", "topic", "plain"])
        if style == "camel":
            name = camel(name)
            arguments = {argument: camel(other) for argument, other in arguments.items()}
        elif style == "topic" and "." not in name:
            name = f"{entry.topic}.{name}"
        elif style == "plain":
            name = name.rpartition(".")[2]
    terse = random.random() < 0.15
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {
            arguments[argument.name]: argument_schema(argument, terse=terse) for argument in entry.arguments.values()
        },
    }
    if entry.required:
        schema["required"] = [arguments[name] for name in entry.arguments if name in entry.required]
    return Named(tool=Tool(name=name, description=entry.about, parameters=schema), arguments=arguments)


def argument_schema(argument: Argument, *, terse: bool) -> dict[str, Any]:
    """The argument's schema. Its description may only be missing where it does not say how to write the value."""
    if terse and argument.required and not argument.kind.converts:
        return dict(argument.kind.schema)
    return {**argument.kind.schema, "description": argument.description}


def other_names(entry: Entry, synonyms: Mapping[str, Sequence[str]], random: Random) -> dict[str, str]:
    """A name for each argument, some of them synonyms; all are different."""
    taken = set(entry.arguments)
    names = {}
    for argument in entry.arguments:
        free = [other for other in synonyms.get(argument, ()) if other not in taken]
        names[argument] = random.choice(free) if free and random.random() < 0.5 else argument
        taken.add(names[argument])
    return names


def camel(name: str) -> str:
    """snake_case as camelCase, part by part of a dotted name."""
    return re.sub(r"_([a-z0-9])", lambda found: found[1].upper(), name)
