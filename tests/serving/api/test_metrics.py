"""GET /metrics: what the server did, read with Prometheus' own parser."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families as families

from serving.api.app import ApiOptions
from serving.callers import ApiKey
from serving.execute.registry import Registry
from serving.turn_request import TurnLimits
from tests.serving.api.api_server import Serve, Server

USER = {"role": "user", "content": "hello"}
MAP = {"type": "function", "function": {"name": "show_map"}}


def figures(server: Server, **options: Any) -> dict[str, float]:
    """Every sample of polycall's that is not 0, by its name and labels."""
    text = httpx.get(f"{server.url}/metrics", **options).text
    return {
        sample.name.removeprefix("polycall_") + "".join(f" {value}" for value in sample.labels.values()): sample.value
        for family in families(text)
        for sample in family.samples
        if sample.value and sample.name.startswith("polycall_") and not sample.name.endswith(("_created", "_bucket"))
    }


def post(server: Server, **fields: Any) -> httpx.Response:
    body = {"model": "scripted", "messages": [USER], **fields}
    return httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=20)


def test_a_fresh_server_has_done_nothing(serve: Serve) -> None:
    assert figures(serve()) == {"engine_healthy": 1.0}


def test_a_turn_is_counted_with_its_rounds_calls_and_times(serve: Serve) -> None:
    registry = Registry()

    @registry.tool()
    def look() -> str:
        return "two files"

    @registry.tool()
    def fail() -> None:
        raise ValueError("no")

    @registry.tool(approval="always")
    def delete() -> None: ...

    server = serve([[("look", {}), ("fail", {}), ("show_map", {}), ("delete", {})]], registry=registry)
    report = post(server, tools=[MAP]).json()["polycall"]
    found = figures(server)
    assert found.pop("turn_seconds_sum chat completions") >= found.pop("turn_first_event_seconds_sum chat completions")
    assert found.pop("call_seconds_sum") > 0
    assert found.pop("prompt_tokens_total") > found.pop("completion_tokens_total") > 0
    assert found == {
        "engine_healthy": 1,
        "turns_total calls chat completions": 1,
        "turn_seconds_count chat completions": 1,
        "turn_first_event_seconds_count chat completions": 1,
        "rounds_total parallel": 1,
        "calls_total value": 1,
        "calls_total tool_error": 1,
        "calls_total handed_back": 1,
        "calls_total awaiting_approval": 1,
        "call_seconds_count": 2,
        "decode_steps_total parallel": report["steps"],
        "plan_steps_total": report["plan_steps"],
        "branches_total": report["branches"],
    }


def test_streamed_and_whole_turns_count_alike(serve: Serve) -> None:
    server = serve(["Hello."])
    post(server, stream=True)
    once = figures(server)
    post(server)
    twice = figures(server)
    assert once["turns_total text chat completions"] == 1
    counted = [name for name in once if "_total" in name]
    assert {name: twice[name] for name in counted} == {name: 2 * once[name] for name in counted}


def test_a_replayed_answer_counts_as_a_turn_and_as_no_work(serve: Serve) -> None:
    server = serve(["Hello."])
    for _ in range(2):
        body = {"model": "scripted", "messages": [USER]}
        httpx.post(f"{server.url}/v1/chat/completions", json=body, headers={"Idempotency-Key": "one"})
    found = figures(server)
    assert found["turns_total text chat completions"] == found["turns_total replayed chat completions"] == 1
    assert found["rounds_total parallel"] == found["turn_seconds_count chat completions"] == 1


def test_errors_count_by_status_and_code_and_those_of_turns_as_their_outcome(serve: Serve) -> None:
    server = serve()
    post(server, mystery=1)  # no turn is begun
    post(server, tools=[MAP, MAP])
    httpx.get(f"{server.url}/v1/nothing")
    asyncio.run(server.engine.close())
    post(server)
    found = figures(server)
    assert found == {
        "errors_total invalid_request 400": 2,
        "errors_total not_found 404": 1,
        "errors_total overloaded 503": 1,
        "turns_total refused chat completions": 1,
        "turns_total overloaded chat completions": 1,
    }


def test_a_turn_whose_client_left_is_counted_as_such(serve: Serve) -> None:
    server = serve(["A long answer."], step_s=0.05)
    with httpx.stream(
        "POST", f"{server.url}/v1/chat/completions", json={"model": "scripted", "messages": [USER], "stream": True}
    ) as response:
        lines = response.iter_lines()  # which closes the connection when it goes
        next(lines)
        assert figures(server)["live_turns"] == 1
    while "turns_total left chat completions" not in (found := figures(server)):
        assert found.get("turns_total text chat completions") is None
    assert "live_turns" not in found


def test_turns_that_find_no_place_are_counted(serve: Serve) -> None:
    server = serve(limits=TurnLimits(turns=0))
    assert post(server).status_code == 503
    assert figures(server)["turns_total overloaded chat completions"] == 1


@pytest.mark.parametrize("path", ["/metrics", "/v1/metrics"])
def test_metrics_need_a_key_where_there_are_keys(serve: Serve, path: str) -> None:
    server = serve(options=ApiOptions(keys=(ApiKey(key="sesame"),)))
    refused = httpx.get(f"{server.url}{path}")
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
    assert httpx.get(f"{server.url}{path}", headers={"Authorization": "Bearer sesame"}).status_code == 200


def test_a_scraper_that_asks_for_openmetrics_gets_it(hello_server: Server) -> None:
    plain = httpx.get(f"{hello_server.url}/v1/metrics")
    assert plain.headers["content-type"].startswith("text/plain; version=")
    wanted = "application/openmetrics-text; version=1.0.0"
    found = httpx.get(f"{hello_server.url}/v1/metrics", headers={"Accept": wanted})
    assert found.headers["content-type"].startswith("application/openmetrics-text")
    assert {"polycall_turns", "polycall_live_turns", "process_cpu_seconds"} <= {
        family.name for family in openmetrics_families(found.text)
    }


def test_names_of_tools_models_and_callers_are_not_told(serve: Serve) -> None:
    registry = Registry()

    @registry.tool()
    def secret_tool() -> None: ...

    server = serve([[("secret_tool", {})], "Done."], registry=registry, model="secret_model")
    body = {"model": "secret_model", "messages": [USER]}
    assert json.loads(httpx.post(f"{server.url}/v1/chat/completions", json=body).text)["polycall"]["server_calls"]
    assert "secret" not in httpx.get(f"{server.url}/metrics").text
