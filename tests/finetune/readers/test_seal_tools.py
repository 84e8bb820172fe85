from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from finetune.examples import Example, RowRefused, read_examples
from grammars.errors import ConfigurationError
from tests.finetune.data import SEAL_TOOLS, needs_data

TOOLS = [
    {
        "api_name": name,
        "api_description": f"does {name}",
        "field": "any",
        "parameters": {"x": {"type": "str", "description": "what"}, "n": {"type": "int", "description": "how many"}},
        "required": ["x"],
        "responses": {"first": {"type": "str"}, "a/b": {"type": "str"}},
    }
    for name in ("one", "two", "three", "four", "five", "six")
]


def call(name: str, results: int, **parameters: Any) -> dict[str, Any]:
    return {"api": name, "parameters": parameters, "responses": [f"API_call_{results}", f"API_call_{results + 1}"]}


def read(tmp_path: Path, *calls: dict[str, Any]) -> Example:
    (tmp_path / "tool.jsonl").write_text("".join(f"{json.dumps(tool)}\n" for tool in TOOLS))
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"id": "r", "query": "do it", "calling": calls}))
    (example,) = read_examples(path)
    return example


def test_calls_with_nothing_in_common_are_one_wave_and_stand_among_other_tools(tmp_path: Path) -> None:
    example = read(tmp_path, call("one", 0, x="a", n="3"), call("two", 2, x="b"))
    assert [dict(made.arguments) for made in example.calls] == [{"x": "a", "n": 3}, {"x": "b"}]
    assert len(example.waves) == 1
    assert {tool.name for tool in example.conversation.tools} == {tool["api_name"] for tool in TOOLS}
    assert (
        read(tmp_path, call("one", 0, x="a")).conversation.tools
        == read(tmp_path, call("one", 0, x="a")).conversation.tools
    )


def test_name_of_a_result_becomes_a_reference_to_its_call_and_its_place(tmp_path: Path) -> None:
    example = read(tmp_path, call("one", 0, x="a"), call("two", 2, x="API_call_1"), call("three", 4, x="b"))
    assert example.calls[1].arguments == {"x": "$ref:1#/a~1b"}
    assert [[made.id for made in wave] for wave in example.waves] == [["1", "3"], ["2"]]


@pytest.mark.parametrize(
    ("calls", "reason"),
    [
        ([call("one", 0, x="a"), call("two", 2, x="API_call_0 and more")], "has the name of a result among other text"),
        ([call("two", 2, x="API_call_0"), call("one", 0, x="a")], "has the name of a result among other text"),
        ([call("seven", 0, x="a")], "'seven' is not in tool.jsonl"),
        ([call("one", 0)], '"x" is a required property'),
        ([call("one", 0, x="a", n="many")], "/n (type)"),
    ],
)
def test_row_that_cannot_be_used_is_refused(tmp_path: Path, calls: list[dict[str, Any]], reason: str) -> None:
    with pytest.raises(RowRefused) as raised:
        read(tmp_path, *calls)
    assert reason in raised.value.reason


def test_questions_without_their_tools_say_which_file_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"id": "r", "query": "do it", "calling": []}))
    with pytest.raises(ConfigurationError, match=r"tool\.jsonl is not there"):
        list(read_examples(path))


@needs_data
def test_real_rows_are_read(tmp_path: Path) -> None:
    (tmp_path / "tool.jsonl").symlink_to(SEAL_TOOLS.parent / "tool.jsonl")
    rows = SEAL_TOOLS.read_text(encoding="utf-8").split("\n")
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join([*rows[204:214], rows[238]]))
    refused: list[RowRefused] = []
    examples = list(read_examples(path, refused=refused))
    assert [reason.reason for reason in refused] == [
        "'API_call_0 response' has the name of a result among other text"  # its line 208
    ]
    assert len(examples) == 10
    assert [len(wave) for wave in examples[-1].waves] == [2, 1]
    assert examples[-1].calls[1].arguments["purchase_history"].startswith("$ref:1#/")
