"""scripts/synthesize: a file of examples that scripts/train reads, of its own catalogue alone or of given data, too."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from synthesize import MANY, app, table_of
from synthesize_texts import whole_sentences
from typer.testing import CliRunner

from finetune.examples import read_examples
from finetune.readers.example import Example
from finetune.readers.openai_logs import as_openai_log
from grammars.conversation import Message
from tests.finetune.composed.requests import EXAMPLES, TOOLS, WEATHER


def synthesize(output: Path, *options: str) -> tuple[int, str]:
    answer = CliRunner().invoke(app, ["--output", str(output), *options])
    return answer.exit_code, f"{answer.output}{answer.exception}"


def test_examples_of_the_catalogue_alone_are_the_same_for_the_same_seed(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("one.jsonl", "two.jsonl", "other.jsonl")]
    for file, seed in zip(files, ("4", "4", "5"), strict=True):
        code, said = synthesize(file, "--count", "30", "--seed", seed)
        assert code == 0, said
    one, two, other = (file.read_text() for file in files)
    assert one == two != other
    examples = list(read_examples(files[0]))
    assert len(examples) >= 30  # one that goes on to an answer is two
    assert all(example.source == "openai" for example in examples)


def test_examples_are_composed_from_rows_and_tools_that_are_given(tmp_path: Path) -> None:
    rows, tools, output = tmp_path / "rows.jsonl", tmp_path / "tools.jsonl", tmp_path / "new" / "made.jsonl"
    rows.write_text("".join(json.dumps(as_openai_log(example)) + "\n" for example in EXAMPLES))
    written = [{"name": tool.name, "description": tool.description, "parameters": tool.parameters} for tool in TOOLS]
    tools.write_text("".join(json.dumps(tool) + "\n" for tool in written))
    given = ["--data", str(rows), "--tools", str(tools), "--composed", "1", "--answer", "0.5"]
    code, said = synthesize(output, "--count", "40", *given)
    assert code == 0, said
    assert "composed repeated" in said
    examples = list(read_examples(output))
    assert {tool.name for example in examples for tool in example.conversation.tools} <= {tool.name for tool in TOOLS}
    assert any(example.conversation.messages[-1].role == "tool" for example in examples)


def test_what_comes_after_the_calls_is_an_example_more(tmp_path: Path) -> None:
    output = tmp_path / "made.jsonl"
    code, said = synthesize(output, "--count", "20", "--answer", "1")
    assert code == 0, said
    examples = list(read_examples(output))
    after = [example for example in examples if example.conversation.messages[-1].role == "tool"]
    assert len(examples) - len(after) == 20
    assert 0 < len(after) <= len([example for example in examples if example.calls])


@pytest.mark.parametrize("kept", ["0", "1000"])
def test_how_many_rows_stay_as_they_are_can_be_said(tmp_path: Path, kept: str) -> None:
    rows, output = tmp_path / "rows.jsonl", tmp_path / "made.jsonl"
    rows.write_text("".join(json.dumps(as_openai_log(example)) + "\n" for example in EXAMPLES))
    given = ["--data", str(rows), "--composed", "1", "--kept", kept, "--answer", "0"]
    code, said = synthesize(output, "--count", "40", *given)
    assert code == 0, said
    rows_kept = [int(line.split()[-1]) for line in said.splitlines() if "composed kept" in line]
    if kept == "0":
        assert rows_kept == []
    else:
        assert sum(rows_kept) >= 36


def test_what_answers_say_of_each_result_is_half_of_it_said_with_other_numbers(tmp_path: Path) -> None:
    rows, output = tmp_path / "rows.jsonl", tmp_path / "made.jsonl"
    ports = [f"Port {letter}" for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"]
    tide = {"name": "tide", "description": "Tide in metres.", "parameters": {"type": "object"}}
    calls = [{"name": "tide", "arguments": {"port": port}} for port in ports]
    answer = "\n".join(f"{port}: {metres}.25 m" for metres, port in enumerate(ports, start=1))
    results = [{"m": metres + 0.25} for metres in range(1, len(ports) + 1)]
    request = {"text": "Tides?", "calls": calls, "results": results, "answer": answer}
    rows.write_text(json.dumps({"topic": "tides", "tools": [tide], "requests": [request]}) + "\n")
    code, said = synthesize(output, "--count", "0", "--findings", "--data", str(rows))
    assert code == 0, said
    assert "26 of 26 results are said apart" in said
    examples = list(read_examples(output))
    assert len(examples) == len(ports)
    as_they_were = [example.text for example in examples if example.text in answer.splitlines()]
    assert 5 < len(as_they_were) < 21
    for example, port in zip(examples, ports, strict=True):
        metres = json.loads(example.conversation.messages[-1].text)["m"]
        assert example.text == f"{port}: {metres} m"


@pytest.mark.slow
@pytest.mark.usefixtures("smollm2_folder")
def test_what_needs_no_call_gets_the_answer_that_the_model_gives_before_it_is_trained(tmp_path: Path) -> None:
    plain, spoken = tmp_path / "plain.jsonl", tmp_path / "spoken.jsonl"
    common = ["--count", "24", "--answer", "0"]
    for file, options in ((plain, []), (spoken, ["--texts-of", "smollm2-135m"])):
        code, said = synthesize(file, *common, *options)
        assert code == 0, said
    before, after = list(read_examples(plain)), list(read_examples(spoken))
    assert [one.calls for one in after] == [one.calls for one in before]
    assert [one.request for one in after] == [one.request for one in before]
    texts = [one.text for one in after if not one.calls]
    assert sum(map(bool, texts)) > len(texts) / 2 > 1
    assert all(text == whole_sentences(text) for text in texts if text[-1:] in set(".!?"))
    assert all(not one.text for one in after if one.calls)
    assert [one.conversation.tools for one in after] == [one.conversation.tools for one in before]


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("It rains. It sno", "It rains."),
        ("Is it?\nYes! But", "Is it?\nYes!"),
        ("About 3.5 of them", ""),
        ("Nothing ends", ""),
        (" All of it. ", "All of it."),
    ],
)
def test_text_that_is_cut_keeps_its_whole_sentences(text: str, whole: str) -> None:
    assert whole_sentences(text) == whole


def test_a_row_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(as_openai_log(example)) + "\n" for example in EXAMPLES))
    for read, example in zip(read_examples(file), EXAMPLES, strict=True):
        assert (read.conversation, read.calls, read.text) == (example.conversation, example.calls, example.text)


def test_a_tool_that_cannot_be_offered_is_named_with_its_place_and_nothing_is_written(tmp_path: Path) -> None:
    tools, output = tmp_path / "tools.jsonl", tmp_path / "made.jsonl"
    tools.write_text('{"name": "fine"}\n{"name": "odd", "parameters": {"type": "object", "properties": 7}}\n')
    code, said = synthesize(output, "--count", "5", "--tools", str(tools))
    assert code == 1
    assert "line 2" in said.replace("\n", " ")
    assert not list(tmp_path.glob("made*"))


def test_the_table_fits_a_terminal_however_many_calls_there_are() -> None:
    made = [
        Example.build(
            id=str(count),
            source="composed dependent",
            messages=[Message(role="user", text="x")],
            tools=[WEATHER],
            calls=[(WEATHER.name, {"city": "Rome", "days": day}) for day in range(count)],
        )
        for count in (0, 1, MANY - 1, MANY, MANY, 16)
    ]
    console = Console(file=StringIO(), width=80)
    console.print(table_of(made * 300))
    assert isinstance(console.file, StringIO)
    head, row = [line.split() for line in console.file.getvalue().splitlines() if line[:1] == " " and line.strip("─ ")]
    assert head == ["calls", *map(str, range(MANY)), f"{MANY}+", "all"]
    assert row == ["composed", "dependent", "300", "300", "300", "900", "1800"]
