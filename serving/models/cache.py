"""The cache of models: a GGUF file is unpacked once, and an adapter merged once, into a folder that transformers and
vLLM load.

A folder in the cache is complete: it is made under another name and renamed at the end, and a lock lets only one
process make it. The work runs in a child process, which gives its memory back when it is done.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from filelock import FileLock
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

from grammars.errors import ConfigurationError
from serving.models.wheels import last_error

CONVERSION = 1
"""The version of what a conversion writes. A higher number makes every model be converted anew."""

MERGING = 1
"""Likewise of what the merging of an adapter writes."""


Make = Callable[[Path, Progress], Path]
"""Makes the folder of a model somewhere in a working folder that is new and empty."""


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

    def make(work: Path, progress: Progress) -> Path:
        gguf = obtain(work, progress)
        with at_work(progress, "converting once"):
            convert(gguf, work / "converted")
        return work / "converted"

    return made_once(cache, name, fingerprint=f"{CONVERSION}:{fingerprint}", make=make, needed_bytes=needed_bytes)


def merged_once(cache: Path, name: str, *, fingerprint: str, base: Path, adapter: Path, dialect: str) -> Path:
    """The folder of `base` with an adapter merged into it, made first if the cache does not have it.

    `fingerprint` stands for the content of both. `dialect` is the one that the adapter was trained on.
    """

    def make(work: Path, progress: Progress) -> Path:
        with at_work(progress, "merging the adapter once"):
            merge(base, adapter, work / "merged", dialect)
        return work / "merged"

    needed_bytes = sum(path.stat().st_size for path in base.iterdir())
    return made_once(cache, name, fingerprint=f"{MERGING}:{fingerprint}", make=make, needed_bytes=needed_bytes)


def made_once(cache: Path, name: str, *, fingerprint: str, make: Make, needed_bytes: int) -> Path:
    """The folder of a model, made first if the cache does not have it, by one process of all that ask for it.

    Raises `ConfigurationError` where there is no room for it, or the cache cannot be written.
    """
    folder = cache / f"{name}-{sha256(fingerprint.encode()).hexdigest()[:12]}"
    if folder.is_dir():
        return folder
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(cache / f"{folder.name}.lock"):
            if not folder.is_dir():
                make_folder(folder, name, make, needed_bytes)
    except OSError as error:
        raise ConfigurationError(
            f"the model {name!r} cannot be kept in {str(cache)!r}: {error}; set POLYCALL_CACHE to another folder"
        ) from error
    return folder


def make_folder(folder: Path, name: str, make: Make, needed_bytes: int) -> None:
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
            made = make(work, progress)
        made.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def convert(gguf: Path, folder: Path) -> None:
    """Unpack a GGUF file to bfloat16 in `folder`, in a process of its own that reaches no network."""
    run_child(f"the GGUF file {gguf.name!r} cannot be converted", "serving.models.convert", str(gguf), str(folder))


def merge(base: Path, adapter: Path, folder: Path, dialect: str) -> None:
    """Write `base` with an adapter merged into it to `folder`, likewise."""
    wrong = f"the adapter in {str(adapter)!r} cannot be merged"
    run_child(wrong, "serving.models.trained", str(base), str(adapter), str(folder), dialect)


def run_child(wrong: str, module: str, *arguments: str) -> None:
    child = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if child.returncode == 0:
        return
    if child.returncode < 0:
        reason = f"it was ended by signal {-child.returncode}, most likely for want of memory"
    else:
        reason = last_error(child.stderr)
    raise ConfigurationError(f"{wrong}: {reason}")


@contextmanager
def at_work(progress: Progress, description: str) -> Iterator[None]:
    """A bar for work that does not tell how far it is."""
    task = progress.add_task(description, total=None)
    yield
    progress.update(task, total=1, completed=1)


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
