"""A trained adapter as the package ships it, out of the run that scripts/train wrote:

scripts/adapter CONFIG --run FOLDER --output serving/models/adapters/NAME

The last checkpoint's adapter is rounded to bfloat16; CONFIG, with which it was trained, is put beside it. If the run
had other settings, that is refused. The model card, README.md, is written by hand and left as it is.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from safetensors.torch import load_file, save

from finetune.checkpoints import latest_checkpoint
from finetune.run_settings import refuse_other_settings
from finetune.training_config import load_training_config
from grammars.errors import ConfigurationError
from serving.models.adapter import ADAPTER_SETTINGS, ADAPTER_WEIGHTS, MOST_BYTES, adapter_scale
from serving.models.catalogue import PackagedModel, read_catalogue

app = typer.Typer(add_completion=False)


@app.command()
def adapter(
    config: Annotated[Path, typer.Argument(help="The settings of the run, as scripts/train had them")],
    run: Annotated[Path, typer.Option(help="The folder of checkpoints: run/ in the output of scripts/train")],
    output: Annotated[Path, typer.Option(help="The adapter's folder; what it has of the adapter is written over")],
) -> None:
    """Copy the last checkpoint's adapter, in bfloat16, to where the package has it."""
    console = Console(stderr=True)
    try:
        settings = load_training_config(config)
        refuse_other_settings(run, settings)
        base = upstream_of(settings.model)
        checkpoint = latest_checkpoint(run)
        if checkpoint is None:
            raise ConfigurationError(f"there is no checkpoint in {run}")
        size_bytes = ship_adapter(checkpoint, output, base)
    except ConfigurationError as error:
        console.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error
    shutil.copy(config, output / "training.toml")
    console.print(f"{checkpoint.name} of {run} is in {output}: {size_bytes / 1e6:.1f} MB", soft_wrap=True)


def upstream_of(name: str) -> str:
    """The name by which others know the model that was trained."""
    model = read_catalogue().get(name)
    return model.upstream if isinstance(model, PackagedModel) else name


def ship_adapter(checkpoint: Path, folder: Path, base: str) -> int:
    """Write the checkpoint's adapter to `folder`, and return the size of its weights in bytes.

    `base` takes the place of the path that the weights were trained at. Raises `ConfigurationError` where there is no
    adapter, one that the package cannot merge, or one that is too large.
    """
    if not (checkpoint / ADAPTER_SETTINGS).exists():
        raise ConfigurationError(f"{checkpoint} holds all weights of a model, not an adapter")
    adapter_scale(checkpoint)
    weights = {name: weight.to(torch.bfloat16) for name, weight in load_file(checkpoint / ADAPTER_WEIGHTS).items()}
    content = save(weights, metadata={"format": "pt"})
    if len(content) > MOST_BYTES:
        raise ConfigurationError(
            f"the adapter takes {len(content) / 1e6:.1f} MB, and the package takes one of at most "
            f"{MOST_BYTES / 1e6:.0f} MB: train one of a lower rank, or on fewer layers"
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ADAPTER_WEIGHTS).write_bytes(content)
    settings = json.loads((checkpoint / ADAPTER_SETTINGS).read_text(encoding="utf-8"))
    text = json.dumps({**settings, "base_model_name_or_path": base}, indent=1, sort_keys=True)
    (folder / ADAPTER_SETTINGS).write_text(f"{text}\n", encoding="utf-8")
    return len(content)


if __name__ == "__main__":
    app()
