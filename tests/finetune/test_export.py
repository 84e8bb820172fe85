"""What was trained loads like any model, is known by its dialect, and says what the adapter said."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from finetune.checkpoints import latest_checkpoint
from finetune.export import export_model
from finetune.trainer import Trainer, load_model
from grammars.dialects import DIALECTS, dialect_of
from grammars.errors import ConfigurationError
from serving.engines.transformers.tokenizer import HuggingFaceTokenizer
from tests.finetune.training_run import config, examples, model_folder

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

DIALECT = DIALECTS["polycall-smollm2"]


def trained(folder: Path, smollm2_folder: Path, *, lora: bool) -> tuple[Path, Path]:
    """A small model with SmolLM2's tokenizer beside it, and a checkpoint of it."""
    base = model_folder(folder)
    AutoTokenizer.from_pretrained(smollm2_folder).save_pretrained(base)
    Trainer(config(6, lora=lora, checkpoint_steps=6), base, folder / "run").run(examples(), lambda _: None)
    checkpoint = latest_checkpoint(folder / "run")
    assert checkpoint is not None
    return base, checkpoint


@pytest.mark.parametrize("lora", [True, False], ids=["adapter", "all weights"])
def test_exported_model_says_what_was_trained(tmp_path: Path, smollm2_folder: Path, lora: bool) -> None:
    base, checkpoint = trained(tmp_path, smollm2_folder, lora=lora)
    export_model(base, checkpoint, tmp_path / "exported", DIALECT, dtype="float32")
    text = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        exported = AutoModelForCausalLM.from_pretrained(tmp_path / "exported")(text).logits
        learned = load_model(config(6, lora=lora), base, checkpoint).eval()(text).logits
        before = AutoModelForCausalLM.from_pretrained(base)(text).logits
    assert torch.allclose(exported, learned, atol=1e-4)
    assert not torch.allclose(exported, before, atol=1e-2)


def test_exported_model_is_known_by_its_dialect(tmp_path: Path, smollm2_folder: Path) -> None:
    base, checkpoint = trained(tmp_path, smollm2_folder, lora=True)
    export_model(base, checkpoint, tmp_path / "exported", DIALECT)
    tokenizer = HuggingFaceTokenizer.load(tmp_path / "exported", vocabulary_size=49152)
    assert dialect_of(tokenizer) is DIALECT
    plain = HuggingFaceTokenizer.load(smollm2_folder, vocabulary_size=49152)
    said = [{"role": "user", "content": "hi"}]
    assert tokenizer.render_chat(said, None) == plain.render_chat(said, None)


def test_folder_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "exported").mkdir()
    with pytest.raises(ConfigurationError, match="is there already"):
        export_model(tmp_path, tmp_path, tmp_path / "exported", DIALECT)


def test_checkpoint_that_is_none_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be written"):
        export_model(tmp_path / "no base", tmp_path / "no checkpoint", tmp_path / "exported", DIALECT)
    assert not list(tmp_path.iterdir())
