"""Selection: which of the examples a run learns from. To leave some out shows what they are good for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

from finetune.readers.example import Example

Selection = Literal["all", "with-calls", "single-call"]

SELECTIONS: dict[Selection, Callable[[Example], bool]] = {
    "all": lambda _: True,
    "with-calls": lambda example: len(example.calls) >= 1,
    "single-call": lambda example: len(example.calls) <= 1,
}
"""All; those in which something is called; those in which no more than one call is made, with those of none."""


def selected(examples: Iterable[Example], selection: Selection) -> list[Example]:
    """The examples of this selection, in their order."""
    return [example for example in examples if SELECTIONS[selection](example)]
