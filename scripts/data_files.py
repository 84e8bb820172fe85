"""Files of data as commands read them: the examples that may be trained on, and a list of what is left out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from finetune.examples import RowRefused, read_examples
from finetune.held_out import Removed, refuse_held_out, without_held_out
from finetune.readers.example import Example

SHOWN = 20
"""How many of those that are left out are shown with their reasons; all of them are counted."""


def examples_to_train_on(paths: Sequence[Path], console: Console, *, skip: bool) -> list[Example]:
    """The examples of all files that may be trained on; what is left out is told.

    Raises `ConfigurationError` for a file that may not be trained on, and, unless `skip` leaves them out, `RowRefused`
    for a row that cannot be used.
    """
    refused: list[RowRefused] = []
    removed: list[Removed] = []
    found: list[Example] = []
    for path in paths:
        refuse_held_out(path)
        found += without_held_out(read_examples(path, refused=refused if skip else None), removed)
    tell_left_out([*map(str, refused), *map(reason_of, removed)], console)
    return found


def reason_of(removed: Removed) -> str:
    """Which example was removed, and why."""
    return f"{removed.example.id}: {removed.reason}"


def tell_left_out(reasons: Sequence[str], console: Console, *, what: str = "examples") -> None:
    """How many are left out, and the first reasons as they are, each on a line of its own."""
    if not reasons:
        return
    console.print(f"{len(reasons)} {what} are left out", style="yellow")
    for reason in reasons[:SHOWN]:
        console.print(f"  {reason}", markup=False, highlight=False, soft_wrap=True)
    if len(reasons) > SHOWN:
        console.print(f"  and {len(reasons) - SHOWN} more")
