from __future__ import annotations

import json
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

from finetune.examples import Example, RowRefused, read_examples
from tests.finetune.data import TOOLRL, needs_data

INSTRUCTION = """\
You are an assistant.

**Available Tools**
In your response, you can use the following tools:
1. Name: Job Details
Description: Tells of a job,
and of its pay
Parameters: {"id": {"description": "which", "type": "int", "default": ""}, "lang": {"type": "str", "default": "en"}}
2. Name: time
Description:\x20
Parameters: {"place": {"type": "str", "description": "where", "default": ""}}

**Steps for Each Turn**
1. Think."""


def read(tmp_path: Path, said: str, answer: str) -> Example:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([{"instruction": INSTRUCTION, "input": said, "output": answer}]))
    (example,) = read_examples(path)
    return example


def test_tools_of_the_instruction_are_written_anew(tmp_path: Path) -> None:
    example = read(tmp_path, "<user> Jobs 3 and 4? </user>", "<think> well </think>\n<response> no </response>")
    jobs, time = example.conversation.tools
    assert (jobs.name, jobs.description) == ("Job_Details", "Tells of a job,\nand of its pay")
    assert jobs.parameters["required"] == ["id"]
    assert jobs.parameters["properties"]["lang"] == {"type": "string", "default": "en"}
    assert (time.name, time.description) == ("time", "")
    assert (example.calls, example.text) == ((), "no")


def test_calls_of_the_answer_are_gold_without_the_thoughts(tmp_path: Path) -> None:
    calls = '{"name": "Job Details", "parameters": {"id": "3"}}\n{"name": "Job Details", "parameters": {"id": 4}}'
    example = read(tmp_path, "<user> Jobs 3 and 4? </user>", f"<think> so </think>\n<tool_call>\n{calls}\n</tool_call>")
    assert [(call.name, dict(call.arguments)) for call in example.calls] == [
        ("Job_Details", {"id": 3}),
        ("Job_Details", {"id": 4}),
    ]
    assert [message.text for message in example.conversation.messages] == ["Jobs 3 and 4?"]


def test_history_has_calls_with_their_results(tmp_path: Path) -> None:
    said = (
        "**Dialogue Records History**\n<user> Job 3? </user>\n<think> x </think>\n"
        '<tool_call>\n{"name": "Job Details", "parameters": {"id": 3}}\n</tool_call>\n'
        '<obs> [{"name": "Job Details", "results": {"pay": 5}}] </obs>\n'
        "<think> x </think>\n<response> Five. </response>\n<user> Thanks. </user>"
    )
    example = read(tmp_path, said, "<response> Welcome. </response>")
    messages = example.conversation.messages
    assert [message.role for message in messages] == ["user", "assistant", "tool", "assistant", "user"]
    assert messages[2].text == '{"pay": 5}'


@needs_data
@pytest.mark.slow
def test_every_real_row_is_read_or_refused_for_a_broken_call() -> None:
    refused: list[RowRefused] = []
    examples = list(read_examples(TOOLRL, refused=refused))
    assert (len(examples), len(refused)) == (372, 28)
    assert Counter(bool(example.calls) for example in examples) == {True: 318, False: 54}


@needs_data
def test_first_real_rows_are_read() -> None:
    refused: list[RowRefused] = []
    examples = list(islice(read_examples(TOOLRL, refused=refused), 8))
    assert [reason.line for reason in refused] == [22]
    assert {example.source for example in examples} == {"toolrl"}
