"""`Idempotency-Key`: one key is one request, whose answer is given again and whose calls do not run again."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from grammars.constraint import Constraint
from serving.api.app import ApiOptions
from serving.callers import ApiKey, Caller
from serving.engines.scripted import Answer
from serving.execute.database.journal import DatabaseJournal
from serving.execute.registry import Registry
from tests.serving.api.api_server import Rounds, Said, Serve, Server

USER = {"role": "user", "content": "Charge two orders."}
TWO = [("charge", {"order": 1}), ("charge", {"order": 2})]
CHARGES: list[Said] = [TWO, "Both are paid."]


class Shop:
    """A tool that must not run twice, and what it did."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.charged: list[int] = []
        self.seconds = seconds
        self.registry = Registry()

        @self.registry.tool()
        def charge(order: int) -> str:
            self.charged.append(order)
            time.sleep(self.seconds)
            return f"receipt {order}"


def post(server: Server, key: str | None = "k", api_key: str | None = None, **fields: Any) -> httpx.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    if api_key is not None:
        headers["Authorization"] = f"Bearer {api_key}"
    body = {"model": "scripted", "messages": [USER], **fields}
    return httpx.post(f"{server.url}/v1/chat/completions", json=body, headers=headers, timeout=20)


def turn_of(server: Server, turn_id: str, **options: Any) -> httpx.Response:
    return httpx.get(f"{server.url}/v1/turns/{turn_id}", **options)


def test_the_answer_to_a_key_is_given_again_and_nothing_runs(serve: Serve) -> None:
    shop = Shop()
    server = serve(CHARGES, registry=shop.registry)
    first, again = post(server), post(server)
    assert first.json() == again.json()
    assert sorted(shop.charged) == [1, 2]
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"


def test_a_streamed_answer_is_given_again_as_a_stream_that_says_the_same(serve: Serve) -> None:
    shop = Shop()
    server = serve(CHARGES, registry=shop.registry)
    first, again = (post(server, stream=True) for _ in range(2))
    chunks = [
        [json.loads(line.removeprefix("data: ")) for line in answer.text.split("\r\n") if line.startswith("data: {")]
        for answer in (first, again)
    ]
    texts = ["".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in stream) for stream in chunks]
    assert texts == ["Both are paid.", "Both are paid."]
    assert chunks[0][-1] == chunks[1][-1]
    assert {chunk["id"] for stream in chunks for chunk in stream} == {chunks[0][0]["id"]}
    assert again.headers["Idempotent-Replayed"] == "true"
    assert sorted(shop.charged) == [1, 2]


def test_calls_that_were_handed_back_are_handed_back_again(serve: Serve) -> None:
    server = serve([[("show_map", {})]])
    tools = [{"type": "function", "function": {"name": "show_map"}}]
    first, again = (post(server, tools=tools).json()["choices"] for _ in range(2))
    assert first == again
    assert first[0]["message"]["tool_calls"][0]["function"]["name"] == "show_map"


def test_without_a_key_a_request_runs_each_time(serve: Serve) -> None:
    shop = Shop()
    server = serve(CHARGES, registry=shop.registry)
    first, again = post(server, None), post(server, None)
    assert first.json()["id"] != again.json()["id"]
    assert sorted(shop.charged) == [1, 1, 2, 2]


@pytest.mark.parametrize("other", [{"temperature": 1.0}, {"stream": True}, {"messages": [USER, USER]}])
def test_a_key_with_another_body_is_refused_and_nothing_runs(serve: Serve, other: dict[str, Any]) -> None:
    shop = Shop()
    server = serve(CHARGES, registry=shop.registry)
    post(server)
    refused = post(server, **other)
    assert refused.status_code == 422
    assert refused.json()["error"]["code"] == "idempotency_key_reused"
    assert refused.json()["error"]["param"] == "Idempotency-Key"
    assert sorted(shop.charged) == [1, 2]


def test_the_same_body_in_other_words_is_the_same_request(serve: Serve) -> None:
    server = serve(["Hello."])
    texts = ('{"model": "scripted", "messages": [%s]}', '{"messages":[%s],"model":"scripted"}')
    answers = [
        httpx.post(
            f"{server.url}/v1/chat/completions", content=text % json.dumps(USER), headers={"Idempotency-Key": "k"}
        )
        for text in texts
    ]
    assert answers[0].json() == answers[1].json()


def test_of_two_requests_at_once_one_runs_and_the_other_is_told_to_ask_again(serve: Serve) -> None:
    shop = Shop(seconds=0.5)
    server = serve(CHARGES, registry=shop.registry)
    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(lambda _: post(server), range(3)))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409]
    refused = next(answer for answer in answers if answer.status_code == 409)
    assert refused.json()["error"]["code"] == "turn_in_progress"
    assert int(refused.headers["Retry-After"]) >= 1
    assert sorted(shop.charged) == [1, 2]


def test_the_real_client_retries_until_the_answer_is_there(serve: Serve) -> None:
    shop = Shop(seconds=0.5)
    server = serve(CHARGES, registry=shop.registry)
    patient = server.client.with_options(max_retries=5)

    def ask(_: int) -> str | None:
        answer = patient.chat.completions.create(
            model="scripted",
            messages=[USER],
            extra_headers={"Idempotency-Key": "k"},  # type: ignore[list-item]
        )
        return answer.choices[0].message.content

    with ThreadPoolExecutor() as pool:
        assert list(pool.map(ask, range(3))) == ["Both are paid."] * 3
    assert sorted(shop.charged) == [1, 2]


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there"])
def test_a_key_that_is_none_is_refused(serve: Serve, key: str) -> None:
    refused = post(serve(), key)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "Idempotency-Key")


def test_a_request_that_failed_is_tried_again_with_the_same_key(serve: Serve) -> None:
    shop = Shop()
    fails = [True]

    def says(text: str, constraint: Constraint) -> Answer:
        if "receipt" in text and fails:
            fails.clear()
            raise RuntimeError("the model is gone")
        return Rounds(CHARGES)(text, constraint)

    server = serve(says, registry=shop.registry)
    assert post(server).status_code == 500
    assert sorted(shop.charged) == [1, 2]
    again = post(server)
    assert again.json()["choices"][0]["message"]["content"] == "Both are paid."
    calls = again.json()["polycall"]["server_calls"]
    assert [(call["result"], call["start_s"]) for call in calls] == [("receipt 1", 0.0), ("receipt 2", 0.0)]
    assert sorted(shop.charged) == [1, 2], "the round that was over is not run again"


def test_a_client_that_left_in_the_middle_of_a_call_reads_that_its_outcome_is_unknown(serve: Serve) -> None:
    shop = Shop(seconds=0.5)
    server = serve(CHARGES, registry=shop.registry)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{server.url}/v1/chat/completions",
            json={"model": "scripted", "messages": [USER]},
            headers={"Idempotency-Key": "k"},
            timeout=0.3,
        )
    for _ in range(100):
        again = post(server)
        if again.status_code == 200:
            break
        time.sleep(0.05)
    errors = [call["error"]["kind"] for call in again.json()["polycall"]["server_calls"]]
    assert errors == ["unknown_outcome", "unknown_outcome"]
    assert sorted(shop.charged) == [1, 2]


def test_a_key_outlives_the_server(serve: Serve, tmp_path: Path) -> None:
    shop = Shop()
    url = f"sqlite:///{tmp_path}/journal.sqlite3"
    first = post(serve(CHARGES, registry=shop.registry, journal=DatabaseJournal(url)))
    again = post(serve(CHARGES, registry=shop.registry, journal=DatabaseJournal(url)))
    assert first.json() == again.json()
    assert sorted(shop.charged) == [1, 2]


class TestTurns:
    """GET /v1/turns/{id}: the calls behind an answer."""

    def test_a_turn_shows_its_calls(self, serve: Serve) -> None:
        server = serve(CHARGES, registry=Shop().registry)
        report = post(server, "my key").json()["polycall"]
        turn = turn_of(server, report["turn_id"]).json()
        assert {name: turn[name] for name in ("id", "object", "state", "idempotency_key")} == {
            "id": report["turn_id"], "object": "turn", "state": "finished", "idempotency_key": "my key"
        }  # fmt: skip
        shown = [(call["id"], call["arguments"], call["result"], call["round"]) for call in turn["calls"]]
        # A turn shows calls as they started, an answer in call order: branches may end in any order.
        assert sorted(shown) == sorted(
            (call["id"], call["arguments"], call["result"], 1) for call in report["server_calls"]
        )
        assert all(turn["created_at"] <= call["started_at"] <= call["ended_at"] for call in turn["calls"])

    def test_a_turn_without_a_key_is_there_too(self, serve: Serve) -> None:
        server = serve(CHARGES, registry=Shop().registry)
        turn = turn_of(server, post(server, None).json()["polycall"]["turn_id"]).json()
        assert len(turn["calls"]) == 2
        assert turn["idempotency_key"] is None

    def test_a_call_that_failed_shows_its_error(self, serve: Serve) -> None:
        registry = Registry()

        @registry.tool()
        def charge(order: int) -> str:
            raise ValueError(f"no money for {order}")

        server = serve(CHARGES, registry=registry)
        turn = turn_of(server, post(server).json()["polycall"]["turn_id"]).json()
        assert {call["error"]["kind"] for call in turn["calls"]} == {"tool_error"}

    def test_a_turn_that_is_not_there_is_404(self, serve: Serve) -> None:
        refused = turn_of(serve(), "turn_nowhere")
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "not_found")

    def test_a_turn_is_its_callers_alone_and_so_are_its_keys(self, serve: Serve) -> None:
        keys = tuple(ApiKey(key=f"key of {name}", caller=Caller(name=name)) for name in ("ada", "bob"))
        shop = Shop()
        server = serve(CHARGES, registry=shop.registry, options=ApiOptions(keys=keys))
        ada, bob = (post(server, api_key=key.key).json() for key in keys)
        assert ada["id"] != bob["id"]
        assert len(shop.charged) == 4
        for key, status in zip(keys, (200, 404), strict=True):
            headers = {"Authorization": f"Bearer {key.key}"}
            assert turn_of(server, ada["polycall"]["turn_id"], headers=headers).status_code == status
        assert turn_of(server, ada["polycall"]["turn_id"]).status_code == 401


def test_the_answer_of_an_error_before_anything_ran_is_an_error_again(serve: Serve) -> None:
    server = serve(context_length=10)
    client = server.client
    for _ in range(2):
        with pytest.raises(openai.BadRequestError) as refused:
            client.chat.completions.create(
                model="scripted",
                messages=[USER],
                extra_headers={"Idempotency-Key": "k"},  # type: ignore[list-item]
            )
        assert refused.value.code == "context_length_exceeded"
