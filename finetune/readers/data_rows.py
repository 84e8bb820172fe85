"""Rows of a file: JSON lines or one JSON array, each with the line it begins in; and why one is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grammars.errors import ConfigurationError

DECODER = json.JSONDecoder()


class RowRefused(ConfigurationError):
    """A row of data cannot be used. `line` counts from 1."""

    code = "row_refused"

    def __init__(self, path: Path, line: int, reason: str) -> None:
        super().__init__(f"{path}, line {line}: {reason}")
        self.path = path
        self.line = line
        self.reason = reason


class Unreadable(Exception):
    """Raised inside a reader, where file and line are not known: a row that is not of the form that it seems to be."""


@dataclass(frozen=True, kw_only=True)
class DataRow:
    """One row: where it stands, and what it says."""

    path: Path
    line: int
    value: Mapping[str, Any]

    @property
    def id(self) -> str:
        """The row's own `id`, or else where it stands."""
        own = self.value.get("id")
        return f"{self.path.name}:{self.line}" if own is None else f"{self.path.name}:{own}"

    def refused(self, reason: str) -> RowRefused:
        return RowRefused(self.path, self.line, reason)


def read_rows(path: Path) -> Iterator[DataRow | RowRefused]:
    """Every row of a file, or in its place why it cannot be read. Empty lines are no rows.

    Nothing can be read after a fault in an array; of JSON lines only the one that is corrupt is lost. Raises
    `ConfigurationError` if the file itself cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}") from None
    yield from array_rows(path, text) if text.lstrip().startswith("[") else line_rows(path, text)


def line_rows(path: Path, text: str) -> Iterator[DataRow | RowRefused]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield row_of(path, number, json.loads(line))
            except (ValueError, RecursionError) as error:
                yield RowRefused(path, number, f"no JSON: {error}")


def array_rows(path: Path, text: str) -> Iterator[DataRow | RowRefused]:
    line, at = 1, 0

    def skip(characters: str) -> None:
        nonlocal line, at
        while at < len(text) and text[at] in characters:
            line += text[at] == "\n"
            at += 1

    skip(" \t\r\n")
    at += 1  # the bracket
    skip(" \t\r\n")
    while at < len(text) and text[at] != "]":
        try:
            value, end = DECODER.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            yield RowRefused(path, line, f"no JSON, so that nothing after it can be read: {error}")
            return
        yield row_of(path, line, value)
        line += text.count("\n", at, end)
        at = end
        skip(" \t\r\n,")
    if at == len(text):
        yield RowRefused(path, line, "the array has no end")


def row_of(path: Path, line: int, value: Any) -> DataRow | RowRefused:
    if isinstance(value, dict):
        return DataRow(path=path, line=line, value=value)
    return RowRefused(path, line, "a row is a JSON object")


def field(row: Any, name: str, kind: type | tuple[type, ...]) -> Any:
    """A field of a row, or of an object in it; `Unreadable` if it is missing or of another type."""
    if not isinstance(row, Mapping) or not isinstance(row.get(name), kind):
        said = " or ".join(one.__name__ for one in (kind if isinstance(kind, tuple) else (kind,)))
        raise Unreadable(f"{name!r} must be there, and a {said}")
    return row[name]


def list_field(row: Any, name: str) -> list[Any]:
    """A field that holds a list, or a list as JSON text."""
    value = field(row, name, (list, str))
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise Unreadable(f"{name!r} is no JSON: {error}") from None
    if not isinstance(value, list):
        raise Unreadable(f"{name!r} must be a list")
    return value


def optional_list(row: Mapping[str, Any], name: str) -> list[Any]:
    """Likewise; empty if the field is missing or null."""
    return [] if row.get(name) is None else list_field(row, name)
