"""The stream of synthetic examples: the same for a seed, valid, and saying in words every value that it calls with."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from itertools import islice
from random import Random

import pytest

from finetune.held_out import bare_name, held_out_names, held_out_questions, plain, why_held_out
from finetune.readers.example import Example
from finetune.synthetic.entries import catalogue
from finetune.synthetic.examples import (
    SOURCE,
    SyntheticSettings,
    in_form,
    nothing_to_call,
    synthetic_example,
    synthetic_examples,
)
from finetune.synthetic.naming import named

DEFAULT = SyntheticSettings()
needs_bfcl = pytest.mark.skipif(find_spec("bfcl_eval") is None, reason="bfcl-eval is not installed: scripts/setup")


@cache
def sample() -> tuple[Example, ...]:
    return tuple(synthetic_examples(7, 220))


def test_same_seed_gives_the_same_examples_and_another_seed_others() -> None:
    assert tuple(synthetic_examples(7, 20)) == sample()[:20]
    assert tuple(islice(synthetic_examples(7), 20)) == sample()[:20]
    assert all(
        one.request != other.request for one, other in zip(sample()[:20], synthetic_examples(8, 20), strict=True)
    )


def test_an_example_depends_on_its_index_and_not_on_those_before() -> None:
    assert synthetic_example(7, 123, DEFAULT) == sample()[123]
    assert sample()[123].id == "7/123"
    assert sample()[123].source == SOURCE


def test_requests_differ() -> None:
    requests = [example.request for example in sample() if example.calls]
    assert len(set(requests)) == len(requests)


def test_no_call_is_asked_for_twice() -> None:
    for example in sample():
        said = [(call.name, json.dumps(call.arguments, sort_keys=True)) for call in example.calls]
        assert len(set(said)) == len(said), example.request


def test_every_count_of_calls_occurs_and_two_to_four_most() -> None:
    counts = Counter(len(example.calls) for example in sample())
    assert set(range(9)) == set(counts)
    assert sum(counts[count] for count in (2, 3, 4)) > sum(counts.values()) * 0.4
    assert 0.2 < counts[0] / len(sample()) < 0.3


def test_tools_offered_have_different_names_and_stand_in_any_order() -> None:
    first = Counter()
    for example in sample():
        names = [tool.name for tool in example.conversation.tools]
        assert len(set(names)) == len(names) >= 1
        if len(names) > 2 and example.calls:
            first[names[0] == example.calls[0].name] += 1
    assert first[True] > 10 < first[False]


def test_arguments_that_a_request_does_not_mention_are_left_out_of_its_calls() -> None:
    optional = {True: 0, False: 0}
    for example in sample():
        tools = {tool.name: tool for tool in example.conversation.tools}
        for call in example.calls:
            schema = tools[call.name].parameters
            for name in schema["properties"].keys() - set(schema.get("required", ())):
                optional[name in call.arguments] += 1
    assert min(optional.values()) > 15


@pytest.mark.parametrize("form", DEFAULT.forms)
def test_every_value_of_a_call_stands_in_the_request(form: str) -> None:
    found = 0
    for seed in range(140):
        asked = in_form(form, 2 + seed % 7, catalogue(), Random(seed))
        if asked is None:
            continue
        found += 1
        for call in asked.calls:
            assert call.entry.required <= call.values.keys() <= call.entry.arguments.keys()
            for value in call.values.values():
                assert value.text.lower() in asked.text.lower(), asked.text
    assert found > 5


def test_request_with_nothing_to_call_has_tools_none_of_which_it_asks_for() -> None:
    always = replace(DEFAULT, no_call=1.0, chat=0.0)
    for example in synthetic_examples(1, 30, always):
        assert example.calls == ()
        assert 1 <= len(example.conversation.tools) <= 4
    for seed in range(30):
        asked, offered = nothing_to_call(catalogue(), always, Random(seed))
        assert asked.text
        assert offered


def test_settings_decide_what_the_stream_is_made_of() -> None:
    settings = replace(DEFAULT, no_call=0.0, forms={"listed": 1.0}, calls={3: 1.0}, distractors=(1.0,), renamed=0.0)
    for example in synthetic_examples(2, 25, settings):
        assert len(example.calls) == 3
        (tool,) = example.conversation.tools
        assert tool.name in {entry.names[0] for entry in catalogue().entries}


def test_settings_that_allow_no_request_are_refused() -> None:
    settings = replace(DEFAULT, no_call=0.0, forms={"crossed": 1.0}, calls={5: 1.0})
    with pytest.raises(ValueError, match="no request in the forms crossed has 5 calls"):
        list(synthetic_examples(1, 1, settings))


def test_renamed_tool_keeps_its_arguments_under_names_that_differ() -> None:
    for index, entry in enumerate(catalogue().entries):
        tool = named(entry, catalogue().synonyms, Random(index), renamed=True)
        assert set(tool.arguments) == set(entry.arguments)
        assert list(tool.tool.parameters["properties"]) == list(tool.arguments.values())
        assert len(set(tool.arguments.values())) == len(entry.arguments)


@needs_bfcl
def test_no_tool_has_the_name_of_a_bfcl_function_in_any_style() -> None:
    for entry in catalogue().entries:
        assert not {bare_name(name) for name in entry.names} & held_out_names()


@needs_bfcl
def test_no_request_is_a_bfcl_question() -> None:
    assert [reason for reason in map(why_held_out, sample()) if reason] == []
    assert not {plain(text) for text in catalogue().chat} & held_out_questions()
