from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from finetune.bfcl import CATEGORIES, LANGUAGES, Case, gold_of, json_schema, load_cases, schema_of_literals, score
from finetune.failures import Emission, find_failures
from grammars.conversation import Conversation
from grammars.errors import ConfigurationError
from grammars.tools import ToolCall

pytestmark = pytest.mark.skipif(find_spec("bfcl_eval") is None, reason="bfcl-eval is not installed: scripts/setup")


def first_accepted(accepted: Any) -> Any:
    """A value made of the first accepted one of each list of alternatives; "" marks what may be left out."""
    if isinstance(accepted, dict):
        return {
            key: first_accepted(next(option for option in options if option != ""))
            for key, options in accepted.items()
            if any(option != "" for option in options)
        }
    if isinstance(accepted, list):
        return [first_accepted(item) for item in accepted]
    return accepted


def as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def right_calls(case: Case) -> list[ToolCall]:
    """The right answer, in reverse order; for Java and JavaScript as far as JSON is that language's literals too."""
    calls = []
    for truth in reversed(case.ground_truth):
        for name, accepted in truth.items():
            arguments = first_accepted(accepted)
            if case.category in LANGUAGES:
                arguments = {
                    key: value if isinstance(value, str) else json.dumps(value) for key, value in arguments.items()
                }
            calls.append(ToolCall(id=f"call_{len(calls)}", name=name, arguments=arguments))
    return calls


@pytest.mark.parametrize(
    ("category", "cases", "right"),
    [
        ("parallel", 200, 199),
        ("parallel_multiple", 200, 198),
        ("live_parallel", 16, 16),
        ("live_parallel_multiple", 24, 24),
        ("simple_python", 400, 400),
        ("multiple", 200, 200),
        ("live_simple", 258, 256),
        ("simple_java", 100, 77),
        ("simple_javascript", 50, 50),
    ],
)
def test_score_answers_rebuilt_from_the_truth_are_right(category: str, cases: int, right: int) -> None:
    verdicts = [score(case, right_calls(case)) for case in load_cases(category)]
    assert (len(verdicts), sum(verdict.valid for verdict in verdicts)) == (cases, right)


def test_score_one_call_too_few_is_a_wrong_count() -> None:
    for case in load_cases("parallel", 20):
        verdict = score(case, right_calls(case)[1:])
        assert not verdict.valid
        assert str(verdict.error_type).endswith("wrong_count")


def test_score_same_call_twice_does_not_answer_for_its_sibling() -> None:
    (case,) = load_cases("parallel", 1)
    first, second = right_calls(case)
    assert score(case, [first, second]).valid
    verdict = score(case, [first, first])
    assert str(verdict.error_type).endswith("cannot_find_match")
    assert "Taylor Swift" in verdict.error


@pytest.mark.parametrize("category", ["irrelevance", "live_irrelevance"])
def test_score_where_no_call_is_due_any_call_is_wrong(category: str) -> None:
    for case in load_cases(category, 3):
        assert score(case, []).valid
        assert not score(case, [ToolCall(id="call_0", name="any", arguments={})]).valid


def test_score_where_any_call_is_due_none_is_wrong() -> None:
    for case in load_cases("live_relevance"):
        assert score(case, [ToolCall(id="call_0", name="any", arguments={})]).valid
        assert str(score(case, []).error_type) == "relevance_error:decoder_failed"


GREEDY = {"parallel_178"}
"""Cases that the checker refuses since it takes the first call that will do for each answer, not the best for all."""

MUTATIONS: dict[str, Callable[[list[ToolCall]], list[ToolCall]]] = {
    "none": lambda calls: calls,
    "one call less": lambda calls: calls[1:],
    "the last call twice": lambda calls: [*calls, replace(calls[-1], id="again")],
    "an argument less": lambda calls: [
        replace(calls[0], arguments=dict([*calls[0].arguments.items()][1:])),
        *calls[1:],
    ],
    "an argument more": lambda calls: [replace(calls[0], arguments={**calls[0].arguments, "new": 1}), *calls[1:]],
    "another value": lambda calls: [
        replace(calls[0], arguments=dict.fromkeys(calls[0].arguments, "something else")),
        *calls[1:],
    ],
    "another tool": lambda calls: [*calls[:-1], replace(calls[-1], name="another")],
}


@pytest.mark.parametrize("mutation", MUTATIONS)
@pytest.mark.parametrize("category", ["parallel", "parallel_multiple", "live_parallel_multiple", "simple_java"])
def test_failure_modes_are_shown_just_where_the_checker_finds_a_fault(category: str, mutation: str) -> None:
    for case in load_cases(category, 80):
        calls = MUTATIONS[mutation](right_calls(case))
        shown = find_failures(gold_of(case), Emission(calls=tuple(calls)), case.tools)
        assert (not shown) == score(case, calls).valid or case.id in GREEDY, (case.id, shown)


def test_failure_modes_where_the_checker_is_greedy_show_none_for_the_right_calls() -> None:
    (case,) = (case for case in load_cases("parallel") if case.id in GREEDY)
    calls = right_calls(case)
    assert not score(case, calls).valid
    assert find_failures(gold_of(case), Emission(calls=tuple(calls)), case.tools) == {}


@pytest.mark.parametrize("category", CATEGORIES)
def test_failure_modes_of_no_calls(category: str) -> None:
    (case,) = load_cases(category, 1)
    shown = find_failures(gold_of(case), Emission(), case.tools)
    assert (not shown) == score(case, []).valid
    assert dict(shown) == ({} if category in ("irrelevance", "live_irrelevance") else {"no_call_where_one_is_due": 1})


def test_failure_modes_of_a_siblings_value_show_bleed() -> None:
    (case,) = load_cases("parallel", 1)
    first, second = right_calls(case)
    artists = {**second.arguments, "artist": first.arguments["artist"]}
    shown = find_failures(gold_of(case), Emission(calls=(first, replace(second, arguments=artists))), case.tools)
    assert shown == {"argument_bleed": 1}


def test_java_arguments_are_strings_that_name_their_type() -> None:
    informal = {
        "type": "dict",
        "properties": {"sizes": {"type": "ArrayList", "description": "All sizes.", "items": {"type": "integer"}}},
        "required": ["sizes"],
    }
    assert schema_of_literals(informal, "Java") == {
        "type": "object",
        "properties": {
            "sizes": {
                "type": "string",
                "description": "All sizes. A literal of Java, of the type ArrayList. "
                'Its elements: {"items": {"type": "integer"}}.',
            }
        },
        "required": ["sizes"],
    }


@pytest.mark.parametrize("category", CATEGORIES)
def test_load_every_case_is_a_conversation_with_real_schemas(category: str) -> None:
    for case in load_cases(category):
        for tool in case.tools:
            Draft202012Validator.check_schema(tool.parameters)
        Conversation.read(case.messages, case.tools)


def test_load_limit_takes_the_first_cases() -> None:
    assert [case.id for case in load_cases("parallel", 2)] == ["parallel_0", "parallel_1"]


def test_load_dotted_names_are_kept() -> None:
    assert load_cases("parallel", 1)[0].tools[0].name == "spotify.play"


def test_load_category_that_cannot_be_scored_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="'multi_turn_base' is no category"):
        load_cases("multi_turn_base")


@pytest.mark.parametrize(
    ("informal", "schema"),
    [
        ({"type": "dict", "properties": {}}, {"type": "object", "properties": {}}),
        ({"type": "float", "default": 1.5}, {"type": "number", "default": 1.5}),
        ({"type": "tuple", "items": {"type": "float"}}, {"type": "array", "items": {"type": "number"}}),
        ({"type": "any", "description": "what"}, {"description": "what"}),
        ({"type": "string", "optional": True}, {"type": "string"}),
        (
            {"type": "dict", "properties": {"type": {"type": "dict", "properties": {"optional": {"type": "any"}}}}},
            {"type": "object", "properties": {"type": {"type": "object", "properties": {"optional": {}}}}},
        ),
        (
            {"type": "array", "items": {"type": "string"}, "enum": ["a", "b"]},
            {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}},
        ),
        ({"type": "integer", "enum": ["1", "2"]}, {"type": "integer", "enum": [1, 2]}),
        ({"type": "boolean", "enum": ["True", "any"]}, {"type": ["boolean", "string"], "enum": [True, "any"]}),
        ({"type": "string", "enum": ["1", "2"]}, {"type": "string", "enum": ["1", "2"]}),
    ],
)
def test_json_schema_informal_types_become_real_ones(informal: dict[str, Any], schema: dict[str, Any]) -> None:
    assert json_schema(informal) == schema
