"""What a run learns from can be narrowed by how many calls an example makes."""

from __future__ import annotations

from typing import get_args

import pytest

from finetune.readers.example import Example
from finetune.selection import SELECTIONS, Selection, selected
from grammars.conversation import Message
from grammars.tools import Tool


def example(calls: int) -> Example:
    return Example.build(
        id=str(calls),
        source="data",
        messages=[Message(role="user", text="x")],
        tools=[Tool(name="tide")],
        calls=[("tide", {})] * calls,
    )


@pytest.mark.parametrize(
    ("selection", "kept"),
    [("all", ["2", "0", "1", "3"]), ("with-calls", ["2", "1", "3"]), ("single-call", ["0", "1"])],
)
def test_examples_are_chosen_by_their_calls_and_stay_in_order(selection: Selection, kept: list[str]) -> None:
    assert [one.id for one in selected(map(example, (2, 0, 1, 3)), selection)] == kept


def test_every_selection_that_can_be_set_is_known() -> None:
    assert set(SELECTIONS) == set(get_args(Selection))
