"""The model that comes with the package: small, known by name, told how it was made, and able to call several tools."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import demo
import demo_tools
import pytest

from finetune.said_values import mentions, values_of
from grammars.conversation import Choice, Conversation, Message
from grammars.dialects import dialect_of
from grammars.tools import Tool, ToolCall
from serving.config import DEFAULT_MODEL
from serving.decode.events import CallWritten, Figures, RoundEnded, TextWritten
from serving.decode.round import DecodeOptions, Decoder, RoundRequest
from serving.engines.transformers.engine import TransformersEngine
from serving.models.adapter import ADAPTER_SETTINGS, ADAPTER_WEIGHTS, MOST_BYTES
from serving.models.catalogue import AdaptedModel, read_catalogue, resolve_model

ROOT = Path(__file__).parents[2]


def text_tool(name: str, description: str, **arguments: str) -> Tool:
    """A tool all of whose arguments are required texts."""
    properties = {argument: {"type": "string", "description": said} for argument, said in arguments.items()}
    return Tool(
        name=name,
        description=description,
        parameters={"type": "object", "properties": properties, "required": list(arguments)},
    )


WEATHER = text_tool("get_weather", "Get the current weather in a city.", city="Name of the city")
CLOCK = text_tool("get_local_time", "Get the local time in a city.", city="Name of the city")


@pytest.fixture(scope="module")
def engine() -> Iterator[TransformersEngine]:
    engine = TransformersEngine.load(resolve_model(DEFAULT_MODEL), name=DEFAULT_MODEL, device="cpu", dtype="float32")
    yield engine
    asyncio.run(engine.close())


async def called(
    engine: TransformersEngine, text: str, *tools: Tool, choice: Choice | None = None
) -> tuple[list[tuple[str, Any]], Figures]:
    """The calls that the model makes of a request, in order, and what that took."""
    decoder = Decoder(engine, dialect_of(engine.tokenizer))
    conversation = Conversation.read([Message(role="user", text=text)], tools, choice)
    calls: dict[int, tuple[str, Any]] = {}
    async for event in decoder.decode_round(conversation, RoundRequest()):
        if isinstance(event, CallWritten):
            calls[event.index] = (event.call.name, dict(event.call.arguments))
        if isinstance(event, RoundEnded):
            return [calls[index] for index in sorted(calls)], event.figures
    raise AssertionError("the round did not end")


def test_adapter_fits_the_package_beside_its_card_and_the_settings_that_train_it_again() -> None:
    model = read_catalogue()[DEFAULT_MODEL]
    assert isinstance(model, AdaptedModel)
    assert {path.name for path in model.adapter.iterdir()} == {
        ADAPTER_SETTINGS,
        ADAPTER_WEIGHTS,
        "README.md",
        "training.toml",
    }
    assert (model.adapter / ADAPTER_WEIGHTS).stat().st_size <= MOST_BYTES
    assert (model.adapter / "training.toml").read_text() == (
        ROOT / "finetune/configs/smollm2-135m-siblings.toml"
    ).read_text()


@pytest.mark.slow
async def test_one_question_becomes_a_call_for_each_city_by_a_plan_of_one_step(engine: TransformersEngine) -> None:
    calls, figures = await called(engine, "What is the weather in Oslo, Lisbon and Rome?", WEATHER, CLOCK)
    assert calls == [("get_weather", {"city": city}) for city in ("Oslo", "Lisbon", "Rome")]
    assert figures.plan_steps == 1
    assert figures.branches == 3


@pytest.mark.slow
async def test_caller_s_bounds_hold_whatever_the_model_would_count(engine: TransformersEngine) -> None:
    text = "What is the weather in Oslo, Lisbon and Rome?"
    two = Choice(mode="required", least=2, most=2)
    calls, figures = await called(engine, text, WEATHER, choice=two)
    # Which two of the three is the model's choice.
    assert calls == [("get_weather", {"city": city}) for city in ("Oslo", "Rome")]
    assert figures.plan_steps == 0
    for least, most in ((4, 4), (1, 2)):
        bounds = Choice(mode="required", least=least, most=most)
        calls, figures = await called(engine, text, WEATHER, CLOCK, choice=bounds)
        assert least <= len(calls) + figures.duplicates_removed <= most
        assert figures.fallbacks == 0


@pytest.mark.slow
async def test_what_no_tool_can_do_is_answered_in_text(engine: TransformersEngine) -> None:
    calls, _ = await called(engine, "Write a short poem about the sea.", WEATHER)
    assert calls == []


DEMO_CALLS: list[tuple[str, Any]] = [
    ("get_weather", {"city": "Oslo"}),
    ("get_weather", {"city": "Lisbon"}),
    ("get_local_time", {"city": "Oslo"}),
    ("get_local_time", {"city": "Lisbon"}),
    ("convert_currency", {"amount": 2000, "from_currency": "NOK", "to_currency": "EUR"}),
    ("search_hotels", {"city": "Lisbon", "max_price": 120}),
]


@pytest.mark.slow
async def test_the_demos_question_becomes_its_six_calls(engine: TransformersEngine) -> None:
    calls, figures = await called(engine, demo.QUESTION, *demo_tools.registry.tools, choice=Choice(mode="required"))
    assert calls == DEMO_CALLS
    assert (figures.plan_steps, figures.branches) == (1, 6)


@pytest.mark.slow
async def test_the_demos_answer_says_every_result_in_a_line_of_its_own(engine: TransformersEngine) -> None:
    calls = [ToolCall(id=str(place), name=name, arguments=given) for place, (name, given) in enumerate(DEMO_CALLS)]
    results = [await getattr(demo_tools, call.name)(**call.arguments) for call in calls]
    told = (
        Message(role="tool", text=json.dumps(value), call_id=call.id)
        for call, value in zip(calls, results, strict=True)
    )
    messages = [Message(role="user", text=demo.QUESTION), Message(role="assistant", calls=tuple(calls)), *told]
    conversation = Conversation.read(messages, demo_tools.registry.tools, Choice(mode="none"))
    decoder = Decoder(engine, dialect_of(engine.tokenizer), DecodeOptions(answer_by_result=True))
    events = [event async for event in decoder.decode_round(conversation, RoundRequest())]
    lines = "".join(event.text for event in events if isinstance(event, TextWritten)).splitlines()
    assert len(lines) == len(calls)
    for line, value in zip(lines, results, strict=True):
        values = values_of(json.dumps(value))
        assert set(mentions(line, values)) == set(values), line
    assert isinstance(events[-1], RoundEnded)
    assert events[-1].figures.branches == len(calls)
