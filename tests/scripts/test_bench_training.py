"""scripts/bench training, on a small random model: four layouts of the same examples, and what each reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bench import app
from bench_training import LAYOUTS
from typer.testing import CliRunner

from finetune.layouts import ARGUMENT_HEADS
from tests.finetune.small_models import ROW, small_model

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

CALLS = len(ROW["messages"][-1]["tool_calls"])


def bench(folder: Path, *, examples: int, example_tokens: int = 4096) -> tuple[int, str, Path]:
    config, data, report = folder / "run.toml", folder / "rows.jsonl", folder / "report.json"
    base = small_model(folder / "base", "qwen")
    sizes = f"pass_tokens = 64\nexample_tokens = {example_tokens}"
    config.write_text(f'model = "{base}"\nsteps = 1\n{sizes}\ndtype = "float32"\n[lora]\nrank = 2\n')
    data.write_text(f"{json.dumps(ROW)}\n" * 3)
    given = ["--config", str(config), "--data", str(data), "--examples", str(examples), "--json", str(report)]
    answer = CliRunner().invoke(app, ["training", *given, "--repeats", "1"])
    return answer.exit_code, f"{answer.output}{answer.exception}", report


def test_bench_training_reads_the_same_examples_in_every_layout(tmp_path: Path) -> None:
    code, said, report = bench(tmp_path, examples=2)
    assert code == 0, said
    found = json.loads(report.read_text())
    assert (found["examples"], found["left_out"], found["repeats"]) == (2, 0, 1)
    assert found["pass_tokens"] < found["layouts"][0]["tokens_an_example"] < found["example_tokens"]
    packed, streams, heads, head_a_row = found["layouts"]
    assert tuple(row["layout"] for row in found["layouts"]) == LAYOUTS
    assert packed["rows"] == heads["rows"] == 2
    assert streams["rows"] == 2 * (1 + 1 + 2 * CALLS + 1)  # a tally, an outline, every call twice, all in one stream
    assert head_a_row["rows"] == 2 * CALLS * (1 + ARGUMENT_HEADS)
    assert packed["tokens_ratio"] == packed["step_ratio"] == 1.0
    assert streams["tokens"] == pytest.approx(packed["tokens"] * streams["tokens_ratio"], rel=0.01)
    assert packed["tokens"] * 2 < streams["tokens"]
    assert heads["tokens"] * 3 < head_a_row["tokens"]
    assert all(row["step_s"] > 0 for row in found["layouts"])


def test_bench_training_does_not_measure_less_than_it_was_asked_for(tmp_path: Path) -> None:
    code, said, report = bench(tmp_path, examples=4)
    assert code == 1
    assert "has 3 examples of at most 4096 tokens in every layout, not 4" in said
    assert not report.exists()


def test_bench_training_leaves_out_what_training_would_refuse(tmp_path: Path) -> None:
    code, said, _ = bench(tmp_path, examples=1, example_tokens=64)
    assert code == 1
    assert "has 0 examples of at most 64 tokens" in said
