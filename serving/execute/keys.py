"""Keys: what a call reads and writes, filled from its arguments into the templates of its tool's facts.

A template is text with arguments in braces, `account:{id}` or `seat:{flight.number}:{seat}`. Two calls with a common
key of which one writes are in conflict. An argument that is not known yet, or that the tool's own default will fill,
leaves its key open: it may turn out to be any key that begins with the same text, and is in conflict with all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from string import Formatter
from typing import Any

from grammars.errors import ConfigurationError
from grammars.tools import json_text
from serving.execute.references import references_in


@dataclass(frozen=True, kw_only=True)
class Key:
    """One key, or with `is_open` every key that begins with the text."""

    text: str
    is_open: bool = False

    def meets(self, other: Key) -> bool:
        """Whether both may be the same."""
        if self.is_open and other.is_open:
            return self.text.startswith(other.text) or other.text.startswith(self.text)
        if self.is_open:
            return other.text.startswith(self.text)
        return self.text.startswith(other.text) if other.is_open else self.text == other.text


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """All that one call reads and writes."""

    reads: frozenset[Key] = frozenset()
    writes: frozenset[Key] = frozenset()

    @property
    def is_open(self) -> bool:
        """Whether a key of it is not known in full."""
        return any(key.is_open for key in (*self.reads, *self.writes))

    def conflicts_with(self, other: Footprint) -> bool:
        """Whether the calls may not run together: one writes what the other reads or writes."""
        return common(self.writes, (*other.writes, *other.reads)) or common(self.reads, other.writes)


NOTHING = Footprint()
"""The footprint of a tool without keys: it conflicts with nothing."""


def common(keys: Iterable[Key], others: Iterable[Key]) -> bool:
    return any(key.meets(other) for key in keys for other in others)


def footprint(
    reads: Iterable[str], writes: Iterable[str], arguments: Mapping[str, Any], *, references: bool
) -> Footprint:
    """What a call with these arguments reads and writes. With `references`, those among them are not known yet."""
    return Footprint(
        reads=frozenset(filled(template, arguments, references=references) for template in reads),
        writes=frozenset(filled(template, arguments, references=references) for template in writes),
    )


def filled(template: str, arguments: Mapping[str, Any], *, references: bool) -> Key:
    """The key of a template, open from the first argument on that is missing or still a reference."""
    text = ""
    for literal, path in parts(template):
        text += literal
        if path is None:
            continue
        value: Any = arguments
        for name in path:
            if not isinstance(value, Mapping) or name not in value:
                return Key(text=text, is_open=True)
            value = value[name]
        if references and next(references_in(value), None) is not None:
            return Key(text=text, is_open=True)
        text += word(value)
    return Key(text=text)


def check_template(template: str, parameters: Mapping[str, Any]) -> None:
    """Raises `ConfigurationError` for a template that is malformed or names an argument that the tool does not have."""
    named = parameters.get("properties")
    for _, path in parts(template):
        if path is not None and isinstance(named, Mapping) and path[0] not in named:
            raise ConfigurationError(f"the key template {template!r}: there is no argument {path[0]!r}")


def word(value: Any) -> str:
    """A value inside a key: the same for 7, 7.0 and "7", since tools may take one for the other."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return json_text(value)


@lru_cache(maxsize=1024)
def parts(template: str) -> tuple[tuple[str, tuple[str, ...] | None], ...]:
    """The template as (text, path of the argument after it). Raises `ConfigurationError` for one that is malformed."""
    try:
        parsed = list(Formatter().parse(template))
    except ValueError as error:
        raise ConfigurationError(f"the key template {template!r}: {error}") from error
    found: list[tuple[str, tuple[str, ...] | None]] = []
    for literal, field, form, conversion in parsed:
        path = None if field is None else tuple(field.split("."))
        if form or conversion or (path is not None and not all(path)):
            raise ConfigurationError(f"the key template {template!r}: braces hold the path of an argument, no more")
        found.append((literal, path))
    return tuple(found)
