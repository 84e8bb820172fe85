"""LangChain's OpenAI chat model against a running server: tools bound, calls parsed, structured output, streams."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.output_parsers import PydanticToolsParser
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, Field

from tests.serving.api.api_server import Call, Serve, Server

QUESTION = "What is the weather in San Francisco, Tokyo and Paris?"
CITIES = ["San Francisco", "Tokyo", "Paris"]
WEATHER: list[Call] = [("weather", {"city": city}) for city in CITIES]


@tool
def weather(city: str) -> str:
    """The weather in a city now."""
    if city == "Tokyo":
        raise LookupError("no such station")
    return f"{len(city)} degrees in {city}"


@tool
def local_time(city: str) -> str:
    """The local time in a city."""
    return f"noon in {city}"


class Person(BaseModel):
    """A person whom a text names."""

    name: str = Field(description="The whole name")
    age: int | None = Field(default=None, description="In years")


class Place(BaseModel):
    """A place that a text names."""

    name: str
    country: str


TEXT = "Ada Lovelace, 36, lived in London. Charles Babbage visited Turin."
ENTITIES: list[Call] = [
    ("Person", {"name": "Ada Lovelace", "age": 36}),
    ("Place", {"name": "London", "country": "England"}),
    ("Person", {"name": "Charles Babbage", "age": None}),
    ("Place", {"name": "Turin", "country": "Italy"}),
]
FOUND = [
    Person(name="Ada Lovelace", age=36),
    Place(name="London", country="England"),
    Person(name="Charles Babbage"),
    Place(name="Turin", country="Italy"),
]


def model(server: Server, **options: Any) -> ChatOpenAI:
    settings: dict[str, Any] = {"timeout": 20, "max_retries": 0, **options}
    return ChatOpenAI(base_url=f"{server.url}/v1", api_key="no key", model=server.engine.model, **settings)


def said(message: AIMessage) -> list[Call]:
    return [(call["name"], call["args"]) for call in message.tool_calls]


def added_up(chunks: list[Any]) -> AIMessageChunk:
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert isinstance(whole, AIMessageChunk)
    return whole


# bind_tools


def test_bound_tools_are_all_called_in_one_answer(serve: Serve) -> None:
    answer = model(serve([WEATHER])).bind_tools([weather, local_time]).invoke(QUESTION)
    assert said(answer) == WEATHER
    assert len({call["id"] for call in answer.tool_calls}) == 3
    assert answer.invalid_tool_calls == []
    assert answer.response_metadata["finish_reason"] == "tool_calls"


def test_a_streamed_answer_added_up_equals_the_whole_one(serve: Serve) -> None:
    bound = model(serve([WEATHER]), stream_usage=True).bind_tools([weather, local_time])
    streamed = added_up(list(bound.stream(QUESTION)))
    assert said(streamed) == WEATHER
    assert streamed.invalid_tool_calls == []
    assert [chunk["index"] for chunk in streamed.tool_call_chunks] == [0, 1, 2]
    assert streamed.response_metadata["finish_reason"] == "tool_calls"
    whole = bound.invoke(QUESTION)
    assert said(streamed) == said(whole)
    assert streamed.usage_metadata is not None
    assert whole.usage_metadata is not None
    for tokens in ("input_tokens", "output_tokens", "total_tokens"):
        assert streamed.usage_metadata[tokens] == whole.usage_metadata[tokens] > 0


@pytest.mark.parametrize("count", [0, 1, 2, 8, 32])
def test_any_number_of_calls_comes_whole_and_streamed_alike(serve: Serve, count: int) -> None:
    calls: list[Call] = [("weather", {"city": f"City {number}"}) for number in range(count)]
    server = serve([calls or "No tool can help."])
    bound = model(server, extra_body={"polycall": {"max_calls": 32}}).bind_tools([weather])
    for answer in (bound.invoke(QUESTION), added_up(list(bound.stream(QUESTION)))):
        assert said(answer) == calls
        assert answer.text == ("" if calls else "No tool can help.")


async def test_the_async_model_gets_the_same(serve: Serve) -> None:
    bound = model(serve([WEATHER])).bind_tools([weather])
    assert said(await bound.ainvoke(QUESTION)) == WEATHER
    assert said(added_up([chunk async for chunk in bound.astream(QUESTION)])) == WEATHER


def test_text_streams_in_pieces_when_no_tool_is_needed(serve: Serve) -> None:
    chunks = list(model(serve(["No tool is needed."])).bind_tools([weather]).stream("Hello."))
    assert len([chunk for chunk in chunks if chunk.content]) > 5
    answer = added_up(chunks)
    assert (answer.content, answer.tool_calls) == ("No tool is needed.", [])


def test_results_and_failures_go_back_and_the_next_answer_is_text(serve: Serve) -> None:
    bound = model(serve([WEATHER, "Mild, but for Tokyo."])).bind_tools([weather])
    first = bound.invoke([HumanMessage(QUESTION)])
    results = [
        ToolMessage("no such station", tool_call_id=call["id"], status="error")
        if call["args"]["city"] == "Tokyo"
        else weather.invoke(call)
        for call in first.tool_calls
    ]
    answer = bound.invoke([HumanMessage(QUESTION), first, *results])
    assert (answer.content, answer.tool_calls) == ("Mild, but for Tokyo.", [])


def test_parallel_tool_calls_false_is_one_call_at_a_time_until_text(serve: Serve) -> None:
    server = serve([[call] for call in WEATHER if call[1] != {"city": "Tokyo"}] + ["Mild in both."])
    bound = model(server).bind_tools([weather], parallel_tool_calls=False)
    messages: list[Any] = [HumanMessage(QUESTION)]
    asked = []
    while (answer := bound.invoke(messages)).tool_calls:
        [call] = answer.tool_calls
        asked.append(call["args"]["city"])
        messages += [answer, weather.invoke(call)]
    assert (asked, answer.content) == (["San Francisco", "Paris"], "Mild in both.")


@pytest.mark.parametrize(
    ("choice", "named"), [("any", {"weather", "local_time"}), ("local_time", {"local_time"}), (True, {"weather"})]
)
def test_tool_choice_holds_whatever_the_model_would_write(serve: Serve, choice: Any, named: set[str]) -> None:
    server = serve(lambda _text, _constraint: None)
    tools = [weather] if choice is True else [weather, local_time]
    for seed in range(3):
        answer = model(server, seed=seed).bind_tools(tools, tool_choice=choice).invoke(QUESTION)
        assert {call["name"] for call in answer.tool_calls} <= named
        assert answer.tool_calls


def test_the_extension_goes_as_extra_body(serve: Serve) -> None:
    server = serve(lambda _text, _constraint: None)
    asking = model(server, extra_body={"polycall": {"min_calls": 3, "max_calls": 4, "decoding": "sequential"}})
    assert 3 <= len(asking.bind_tools([weather], tool_choice="any").invoke(QUESTION).tool_calls) <= 4


# PydanticToolsParser


def test_pydantic_tools_parser_makes_an_object_of_each_call(serve: Serve) -> None:
    chain = model(serve([ENTITIES])).bind_tools([Person, Place]) | PydanticToolsParser(tools=[Person, Place])
    assert chain.invoke(f"Who and what is named here? {TEXT}") == FOUND


def test_pydantic_tools_parser_gives_the_objects_of_a_stream_in_the_same_order(serve: Serve) -> None:
    chain = model(serve([ENTITIES])).bind_tools([Person, Place]) | PydanticToolsParser(tools=[Person, Place])
    assert list(chain.stream(f"Who and what is named here? {TEXT}"))[-1] == FOUND


def test_pydantic_tools_parser_makes_nothing_of_text(serve: Serve) -> None:
    chain = model(serve(["Nobody."])).bind_tools([Person]) | PydanticToolsParser(tools=[Person])
    assert chain.invoke("Who is named here?") == []


# with_structured_output


def test_structured_output_by_function_calling(serve: Serve) -> None:
    asking = model(serve([ENTITIES[:1]])).with_structured_output(Person, method="function_calling")
    assert asking.invoke(TEXT) == FOUND[0]


def test_structured_output_by_function_calling_is_one_call_whatever_the_model_would_write(serve: Serve) -> None:
    server = serve(lambda _text, _constraint: None)
    asking = model(server).with_structured_output(Person, method="function_calling", include_raw=True)
    answer = asking.invoke(TEXT)
    assert isinstance(answer, dict)
    assert answer["parsing_error"] is None
    assert isinstance(answer["parsed"], Person)
    assert len(answer["raw"].tool_calls) == 1


def test_structured_output_by_json_schema_is_the_answers_text(serve: Serve) -> None:
    server = serve(['{"name": "Ada Lovelace", "age": 36}'])
    assert model(server).with_structured_output(Person).invoke(TEXT) == FOUND[0]


def test_structured_output_by_json_schema_holds_whatever_the_model_would_write(serve: Serve) -> None:
    server = serve(lambda _text, _constraint: None)
    for seed in range(3):
        asking = model(server, seed=seed).with_structured_output(Place, method="json_schema", include_raw=True)
        answer = asking.invoke(TEXT)
        assert isinstance(answer, dict)
        assert isinstance(answer["parsed"], Place)


def test_structured_output_by_json_mode(serve: Serve) -> None:
    server = serve(['{"name": "Ada Lovelace"}'])
    assert model(server).with_structured_output(Person, method="json_mode").invoke(TEXT) == Person(name="Ada Lovelace")


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning")  # LangChain's, of the parsed answer
def test_structured_output_streams(serve: Serve) -> None:
    server = serve(['{"name": "Ada Lovelace", "age": 36}'])
    assert list(model(server).with_structured_output(Person).stream(TEXT))[-1] == FOUND[0]


def test_tools_beside_structured_output_are_called_and_then_the_answer_has_its_schema(serve: Serve) -> None:
    server = serve([WEATHER, '{"name": "Tokyo", "country": "Japan"}'])
    asking = model(server).bind_tools([weather], response_format=Place, strict=True)
    first = asking.invoke(QUESTION)
    assert said(first) == WEATHER
    results = [ToolMessage("12 degrees", tool_call_id=call["id"]) for call in first.tool_calls]
    answer = asking.invoke([HumanMessage(QUESTION), first, *results])
    assert answer.additional_kwargs["parsed"] == Place(name="Tokyo", country="Japan")


# The Responses API


def test_the_responses_api_gives_the_same_calls_whole_and_streamed(serve: Serve) -> None:
    bound = model(serve([WEATHER]), use_responses_api=True).bind_tools([weather, local_time])
    assert said(bound.invoke(QUESTION)) == WEATHER
    assert said(added_up(list(bound.stream(QUESTION)))) == WEATHER


def test_the_responses_api_takes_results_back(serve: Serve) -> None:
    bound = model(serve([WEATHER, "Mild, but for Tokyo."]), use_responses_api=True).bind_tools([weather])
    first = bound.invoke([HumanMessage(QUESTION)])
    results = [ToolMessage("12 degrees", tool_call_id=call["id"]) for call in first.tool_calls]
    answer = bound.invoke([HumanMessage(QUESTION), first, *results])
    assert (answer.text, answer.tool_calls) == ("Mild, but for Tokyo.", [])


def test_the_responses_api_goes_on_from_the_response_before(serve: Serve) -> None:
    asking = model(serve([WEATHER, "Mild."]), use_responses_api=True, use_previous_response_id=True)
    bound = asking.bind_tools([weather])
    first = bound.invoke([HumanMessage(QUESTION)])
    results = [ToolMessage("12 degrees", tool_call_id=call["id"]) for call in first.tool_calls]
    assert bound.invoke([HumanMessage(QUESTION), first, *results]).text == "Mild."


def test_structured_output_over_the_responses_api(serve: Serve) -> None:
    server = serve(['{"name": "Ada Lovelace", "age": 36}'])
    assert model(server, use_responses_api=True).with_structured_output(Person).invoke(TEXT) == FOUND[0]
