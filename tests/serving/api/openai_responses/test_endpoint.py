"""POST /v1/responses and what is stored of it, on a running server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from grammars.constraint import Constraint
from serving.api.app import ApiOptions
from serving.callers import ApiKey, Caller
from serving.engines.scripted import Answer
from serving.execute.database.journal import DatabaseJournal
from tests.serving.api.api_server import Rounds, Said, Serve, Server
from tests.serving.api.house import House

USER = {"role": "user", "content": "Tidy up."}
MAP = {"type": "function", "name": "show_map"}
SERVER = {"type": "mcp", "server_label": "house", "server_url": "polycall", "require_approval": "never"}


def post(server: Server, *, key: str | None = None, api_key: str = "none", **fields: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {api_key}", **({} if key is None else {"Idempotency-Key": key})}
    body = {"model": "scripted", "input": [USER], **fields}
    return httpx.post(f"{server.url}/v1/responses", json=body, headers=headers, timeout=20)


def ask(server: Server, **fields: Any) -> dict[str, Any]:
    answer = post(server, **fields)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def get(server: Server, path: str, *, api_key: str = "none", **query: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {api_key}"}
    return httpx.get(f"{server.url}/v1/responses/{path}", headers=headers, params=query)


def refusal(response: httpx.Response) -> tuple[int, str, str]:
    error = response.json()["error"]
    return response.status_code, error["code"], error["param"]


def text(answer: dict[str, Any]) -> str:
    return "".join(part["text"] for item in answer["output"] if item["type"] == "message" for part in item["content"])


def kinds(answer: dict[str, Any]) -> list[str]:
    return [item["type"] for item in answer["output"]]


def shown(answer: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(item["name"], item["output"]) for item in answer["output"] if item["type"] == "mcp_call"]


def outputs(answer: dict[str, Any]) -> list[Any]:
    return [
        {"type": "function_call_output", "call_id": item["call_id"], "output": "shown"}
        for item in answer["output"]
        if item["type"] == "function_call"
    ]


class Reading:
    """A script that keeps the prompts which it was given."""

    def __init__(self, *rounds: Said) -> None:
        self.prompts: list[str] = []
        self._rounds = Rounds(rounds)

    def __call__(self, text: str, constraint: Constraint) -> Answer:
        self.prompts.append(text)
        return self._rounds(text, constraint)


class TestStored:
    """`store`, `previous_response_id`, and what can be read again."""

    def test_a_response_is_read_again_as_it_was(self, serve: Serve, house: House) -> None:
        server = serve([[("look", {}), ("show_map", {})]], registry=house.registry)
        answer = ask(server, tools=[MAP, SERVER], instructions="Be kind.", metadata={"a": "b"})
        assert get(server, answer["id"]).json() == answer
        assert house.did == ["look"]

    def test_a_request_goes_on_with_all_that_was_said(self, serve: Serve) -> None:
        says = Reading("One.", "Two.", "Three.")
        server = serve(says)
        first = ask(server, input="first question")
        second = ask(server, input="second question", previous_response_id=first["id"])
        third = ask(server, input="third question", previous_response_id=second["id"])
        assert text(third) == "Three."
        assert third["previous_response_id"] == second["id"]
        words = ["first question", "One.", "second question", "Two.", "third question"]
        places = [says.prompts[-1].index(word) for word in words]
        assert places == sorted(places)

    def test_instructions_do_not_go_on(self, serve: Serve) -> None:
        says = Reading("One.", "Two.")
        server = serve(says)
        first = ask(server, instructions="Speak like a pirate.")
        ask(server, previous_response_id=first["id"], instructions="Be brief.")
        assert "Be brief." in says.prompts[-1]
        assert "pirate" not in says.prompts[-1]

    def test_what_the_server_ran_goes_on(self, serve: Serve, house: House) -> None:
        says = Reading([("look", {})], "Two files.", "Yes.")
        server = serve(says, registry=house.registry)
        first = ask(server)
        assert text(ask(server, input="Really?", previous_response_id=first["id"])) == "Yes."
        assert says.prompts[-1].count("two files") == 1

    @pytest.mark.parametrize("store", [True, False, None])
    def test_only_what_is_stored_can_be_gone_on_with(self, serve: Serve, store: bool | None) -> None:
        server = serve(["One.", "Two."])
        first = ask(server, store=store)
        again = post(server, previous_response_id=first["id"])
        if store is False:
            assert refusal(again) == (400, "previous_response_not_found", "previous_response_id")
            assert refusal(get(server, first["id"])) == (404, "not_found", "response_id")
        else:
            assert text(again.json()) == "Two."

    @pytest.mark.parametrize("name", ["resp_1", "turn_1", "resp_", "resp_\x00", "x" * 1000])
    def test_what_was_never_there_is_not_found(self, serve: Serve, tmp_path: Path, name: str) -> None:
        server = serve(journal=DatabaseJournal(f"sqlite:///{tmp_path}/journal.sqlite3"))
        refused = post(server, previous_response_id=name)
        assert refusal(refused) == (400, "previous_response_not_found", "previous_response_id")

    def test_a_deleted_response_is_gone_and_so_is_what_went_on_with_it(self, serve: Serve) -> None:
        server = serve(["One.", "Two.", "Three."])
        first = ask(server)
        second = ask(server, previous_response_id=first["id"])
        deleted = httpx.delete(f"{server.url}/v1/responses/{first['id']}")
        assert deleted.json() == {"id": first["id"], "object": "response", "deleted": True}
        assert get(server, first["id"]).status_code == 404
        assert httpx.delete(f"{server.url}/v1/responses/{first['id']}").status_code == 404
        assert get(server, second["id"]).status_code == 200
        assert refusal(post(server, previous_response_id=second["id"]))[1] == "previous_response_not_found"

    def test_a_response_is_its_callers_alone(self, serve: Serve) -> None:
        keys = tuple(ApiKey(key=f"key of {name}", caller=Caller(name=name)) for name in ("ada", "bob"))
        server = serve(["One.", "Two."], options=ApiOptions(keys=keys))
        ada, bob = (key.key for key in keys)
        first = ask(server, api_key=ada)
        assert get(server, first["id"], api_key=ada).status_code == 200
        assert get(server, first["id"], api_key=bob).status_code == 404
        assert post(server, previous_response_id=first["id"], api_key=bob).status_code == 400
        assert post(server, previous_response_id=first["id"], api_key=ada).status_code == 200

    def test_a_response_outlives_the_server(self, serve: Serve, house: House, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path}/journal.sqlite3"
        rounds: list[Said] = [[("look", {}), ("show_map", {})], "Tidy."]
        first = ask(serve(rounds, registry=house.registry, journal=DatabaseJournal(url)), tools=[MAP])
        server = serve(rounds, registry=house.registry, journal=DatabaseJournal(url))
        assert get(server, first["id"]).json() == first
        assert text(ask(server, input=outputs(first), tools=[MAP], previous_response_id=first["id"])) == "Tidy."
        assert house.did == ["look"]

    def test_it_is_not_streamed_again(self, serve: Serve) -> None:
        server = serve(["One."])
        assert refusal(get(server, ask(server)["id"], stream="true")) == (400, "invalid_request", "stream")


class TestInputItems:
    """GET /v1/responses/{id}/input_items."""

    @pytest.fixture
    def stored(self, serve: Serve) -> tuple[Server, str]:
        server = serve(["Fine."])
        said = [{"role": "user", "content": f"question {number}"} for number in range(3)]
        return server, ask(server, input=said)["id"]

    def asked(self, server: Server, response: str, **query: Any) -> tuple[list[str], bool]:
        page = get(server, f"{response}/input_items", **query).json()
        assert [page["first_id"], page["last_id"]] == [page["data"][0]["id"], page["data"][-1]["id"]]
        return [item["content"][0]["text"] for item in page["data"]], page["has_more"]

    def test_they_are_listed_newest_first_or_as_they_came(self, stored: tuple[Server, str]) -> None:
        words = [f"question {number}" for number in range(3)]
        assert self.asked(*stored) == (words[::-1], False)
        assert self.asked(*stored, order="asc") == (words, False)

    def test_they_come_in_pages(self, stored: tuple[Server, str]) -> None:
        server, response = stored
        first = get(server, f"{response}/input_items", order="asc", limit=2).json()
        assert first["has_more"]
        rest = self.asked(server, response, order="asc", after=first["last_id"])
        assert rest == (["question 2"], False)

    @pytest.mark.parametrize("query", [{"limit": "0"}, {"limit": "x"}, {"order": "up"}, {"after": "nothing"}])
    def test_a_page_that_cannot_be_is_refused(self, stored: tuple[Server, str], query: dict[str, str]) -> None:
        refused = get(stored[0], f"{stored[1]}/input_items", **query)
        assert refusal(refused) == (400, "invalid_request", next(iter(query)))

    def test_the_real_client_walks_through_them(self, stored: tuple[Server, str]) -> None:
        server, response = stored
        assert len(list(server.client.responses.input_items.list(response, limit=1))) == 3


class TestGivenAgain:
    """`Idempotency-Key`: the answer that is given again equals the first, items and all."""

    rounds: tuple[Said, ...] = ([("look", {})], [("show_map", {})])

    def test_the_answer_is_the_same_and_nothing_runs(self, serve: Serve, house: House) -> None:
        server = serve(self.rounds, registry=house.registry)
        first, again = (post(server, key="k", tools=[MAP, SERVER]) for _ in range(2))
        assert first.json() == again.json()
        assert kinds(first.json()) == ["mcp_list_tools", "mcp_call", "function_call"]
        assert again.headers["Idempotent-Replayed"] == "true"
        assert house.did == ["look"]

    def test_a_stream_ends_with_the_same_response(self, serve: Serve, house: House) -> None:
        server = serve([[("look", {})], "All tidy."], registry=house.registry)
        streams = [post(server, key="k", stream=True).text.split("\r\n") for _ in range(2)]
        events = [[json.loads(line[6:]) for line in stream if line.startswith("data: ")] for stream in streams]
        assert events[0][-1]["response"] == events[1][-1]["response"]
        assert kinds(events[0][-1]["response"]) == ["mcp_call", "message"]
        done = [[event["item"] for event in one if event["type"] == "response.output_item.done"] for one in events]
        assert done[0] == done[1]


class TestApprovals:
    """Calls that want approval are `mcp_approval_request` items; the next request brings the decisions as items."""

    rounds: tuple[Said, ...] = (
        [("look", {}), ("delete", {"file": "a"}), ("delete", {"file": "b"})],
        "All tidy.",
        "Still tidy.",
    )

    def wanted(self, answer: dict[str, Any]) -> list[Any]:
        return [item for item in answer["output"] if item["type"] == "mcp_approval_request"]

    def decided(self, answer: dict[str, Any], *approved: bool, **more: Any) -> list[Any]:
        return [
            {"type": "mcp_approval_response", "approval_request_id": item["id"], "approve": approve, **more}
            for item, approve in zip(self.wanted(answer), approved, strict=True)
        ]

    def test_a_turn_stops_with_the_calls_that_want_approval(self, serve: Serve, house: House) -> None:
        answer = ask(serve(self.rounds, registry=house.registry))
        assert kinds(answer) == ["mcp_call", "mcp_approval_request", "mcp_approval_request"]
        assert [(item["name"], item["arguments"], item["server_label"]) for item in self.wanted(answer)] == [
            ("delete", '{"file": "a"}', "polycall"), ("delete", '{"file": "b"}', "polycall")
        ]  # fmt: skip
        assert (house.did, answer["status"]) == (["look"], "completed")

    @pytest.mark.parametrize("linked", [True, False])
    @pytest.mark.parametrize("instructions", [{}, {"instructions": "Be kind."}])
    def test_the_decisions_let_it_go_on(
        self, serve: Serve, house: House, linked: bool, instructions: dict[str, str]
    ) -> None:
        says = Reading(*self.rounds)
        server = serve(says, registry=house.registry)
        first = ask(server, **instructions)
        decisions = self.decided(first, True, False, reason="b is dear to me")
        sent = {"input": decisions, "previous_response_id": first["id"]}
        answer = ask(server, **(sent if linked else {"input": [USER, *first["output"], *decisions], **instructions}))
        assert house.did == ["look", "delete a"]
        assert shown(answer) == [("delete", "deleted a")]
        assert answer["output"][0]["approval_request_id"] == self.wanted(first)[0]["id"]
        assert text(answer) == "All tidy."
        places = [says.prompts[-1].index(words) for words in ("two files", "deleted a", "b is dear to me")]
        assert places == sorted(places)
        assert says.prompts[-1].count("two files") == 1

    @pytest.mark.parametrize("linked", [True, False])
    def test_a_request_after_that_has_it_all_in_its_history(self, serve: Serve, house: House, linked: bool) -> None:
        says = Reading(*self.rounds)
        server = serve(says, registry=house.registry)
        first = ask(server)
        decisions = self.decided(first, True, False)
        history = [USER, *first["output"], *decisions]
        second = ask(server, input=history)
        later = {"role": "user", "content": "And now?"}
        if linked:
            third = ask(server, input=[later], previous_response_id=second["id"])
        else:
            third = ask(server, input=[*history, *second["output"], later])
        assert (text(third), house.did) == ("Still tidy.", ["look", "delete a"])
        assert [says.prompts[-1].count(words) for words in ("two files", "deleted a", "not approved")] == [1, 1, 1]

    @pytest.mark.parametrize("linked", [True, False])
    def test_beside_calls_of_the_client_both_are_answered_in_one_request(
        self, serve: Serve, house: House, linked: bool
    ) -> None:
        rounds: list[Said] = [[("delete", {"file": "a"}), ("show_map", {}), ("look", {})], "All tidy."]
        server = serve(rounds, registry=house.registry)
        first = ask(server, tools=[MAP])
        assert sorted(kinds(first)) == ["function_call", "mcp_approval_request", "mcp_call"]
        more = [*outputs(first), *self.decided(first, True)]
        sent = {"input": more, "previous_response_id": first["id"]}
        answer = ask(server, tools=[MAP], **(sent if linked else {"input": [USER, *first["output"], *more]}))
        assert (text(answer), sorted(house.did)) == ("All tidy.", ["delete a", "look"])

    def test_decisions_may_come_in_the_extension_too(self, serve: Serve, house: House) -> None:
        server = serve(self.rounds, registry=house.registry)
        first = ask(server)
        approvals = [
            {name: value for name, value in decision.items() if name != "type"}
            for decision in self.decided(first, True, True)
        ]
        assert text(ask(server, polycall={"approvals": approvals})) == "All tidy."

    def test_decisions_are_acted_on_once(self, serve: Serve, house: House) -> None:
        server = serve(self.rounds, registry=house.registry)
        first = ask(server)
        sent = {"input": self.decided(first, True, True), "previous_response_id": first["id"]}
        ask(server, **sent)
        assert post(server, **sent).status_code == 409
        assert sorted(house.did) == ["delete a", "delete b", "look"]

    def test_what_is_decided_wrongly_is_refused_at_its_item(self, serve: Serve, house: House) -> None:
        server = serve(self.rounds, registry=house.registry)
        first = ask(server)
        some, *_ = self.decided(first, True, True)
        linked = {"previous_response_id": first["id"]}
        assert refusal(post(server, input=[some], **linked)) == (400, "invalid_request", "input")
        twice = post(server, input=[some, some], **linked)
        assert refusal(twice) == (400, "invalid_request", "input[1].approval_request_id")


class TestErrors:
    """In OpenAI's shape, at the place in this wire's body."""

    def test_a_refused_schema_names_its_tool(self, serve: Serve) -> None:
        tool = {"type": "function", "name": "map", "parameters": {"type": "object", "properties": {"a": {"type": 1}}}}
        assert refusal(post(serve(), tools=[SERVER, tool]))[1:] == ("schema_refused", "tools[1].parameters")

    def test_a_refused_schema_of_the_answer_names_its_field(self, serve: Serve) -> None:
        form = {"type": "json_schema", "name": "n", "schema": {"type": "nothing"}}
        assert refusal(post(serve(), text={"format": form}))[1:] == ("schema_refused", "text.format.schema")

    def test_an_empty_conversation_is_refused(self, serve: Serve) -> None:
        assert refusal(post(serve(), input=[])) == (400, "invalid_request", "input")

    def test_a_model_that_is_not_here_is_404(self, serve: Serve) -> None:
        assert refusal(post(serve(), model="other")) == (404, "not_found", "model")

    def test_an_error_in_the_middle_of_a_stream_is_a_failed_response(self, serve: Serve, house: House) -> None:
        def says(text: str, constraint: Constraint) -> Answer:
            if "two files" in text:
                raise RuntimeError("the model is gone")
            return Rounds([[("look", {})]])(text, constraint)

        lines = post(serve(says, registry=house.registry), stream=True).text.split("\r\n")
        events = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
        assert events[-1]["type"] == "response.failed"
        assert (events[-1]["response"]["status"], events[-1]["response"]["error"]["code"]) == ("failed", "server_error")
        assert shown(events[-1]["response"]) == [("look", "two files")]
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
