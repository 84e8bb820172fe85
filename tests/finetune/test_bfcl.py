from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from finetune.bfcl import CATEGORIES, Case, json_schema, load_cases, score
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


def right_calls(case: Case) -> list[ToolCall]:
    """The right answer, in reverse order."""
    answers = [answer for truth in reversed(case.ground_truth) for answer in truth.items()]
    return [
        ToolCall(id=f"call_{index}", name=name, arguments=first_accepted(arguments))
        for index, (name, arguments) in enumerate(answers)
    ]


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
