"""What is written for polycall to train on: every group is whole, none is BFCL's, and what measures does not teach."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from finetune.examples import Example, read_examples
from finetune.held_out import bare_name, held_out_names, why_held_out
from finetune.synthetic.entries import catalogue
from grammars.tools import json_text

FOLDER = Path(__file__).parents[2] / "finetune" / "written"
FILES = sorted(FOLDER.glob("*.jsonl"))
MEASURING = [path for path in FILES if path.stem.startswith("measuring")]


@cache
def examples(path: Path) -> list[Example]:
    return list(read_examples(path))


def names(found: list[Example]) -> set[str]:
    return {tool.name for example in found for tool in example.conversation.tools}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_group_can_be_taught(path: Path) -> None:
    found = examples(path)
    assert len(found) > 50
    counts = Counter(min(len(example.calls), 3) for example in found if not example.text)
    assert counts[3]
    for example in found:
        called = [(call.name, json_text(call.arguments)) for call in example.calls]
        assert len(set(called)) == len(called), f"{example.id}: the same call twice"
        for tool in example.conversation.tools:
            assert tool.description, f"{example.id}: {tool.name} says nothing of itself"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_none_has_a_name_or_a_question_of_bfcl(path: Path) -> None:
    found = examples(path)
    assert [(example.id, why) for example in found if (why := why_held_out(example))] == []
    assert {name for name in names(found) if bare_name(name) in held_out_names()} == set()


def test_no_tool_or_request_stands_in_two_files() -> None:
    read = {path: examples(path) for path in FILES}
    tools = Counter(name for found in read.values() for name in names(found))
    requests = Counter(example.request for found in read.values() for example in found if not example.text)
    assert [name for name, files in tools.items() if files > 1] == []
    assert [request for request, times in requests.items() if times > 1] == []


def test_what_measures_calls_tools_that_nothing_else_of_polycalls_own_teaches() -> None:
    own = {name for entry in catalogue().entries for name in entry.names}
    taught = own.union(*(names(examples(path)) for path in FILES if path not in MEASURING))
    assert MEASURING
    for path in MEASURING:
        assert names(examples(path)).isdisjoint(taught)
