"""A short run of training, which tests start in processes of their own to kill them."""

from __future__ import annotations

import os
import resource
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from transformers import LlamaConfig, LlamaForCausalLM, set_seed

from finetune.rows import Lesson, Row, packed_row
from finetune.trainer import Trainer
from finetune.training_config import LoraSettings, TrainingConfig
from grammars.errors import ConfigurationError

SMALL = LlamaConfig(
    vocab_size=61,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=128,
)


def config(steps: int, *, lora: bool | LoraSettings = True, **changed: object) -> TrainingConfig:
    settings = {
        "model": "small",
        "steps": steps,
        "batch_tokens": 120,
        "pass_tokens": 60,
        "learning_rate": 1e-2,
        "warmup_steps": 2,
        "dtype": "float32",
        "checkpoint_steps": 3,
        "lora": LoraSettings(rank=4) if lora is True else lora or None,
    }
    return TrainingConfig.model_validate({**settings, **changed})


def model_folder(folder: Path) -> Path:
    """A small model, always the same."""
    path = folder / "model"
    if not path.exists():
        set_seed(3)
        LlamaForCausalLM(SMALL).save_pretrained(path)
    return path


def examples() -> list[Row]:
    """Rows with something to learn in them: after a token its successor is written."""
    draw = np.random.default_rng(5)
    rows = []
    for _ in range(24):
        prefix = [int(token) for token in draw.integers(0, 60, size=draw.integers(3, 20))]
        begins = [int(token) for token in draw.integers(0, 50, size=draw.integers(1, 4))]
        lessons = [
            Lesson(
                kind="tally" if number == 0 else "call",
                suffix=(begin,),
                written=(begin + 1, begin + 2),
                weights=(1.0, 1.0),
            )
            for number, begin in enumerate(begins)
        ]
        rows.append(packed_row(prefix, lessons))
    return rows


def run(folder: Path, steps: int, heard: Connection, most_bytes: int | None = None) -> None:
    """Train up to a step, and say which one is done, or what went wrong. No file may have more than `most_bytes`."""
    models = model_folder(folder)
    if most_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    try:
        Trainer(config(steps), models, folder / "run").run(examples(), lambda done: heard.send(done.step))
    except ConfigurationError as error:
        heard.send(str(error))


def run_as_one_of(process: int, processes: int, port: int, folder: Path, heard: Connection) -> None:
    """The same as one of several processes, as `accelerate launch` starts them."""
    os.environ |= {"RANK": str(process), "LOCAL_RANK": str(process), "WORLD_SIZE": str(processes)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    run(folder, 4, heard)
