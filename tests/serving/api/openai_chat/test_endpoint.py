"""POST /v1/chat/completions on a running server, beyond OpenAI's own rules: the extension, and tools of the server."""

from __future__ import annotations

import time

import pytest

from serving.execute.registry import Registry
from tests.serving.api.api_server import Serve
from tests.serving.api.openai_chat.chat import THREE, TOOLS, USER, ask, calls_of, deltas, names, result, stream


def registry() -> Registry:
    tools = Registry()

    @tools.tool()
    def capital(country: str) -> str:
        """The capital of a country."""
        if country == "Atlantis":
            raise LookupError("no such country")
        return {"Switzerland": "Bern", "Norway": "Oslo"}[country]

    return tools


# The extension, and tools that the server runs.


def test_figures_of_the_turn_are_in_the_answer_and_in_the_finish_chunk(serve: Serve) -> None:
    server = serve([THREE])
    whole = ask(server, tools=TOOLS).model_extra["polycall"]
    assert (whole["decoding"], whole["rounds"], whole["branches"], whole["fallbacks"]) == ("parallel", 1, 3, 0)
    assert 0 < whole["plan_steps"] < whole["steps"]
    assert [span["label"] for span in whole["streams"]].count("weather") == 2
    assert all(0 <= span["start_s"] <= span["end_s"] <= whole["times"]["total_s"] for span in whole["streams"])
    streamed = stream(server, tools=TOOLS)[-1].model_extra["polycall"]
    assert set(streamed) == set(whole)
    assert streamed["steps"] == whole["steps"]


@pytest.mark.parametrize("decoding", ["parallel", "sequential"])
@pytest.mark.parametrize(("least", "most"), [(3, 3), (2, 4)])
def test_least_and_most_calls_hold_whatever_the_model_would_write(
    serve: Serve, decoding: str, least: int, most: int
) -> None:
    server = serve(lambda _text, _constraint: None)
    for seed in range(5):
        extension = {"min_calls": least, "max_calls": most, "decoding": decoding}
        made = ask(server, tools=TOOLS, tool_choice="required", seed=seed, extra_body={"polycall": extension})
        assert least <= len(calls_of(made)) <= most


def test_exact_tools_are_all_called_as_often_as_they_stand_there(serve: Serve) -> None:
    server = serve(lambda _text, _constraint: None)
    exact = ["weather", "time_of_day", "weather"]
    made = calls_of(ask(server, tools=TOOLS, extra_body={"polycall": {"exact_tools": exact}}))
    assert sorted(names(made)) == sorted(exact)


CAPITALS = [("capital", {"country": "Switzerland"}), ("capital", {"country": "Atlantis"})]


def test_server_tools_run_on_the_server_and_the_turn_goes_on_to_text(serve: Serve) -> None:
    server = serve([CAPITALS, "Bern, and I do not know."], registry=registry())
    answer = ask(server)
    assert answer.choices[0].message.content == "Bern, and I do not know."
    assert answer.choices[0].message.tool_calls is None
    assert answer.choices[0].finish_reason == "stop"
    good, bad = answer.model_extra["polycall"]["server_calls"]
    assert (good["name"], good["arguments"], good["result"]) == ("capital", {"country": "Switzerland"}, "Bern")
    assert bad["error"] == {"kind": "tool_error", "message": "LookupError: no such country"}
    assert answer.model_extra["polycall"]["rounds"] == 2


def test_server_tools_do_not_show_in_the_stream_but_in_the_figures(serve: Serve) -> None:
    chunks = stream(serve([CAPITALS, "Bern."], registry=registry()))
    assert not deltas(chunks)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Bern."
    assert len(chunks[-1].model_extra["polycall"]["server_calls"]) == 2


def test_a_mixed_round_hands_back_the_clients_calls_and_goes_on_when_they_are_answered(serve: Serve) -> None:
    seen: list[str] = []
    mixed = [("capital", {"country": "Norway"}), ("weather", {"city": "Oslo"})]
    server = serve([mixed, "It is cold in Oslo."], registry=registry())
    first = ask(server, tools=TOOLS)
    assert calls_of(first) == [("weather", {"city": "Oslo"})]
    assert first.choices[0].finish_reason == "tool_calls"
    assert [call["result"] for call in first.model_extra["polycall"]["server_calls"]] == ["Oslo"]

    script = server.engine._script
    assert callable(script)
    server.engine._script = lambda text, constraint: (seen.append(text), script(text, constraint))[1]
    message = first.choices[0].message
    again = [USER, message, result((message.tool_calls or [])[0].id, "-3 degrees")]
    assert ask(server, messages=again, tools=TOOLS).choices[0].message.content == "It is cold in Oslo."
    assert seen[0].index('"country": "Norway"') < seen[0].index('"city": "Oslo"') < seen[0].index("-3 degrees")


def test_server_tools_of_one_round_run_while_it_is_decoded(serve: Serve) -> None:
    tools = Registry()

    @tools.tool()
    def nap(seconds: float) -> str:
        time.sleep(seconds)
        return "rested"

    said = [("nap", {"seconds": 0.2}), ("nap", {"seconds": 0.25})]
    server = serve([said, "Done."], registry=tools)
    figures = ask(server).model_extra["polycall"]
    first, second = figures["server_calls"]
    assert max(first["start_s"], second["start_s"]) < min(first["end_s"], second["end_s"])
    assert figures["times"]["wait_s"] < 0.35
