"""scripts/adapter: what a run learned, as the package ships it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import adapter
import pytest
import torch
from adapter import app
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from finetune.run_settings import write_settings
from finetune.training_config import TrainingConfig
from serving.models.adapter import ADAPTER_SETTINGS, ADAPTER_WEIGHTS, adapter_fingerprint
from tests.finetune.training_run import model_folder

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

CONFIG = 'model = "smollm2-135m"\nsteps = 40\n'


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run whose last checkpoint is an adapter."""
    (tmp_path / "config.toml").write_text(CONFIG)
    model = AutoModelForCausalLM.from_pretrained(model_folder(tmp_path))
    lora = LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False)
    get_peft_model(model, lora).save_pretrained(tmp_path / "run" / "step-00000040")
    return tmp_path / "run"


def shipped(run: Path) -> tuple[Any, Path]:
    output = run.parent / "adapters" / "small"
    arguments = [str(run.parent / "config.toml"), "--run", str(run), "--output", str(output)]
    return CliRunner().invoke(app, arguments), output


def test_adapter_is_the_last_checkpoints_in_bfloat16_with_the_settings_that_made_it(run: Path) -> None:
    result, output = shipped(run)
    assert result.exit_code == 0, result.output
    assert "step-00000040" in result.output
    assert "MB" in result.output
    learned = load_file(run / "step-00000040" / ADAPTER_WEIGHTS)
    weights = load_file(output / ADAPTER_WEIGHTS)
    assert weights.keys() == learned.keys()
    assert all(torch.equal(weight, learned[name].bfloat16()) for name, weight in weights.items())
    assert (output / "training.toml").read_text() == CONFIG


def test_adapter_names_its_base_as_others_know_it_and_no_path_of_this_machine(run: Path) -> None:
    _, output = shipped(run)
    text = (output / ADAPTER_SETTINGS).read_text()
    assert json.loads(text)["base_model_name_or_path"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert str(run.parent) not in text


def test_adapter_that_is_shipped_again_leaves_the_model_card_alone(run: Path) -> None:
    _, output = shipped(run)
    (output / "README.md").write_text("the card")
    before = adapter_fingerprint(output)
    result, _ = shipped(run)
    assert result.exit_code == 0
    assert adapter_fingerprint(output) == before
    assert (output / "README.md").read_text() == "the card"


def test_adapter_that_is_too_large_is_refused_and_nothing_is_written(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "MOST_BYTES", 100)
    result, output = shipped(run)
    assert result.exit_code == 1
    assert "lower rank" in result.output
    assert not output.exists()


def test_settings_that_are_not_those_of_the_run_are_refused(run: Path) -> None:
    write_settings(run, TrainingConfig(model="smollm2-135m", steps=40, learning_rate=0.5))
    result, output = shipped(run)
    assert result.exit_code == 1
    assert "learning_rate was 0.5, not 0.0002" in result.output
    assert not output.exists()


@pytest.mark.parametrize("missing", ["checkpoint", "adapter"])
def test_run_without_an_adapter_is_refused(run: Path, missing: str) -> None:
    checkpoint = run / "step-00000040"
    if missing == "checkpoint":
        checkpoint.rename(run / "kept")
    else:
        (checkpoint / ADAPTER_SETTINGS).unlink()
    result, output = shipped(run)
    assert result.exit_code == 1
    assert ("no checkpoint" if missing == "checkpoint" else "not an adapter") in result.output
    assert not output.exists()
