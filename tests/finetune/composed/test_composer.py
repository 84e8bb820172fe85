"""Composing whole examples: every kind of them, each one that can be trained on, the same ones for the same seed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from finetune.composed.composer import Composer, Composition, Shares, is_like
from finetune.gold import call_meant
from finetune.readers.example import Example
from finetune.readers.grouped import GROUPED
from grammars.conversation import Message
from grammars.tools import Tool
from tests.finetune.composed.requests import EXAMPLES, RHYMES, TAX, TOOLS, WEATHER, composer

IN_A_PROCESS = """
from finetune.composed.composer import Composer
from finetune.synthetic.examples import synthetic_examples
from tests.finetune.composed.requests import PARTY
from tests.finetune.composed.test_composer import only

print([*synthetic_examples(1, 20), *Composer([PARTY], (), only("repeated")).examples(1, 40)])
"""
"""Repeats a request of so many values that a set of their names is in an order of each process's own."""


def only(kind: str) -> Composition:
    none = dict.fromkeys(vars(Shares()), 0.0)
    return Composition(shares=Shares(**{**none, kind: 1.0}))


def test_the_same_seed_composes_the_same_examples() -> None:
    assert list(composer().examples(5, 30)) == list(composer().examples(5, 30))
    assert list(composer().examples(5, 30)) != list(composer().examples(6, 30))


def test_the_same_seed_composes_the_same_examples_in_every_process() -> None:
    made = [
        subprocess.run(
            [sys.executable, "-c", IN_A_PROCESS],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=Path(__file__).parents[3],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert "party" in made[0]
    assert made[0] == made[1]


def test_all_kinds_are_composed_and_the_first_ones_do_not_depend_on_how_many_follow() -> None:
    many = list(composer().examples(1, 120))
    assert {example.source for example in many} == {
        f"composed {kind}" for kind, share in vars(Shares()).items() if share
    }
    assert list(composer().examples(1, 10)) == many[:10]


def test_every_call_is_of_a_tool_that_is_offered_and_no_tool_is_offered_twice() -> None:
    for example in composer().examples(2, 120):
        offered = [tool.name for tool in example.conversation.tools]
        assert len(offered) == len(set(offered))
        assert {call.name for call in example.calls} <= set(offered)


@pytest.mark.parametrize(
    ("kind", "tools", "calls"),
    [("single", {1}, {1}), ("repeated", {1}, {2, 3, 4, 5, 6, 8}), ("nothing", {0}, {0}), ("dependent", {2}, {2})],
)
def test_a_kind_is_what_it_says(kind: str, tools: set[int], calls: set[int]) -> None:
    for example in Composer(EXAMPLES, TOOLS, only(kind)).examples(1, 40):
        called = Counter(call.name for call in example.calls)
        assert len(called) in tools
        assert called.total() in calls


def test_mixed_examples_call_several_tools_some_of_them_several_times() -> None:
    found = [
        Counter(call.name for call in one.calls) for one in Composer(EXAMPLES, TOOLS, only("mixed")).examples(1, 40)
    ]
    assert all(len(called) > 1 for called in found)
    assert any(called.total() > len(called) for called in found)


def test_a_dependent_call_needs_the_first_ones_result() -> None:
    for example in Composer(EXAMPLES, TOOLS, only("dependent")).examples(1, 20):
        first, then = example.calls
        assert list(example.waves) == [(first,), (then,)]
        assert "1" in map(call_meant, then.arguments.values())


def test_a_kept_example_says_and_calls_what_it_did_of_the_tools_that_it_calls() -> None:
    kept = {example.request: example for example in EXAMPLES}
    for example in Composer(EXAMPLES, TOOLS, only("kept")).examples(1, 20):
        before = kept[example.request]
        assert [(call.name, call.arguments) for call in example.calls] == [
            (call.name, call.arguments) for call in before.calls
        ]
        assert all(tool in example.conversation.tools for tool in before.conversation.tools)


@pytest.mark.parametrize("source", [GROUPED, "toolrl"])
def test_tools_that_were_written_to_stand_side_by_side_stay_so(source: str) -> None:
    given = replace(EXAMPLES[0].offering([WEATHER, TAX, RHYMES]), source=source)
    alone = replace(Composition(shares=only("kept").shares), beside=(0,))
    [kept] = Composer([given], TOOLS, alone).examples(1, 1)
    offered = {tool.name for tool in kept.conversation.tools}
    assert offered == ({"weather", "incomeTax", "rhymes"} if source == GROUPED else {"weather"})


def test_without_a_tool_that_is_needed_only_the_rest_is_called() -> None:
    given = replace(written_for(WEATHER, TAX), source=GROUPED)
    for example in Composer([given], TOOLS, only("withheld")).examples(1, 12):
        offered = {tool.name for tool in example.conversation.tools}
        assert example.request == given.request
        assert len(offered & {"weather", "incomeTax"}) == 1
        assert [call.name for call in example.calls] == [call.name for call in given.calls if call.name in offered]


def test_nothing_is_withheld_of_rows_whose_tools_do_not_belong_together() -> None:
    with pytest.raises(ValueError, match="of the kind 'withheld'"):
        list(Composer([written_for(WEATHER, TAX)], TOOLS, only("withheld")).examples(1, 1))


def written_for(*tools: Tool) -> Example:
    """A request for a call of each of these."""
    values = {"weather": {"city": "Rome", "days": 2}, "incomeTax": {"income": 900.0}}
    return Example.build(
        id="two",
        source="test",
        messages=[Message(role="user", text="Two days of weather in Rome, and the tax on 900")],
        tools=tools,
        calls=[(tool.name, values[tool.name]) for tool in tools],
    )


def test_nothing_is_composed_from_nothing() -> None:
    with pytest.raises(ValueError, match="no request for one call, and no tool"):
        Composer([], [])
    with pytest.raises(ValueError, match="of the kind 'dependent'"):
        list(Composer(EXAMPLES[:1], (), only("dependent")).examples(1, 1))


def test_tools_that_could_be_taken_for_one_another_are_told() -> None:
    assert is_like(WEATHER, [TAX, WEATHER])
    assert is_like(WEATHER, [type(WEATHER)(name="city_forecast", description="A forecast of a town")])
    assert not is_like(WEATHER, [TAX, RHYMES])
