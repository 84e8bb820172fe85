"""Contents as messages: who answers which call, and what is refused at which part."""

from __future__ import annotations

import math
from typing import Any

import pytest

from grammars.conversation import Message
from grammars.errors import RequestError
from grammars.tools import ToolCall
from serving.api.gemini.history import History, read_contents
from serving.api.gemini.wire import Content


def text(words: str) -> dict[str, Any]:
    return {"text": words}


def call(name: str, identity: str | None = None, **arguments: Any) -> dict[str, Any]:
    return {"functionCall": {"id": identity, "name": name, "args": arguments}}


def response(value: Any, name: str | None = None, identity: str | None = None) -> dict[str, Any]:
    return {"functionResponse": {"id": identity, "name": name, "response": value}}


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "parts": list(parts)}


def model(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "model", "parts": list(parts)}


def read(*contents: dict[str, Any]) -> History:
    history = History()
    read_contents([Content.model_validate(content) for content in contents], history)
    return history


def results(*contents: dict[str, Any]) -> list[tuple[str | None, str]]:
    return [(message.call_id, message.text) for message in read(*contents).messages if message.role == "tool"]


ASKED = user(text("How is the weather?"))


# What is accepted


def test_texts_of_a_content_are_one_message() -> None:
    assert read(user(text("a"), text("b")), {"parts": [text("c")]}, model(text("d"), text(""))).messages == [
        Message(role="user", text="ab"),
        Message(role="user", text="c"),
        Message(role="assistant", text="d"),
    ]


def test_calls_of_chunks_in_a_row_are_one_turn() -> None:
    chunks = [model(text("Well. ")), model(call("w", "1", city="Bern")), model(call("w", "2")), model(text(""))]
    history = read(ASKED, *chunks, user(response({}, "w"), response({}, "w")))
    calls = (ToolCall(id="1", name="w", arguments={"city": "Bern"}), ToolCall(id="2", name="w", arguments={}))
    assert history.messages[1] == Message(role="assistant", text="Well. ", calls=calls)


@pytest.mark.parametrize(
    "responses",
    [
        [response({"output": "A"}, "w", "1"), response({"output": "B"}, "w", "2"), response({"output": "C"}, "t", "3")],
        [response({"output": "C"}, "t", "3"), response({"output": "B"}, "w", "2"), response({"output": "A"}, "w", "1")],
        [response({"output": "A"}, "w"), response({"output": "B"}, "w"), response({"output": "C"}, "t")],
        [response({"output": "C"}, "t"), response({"output": "A"}, "w"), response({"output": "B"}, "w")],
        [response({"output": "A"}, "w"), response({"output": "B"}, "w", "2"), response({"output": "C"}, None, "3")],
        [response({"output": "B"}, "w", "2"), response({"output": "A"}, "w"), response({"output": "C"}, "t")],
    ],
)
def test_responses_find_their_calls_by_id_or_by_name_and_order(responses: list[dict[str, Any]]) -> None:
    calls = model(call("w", "1"), call("w", "2"), call("t", "3"))
    assert results(ASKED, calls, user(*responses)) == [("1", "A"), ("2", "B"), ("3", "C")]


def test_calls_without_ids_get_ids_that_differ_through_the_whole_history() -> None:
    turn = [model(call("w"), call("w")), user(response({"output": "A"}, "w"), response({"output": "B"}, "w"))]
    found = results(ASKED, *turn, *turn)
    assert [words for _, words in found] == ["A", "B", "A", "B"]
    assert len({identity for identity, _ in found}) == 4


def test_responses_may_come_in_several_contents_and_words_follow_the_results() -> None:
    turns = [user(text("Quick!"), response({}, "w")), {"role": "function", "parts": [response({}, "w")]}]
    messages = read(ASKED, model(call("w"), call("w")), *turns).messages
    assert [message.role for message in messages] == ["user", "assistant", "tool", "tool", "user"]
    assert messages[-1].text == "Quick!"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"output": "sunny"}, "sunny"),
        ({"result": "sunny"}, "sunny"),
        ({"result": {"sky": "blue", "sun": None}}, '{"sky": "blue", "sun": null}'),
        ({"output": None}, "null"),
        ({"sky": "blue"}, '{"sky": "blue"}'),
        ({"output": 1, "unit": "C"}, '{"output": 1, "unit": "C"}'),
        ({"error": "closed"}, '{"error": "tool_error", "message": "closed"}'),
        ({"error": {"code": 3}}, '{"error": "tool_error", "message": "{\\"code\\": 3}"}'),
        ({}, "{}"),
        (None, "{}"),
    ],
)
def test_the_model_reads_the_value_or_that_it_failed(value: Any, words: str) -> None:
    assert results(ASKED, model(call("w")), user(response(value, "w"))) == [("messages[1]_0", words)]


def test_messages_know_where_in_the_contents_they_stand() -> None:
    history = read(ASKED, model(text("Well.")), model(call("w", "1")), user(response({}, "w")), user(text("So?")))
    assert history.places == {
        "messages[0]": "contents[0]",
        "messages[1].tool_calls[0].function.arguments": "contents[2].parts[0].functionCall.args",
        "messages[1]": "contents[1]",
        "messages[2]": "contents[3].parts[0].functionResponse",
        "messages[3]": "contents[4]",
    }


# What is refused

COUNT = "number of function response parts is equal to the number of function call parts"


@pytest.mark.parametrize(
    ("contents", "place", "words"),
    [
        ([ASKED, model(call("w"))], "contents[1].parts", COUNT),
        ([ASKED, model(call("w")), ASKED], "contents[2].parts", COUNT),
        ([ASKED, model(call("w"), call("w")), user(response({}, "w"))], "contents[2].parts", COUNT),
        (
            [ASKED, model(call("w")), user(response({}, "w"), response({}, "w"))],
            "contents[2].parts[1].functionResponse.name",
            COUNT,
        ),
        ([ASKED, model(call("w")), user(response({}, "v"))], "contents[2].parts[0].functionResponse.name", "'v'"),
        (
            [ASKED, model(call("w", "1")), user(response({}, "w", "2"))],
            "contents[2].parts[0].functionResponse.id",
            "'2'",
        ),
        (
            [ASKED, model(call("w", "1")), user(response({}, "v", "1"))],
            "contents[2].parts[0].functionResponse.name",
            "of the function 'w', not 'v'",
        ),
        ([ASKED, model(call("w")), user(response({}))], "contents[2].parts[0].functionResponse.name", "'id' or a"),
        ([user(response({}, "w"))], "contents[0].parts[0].functionResponse", "immediately after a function call"),
        (
            [ASKED, model(text("Fine.")), user(response({}, "w"))],
            "contents[2].parts[0].functionResponse",
            "immediately after a function call",
        ),
        ([model(response({}, "w"))], "contents[0].parts[0].functionResponse", "immediately after a function call"),
        (
            [ASKED, model(call("w")), user(response({"output": math.inf}, "w"))],
            "contents[2].parts[0].functionResponse.response",
            "cannot be written",
        ),
        (
            [ASKED, model(call("w")), user(response({"error": [10**5000]}, "w"))],
            "contents[2].parts[0].functionResponse.response",
            "cannot be written",
        ),
        ([user(call("w"))], "contents[0].parts[0].functionCall", "only the model"),
        ([user({})], "contents[0].parts[0]", "just one of"),
        ([user({"text": "a", "functionResponse": {"name": "w"}})], "contents[0].parts[0]", "just one of"),
        ([user()], "contents[0].parts", "at least one part"),
    ],
)
def test_a_history_that_makes_no_sense_is_refused_at_its_part(
    contents: list[dict[str, Any]], place: str, words: str
) -> None:
    with pytest.raises(RequestError) as caught:
        read(*contents)
    assert caught.value.place == place
    assert words in str(caught.value)
