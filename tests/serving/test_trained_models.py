"""What was trained loads like any model, is known by its dialect, and says what the adapter said."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed

from finetune.checkpoints import latest_checkpoint
from finetune.trainer import Trainer, load_model
from grammars.dialects import DIALECTS, dialect_of
from grammars.errors import ConfigurationError
from serving.engines.transformers.tokenizer import HuggingFaceTokenizer
from serving.models import cache
from serving.models.adapter import ADAPTER_WEIGHTS
from serving.models.cache import merged_once
from serving.models.merge import merge_adapter
from serving.models.trained import main, write_trained
from tests.finetune.training_run import SMALL, config, examples, model_folder

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

DIALECT = DIALECTS["polycall-smollm2"]
TEXT = torch.tensor([[5, 6, 7, 8]])


def base_with_tokenizer(folder: Path, smollm2_folder: Path) -> Path:
    base = model_folder(folder)
    AutoTokenizer.from_pretrained(smollm2_folder).save_pretrained(base)
    return base


def adapter_to(base: Path, folder: Path, **settings: Any) -> Path:
    """An adapter that changes the model a good deal."""
    set_seed(7)
    lora = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"], init_lora_weights=False, **settings)
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), lora).save_pretrained(folder)
    return folder


def stored_as(dtype: torch.dtype, path: Path) -> None:
    save_file({name: tensor.to(dtype) for name, tensor in load_file(path).items()}, path, metadata={"format": "pt"})


def said_by(folder: Path) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = AutoModelForCausalLM.from_pretrained(folder)(TEXT).logits
    return logits


# Merging.


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_merged_weights_are_those_that_peft_makes(tmp_path: Path, dtype: torch.dtype) -> None:
    base = model_folder(tmp_path)
    adapter = adapter_to(base, tmp_path / "adapter")
    stored_as(dtype, base / "model.safetensors")
    stored_as(torch.bfloat16, adapter / ADAPTER_WEIGHTS)
    (tmp_path / "merged").mkdir()
    merge_adapter(base, adapter, tmp_path / "merged")
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    expected = PeftModel.from_pretrained(model, adapter).merge_and_unload().to(dtype).state_dict()
    before, merged = load_file(base / "model.safetensors"), load_file(tmp_path / "merged" / "model.safetensors")
    assert before.keys() == merged.keys()
    assert all(torch.equal(weight, expected[name]) for name, weight in merged.items())
    changed = {name for name, weight in merged.items() if not torch.equal(weight, before[name])}
    assert changed == {name for name in merged if "q_proj" in name or "down_proj" in name}


def truncate_rows(tensors: dict[str, torch.Tensor]) -> None:
    for name in [name for name in tensors if "q_proj.lora_B" in name]:
        tensors[name] = tensors[name][:-1].contiguous()


def move_to_a_later_layer(tensors: dict[str, torch.Tensor]) -> None:
    for name in [name for name in tensors if ".layers.1." in name]:
        tensors[name.replace(".layers.1.", ".layers.7.")] = tensors.pop(name)


def drop_one_factor(tensors: dict[str, torch.Tensor]) -> None:
    del tensors[next(name for name in tensors if "lora_B" in name)]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (truncate_rows, r"another base model .*q_proj.weight' is 32 x 32, not 31 x 32"),
        (move_to_a_later_layer, r"another base model .* in which 'model.layers.7.+' is not there"),
        (drop_one_factor, r"not a plain one: it has '.+lora_A.weight'"),
    ],
)
def test_adapter_with_other_matrices_is_refused(
    tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], None], reason: str
) -> None:
    base = model_folder(tmp_path)
    adapter = adapter_to(base, tmp_path / "adapter")
    tensors = load_file(adapter / ADAPTER_WEIGHTS)
    change(tensors)
    save_file(tensors, adapter / ADAPTER_WEIGHTS)
    with pytest.raises(ConfigurationError, match=reason):
        merge_adapter(base, adapter, tmp_path)


@pytest.mark.parametrize("setting", [{"use_dora": True}, {"use_rslora": True}, {"rank_pattern": {"q_proj": 2}}])
def test_adapter_that_is_not_plain_is_refused_by_the_setting(tmp_path: Path, setting: dict[str, Any]) -> None:
    base = model_folder(tmp_path)
    adapter = adapter_to(base, tmp_path / "adapter", **setting)
    with pytest.raises(ConfigurationError, match=f"not a plain one: it has {next(iter(setting))}"):
        merge_adapter(base, adapter, tmp_path)


def test_adapter_to_quantised_weights_is_refused(tmp_path: Path) -> None:
    base = model_folder(tmp_path)
    adapter = adapter_to(base, tmp_path / "adapter")
    stored_as(torch.float8_e4m3fn, base / "model.safetensors")
    with pytest.raises(ConfigurationError, match="quantised weights"):
        merge_adapter(base, adapter, tmp_path)


# A folder that is served.


@pytest.mark.parametrize("lora", [True, False], ids=["adapter", "all weights"])
def test_written_model_says_what_was_trained_and_is_known_by_its_dialect(
    tmp_path: Path, smollm2_folder: Path, lora: bool
) -> None:
    base = base_with_tokenizer(tmp_path, smollm2_folder)
    Trainer(config(6, lora=lora, checkpoint_steps=6), base, tmp_path / "run").run(examples(), lambda _: None)
    checkpoint = latest_checkpoint(tmp_path / "run")
    assert checkpoint is not None
    write_trained(base, checkpoint, tmp_path / "written", DIALECT)
    with torch.no_grad():
        learned = load_model(config(6, lora=lora), base, checkpoint).eval()(TEXT).logits
    assert torch.allclose(said_by(tmp_path / "written"), learned, atol=1e-4)
    assert not torch.allclose(said_by(tmp_path / "written"), said_by(base), atol=1e-2)
    tokenizer = HuggingFaceTokenizer.load(tmp_path / "written", vocabulary_size=49152)
    assert dialect_of(tokenizer) is DIALECT
    plain = HuggingFaceTokenizer.load(smollm2_folder, vocabulary_size=49152)
    said = [{"role": "user", "content": "hi"}]
    assert tokenizer.render_chat(said, None) == plain.render_chat(said, None)


def test_folder_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "written").mkdir()
    with pytest.raises(ConfigurationError, match="is there already"):
        write_trained(tmp_path, tmp_path, tmp_path / "written", DIALECT)


def test_checkpoint_that_is_none_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be written"):
        write_trained(tmp_path / "no base", tmp_path / "no checkpoint", tmp_path / "written", DIALECT)
    assert not list(tmp_path.iterdir())


# Once, in the cache.


def merged_in(folder: Path, base: Path, adapter: Path) -> Path:
    return merged_once(
        folder / "cache", "small", fingerprint="1", base=base, adapter=adapter, dialect="polycall-smollm2"
    )


def test_adapter_is_merged_once_however_many_ask_at_the_same_time(
    tmp_path: Path, smollm2_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def counted(*given: Any) -> None:
        done.append("merged")
        merge(*given)

    merge = cache.merge
    monkeypatch.setattr(cache, "merge", counted)
    base = base_with_tokenizer(tmp_path, smollm2_folder)
    adapter = adapter_to(base, tmp_path / "adapter")
    with ThreadPoolExecutor(3) as pool:
        folders = set(pool.map(lambda _: merged_in(tmp_path, base, adapter), range(3)))
    assert (len(folders), done) == (1, ["merged"])
    [folder] = folders
    assert said_by(folder).shape == (1, 4, SMALL.vocab_size)
    assert dialect_of(HuggingFaceTokenizer.load(folder, vocabulary_size=49152)) is DIALECT


def test_child_that_is_given_another_base_leaves_nothing_and_says_why_in_one_line(
    tmp_path: Path, smollm2_folder: Path
) -> None:
    adapter = adapter_to(model_folder(tmp_path), tmp_path / "adapter")
    with pytest.raises(SystemExit, match=r"^the adapter was learned on another base model [^\n]+$"):
        main(str(smollm2_folder), str(adapter), str(tmp_path / "written"), DIALECT.name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter", "model"]
