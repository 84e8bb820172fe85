"""Examples: rows of function-calling data, of whatever form, as conversations with gold calls.

The form is told by each row's own fields. Nothing is left out silently: a row that cannot be used is an error that
names file, line and reason, or, where the caller asks for that, one of a list of such errors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from finetune.held_out import is_held_out
from finetune.readers.data_rows import DataRow, RowRefused, Unreadable, read_rows
from finetune.readers.example import Example
from finetune.readers.grouped import read_grouped
from finetune.readers.hermes import read_hermes
from finetune.readers.openai_logs import read_openai_log
from finetune.readers.seal_tools import read_seal_tools
from finetune.readers.toolace import read_toolace
from finetune.readers.toolrl import read_toolrl
from finetune.readers.xlam import read_xlam

__all__ = ["Example", "RowRefused", "read_examples"]

Reader = Callable[[DataRow], list[Example]]


def read_examples(path: Path, *, refused: list[RowRefused] | None = None) -> Iterator[Example]:
    """The examples of a file, in its order. Raises `ConfigurationError` if the file cannot be read.

    A row that cannot be used raises `RowRefused`; if the caller brings a list for them, it is entered there, and its
    examples, all of them, are left out.
    """
    for row in read_rows(path):
        try:
            yield from read_row(row)
        except RowRefused as reason:
            if refused is None:
                raise
            refused.append(reason)


def read_row(row: DataRow | RowRefused) -> list[Example]:
    """The examples of one row: one for most, one for each answer of a dialogue."""
    if isinstance(row, RowRefused):
        raise row
    try:
        return reader_of(row.value)(row)
    except Unreadable as error:
        raise row.refused(str(error)) from None


def reader_of(row: Mapping[str, Any]) -> Reader:
    """What reads rows with these fields. Raises `Unreadable` if nothing does."""
    if is_held_out(row):
        raise Unreadable("it is of BFCL or When2Call, which are for measuring only: scripts/eval bfcl")
    if {"query", "calling"} <= row.keys():
        return read_seal_tools
    if {"instruction", "input", "output"} <= row.keys():
        return read_toolrl
    if {"query", "answers", "tools"} <= row.keys():
        return read_xlam
    if {"tools", "requests"} <= row.keys():
        return read_grouped
    if "messages" in row:
        return read_openai_log
    if "conversations" in row:
        return read_hermes if row.get("tools") or "<tool" in str(row["conversations"]) else read_toolace
    raise Unreadable(f"nothing here reads rows of {', '.join(map(repr, row)) or 'no fields'}")
