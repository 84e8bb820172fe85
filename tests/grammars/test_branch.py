"""Call branches: what is forced, and what is left to the model."""

from __future__ import annotations

import pytest

from grammars.branch import Branch, Sampling, call_branch
from grammars.constraint import compile_constraint
from grammars.dialects import DIALECTS, Dialect
from grammars.plan import PlannedCall
from grammars.tools import Tool
from serving.engines.byte_tokenizer import ByteTokenizer

TOKENIZER = ByteTokenizer()
WEATHER = Tool(
    name="get_weather",
    parameters={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)


def branch(subject: str, dialect: Dialect = DIALECTS["json"]) -> Branch:
    call = PlannedCall(tool="get_weather", subject=subject)
    return call_branch(call, WEATHER, dialect, TOKENIZER, max_new_tokens=9, sampling=Sampling())


UNMARKED = [dialect for dialect in DIALECTS.values() if dialect.marks is None]


@pytest.mark.parametrize("dialect", UNMARKED, ids=lambda dialect: dialect.name)
def test_branch_stands_on_its_call_in_the_dialect_up_to_the_arguments(dialect: Dialect) -> None:
    suffix = TOKENIZER.decode(branch("Oslo", dialect).suffix)
    assert (
        suffix == dialect.branch_open + dialect.call_open + '{"name": "get_weather", "request": "Oslo", "arguments": '
    )


def test_branch_of_a_model_that_was_trained_stands_on_marks_name_and_subject() -> None:
    suffix = TOKENIZER.decode(branch("Oslo", DIALECTS["polycall-smollm2"]).suffix)
    assert suffix == "<jupyter_code>get_weather: Oslo<jupyter_output>"


@pytest.mark.parametrize(("name", "text"), [("json", '{"city": "Oslo"}}'), ("polycall-smollm2", '{"city": "Oslo"}')])
def test_branch_ends_where_its_call_does(name: str, text: str) -> None:
    matcher = compile_constraint(branch("Oslo", DIALECTS[name]).constraint, TOKENIZER).matcher()
    for token in TOKENIZER.encode(text):
        assert not matcher.finished
        matcher.consume(token)
    assert matcher.finished
    assert not matcher.error


def test_subject_stands_in_the_call_as_json_text() -> None:
    suffix = TOKENIZER.decode(branch('the \\ sign "in" quotes').suffix)
    assert '"request": "the \\\\ sign \\"in\\" quotes", ' in suffix


def test_call_without_a_subject_says_nothing_of_a_request() -> None:
    assert TOKENIZER.decode(branch("").suffix) == '{"name": "get_weather", "arguments": '


def test_keys_that_the_schema_forces_are_not_left_to_the_model() -> None:
    matcher = compile_constraint(branch("Oslo").constraint, TOKENIZER).matcher()
    assert TOKENIZER.decode(matcher.forced()) == '{"city": "'
