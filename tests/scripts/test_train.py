"""scripts/train, on a small random model: which examples it takes, and how it lays them out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import train
from typer.testing import CliRunner

from finetune.examples import read_examples
from finetune.readers.example import Example
from finetune.training_config import TrainingConfig
from grammars.conversation import Message
from grammars.dialects import DIALECTS
from grammars.tools import Tool
from serving.engines.transformers.tokenizer import load_tokenizer
from tests.finetune.small_models import ROW, small_model

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


def trained(folder: Path, settings: str, *options: str) -> tuple[int, str]:
    """Exit code and what was said, after one step on two equal examples of two calls."""
    folder.mkdir(exist_ok=True)
    base = small_model(folder / "base", "smollm2")
    config, data = folder / "run.toml", folder / "rows.jsonl"
    config.write_text(f'model = "{base}"\nsteps = 1\nbatch_tokens = 100000\n{settings}\n[lora]\nrank = 2\n')
    data.write_text(f"{json.dumps(ROW)}\n" * 2)
    given = [str(config), "--data", str(data), "--output", str(folder / "out"), *options]
    answer = CliRunner().invoke(train.app, given)
    return answer.exit_code, answer.stderr


@pytest.mark.parametrize(("packed", "rows"), [("true", 2), ("false", 2 * 7)])
def test_every_stream_is_a_row_of_its_own_unless_rows_are_packed(tmp_path: Path, packed: str, rows: int) -> None:
    code, said = trained(tmp_path, f"packed = {packed}")
    assert code == 0, said
    assert f"2 examples, {rows} rows, " in said


def test_an_answer_in_text_is_a_row_of_its_own(tmp_path: Path) -> None:
    base = small_model(tmp_path / "base", "smollm2")
    tokenizer, _ = load_tokenizer(base)
    messages = [Message(role="user", text="Who are you?")]
    rows = {
        (bool(tools), text): train.rows_of_example(
            Example.build(id="1", source="x", messages=messages, tools=tools, text=text),
            DIALECTS["polycall-smollm2"],
            tokenizer,
            TrainingConfig(model="x", steps=1),
            0,
        )
        for tools in ([], [Tool(name="clock")])
        for text in ("", "A model.")
    }
    kinds = {of: [row.kinds for row in found] for of, found in rows.items()}
    planned = ("tally", "outline")
    assert kinds == {
        (False, ""): [],
        (False, "A model."): [("text",)],
        (True, ""): [planned],
        (True, "A model."): [(*planned, "sequential"), ("text",)],
    }


def test_what_is_said_beside_calls_is_no_answer(tmp_path: Path) -> None:
    base = small_model(tmp_path / "base", "smollm2")
    tokenizer, _ = load_tokenizer(base)
    said = json.loads(json.dumps(ROW).replace('"content": ""', '"content": "Let me count."'))
    (tmp_path / "rows.jsonl").write_text(json.dumps(said) + "\n")
    [example] = read_examples(tmp_path / "rows.jsonl")
    assert (example.text, len(example.calls)) == ("Let me count.", 2)
    settings = TrainingConfig(model="x", steps=1)
    rows = train.rows_of_example(example, DIALECTS["polycall-smollm2"], tokenizer, settings, 0)
    assert [("text" in row.kinds) for row in rows] == [False]


@pytest.mark.parametrize(
    ("examples", "code", "told"),
    [("with-calls", 0, "2 examples, 2 rows"), ("single-call", 1, "2 examples are not 'single-call', and left out")],
)
def test_examples_that_are_not_selected_are_not_learned_from(
    tmp_path: Path, examples: str, code: int, told: str
) -> None:
    found, said = trained(tmp_path, f'examples = "{examples}"')
    assert found == code, said
    assert told in said


def test_an_example_that_is_longer_than_a_pass_is_learned_from_and_one_that_is_too_long_is_not(tmp_path: Path) -> None:
    code, said = trained(tmp_path, "pass_tokens = 30")
    assert code == 0, said
    code, said = trained(tmp_path, "example_tokens = 30")
    assert code == 1
    assert "tokens are more than example_tokens, 30" in said
    code, said = trained(tmp_path, "example_tokens = 30", "--skip")
    assert code == 1
    assert "2 examples are left out" in said
    assert "there is no example to learn from" in said


def test_an_example_that_is_too_long_leaves_out_what_others_leave_out_by_chance(tmp_path: Path) -> None:
    code, said = trained(tmp_path, "")
    assert code == 0, said
    whole = int(said.split(" tokens, ")[0].split()[-1]) // 2
    shorter = f"example_tokens = {whole - 1}\n"
    code, said = trained(tmp_path / "again", f"{shorter}[shares]\noutline = 0.99999\nsequential = 0.99999")
    assert code == 0, said
    assert int(said.split(" tokens, ")[0].split()[-1]) // 2 < whole
    code, said = trained(tmp_path / "not", shorter)
    assert code == 1
    assert f"its {whole} tokens are more than example_tokens, {whole - 1}" in said


def test_settings_that_are_refused_are_told_with_their_brackets(tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    config.write_text('model = "m"\nsteps = 1\nquantize = "4bit"\n')
    answer = CliRunner().invoke(train.app, [str(config), "--data", "rows.jsonl", "--output", str(tmp_path / "out")])
    assert answer.exit_code == 1
    assert "there must be an adapter to train: [lora]" in answer.stderr
