"""One row of each form, read; and rows that look like it and cannot be used."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from finetune.examples import Example, RowRefused, read_examples
from finetune.readers.openai_logs import as_openai_log

WEATHER = {
    "name": "get_weather",
    "description": "Weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
INFORMAL = {"name": "get_weather", "description": "", "parameters": {"city": {"type": "str", "description": "which"}}}
CITIES = [{"city": "Rome"}, {"city": "Oslo"}]


def read(tmp_path: Path, *rows: dict[str, Any]) -> list[Example]:
    path = tmp_path / "data.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return list(read_examples(path))


def arguments(example: Example) -> list[Any]:
    return [dict(call.arguments) for call in example.calls]


def openai_row(*more: dict[str, Any], tools: Any = None) -> dict[str, Any]:
    calls = [
        {"id": f"c{n}", "type": "function", "function": {"name": "get_weather", "arguments": json.dumps(city)}}
        for n, city in enumerate(CITIES)
    ]
    return {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Weather in Rome and Oslo?"}]},
            {"role": "assistant", "content": None, "tool_calls": calls},
            *more,
        ],
        "tools": [{"type": "function", "function": WEATHER}] if tools is None else tools,
    }


RESULTS = [{"role": "tool", "tool_call_id": f"c{n}", "content": "sunny"} for n in range(2)]
HERMES = {
    "id": "h1",
    "conversations": [
        {"from": "system", "value": f"You call functions. <tools>\n{json.dumps({'function': WEATHER})}\n</tools>"},
        {"from": "human", "value": "Weather in Rome and Oslo?"},
        {
            "from": "gpt",
            "value": '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Rome"}}\n</tool_call>\n'
            "<tool_call>\n{'arguments': {'city': 'Oslo'}, 'name': 'get_weather'}\n</tool_call>",
        },
        {
            "from": "tool",
            "value": '<tool_response>\n{"name": "get_weather", "content": {"sky": "blue"}}\n</tool_response>'
            "<tool_response>\nrain\n</tool_response>",
        },
        {"from": "gpt", "value": "Blue, and rain."},
    ],
}
TOOLACE = {
    "system": f"The functions in JSON:\n{json.dumps([{**WEATHER, 'name': 'Get Weather'}])}\nAnswer so.",
    "conversations": [
        {"from": "user", "value": "Weather in Rome (Italy) and Oslo?"},
        {"from": "assistant", "value": "[Get Weather(city=\"Rome (Italy)\"), Get Weather(city='Oslo')]"},
        {"from": "tool", "value": '[{"name": "Get Weather", "results": "sun"}, {"name": "Get Weather", "results": 3}]'},
        {"from": "assistant", "value": "Sun, and three degrees."},
    ],
}
XLAM = {
    "id": 4,
    "query": "Weather in Rome and Oslo?",
    "tools": json.dumps([INFORMAL]),
    "answers": json.dumps([{"name": "get_weather", "arguments": city} for city in CITIES]),
}

GROUPED = {
    "topic": "weather",
    "tools": [WEATHER],
    "requests": [
        {"text": "Weather in Rome and Oslo?", "calls": [{"name": "get_weather", "arguments": city} for city in CITIES]},
        {"text": "Is it always so wet in Oslo?", "calls": []},
    ],
}


def test_openai_log_every_answer_is_an_example_with_what_came_before(tmp_path: Path) -> None:
    calling, saying = read(tmp_path, openai_row(*RESULTS, {"role": "assistant", "content": "Sunny twice."}))
    assert arguments(calling) == CITIES
    assert [call.id for call in calling.calls] == ["1", "2"]
    assert calling.request == "Weather in Rome and Oslo?"
    assert [message.role for message in calling.conversation.messages] == ["system", "user"]
    assert (saying.calls, saying.text) == ((), "Sunny twice.")
    assert [message.role for message in saying.conversation.messages] == ["system", "user", "assistant", "tool", "tool"]
    assert (calling.id, saying.id) == ("data.jsonl:1/2", "data.jsonl:1/5")


def test_openai_log_a_message_of_weight_0_is_read_and_not_learned(tmp_path: Path) -> None:
    row = openai_row(*RESULTS, {"role": "assistant", "content": "Sunny twice.", "weight": 1})
    [calling] = [message for message in row["messages"] if "tool_calls" in message]
    calling["weight"] = 0
    [saying] = read(tmp_path, row)
    assert (saying.text, saying.calls) == ("Sunny twice.", ())
    assert [len(message.calls) for message in saying.conversation.messages if message.role == "assistant"] == [2]


def test_openai_log_an_example_is_written_and_read_as_it_was(tmp_path: Path) -> None:
    for example in read(tmp_path, openai_row(*RESULTS, {"role": "assistant", "content": "Sunny twice."})):
        [again] = read(tmp_path, as_openai_log(example))
        assert replace(again, id=example.id, source=example.source) == example


def test_openai_log_without_tools_is_a_conversation_without_calls(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hello"}]
    (example,) = read(tmp_path, {"messages": messages})
    assert (example.conversation.tools, example.calls, example.text) == ((), (), "hello")


def test_hermes_calls_in_json_or_python_and_results_in_their_order(tmp_path: Path) -> None:
    calling, saying = read(tmp_path, HERMES)
    assert arguments(calling) == CITIES
    assert [message.role for message in calling.conversation.messages] == ["user"]  # the system text was the form's own
    assert [message.text for message in saying.conversation.messages[2:]] == ['{"sky": "blue"}', "rain"]


def test_grouped_every_request_is_an_example_with_the_tools_of_its_group(tmp_path: Path) -> None:
    calling, silent = read(tmp_path, GROUPED)
    assert arguments(calling) == CITIES
    assert (silent.calls, silent.text) == ((), "")
    assert calling.conversation.tools == silent.conversation.tools
    assert [tool.name for tool in silent.conversation.tools] == ["get_weather"]
    assert (calling.id, silent.id) == ("data.jsonl:1/1", "data.jsonl:1/2")


def test_grouped_what_follows_from_results_is_an_example_without_calls(tmp_path: Path) -> None:
    asked: dict[str, Any] = {"text": "Weather in Rome and Oslo?"}
    asked["calls"] = [{"name": "get_weather", "arguments": city} for city in CITIES]
    answered = {**asked, "results": ["sun", {"sky": "rain"}], "answer": "Sun in Rome, rain in Oslo."}
    calling, saying = read(tmp_path, {**GROUPED, "requests": [answered]})
    assert arguments(calling) == CITIES
    assert (saying.id, saying.calls, saying.text) == ("data.jsonl:1/1-answered", (), "Sun in Rome, rain in Oslo.")
    assert [message.role for message in saying.conversation.messages] == ["user", "assistant", "tool", "tool"]
    assert [message.text for message in saying.conversation.messages[2:]] == ["sun", '{"sky": "rain"}']


@pytest.mark.parametrize(
    ("calls", "results", "said"),
    [
        (CITIES, ["sun"], "there are 2 calls with 1 results"),
        ([], [], "not just one wave of calls"),
        ([{"city": "Rome"}, {"city": "$ref:1"}], ["sun", "rain"], "not just one wave of calls"),
    ],
)
def test_grouped_results_are_one_for_each_call_and_none_waits_for_another(
    tmp_path: Path, calls: list[Any], results: list[Any], said: str
) -> None:
    made = [{"name": "get_weather", "arguments": city} for city in calls]
    request = {"text": "Weather?", "calls": made, "results": results, "answer": "Sun."}
    with pytest.raises(RowRefused, match=said):
        read(tmp_path, {**GROUPED, "requests": [request]})


def test_toolace_calls_in_pythons_notation_with_spaces_in_names(tmp_path: Path) -> None:
    calling, saying = read(tmp_path, TOOLACE)
    assert arguments(calling) == [{"city": "Rome (Italy)"}, {"city": "Oslo"}]
    assert {call.name for call in calling.calls} == {"Get_Weather"}
    assert [message.text for message in saying.conversation.messages[2:]] == ["sun", "3"]


@pytest.mark.parametrize(
    ("text", "read_as"),
    [
        ("f(a=1)", [{"a": 1}]),
        ("f()", [{}]),
        (
            "f(a=-1.5, b=true, c=None, d='x)', e=[1, {'k': false}])",
            [{"a": -1.5, "b": True, "c": None, "d": "x)", "e": [1, {"k": False}]}],
        ),
        ("f(a=1), f(a=2)", [{"a": 1}, {"a": 2}]),
    ],
)
def test_toolace_values(tmp_path: Path, text: str, read_as: list[dict[str, Any]]) -> None:
    tools = [{"name": "f", "parameters": {"type": "dict", "properties": {key: {"type": "any"} for key in read_as[0]}}}]
    row = {
        "system": json.dumps(tools),
        "conversations": [{"from": "user", "value": "do"}, {"from": "assistant", "value": f"[{text}]"}],
    }
    (example,) = read(tmp_path, row)
    assert arguments(example) == read_as


def test_xlam_tools_and_answers_as_text(tmp_path: Path) -> None:
    (example,) = read(tmp_path, XLAM)
    assert arguments(example) == CITIES
    assert example.id == "data.jsonl:4"
    assert example.conversation.tools[0].parameters["required"] == ["city"]


def changed(row: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {**row, **fields}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"question": "?"}, "nothing here reads rows of 'question'"),
        ({}, "nothing here reads rows of no fields"),
        (openai_row(tools=[]), "call 1 is of 'get_weather', which is not among the tools"),
        (
            openai_row(tools=[{"type": "function", "function": {**WEATHER, "parameters": {"type": "objekt"}}}]),
            "the tool 'get_weather': schema refused at '', keyword 'type'",
        ),
        (
            openai_row(tools=[{"function": {**WEATHER, "parameters": {"properties": {"city": {"type": "integer"}}}}}]),
            'call 1: arguments of \'get_weather\': /city (type): "Rome" is not of type "integer"',
        ),
        (
            openai_row({"role": "user", "content": "and?"}, {"role": "assistant", "content": "x"}),
            "tool_call_ids did not",
        ),
        (openai_row({"role": "function", "content": "x"}), "no role is called 'function'"),
        (openai_row(*RESULTS), None),
        (
            {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y", "weight": 0}]},
            "all that the assistant says has the weight 0",
        ),
        (
            openai_row(*RESULTS, {"role": "assistant", "content": "x", "weight": 0.5}),
            "the weight of a message is 0 or 1, not 0.5",
        ),
        ({"messages": [{"role": "user", "content": "x"}]}, "the assistant says nothing"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "message 1 of the assistant answers nobody"),
        ({"messages": "x"}, "'messages' must be there, and a list"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "a part that is no text"),
        (changed(XLAM, tools="[{"), "'tools' is no JSON"),
        (changed(XLAM, answers=[{"name": "get_weather"}]), "the value is not an object"),
        (
            changed(HERMES, conversations=[*HERMES["conversations"][:3], {"from": "tool", "value": "rain"}]),
            "2 calls, and results of 1",
        ),
        (changed(HERMES, conversations=[{"from": "nobody", "value": ""}], tools=[WEATHER]), "nobody in a dialogue"),
        (
            changed(
                TOOLACE,
                conversations=[TOOLACE["conversations"][0], {"from": "assistant", "value": "[Get Weather(f(1))]"}],
            ),
            "an argument of a call has no name",
        ),
        (
            changed(
                TOOLACE,
                conversations=[TOOLACE["conversations"][0], {"from": "assistant", "value": "[Get Weather(city=x)]"}],
            ),
            "a value is no literal: 'x'",
        ),
        ({"instruction": "", "input": "hello <user>x</user>", "output": ""}, "text outside of the tags: 'hello'"),
        ({"instruction": "", "input": "<user>x</user>", "output": "<think>x</think>"}, "the output has 0 answers"),
        (
            {
                "instruction": "**Available Tools**\n1. Name: f\nDescription: g",
                "input": "<user>x</user>",
                "output": "<response>y</response>",
            },
            "the instruction has tools that cannot be read",
        ),
    ],
)
def test_row_that_cannot_be_used_is_refused_with_its_place(
    tmp_path: Path, row: dict[str, Any], reason: str | None
) -> None:
    if reason is None:
        assert read(tmp_path, XLAM, row)
        return
    with pytest.raises(RowRefused) as raised:
        read(tmp_path, XLAM, row)
    assert str(raised.value).startswith(f"{tmp_path / 'data.jsonl'}, line 2: ")
    assert reason in raised.value.reason


def test_refused_rows_are_listed_where_the_caller_asks_to_skip_them(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(f"{json.dumps(XLAM)}\nnonsense\n{json.dumps(openai_row(tools=[]))}\n{json.dumps(XLAM)}\n")
    refused: list[RowRefused] = []
    assert len(list(read_examples(path, refused=refused))) == 2
    assert [reason.line for reason in refused] == [2, 3]
