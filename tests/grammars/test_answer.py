"""Answers as JSON: how a model is asked for one, and what of it is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from grammars.answer import ANY_OBJECT, asking_again, asking_for, problems_of, read_answer_schema
from grammars.conversation import Conversation, Message
from grammars.errors import SchemaRefused

USER = Message(role="user", text="hi")
SYSTEM = Message(role="system", text="Be brief.")
PAIR: dict[str, Any] = {"type": "array", "items": {"type": "integer"}, "maxItems": 2, "uniqueItems": True}


@pytest.mark.parametrize("messages", [[USER], [SYSTEM, USER]], ids=["no system message", "a system message"])
def test_schema_stands_at_the_end_of_the_system_message(messages: list[Message]) -> None:
    said = Conversation.read(messages)
    system, *rest = asking_for(said, read_answer_schema(PAIR)).messages
    assert system.role == "system"
    assert system.text.endswith('{"type": "array", "items": {"type": "integer"}, "maxItems": 2, "uniqueItems": true}')
    assert system.text.startswith("Be brief.\n\n") == (messages[0] is SYSTEM)
    assert rest == [USER]


def test_second_chance_shows_the_answer_and_what_is_wrong_with_it() -> None:
    *before, answer, mend = asking_again(Conversation.read([USER]), "[1, 1]", "/ (uniqueItems): twice").messages
    assert before == [USER]
    assert (answer.role, answer.text, mend.role) == ("assistant", "[1, 1]", "user")
    assert "/ (uniqueItems): twice" in mend.text


@pytest.mark.parametrize("text", ["[]", "[1]", "[1, 2]"])
def test_valid_answer_has_no_problems(text: str) -> None:
    assert problems_of(text, read_answer_schema(PAIR)) == ""


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[1, 1]", "uniqueItems"),
        ("[1, 2, 3]", "maxItems"),
        ('["a"]', "/0 (type)"),
        ("[1", "not JSON"),
        ("", "not JSON"),
    ],
)
def test_answer_that_breaks_the_schema_says_how(text: str, problem: str) -> None:
    assert problem in problems_of(text, read_answer_schema(PAIR))


@pytest.mark.parametrize("schema", [ANY_OBJECT, PAIR, {"enum": ["yes", "no"]}, {"type": ["string", "null"]}, {}])
def test_schema_of_an_answer_may_have_any_root(schema: dict[str, Any]) -> None:
    assert read_answer_schema(schema).source == schema


def test_refused_schema_names_the_place_of_answers() -> None:
    with pytest.raises(SchemaRefused) as refused:
        read_answer_schema({"items": {"type": "number", "minimum": "low"}})
    assert refused.value.place == "response_format.json_schema.schema"
    assert (refused.value.pointer, refused.value.keyword) == ("/items", "minimum")
