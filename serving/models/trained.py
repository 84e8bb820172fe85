"""A trained model as a folder that transformers and vLLM load like any other.

What was learned is an adapter, which is merged into the weights it was learned on, or all weights. The chat template
names the dialect in a comment, by which polycall knows what the model was trained for; to everybody else it is the
same template.

`python -m serving.models.trained BASE LEARNED FOLDER DIALECT` writes one; the catalogue runs it as a child.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers import AutoTokenizer

from grammars.dialects import Dialect, dialect_named, template_mark
from grammars.errors import ConfigurationError
from serving.models.adapter import ADAPTER_SETTINGS
from serving.models.merge import merge_adapter

SETTINGS = ("config.json", "generation_config.json", "model.safetensors.index.json")
"""What stands beside weights in the folder of a model, if the model has it."""


def write_trained(base: Path, learned: Path, folder: Path, dialect: Dialect) -> None:
    """Write the model to `folder`, which must not be there. `learned` is an adapter to `base`, or all of its weights.

    The weights keep the types in which they are stored. Raises `ConfigurationError` where the adapter is not one to
    this base, and where the folder is there already or cannot be written; then nothing of it is left.
    """
    if folder.exists():
        raise ConfigurationError(f"{folder} is there already")
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        unfinished.mkdir(parents=True)
        write_weights(base, learned, unfinished)
        write_tokenizer(base, unfinished, dialect)
        unfinished.rename(folder)
    except (OSError, RuntimeError, SafetensorError) as error:  # safetensors wraps what the system says
        raise ConfigurationError(f"{folder} cannot be written: {error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def write_weights(base: Path, learned: Path, folder: Path) -> None:
    adapted = (learned / ADAPTER_SETTINGS).exists()
    if adapted:
        merge_adapter(base, learned, folder)
    else:
        for path in learned.glob("*.safetensors"):
            shutil.copy(path, folder)
    whole = base if adapted else learned
    for name in SETTINGS:
        if name == "config.json" or (whole / name).exists():
            shutil.copy(whole / name, folder)


def write_tokenizer(base: Path, folder: Path, dialect: Dialect) -> None:
    """The base's tokenizer, its template marked."""
    tokenizer: Any = AutoTokenizer.from_pretrained(base)
    template = tokenizer.chat_template or ""
    mark = template_mark(dialect)
    tokenizer.chat_template = template if mark in template else mark + template
    tokenizer.save_pretrained(folder)


def main(base: str, learned: str, folder: str, dialect: str) -> None:
    """The same from the command line; what is wrong is one line on stderr."""
    try:
        write_trained(Path(base), Path(learned), Path(folder), dialect_named(dialect))
    except ConfigurationError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(*sys.argv[1:])
