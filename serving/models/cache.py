"""The cache of converted models: each GGUF file is unpacked once into a folder that transformers and vLLM load.

A folder in the cache is complete: it is made under another name and renamed at the end, and a lock lets only one
process make it. Conversion runs in a child process, which gives its memory back when it is done.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from filelock import FileLock
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

from grammars.errors import ConfigurationError
from serving.models.wheels import last_error

CONVERSION = 1
"""The version of what a conversion writes. A higher number makes every model be converted anew."""


def models_cache() -> Path:
    """Where converted models are kept: `$POLYCALL_CACHE/models`, by default `~/.cache/polycall/models`."""
    return Path(os.environ.get("POLYCALL_CACHE") or "~/.cache/polycall").expanduser() / "models"


def converted_once(
    cache: Path, name: str, *, fingerprint: str, obtain: Callable[[Path, Progress], Path], needed_bytes: int
) -> Path:
    """The folder of the converted model, made first if the cache does not have it.

    `fingerprint` stands for the content of the GGUF file, which `obtain` puts into a working folder or finds
    elsewhere. `needed_bytes` is what all this takes on disk at most.
    """
    folder = cache / f"{name}-{sha256(f'{CONVERSION}:{fingerprint}'.encode()).hexdigest()[:12]}"
    if folder.is_dir():
        return folder
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(cache / f"{folder.name}.lock"):
            if not folder.is_dir():
                make_folder(folder, name, obtain, needed_bytes)
    except OSError as error:
        raise ConfigurationError(
            f"the model {name!r} cannot be kept in {str(cache)!r}: {error}; set POLYCALL_CACHE to another folder"
        ) from error
    return folder


def make_folder(folder: Path, name: str, obtain: Callable[[Path, Progress], Path], needed_bytes: int) -> None:
    free_bytes = shutil.disk_usage(folder.parent).free
    if free_bytes < needed_bytes:
        raise ConfigurationError(
            f"preparing {name!r} takes {needed_bytes / 1e9:.1f} GB in {str(folder.parent)!r}, where "
            f"{free_bytes / 1e9:.1f} GB are free; make room or set POLYCALL_CACHE to another folder"
        )
    work = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(work, ignore_errors=True)  # what a process that was killed left behind
    work.mkdir()
    try:
        with progress_bar() as progress:
            gguf = obtain(work, progress)
            task = progress.add_task("converting once", total=None)
            convert(gguf, work / "converted")
            progress.update(task, total=1, completed=1)
        (work / "converted").rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def convert(gguf: Path, folder: Path) -> None:
    """Unpack a GGUF file to bfloat16 in `folder`, in a process of its own that reaches no network."""
    command = [sys.executable, "-m", "serving.models.convert", str(gguf), str(folder)]
    child = subprocess.run(
        command, env={**os.environ, "HF_HUB_OFFLINE": "1"}, capture_output=True, text=True, check=False
    )
    if child.returncode == 0:
        return
    if child.returncode < 0:
        reason = f"it was ended by signal {-child.returncode}, most likely for want of memory"
    else:
        reason = last_error(child.stderr)
    raise ConfigurationError(f"the GGUF file {gguf.name!r} cannot be converted: {reason}")


def progress_bar() -> Progress:
    """A bar on stderr, so that what a command prints on stdout stays its own."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=Console(stderr=True))
