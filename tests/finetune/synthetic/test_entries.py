"""The catalogue: large, of many topics, and without templates that leave a required argument unsaid."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from finetune.synthetic.entries import catalogue, read_entry
from finetune.synthetic.values import pools
from grammars.errors import ConfigurationError

ROW: dict[str, Any] = {
    "names": ["bake"],
    "about": "Bake something.",
    "need": {"dish": "dish -- What to bake."},
    "may": {"minutes": "int 5..9 minutes -- How long. Default is 7."},
    "asks": ["Can you bake {dish}[ for {minutes}]?"],
    "does": ["bake {dish}"],
    "item": "{dish}",
    "many": ["bake {*}"],
}


def test_there_are_many_tools_of_many_topics() -> None:
    assert len(catalogue().entries) >= 120
    assert len({entry.topic for entry in catalogue().entries}) >= 15
    assert len(catalogue().joints) >= 15


def test_no_name_stands_for_two_tools() -> None:
    names = [name for entry in catalogue().entries for name in entry.names]
    assert len({name.rpartition(".")[2].replace("_", "").lower() for name in names}) == len(names)


@pytest.mark.parametrize("entry", catalogue().entries, ids=lambda entry: entry.names[0])
def test_tool_can_be_asked_for_in_several_ways(entry: Any) -> None:
    assert len(entry.asks) >= 2 <= len(entry.names)
    assert entry.does
    assert entry.about.endswith(".")
    assert all(ask[-1] in ".?" for ask in entry.asks)
    assert all(clause[-1] not in ".?" and clause[0].islower() for clause in entry.does)
    for argument in entry.arguments.values():
        value = argument.kind.draw(Random(0))
        assert value.text
        assert value.text == value.text.strip()


def test_entries_of_pools_are_different() -> None:
    for name, entries in pools().items():
        assert len(set(entries)) == len(entries) >= 4, name


def test_a_good_row_is_read() -> None:
    entry = read_entry(ROW, "kitchen")
    assert entry.required == {"dish"}
    assert list(entry.arguments) == ["dish", "minutes"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"asks": ["Can you bake?"]}, "does not say dish"),
        ({"asks": ["Can you bake[ {dish}]?"]}, "does not say dish"),
        ({"item": "{minutes}"}, "does not say dish"),
        ({"does": ["bake {dish} at {heat}"]}, "no arguments: heat"),
        ({"need": {"dish": "dish"}}, "no description"),
        ({"need": {"dish": "saucer -- What to bake."}}, "no kind of value"),
        ({"ask": []}, "unknown keys: ask"),
    ],
)
def test_a_bad_row_is_refused_with_its_place(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        read_entry({**ROW, **change}, "kitchen")
