"""Calls that refer to each other's results: on the wire, through the decoder, and into the tools, in one round."""

from __future__ import annotations

from typing import Any

import pytest

from serving.execute.registry import Registry
from tests.serving.api.api_server import Call, Serve, Server

USER = {"role": "user", "content": "Double the number of files, and tell me."}
ASKED = {"parallel_dependencies": True}
SHOW = {
    "type": "function",
    "function": {"name": "show", "parameters": {"type": "object", "properties": {"text": {"type": "string"}}}},
}


class Desk:
    """Three tools, and what they were given."""

    def __init__(self) -> None:
        self.given: list[tuple[str, Any]] = []
        self.registry = Registry()

        @self.registry.tool(read_only=True)
        def count() -> dict[str, Any]:
            self.given.append(("count", None))
            return {"files": [3, 5], "said": "$ref:1"}

        @self.registry.tool(read_only=True)
        def double(number: int) -> int:
            self.given.append(("double", number))
            return 2 * number

        @self.registry.tool(read_only=True)
        def say(text: str) -> str:
            self.given.append(("say", text))
            return "said"

        @self.registry.tool(approval="always")
        def delete(number: int) -> str:
            self.given.append(("delete", number))
            return "deleted"


@pytest.fixture
def desk() -> Desk:
    return Desk()


def ask(server: Server, extension: dict[str, Any], **fields: Any) -> Any:
    return server.client.chat.completions.create(
        model="scripted",
        messages=[USER],  # type: ignore[list-item]
        extra_body={"polycall": extension},
        **fields,
    )


def results(answer: Any) -> list[tuple[str, Any]]:
    """Tool and result, or kind of error, of each call that the server ran."""
    return [
        (call["name"], call["error"]["kind"] if call["error"] else call["result"])
        for call in answer.model_extra["polycall"]["server_calls"]
    ]


CHAIN: list[Call] = [("count", {}), ("double", {"number": "$ref:1#/files/1"}), ("double", {"number": "$ref:2"})]


def test_a_tool_gets_the_value_of_another_with_its_type_in_one_round(serve: Serve, desk: Desk) -> None:
    answer = ask(serve([CHAIN, "Twenty."], registry=desk.registry), ASKED)
    assert desk.given == [("count", None), ("double", 5), ("double", 10)]
    assert results(answer)[1:] == [("double", 10), ("double", 20)]
    assert answer.model_extra["polycall"]["rounds"] == 2, "one of calls, and the text"
    assert answer.choices[0].message.content == "Twenty."


@pytest.mark.parametrize("extension", [{}, {"parallel_dependencies": False}])
def test_unasked_no_call_of_other_types_can_hold_a_reference(
    serve: Serve, desk: Desk, extension: dict[str, Any]
) -> None:
    ask(serve([[("count", {}), ("double", {"number": "$ref:1"})], "No."], registry=desk.registry), extension)
    assert desk.given == [("count", None)]


def test_unasked_the_letters_of_a_reference_are_text(serve: Serve, desk: Desk) -> None:
    ask(serve([[("count", {}), ("say", {"text": "$ref:1"})], "Said."], registry=desk.registry), {})
    assert ("say", "$ref:1") in desk.given


def test_a_value_that_reads_like_a_reference_is_put_in_and_not_followed(serve: Serve, desk: Desk) -> None:
    ask(serve([[("count", {}), ("say", {"text": "$ref:1#/said"})], "Said."], registry=desk.registry), ASKED)
    assert desk.given == [("count", None), ("say", "$ref:1")]


@pytest.mark.parametrize(
    ("reference", "kind"),
    [("$ref:1#/nowhere", "unknown_reference"), ("$ref:1#/said", "invalid_arguments")],
    ids=["nothing there", "another type"],
)
def test_a_reference_to_what_does_not_fit_is_an_error_of_that_call_alone(
    serve: Serve, desk: Desk, reference: str, kind: str
) -> None:
    server = serve([[("count", {}), ("double", {"number": reference})], "No."], registry=desk.registry)
    assert results(ask(server, ASKED))[1] == ("double", kind)
    assert desk.given == [("count", None)]


def test_what_wants_approval_must_show_its_arguments(serve: Serve, desk: Desk) -> None:
    calls: list[Call] = [("count", {}), ("delete", {"number": "$ref:1#/files/0"})]
    answer = ask(serve([calls, "Nothing deleted."], registry=desk.registry), ASKED)
    assert results(answer)[1] == ("delete", "invalid_arguments")
    assert not answer.model_extra["polycall"].get("approval_requests")
    assert answer.choices[0].message.content == "Nothing deleted."
    assert desk.given == [("count", None)]


def test_what_wants_approval_is_asked_about_where_its_arguments_are_values(serve: Serve, desk: Desk) -> None:
    answer = ask(serve([[("count", {}), ("delete", {"number": 3})]], registry=desk.registry), ASKED)
    [wanted] = answer.model_extra["polycall"]["approval_requests"]
    assert wanted["name"] == "delete"


def test_a_call_of_the_client_is_handed_back_with_its_reference(serve: Serve, desk: Desk) -> None:
    calls: list[Call] = [("show", {"text": "a"}), ("show", {"text": "$ref:1#/title"}), ("say", {"text": "$ref:1"})]
    answer = ask(serve([calls], registry=desk.registry), ASKED, tools=[SHOW])
    first, second = answer.choices[0].message.tool_calls
    assert second.function.arguments == f'{{"text": "$ref:{first.id}#/title"}}'
    assert results(answer) == [("say", "unknown_reference")]
    assert desk.given == []
