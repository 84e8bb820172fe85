"""Checkpoints: folders that are whole or not there. A run that dies, or a full disk, costs the steps since the last."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from grammars.errors import ConfigurationError

KEPT = 2
"""How many of the latest stay."""

UNFINISHED = ".unfinished"


def latest_checkpoint(folder: Path) -> Path | None:
    """The last whole checkpoint in the folder."""
    found = sorted(path for path in folder.glob("step-*") if path.suffix != UNFINISHED)
    return found[-1] if found else None


def write_checkpoint(folder: Path, step: int, write: Callable[[Path], None]) -> Path:
    """Let `write` fill a folder for this step, make it durable, and only then give it its name and remove old ones.

    Raises `ConfigurationError` where it cannot be written; those that were there before are not touched.
    """
    path = folder / f"step-{step:08d}"
    unfinished = path.with_suffix(UNFINISHED)
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        unfinished.mkdir(parents=True)
        write(unfinished)
        for written in unfinished.rglob("*"):
            make_durable(written)
        make_durable(unfinished)
        shutil.rmtree(path, ignore_errors=True)
        unfinished.rename(path)
        make_durable(folder)
    except (OSError, RuntimeError) as error:  # torch and safetensors wrap what the system says
        shutil.rmtree(unfinished, ignore_errors=True)
        before = latest_checkpoint(folder)
        kept = "there is none before it" if before is None else f"the one before it, {before.name}, is whole"
        raise ConfigurationError(f"the checkpoint of step {step} cannot be written: {error}; {kept}") from error
    for old in sorted(found for found in folder.glob("step-*") if found.suffix != UNFINISHED)[:-KEPT]:
        shutil.rmtree(old)
    return path


def make_durable(path: Path) -> None:
    """Wait until the disk has it."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
