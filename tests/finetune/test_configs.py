"""Every recipe that is shipped trains: dry runs on small random models of the same architectures."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
import train
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from finetune.trainer import refuse_what_is_missing
from finetune.training_config import TrainingConfig, load_training_config
from grammars.dialects import dialect_of
from grammars.errors import ConfigurationError
from grammars.marks import FAMILIES
from serving.engines.transformers.tokenizer import load_tokenizer
from tests.finetune.small_models import ROW, small_model

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

CONFIGS = sorted((Path(__file__).parents[2] / "finetune" / "configs").rglob("*.toml"))


def made_small(recipe: str, **changed: str) -> str:
    """The recipe with other values, each of a setting that it has."""
    for name, value in changed.items():
        recipe, count = re.subn(rf"(?m)^{name} = .*$", f"{name} = {value}", recipe)
        assert count == 1, name
    return recipe


def with_one_call(row: dict[str, Any]) -> dict[str, Any]:
    *before, answer = row["messages"]
    return {**row, "messages": [*before, {**answer, "tool_calls": answer["tool_calls"][:1]}]}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_recipe_trains_and_what_it_exports_loads(path: Path, tmp_path: Path) -> None:
    recipe = load_training_config(path)
    base = small_model(tmp_path / "base", recipe.model.rpartition("/")[2].lower())
    text = made_small(
        path.read_text(),
        model=f'"{base}"',
        steps="2",
        checkpoint_steps="1",
        warmup_steps="0",
        learning_rate="1e-2",
        rank="4",
    )
    config, data = tmp_path / path.name, tmp_path / "rows.jsonl"
    config.write_text(re.sub(r"(?m)^(quantize|adapter) = .*\n", "", text))
    data.write_text(json.dumps(ROW if recipe.examples != "single-call" else with_one_call(ROW)) + "\n")
    given = [str(config), "--data", str(data), "--output", str(tmp_path / "out")]
    answer = CliRunner().invoke(train.app, given, catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    losses = [json.loads(line)["loss"] for line in (tmp_path / "out" / "run" / "losses.jsonl").read_text().splitlines()]
    assert len(losses) == 2
    assert losses[1] < losses[0]  # the second step already knows the row
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "model")
    assert model.config.architectures == AutoModelForCausalLM.from_pretrained(base).config.architectures
    tokenizer, _ = load_tokenizer(tmp_path / "out" / "model")
    assert dialect_of(tokenizer).name.removeprefix("polycall-") in FAMILIES
    with torch.no_grad():
        assert model(torch.tensor([tokenizer.encode("Bern")])).logits.isfinite().all()


def test_each_model_has_a_recipe_over_whole_and_one_over_four_bit_weights() -> None:
    quantized = {path.stem: load_training_config(path).quantize for path in CONFIGS}
    for model in ("mistral-7b", "qwen2.5-7b", "qwen2.5-coder-1.5b"):
        assert quantized[f"{model}-lora"] is None
        assert quantized[f"{model}-qlora"] == "4bit"


@pytest.mark.parametrize(
    ("cuda", "installed", "said", "unsaid"),
    [
        (False, False, "a GPU that torch can use through CUDA and bitsandbytes", None),
        (True, False, "bitsandbytes", "CUDA"),
        (False, True, "CUDA", "bitsandbytes"),
    ],
)
def test_four_bits_without_what_they_need_are_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, cuda: bool, installed: bool, said: str, unsaid: str | None
) -> None:
    monkeypatch.setattr("finetune.trainer.torch.cuda.is_available", lambda: cuda)
    monkeypatch.setattr("finetune.trainer.find_spec", lambda _: object() if installed else None)
    config = TrainingConfig.model_validate({"model": "m", "steps": 1, "quantize": "4bit", "lora": {}})
    with pytest.raises(ConfigurationError, match=said) as refused:
        refuse_what_is_missing(config)
    assert unsaid is None or unsaid not in str(refused.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_recipe_that_this_machine_cannot_run_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    [path] = [path for path in CONFIGS if path.stem == "mistral-7b-qlora"]
    given = [str(path), "--data", str(tmp_path / "nowhere.jsonl"), "--output", str(tmp_path / "out")]
    answer = CliRunner().invoke(train.app, given)
    assert answer.exit_code == 1
    assert "quantize = '4bit' needs a GPU that torch can use through CUDA" in answer.stderr
    assert not (tmp_path / "out").exists()


def test_recipes_say_what_fits_which_gpu() -> None:
    for path in CONFIGS:
        if tomllib.loads(path.read_text())["model"] != "smollm2-135m":
            assert {"24 GB", "80 GB"} <= set(re.findall(r"\d+ GB", path.read_text())), path.name
