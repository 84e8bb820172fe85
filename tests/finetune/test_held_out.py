"""Nothing of BFCL or When2Call reaches training: files are refused, rows removed, tools offered no more."""

from __future__ import annotations

import json
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from finetune.bfcl import load_cases
from finetune.examples import Example, RowRefused, read_examples
from finetune.held_out import (
    Removed,
    bare_name,
    held_out_names,
    held_out_questions,
    plain,
    refuse_held_out,
    without_held_out,
)
from grammars.conversation import Message
from grammars.errors import ConfigurationError
from grammars.tools import Tool
from tests.finetune.data import SEAL_TOOLS, TOOLRL, needs_data

pytestmark = pytest.mark.skipif(find_spec("bfcl_eval") is None, reason="bfcl-eval is not installed: scripts/setup")

WHEN2CALL = {
    "uuid": "0",
    "source": "BFCL",
    "source_id": "live_simple_205-116-13",
    "question": "?",
    "correct_answer": "cannot_answer",
    "target_tool": "{}",
    "tools": [],
    "orig_tools": [],
}
HARMLESS = {"messages": [{"role": "user", "content": "Hello there"}, {"role": "assistant", "content": "Hello"}]}


def asking(question: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": "Well."}]}


def write(tmp_path: Path, *rows: dict[str, Any], name: str = "data.jsonl") -> Path:
    path = tmp_path / name
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def example(*called: str, offered: tuple[str, ...] = (), question: str = "Do it") -> Example:
    return Example.build(
        id="e",
        source="test",
        messages=[Message(role="user", text=question)],
        tools=[Tool(name=name) for name in dict.fromkeys((*called, *offered))],
        calls=[(name, {}) for name in called],
    )


def test_names_are_those_of_thirteen_categories() -> None:
    assert len(held_out_names()) == 1582


@pytest.mark.parametrize(
    "row",
    [
        {"id": "parallel_0", "question": [[{"role": "user", "content": "x"}]], "function": []},
        {"id": "parallel_0", "ground_truth": []},
        WHEN2CALL,
        {key: WHEN2CALL[key] for key in ("uuid", "source_id")},
    ],
)
def test_row_of_a_measuring_set_is_known_by_its_fields_and_read_by_nobody(tmp_path: Path, row: dict[str, Any]) -> None:
    path = write(tmp_path, HARMLESS, row)
    with pytest.raises(ConfigurationError, match=r"line 2: a row of BFCL or When2Call"):
        refuse_held_out(path)
    with pytest.raises(RowRefused, match="which are for measuring only"):
        list(read_examples(path))


@pytest.mark.parametrize(
    "name", ["when2call_train_sft.jsonl", "my-BFCL.jsonl", "measuring.jsonl", "measuring-answers.jsonl"]
)
def test_file_is_known_by_its_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="by its name"):
        refuse_held_out(write(tmp_path, HARMLESS, name=name))
    refuse_held_out(write(tmp_path, HARMLESS, name="measurements.jsonl"))


@pytest.mark.parametrize("category", ["parallel", "live_multiple", "irrelevance"])
def test_file_is_known_by_a_question_in_whatever_form(tmp_path: Path, category: str) -> None:
    question = max((case.messages[-1].text for case in load_cases(category, 20)), key=len)
    with pytest.raises(ConfigurationError, match=r"line 2: BFCL's question"):
        refuse_held_out(write(tmp_path, HARMLESS, asking(f"  {question.upper()}!")))


def test_file_with_questions_of_its_own_is_accepted(tmp_path: Path) -> None:
    refuse_held_out(write(tmp_path, HARMLESS, asking("Which of my seventeen cousins lives nearest to the harbour?")))


def test_example_that_calls_a_bfcl_name_is_removed_in_whatever_spelling() -> None:
    removed: list[Removed] = []
    examples = [example("spotify.play"), example("my.calculate_BMI"), example("sing_a_song_of_mine")]
    assert [kept.calls[0].name for kept in without_held_out(examples, removed)] == ["sing_a_song_of_mine"]
    assert [one.reason for one in removed] == [
        "it calls 'spotify.play', a name of BFCL's",
        "it calls 'my.calculate_BMI', a name of BFCL's",
    ]


def test_example_with_a_bfcl_question_is_removed() -> None:
    removed: list[Removed] = []
    question = load_cases("simple_python", 1)[0].messages[-1].text
    assert list(without_held_out([example("sing_a_song_of_mine", question=question)], removed)) == []
    assert removed[0].reason == "its question is BFCL's"


def test_bfcl_name_that_is_only_offered_is_offered_no_more() -> None:
    removed: list[Removed] = []
    (kept,) = without_held_out([example("sing_a_song_of_mine", offered=("spotify.play", "hum"))], removed)
    assert [tool.name for tool in kept.conversation.tools] == ["sing_a_song_of_mine", "hum"]
    assert removed == []


def nothing_held_out(examples: list[Example]) -> bool:
    return not any(
        bare_name(name) in held_out_names()
        for one in examples
        for name in (*(tool.name for tool in one.conversation.tools), *(call.name for call in one.calls))
    ) and not any(
        plain(message.text) in held_out_questions()
        for one in examples
        for message in one.conversation.messages
        if message.role == "user"
    )


@needs_data
@pytest.mark.parametrize("path", [SEAL_TOOLS, TOOLRL], ids=lambda path: path.parent.name)
def test_no_bfcl_name_or_question_is_left_in_real_examples(path: Path) -> None:
    refuse_held_out(path)
    removed: list[Removed] = []
    kept = list(without_held_out(islice(read_examples(path, refused=[]), 70), removed))
    assert kept
    assert removed
    assert nothing_held_out(kept)


@needs_data
@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "independent", "left"),
    [(SEAL_TOOLS, 468, 444), (TOOLRL, 146, 140)],
    ids=["dev", "toolrl"],
)
def test_independent_rows_that_are_left_of_the_whole_files(path: Path, independent: int, left: int) -> None:
    """Of the other rows some are refused for calls that cannot be made, and some call by one of BFCL's names."""
    examples = list(read_examples(path, refused=[]))
    kept = list(without_held_out(examples, []))
    assert sum(len(one.calls) > 1 and len(one.waves) == 1 for one in examples) == independent
    assert sum(len(one.calls) > 1 and len(one.waves) == 1 for one in kept) == left
    assert nothing_held_out(kept)
