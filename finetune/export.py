"""Export: a trained model as a folder that transformers and vLLM load like any other.

An adapter is merged into the weights it was trained on. The chat template names the dialect in a comment, by which
polycall knows what the model was trained for; to everybody else it is the same template.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from grammars.dialects import Dialect, template_mark
from grammars.errors import ConfigurationError

ADAPTER = "adapter_config.json"


def export_model(base: Path, checkpoint: Path, folder: Path, dialect: Dialect, *, dtype: str = "bfloat16") -> None:
    """Write the checkpoint's model to `folder`, which must not be there. `base` is the model that was trained.

    Raises `ConfigurationError` where the folder is there already or cannot be written; then nothing of it is left.
    """
    if folder.exists():
        raise ConfigurationError(f"{folder} is there already")
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        merged(base, checkpoint, getattr(torch, dtype)).save_pretrained(unfinished)
        write_tokenizer(base, unfinished, dialect)
        unfinished.rename(folder)
    except (OSError, RuntimeError) as error:  # safetensors wraps what the system says
        raise ConfigurationError(f"{folder} cannot be written: {error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def merged(base: Path, checkpoint: Path, dtype: torch.dtype) -> Any:
    """The checkpoint's weights, an adapter's added to those of the base in float32 before they are rounded."""
    if not (checkpoint / ADAPTER).exists():
        return AutoModelForCausalLM.from_pretrained(checkpoint, dtype=dtype)
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    return PeftModel.from_pretrained(model, checkpoint).merge_and_unload().to(dtype)


def write_tokenizer(base: Path, folder: Path, dialect: Dialect) -> None:
    """The base's tokenizer, its template marked."""
    tokenizer: Any = AutoTokenizer.from_pretrained(base)
    template = tokenizer.chat_template or ""
    mark = template_mark(dialect)
    tokenizer.chat_template = template if mark in template else mark + template
    tokenizer.save_pretrained(folder)
