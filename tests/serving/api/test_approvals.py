"""Approvals: the turn stops with the calls that want approval, and the next request's decisions let it go on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.execute.database.journal import DatabaseJournal
from tests.serving.api.api_server import Rounds, Said, Serve, Server
from tests.serving.api.house import House

USER = {"role": "user", "content": "Tidy up."}
MAP = {"type": "function", "function": {"name": "show_map"}}
MIXED: list[Said] = [
    [("look", {}), ("delete", {"file": "a"}), ("delete", {"file": "b"})],
    "All tidy.",
]


def post(server: Server, messages: Sequence[Any] = (USER,), key: str | None = None, **fields: Any) -> httpx.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    body = {"model": "scripted", "messages": list(messages), **fields}
    return httpx.post(f"{server.url}/v1/chat/completions", json=body, headers=headers, timeout=20)


def ask(server: Server, messages: Sequence[Any] = (USER,), **fields: Any) -> dict[str, Any]:
    answer = post(server, messages, **fields)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def wanted(answer: dict[str, Any]) -> list[dict[str, Any]]:
    return list(answer["polycall"]["approval_requests"])


def decided(answer: dict[str, Any], *approved: bool, reason: str | None = None) -> dict[str, Any]:
    """The extension object with a decision for each call that waits."""
    said = [
        {"approval_request_id": call["id"], "approve": approve, **({"reason": reason} if reason else {})}
        for call, approve in zip(wanted(answer), approved, strict=True)
    ]
    return {"approvals": said}


def done(answer: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(call["name"], call["result"] or call["error"]["kind"]) for call in answer["polycall"]["server_calls"]]


def test_a_turn_stops_with_all_calls_that_want_approval_and_runs_the_others(serve: Serve, house: House) -> None:
    answer = ask(serve(MIXED, registry=house.registry))
    assert house.did == ["look"]
    assert [(call["name"], call["arguments"]) for call in wanted(answer)] == [
        ("delete", {"file": "a"}), ("delete", {"file": "b"})
    ]  # fmt: skip
    [choice] = answer["choices"]
    assert choice["finish_reason"] == "stop"
    assert "tool_calls" not in choice["message"]
    assert done(answer) == [("look", "two files")]


def test_the_decisions_let_it_go_on_with_what_was_approved(serve: Serve, house: House) -> None:
    server = serve(MIXED, registry=house.registry)
    answer = ask(server, polycall=decided(ask(server), True, False, reason="b is dear to me"))
    assert house.did == ["look", "delete a"]
    assert answer["choices"][0]["message"]["content"] == "All tidy."
    assert done(answer) == [("delete", "deleted a"), ("delete", "denied")]
    assert answer["polycall"]["server_calls"][1]["error"]["message"].endswith("b is dear to me")


def test_the_model_reads_all_results_of_the_round_in_call_order(serve: Serve, house: House) -> None:
    read: list[str] = []

    def says(text: str, constraint: Any) -> Any:
        read.append(text)
        return Rounds(MIXED)(text, constraint)

    server = serve(says, registry=house.registry)
    ask(server, polycall=decided(ask(server), False, True))
    last = read[-1]
    places = [last.index(words) for words in ("two files", "denied", "deleted b")]
    assert places == sorted(places)


def test_a_streamed_turn_asks_in_its_last_chunk(serve: Serve, house: House) -> None:
    server = serve(MIXED, registry=house.registry)

    def streamed(**fields: Any) -> list[dict[str, Any]]:
        lines = post(server, stream=True, **fields).text.split("\r\n")
        return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]

    asks = streamed()[-1]
    assert len(wanted(asks)) == 2
    pieces = [chunk["choices"][0]["delta"].get("content", "") for chunk in streamed(polycall=decided(asks, True, True))]
    assert "".join(pieces) == "All tidy."
    assert sorted(house.did) == ["delete a", "delete b", "look"]


def test_the_answer_that_asked_may_stand_at_the_end_of_the_messages(serve: Serve, house: House) -> None:
    server = serve(MIXED, registry=house.registry)
    first = ask(server)
    messages = [USER, first["choices"][0]["message"]]
    assert done(ask(server, messages, polycall=decided(first, True, True)))[0] == ("delete", "deleted a")


@pytest.mark.parametrize(
    ("required", "wants"),
    [
        (None, ["delete"]),
        ("never", ["delete"]),
        ("always", ["delete", "look"]),
        ({"always": {"tool_names": ["look"]}}, ["delete", "look"]),
        ({"never": {"tool_names": ["look"]}}, ["delete"]),
        ({}, ["delete"]),
    ],
)
def test_the_tool_and_the_request_ask_each_for_themselves(
    serve: Serve, house: House, required: Any, wants: list[str]
) -> None:
    server = serve([[("look", {}), ("delete", {"file": "a"})], "Done."], registry=house.registry)
    extension = {} if required is None else {"require_approval": required}
    assert sorted(call["name"] for call in wanted(ask(server, polycall=extension))) == wants


def test_decisions_are_acted_on_once(serve: Serve, house: House) -> None:
    server = serve(MIXED, registry=house.registry)
    extension = decided(ask(server), True, True)
    ask(server, polycall=extension)
    again = post(server, polycall=extension)
    assert (again.status_code, again.json()["error"]["code"]) == (409, "already_decided")
    assert sorted(house.did) == ["delete a", "delete b", "look"]


def test_decisions_with_a_key_are_answered_again(serve: Serve, house: House) -> None:
    server = serve(MIXED, registry=house.registry)
    first = ask(server, key="one")
    assert wanted(ask(server, key="one")) == wanted(first)
    extension = decided(first, True, True)
    assert ask(server, key="two", polycall=extension) == ask(server, key="two", polycall=extension)
    assert sorted(house.did) == ["delete a", "delete b", "look"]


def test_a_server_that_was_restarted_knows_what_waits(serve: Serve, house: House, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/journal.sqlite3"
    first = ask(serve(MIXED, registry=house.registry, journal=DatabaseJournal(url)))
    second = serve(MIXED, registry=house.registry, journal=DatabaseJournal(url))
    assert done(ask(second, polycall=decided(first, True, False))) == [("delete", "deleted a"), ("delete", "denied")]


def test_a_turn_may_ask_again_in_a_later_round(serve: Serve, house: House) -> None:
    script: list[Said] = [[("delete", {"file": "a"})], [("look", {}), ("delete", {"file": "b"})], "Done."]
    server = serve(script, registry=house.registry)
    second = ask(server, polycall=decided(ask(server), True))
    assert [call["arguments"] for call in wanted(second)] == [{"file": "b"}]
    last = ask(server, polycall=decided(second, True))
    assert last["choices"][0]["message"]["content"] == "Done."
    assert house.did == ["delete a", "look", "delete b"]


def test_what_was_required_of_the_first_request_is_not_required_again(serve: Serve, house: House) -> None:
    server = serve([[("delete", {"file": "a"})], "Done."], registry=house.registry)
    first = ask(server, tool_choice="required")
    last = ask(server, tool_choice="required", polycall=decided(first, True))
    assert last["choices"][0]["message"]["content"] == "Done."


class TestBesideTheClientsCalls:
    """A round with calls that are handed back and calls that want approval."""

    script: Sequence[Said] = [[("look", {}), ("show_map", {}), ("delete", {"file": "a"})], "All tidy.", "Still tidy."]

    def stopped(self, server: Server) -> tuple[dict[str, Any], list[Any]]:
        first = ask(server, tools=[MAP])
        [choice] = first["choices"]
        assert choice["finish_reason"] == "tool_calls"
        [call] = choice["message"]["tool_calls"]
        return first, [USER, choice["message"], {"role": "tool", "tool_call_id": call["id"], "content": "the map"}]

    def test_the_next_request_brings_results_and_decisions(self, serve: Serve, house: House) -> None:
        server = serve(self.script, registry=house.registry)
        first, messages = self.stopped(server)
        answer = ask(server, messages, tools=[MAP], polycall=decided(first, True))
        assert answer["choices"][0]["message"]["content"] == "All tidy."
        assert house.did == ["look", "delete a"]

    def test_a_request_after_that_needs_no_decision_any_more(self, serve: Serve, house: House) -> None:
        server = serve(self.script, registry=house.registry)
        first, messages = self.stopped(server)
        answer = ask(server, messages, tools=[MAP], polycall=decided(first, True))
        later = [*messages, answer["choices"][0]["message"], {"role": "user", "content": "And now?"}]
        assert ask(server, later, tools=[MAP])["choices"][0]["message"]["content"] == "Still tidy."
        assert house.did == ["look", "delete a"]

    def test_a_request_without_decisions_is_told_what_waits(self, serve: Serve, house: House) -> None:
        server = serve(self.script, registry=house.registry)
        first, messages = self.stopped(server)
        refused = post(server, messages, tools=[MAP])
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "polycall.approvals")
        assert wanted(first)[0]["id"] in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("extension", "place"),
    [
        ({"approvals": []}, "polycall.approvals"),
        ({"approvals": [{"approval_request_id": "call_1", "approve": True}]}, "polycall.approvals"),
        ({"approvals": [{"approval_request_id": "call_1"}]}, "polycall.approvals[0].approve"),
        (
            {"approvals": [{"approval_request_id": "x", "approve": True}] * 2},
            "polycall.approvals[1].approval_request_id",
        ),
        ({"require_approval": "sometimes"}, "polycall.require_approval"),
        ({"require_approval": {"always": {"tool_names": ["nothing"]}}}, "polycall.require_approval"),
        (
            {"require_approval": {"always": {"tool_names": ["look"]}, "never": {"tool_names": ["look"]}}},
            "polycall.require_approval",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_place(
    serve: Serve, house: House, extension: dict[str, Any], place: str
) -> None:
    refused = post(serve(registry=house.registry), polycall=extension)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, place)


def test_decisions_for_some_of_the_calls_only_are_refused_and_can_be_completed(serve: Serve, house: House) -> None:
    server = serve(MIXED, registry=house.registry)
    first = ask(server)
    all_of_them = decided(first, True, True)
    refused = post(server, polycall={"approvals": all_of_them["approvals"][:1]})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "polycall.approvals")
    ask(server, polycall=all_of_them)


@pytest.mark.parametrize("messages", [[USER, USER], [{"role": "user", "content": "Other."}, USER]])
def test_decisions_with_another_conversation_are_refused(serve: Serve, house: House, messages: list[Any]) -> None:
    server = serve(MIXED, registry=house.registry)
    refused = post(server, messages, polycall=decided(ask(server), True, True))
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "polycall.approvals")
    assert house.did == ["look"]
