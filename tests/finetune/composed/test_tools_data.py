"""A file of tools, in either form, and the place of one that cannot be offered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from finetune.composed.tools_data import read_tools
from finetune.readers.data_rows import RowRefused

SEAL_TOOL = {
    "api_name": "getTide",
    "api_description": "The tide in a harbour",
    "field": "Sea",
    "parameters": {"harbour": {"type": "str", "description": "Which one"}},
    "required": ["harbour"],
    "responses": {},
}
CHAT_TOOL = {"type": "function", "function": {"name": "clock", "description": "The time"}}


def file_of(folder: Path, *rows: Any) -> Path:
    path = folder / "tools.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_tools_are_read_as_seal_tools_or_the_chat_api_has_them(tmp_path: Path) -> None:
    tide, clock = read_tools(file_of(tmp_path, SEAL_TOOL, CHAT_TOOL))
    assert (tide.name, tide.parameters["required"]) == ("getTide", ["harbour"])
    assert (clock.name, clock.description) == ("clock", "The time")


@pytest.mark.parametrize(
    "row",
    [
        {"api_name": "getTide"},
        {"type": "function"},
        {"name": "odd", "parameters": {"type": "object", "properties": 7}},
        ["a list"],
    ],
)
def test_one_that_cannot_be_offered_is_refused_with_its_place(tmp_path: Path, row: Any) -> None:
    tools = read_tools(file_of(tmp_path, CHAT_TOOL, row))
    assert next(tools).name == "clock"
    with pytest.raises(RowRefused, match=r"tools\.jsonl, line 2: "):
        next(tools)
