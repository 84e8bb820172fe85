"""OpenAI's Responses, by the real client against a running server. R1 to R6 are the rules of this wire."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import openai
import pytest
from openai.lib.responses_tool_runner import RegisteredFunction, ResponsesToolRunner
from openai.types.responses import Response, ResponseFunctionToolCall
from openai.types.responses.response_output_item import McpApprovalRequest, McpCall
from pydantic import BaseModel

from serving.execute.registry import Registry
from tests.serving.api.api_server import Call, Rounds, Said, Serve, Server

USER: Any = {"role": "user", "content": "What is the weather in Bern and Oslo?"}
COUNTS = (0, 1, 2, 8, 32)


def function(name: str, **more: Any) -> Any:
    parameters = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 30}},
        "required": ["city"],
        "additionalProperties": False,
    }
    return {"type": "function", "name": name, "parameters": parameters, **more}


TOOLS = [function("weather"), function("time_of_day", strict=True)]
THREE: list[Call] = [
    ("weather", {"city": "Bern"}), ("time_of_day", {"city": "Bern"}), ("weather", {"city": 'O"slo — 世界'})
]  # fmt: skip
OWN = {"type": "mcp", "server_label": "house", "server_url": "polycall", "require_approval": "never"}
"""The server's own tools, as a request names them."""


def many(count: int) -> list[Call]:
    return [("weather", {"city": f"city {number}"}) for number in range(count)]


def request(server: Server, **fields: Any) -> dict[str, Any]:
    return {"model": server.engine.model, "input": [USER], "tools": TOOLS, **fields}


def ask(server: Server, **fields: Any) -> Response:
    answer = server.client.responses.create(**request(server, **fields))
    assert isinstance(answer, Response)
    return answer


def stream(server: Server, **fields: Any) -> list[Any]:
    with server.client.responses.create(**request(server, **fields), stream=True) as events:
        return list(events)


def calls_in(response: Response) -> list[ResponseFunctionToolCall]:
    return [item for item in response.output if item.type == "function_call"]


def calls_of(response: Response) -> list[Call]:
    return [(call.name, json.loads(call.arguments)) for call in calls_in(response)]


def ran(response: Response) -> list[McpCall]:
    return [item for item in response.output if item.type == "mcp_call"]


def outputs(response: Response) -> list[Any]:
    """A result for each call of the client's."""
    return [
        {"type": "function_call_output", "call_id": call.call_id, "output": f"sun in {call.arguments}"}
        for call in calls_in(response)
    ]


def house(**tools: Callable[..., Any]) -> Registry:
    """Tools that the server runs."""
    registry = Registry()
    for name, run in tools.items():
        registry.tool(name=name, description="A tool of the house.")(run)
    return registry


def look(at: str) -> str:
    return f"seen {at}"


LOOKS: list[Call] = [("look", {"at": "door"}), ("look", {"at": "window"})]


# So many calls, whole, streamed, and with the stream's helper: all the same.


@pytest.mark.parametrize("count", COUNTS)
def test_so_many_calls_come_the_same_whole_streamed_and_by_the_helper(serve: Serve, count: int) -> None:
    said: Said = many(count) or "Fine."
    server = serve([said])
    bounds = {"extra_body": {"polycall": {"max_calls": 32}}}
    whole = ask(server, **bounds)
    streamed = stream(server, **bounds)[-1].response
    with server.client.responses.stream(**request(server, **bounds)) as helper:
        helped = helper.get_final_response()
    for response in (whole, streamed, helped):
        assert calls_of(response) == many(count)
        assert response.output_text == ("" if count else "Fine.")
        assert response.status == "completed"


@pytest.mark.parametrize("count", COUNTS)
def test_so_many_calls_are_answered_in_the_next_request(serve: Serve, count: int) -> None:
    server = serve([many(count) or "Fine.", "All sunny."])
    bounds = {"extra_body": {"polycall": {"max_calls": 32}}}
    first = ask(server, **bounds)
    more = outputs(first) or [USER]
    again = ask(server, input=[USER, *first.output, *more], **bounds)
    linked = ask(server, input=more, previous_response_id=first.id, **bounds)
    assert again.output_text == linked.output_text == "All sunny."
    assert again.usage.input_tokens == linked.usage.input_tokens


def test_text_comes_in_pieces_that_join_to_the_text(serve: Serve) -> None:
    server = serve(["It is fine — 世界."])
    events = stream(server)
    pieces = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(pieces) == ask(server).output_text == "It is fine — 世界."
    assert len(pieces) > 5


# R1: items.


def test_r1_each_call_is_an_item_with_ids_of_its_own(serve: Serve) -> None:
    calls = calls_in(ask(serve([THREE])))
    assert [(call.name, json.loads(call.arguments)) for call in calls] == THREE
    assert all(call.status == "completed" and call.id is not None and call.id.startswith("fc_") for call in calls)
    assert all(call.call_id.startswith("call_") for call in calls)
    assert len({call.id for call in calls} | {call.call_id for call in calls}) == 6


@pytest.mark.parametrize("linked", [True, False])
def test_r1_a_call_without_a_result_is_refused_in_openais_words(serve: Serve, linked: bool) -> None:
    server = serve([THREE])
    first = ask(server)
    more = outputs(first)[:2]
    fields: dict[str, Any] = {"input": [USER, *first.output, *more]}
    if linked:
        fields = {"input": more, "previous_response_id": first.id}
    with pytest.raises(openai.BadRequestError) as refused:
        ask(server, **fields)
    last = calls_in(first)[2].call_id
    assert refused.value.body["message"] == f"No tool output found for function call {last}."  # type: ignore[index]
    assert refused.value.param == "input"


def test_r1_a_result_without_its_call_is_refused(serve: Serve) -> None:
    stray = {"type": "function_call_output", "call_id": "call_1", "output": "sun"}
    with pytest.raises(openai.BadRequestError) as refused:
        ask(serve(), input=[USER, stray])
    assert "No tool call found for function call output with call_id call_1." in str(refused.value)
    assert refused.value.param == "input[1].call_id"


def test_r1_a_second_result_is_refused(serve: Serve) -> None:
    server = serve([THREE[:1]])
    first = ask(server)
    with pytest.raises(openai.BadRequestError) as refused:
        ask(server, input=[USER, *first.output, *outputs(first), *outputs(first)])
    assert refused.value.param == "input[3].call_id"


# R2: events.


def test_r2_each_call_is_added_written_and_done_at_its_own_place(serve: Serve) -> None:
    events = stream(serve([THREE]))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    response = events[-1].response
    for index, item in enumerate(response.output):
        own = [event for event in events if getattr(event, "output_index", None) == index]
        assert [event.type for event in own] == [
            "response.output_item.added",
            "response.function_call_arguments.delta",
            "response.function_call_arguments.done",
            "response.output_item.done",
        ]
        assert {event.item_id for event in own if hasattr(event, "item_id")} == {item.id}
        assert "".join(event.delta for event in own if hasattr(event, "delta")) == item.arguments
        assert own[0].item.arguments == ""
        assert own[-1].item == item


def test_r2_calls_of_the_server_may_complete_out_of_order(serve: Serve) -> None:
    second_is_done = threading.Event()

    def first() -> str:
        assert second_is_done.wait(10)
        return "first"

    registry = house(first=first, second=lambda: "second")
    server = serve([[("first", {}), ("second", {})], "Both."], registry=registry)
    completed = []
    with server.client.responses.create(**request(server), stream=True) as events:
        for event in events:
            if event.type == "response.mcp_call.completed":
                completed.append(event.item_id)
                second_is_done.set()
            if event.type == "response.completed":
                response = event.response
    items = {call.id: call for call in ran(response)}
    assert [items[item_id].name for item_id in completed] == ["second", "first"]
    assert {call.name: call.output for call in ran(response)} == {"first": "first", "second": "second"}


# R3: tools that the server runs.


@pytest.mark.parametrize("streamed", [True, False])
def test_r3_a_call_of_the_server_is_an_mcp_call_with_its_output(serve: Serve, streamed: bool) -> None:
    server = serve([LOOKS, "All closed."], registry=house(look=look))
    response = stream(server)[-1].response if streamed else ask(server)
    assert sorted((call.name, call.arguments, call.output) for call in ran(response)) == [
        ("look", '{"at": "door"}', "seen door"), ("look", '{"at": "window"}', "seen window")
    ]  # fmt: skip
    assert {call.server_label for call in ran(response)} == {"polycall"}
    assert {call.status for call in ran(response)} == {"completed"}
    assert response.output_text == "All closed."


def test_r3_a_tool_that_fails_shows_as_a_typed_error_and_costs_no_sibling(serve: Serve) -> None:
    def fall() -> str:
        raise RuntimeError("it broke")

    server = serve([[("fall", {}), *LOOKS[:1]], "Well."], registry=house(look=look, fall=fall))
    calls = {call.name: call for call in ran(ask(server))}
    assert calls["look"].output == "seen door"
    assert (calls["fall"].status, calls["fall"].output) == ("failed", None)
    error = calls["fall"].error
    assert error is not None
    assert error.type == "mcp_tool_execution_error"
    assert "it broke" in str(error.content)


def test_r3_calls_of_both_sides_stand_in_one_response_and_are_read_in_the_next(serve: Serve) -> None:
    read: list[str] = []
    rounds: list[Said] = [[*LOOKS, THREE[0]], "All done."]

    def says(text: str, constraint: Any) -> Any:
        read.append(text)
        return Rounds(rounds)(text, constraint)

    server = serve(says, registry=house(look=look))
    first = ask(server)
    assert (len(ran(first)), calls_of(first)) == (2, [THREE[0]])
    answers = [
        ask(server, input=[USER, *first.output, *outputs(first)]),
        ask(server, input=outputs(first), previous_response_id=first.id),
    ]
    assert [answer.output_text for answer in answers] == ["All done."] * 2
    prompts = [text for text in read if "sun in" in text]
    assert prompts[: len(prompts) // 2] == prompts[len(prompts) // 2 :]
    last = prompts[-1]
    places = [last.index(words) for words in ("seen door", "seen window", "sun in")]
    assert places == sorted(places)
    assert last.count("seen door") == 1


# R4: choice, echo, limits.


@pytest.mark.parametrize(
    ("choice", "allowed", "at_least"),
    [
        ("required", {"weather", "time_of_day", "look"}, 1),
        ({"type": "function", "name": "time_of_day"}, {"time_of_day"}, 1),
        ({"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "weather"}]},
         {"weather"}, 1),
        ({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "weather"}]},
         {"weather"}, 0),
        ({"type": "mcp", "server_label": "house"}, {"look", "close"}, 1),
        ({"type": "mcp", "server_label": "house", "name": "close"}, {"close"}, 1),
        ({"type": "allowed_tools", "mode": "required", "tools": [{"type": "mcp", "server_label": "house"}]},
         {"look", "close"}, 1),
    ],
)  # fmt: skip
def test_r4_the_flat_forms_of_tool_choice_hold_whatever_the_model_would_write(
    serve: Serve, choice: Any, allowed: set[str], at_least: int
) -> None:
    server = serve(lambda _text, _constraint: None, registry=house(look=look, close=lambda: "closed"))
    response = ask(server, tools=[*TOOLS, OWN], tool_choice=choice, max_output_tokens=400)
    found = [item.name for item in response.output if item.type in ("function_call", "mcp_call")]
    assert len(found) >= at_least
    assert found[0] in allowed if found else at_least == 0


def test_r4_none_makes_no_call(serve: Serve) -> None:
    response = ask(serve(["Fine."], registry=house(look=look)), tool_choice="none")
    assert (response.output_text, calls_of(response), ran(response)) == ("Fine.", [], [])


@pytest.mark.parametrize(
    ("choice", "place"),
    [
        ({"type": "function", "name": "nothing"}, "tool_choice"),
        ({"type": "mcp", "server_label": "nowhere"}, "tool_choice"),
        ({"type": "file_search"}, "tool_choice.type"),
        ("always", "tool_choice"),
    ],
)
def test_r4_a_choice_that_cannot_be_honoured_is_refused(serve: Serve, choice: Any, place: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        ask(serve(), tool_choice=choice)
    assert refused.value.param == place


def test_r4_parallel_tool_calls_false_is_one_call_at_most(serve: Serve) -> None:
    response = ask(serve([THREE[:1]]), parallel_tool_calls=False)
    assert calls_of(response) == THREE[:1]
    assert response.parallel_tool_calls is False


def test_r4_the_request_is_repeated(serve: Serve) -> None:
    fields: dict[str, Any] = {
        "instructions": "Be kind.", "tool_choice": "required", "parallel_tool_calls": True, "max_tool_calls": 3,
        "max_output_tokens": 500, "metadata": {"a": "b"}, "user": "u", "safety_identifier": "s", "temperature": 0.5,
        "top_p": 0.9, "prompt_cache_key": "k",
    }  # fmt: skip
    response = ask(serve([THREE]), **fields)
    assert {name: getattr(response, name) for name in fields} == fields
    assert [tool.to_dict(exclude_none=True) for tool in response.tools] == TOOLS
    assert response.model_extra["store"] is True
    chosen = {"type": "function", "name": "weather"}
    assert ask(serve([THREE[:1]]), tool_choice=chosen).tool_choice.to_dict() == chosen


def test_r4_max_tool_calls_bounds_the_servers_calls_in_one_round_and_over_all(serve: Serve) -> None:
    seen: list[str] = []

    def watch(at: str) -> str:
        seen.append(at)
        return "seen"

    more = [("watch", {"at": place}) for place in ("a", "b", "c")]
    response = ask(serve([more, "Enough."], registry=house(watch=watch)), max_tool_calls=2)
    assert (len(seen), len(ran(response))) == (2, 2)
    assert response.output_text == "Enough."
    # The two that are written first run, whichever these are.
    calls = response.model_extra["polycall"]["server_calls"]
    assert [call["arguments"]["at"] for call in calls] == ["a", "b", "c"]
    assert [call["error"] and call["error"]["kind"] for call in calls] == [
        None if call["arguments"]["at"] in seen else "denied" for call in calls
    ]


def test_r4_the_clients_calls_are_not_bounded_by_it(serve: Serve) -> None:
    response = ask(serve([LOOKS[:1], THREE], registry=house(look=look)), max_tool_calls=1)
    assert (len(ran(response)), calls_of(response)) == (1, THREE)


# R5: what has not run is not complete.


def test_r5_a_call_completes_only_after_its_tool_has_run(serve: Serve) -> None:
    go_on, has_run = threading.Event(), threading.Event()

    def wait() -> str:
        assert go_on.wait(10)
        has_run.set()
        return "done"

    server = serve([[("wait", {})], "Done."], registry=house(wait=wait))
    told = []
    with server.client.responses.create(**request(server), stream=True) as events:
        for event in events:
            told.append(event)
            if event.type == "response.mcp_call_arguments.done":
                assert not has_run.is_set()
                go_on.set()
            if event.type in ("response.mcp_call.completed", "response.output_item.done"):
                assert has_run.is_set()
    [completed] = [event for event in told if event.type == "response.mcp_call.completed"]
    assert (completed.item_id, completed.output_index) == (ran(told[-1].response)[0].id, 0)
    own = [event.type for event in told if getattr(event, "output_index", None) == 0]
    assert own == [
        "response.output_item.added",
        "response.mcp_call.in_progress",
        "response.mcp_call_arguments.delta",
        "response.mcp_call_arguments.done",
        "response.mcp_call.completed",
        "response.output_item.done",
    ]


# R6: the client's own loop.


def weather_of(execute: Callable[[dict[str, object]], str], **options: Any) -> ResponsesToolRunner:
    return ResponsesToolRunner(functions=[RegisteredFunction(function("weather"), execute, **options)])


def params(server: Server, **fields: Any) -> Any:
    return {"model": server.engine.model, "input": "The weather?", **fields}


@pytest.mark.parametrize("streamed", [{}, {"stream": True}, {"stream": True, "eager": True}])
@pytest.mark.parametrize("count", COUNTS)
def test_r6_the_runner_runs_so_many_calls_and_gets_the_answer(
    serve: Serve, count: int, streamed: dict[str, bool]
) -> None:
    server = serve([many(count), "All sunny."] if count else ["All sunny."])
    cities: list[object] = []

    def weather(arguments: dict[str, object]) -> str:
        cities.append(arguments["city"])
        return "sunny"

    runner = weather_of(weather)
    final = runner.run(server.client, params(server, extra_body={"polycall": {"max_calls": 32}}), **streamed)  # type: ignore[arg-type]
    assert final.output_text == "All sunny."
    assert cities == [arguments["city"] for _, arguments in many(count)]


def test_r6_eager_calls_start_before_the_response_is_complete(serve: Serve) -> None:
    order: list[str] = []

    def weather(arguments: dict[str, object]) -> str:
        order.append(str(arguments["city"]))
        return "sunny"

    server = serve([many(3), "All sunny."])
    runner = weather_of(weather)
    runner.run(server.client, params(server), stream=True, eager=True, on_event=lambda event: order.append(event.type))
    assert order.index("city 2") < order.index("response.completed")


def test_r6_independent_calls_run_at_once(serve: Serve) -> None:
    together = threading.Barrier(2, timeout=10)

    def weather(_arguments: dict[str, object]) -> str:
        together.wait()
        return "sunny"

    server = serve([many(2), "All sunny."])
    runner = weather_of(weather, independent=True)
    final = runner.run(server.client, params(server), stream=True, eager=True, max_concurrent_calls=2)
    assert final.output_text == "All sunny."


@pytest.mark.parametrize("streamed", [{}, {"stream": True}, {"stream": True, "eager": True}])
def test_r6_the_runner_takes_calls_of_the_server_beside_its_own(serve: Serve, streamed: dict[str, bool]) -> None:
    server = serve([[*LOOKS, ("weather", {"city": "Bern"})], "All sunny."], registry=house(look=look))
    final = weather_of(lambda _: "sunny").run(server.client, params(server, tools=[OWN]), **streamed)  # type: ignore[arg-type]
    assert final.output_text == "All sunny."


@pytest.mark.parametrize("approve", [True, False])
def test_r6_the_runner_decides_on_calls_that_want_approval(serve: Serve, approve: bool) -> None:
    seen: list[str] = []

    def watch(at: str) -> str:
        seen.append(at)
        return "seen"

    server = serve([[("watch", {"at": "a"}), ("watch", {"at": "b"})], "Well."], registry=house(watch=watch))
    asked: list[tuple[str, str]] = []

    def decide(wanted: McpApprovalRequest) -> bool:
        asked.append((wanted.name, wanted.arguments))
        return approve

    tools = [{**OWN, "require_approval": "always"}]
    final = weather_of(lambda _: "sunny").run(server.client, params(server, tools=tools), approve_mcp=decide)
    assert sorted(asked) == [("watch", '{"at": "a"}'), ("watch", '{"at": "b"}')]
    assert sorted(seen) == (["a", "b"] if approve else [])
    assert final.output_text == "Well."


# Structured answers.


class Weather(BaseModel):
    city: str
    sunny: bool


def test_a_parsed_answer_is_of_the_schema(serve: Serve) -> None:
    server = serve(['{"city": "Bern", "sunny": true}'])
    parsed = server.client.responses.parse(**request(server, tools=[], text_format=Weather))
    assert parsed.output_parsed == Weather(city="Bern", sunny=True)


def test_an_answer_may_have_a_schema_and_calls_all_the_same(serve: Serve) -> None:
    server = serve([THREE, '{"city": "Bern", "sunny": true}'])
    first = server.client.responses.parse(**request(server, text_format=Weather))
    assert calls_of(first) == THREE
    again = server.client.responses.parse(
        **request(server, input=outputs(first), previous_response_id=first.id, text_format=Weather)
    )
    assert again.output_parsed == Weather(city="Bern", sunny=True)


def test_an_answers_tokens_come_with_how_likely_they_were(serve: Serve) -> None:
    server = serve(["Fine."])
    fields: dict[str, Any] = {"include": ["message.output_text.logprobs"], "top_logprobs": 2}
    whole = ask(server, **fields)
    [part] = whole.output[0].content  # type: ignore[union-attr]
    assert part.type == "output_text"
    assert "".join(token.token for token in part.logprobs or ()) == "Fine."
    assert all(token.logprob <= 0 and len(token.top_logprobs) <= 2 for token in part.logprobs or ())
    events = stream(server, **fields)
    deltas = [token for event in events if event.type == "response.output_text.delta" for token in event.logprobs]
    assert [token.token for token in deltas] == [token.token for token in part.logprobs or ()]


def test_nothing_says_how_likely_where_nobody_asked(serve: Serve) -> None:
    [part] = ask(serve(["Fine."])).output[0].content  # type: ignore[union-attr]
    assert part.logprobs == []


def kinds(events: Iterable[Any]) -> list[str]:
    return [event.type for event in events]


def names(items: Sequence[Any]) -> list[str]:
    return [item.type for item in items]


def test_the_tools_of_a_named_server_are_listed_first(serve: Serve) -> None:
    server = serve([LOOKS, "All closed."], registry=house(look=look))
    events = stream(server, tools=[OWN])
    response = events[-1].response
    assert names(response.output) == ["mcp_list_tools", "mcp_call", "mcp_call", "message"]
    assert [tool.name for tool in response.output[0].tools] == ["look"]
    assert {call.server_label for call in ran(response)} == {"house"}
    assert kinds(events)[2:6] == [
        "response.output_item.added",
        "response.mcp_list_tools.in_progress",
        "response.mcp_list_tools.completed",
        "response.output_item.done",
    ]
