"""The decoder's front: what is decided and refused before the first event, and rounds side by side."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from grammars import array, plan
from grammars.conversation import Choice, Conversation, Message
from grammars.dialects import JSON
from grammars.errors import ContextExceeded, DecodingFailed, Overloaded, RequestError, SchemaRefused
from grammars.prompt import render
from grammars.tools import Tool
from serving.decode.request import DecodeOptions, Decoding, RoundRequest
from serving.decode.round import Decoder
from serving.engines.scripted import ScriptedEngine
from tests.serving.decode.rounds import BYTES, TOOLS, Round, calls_of, conversation, ended, outline, text_of

EITHER = pytest.mark.parametrize("decoding", ["parallel", "sequential"])


# What is decoded


@EITHER
@pytest.mark.parametrize(
    "asked",
    [conversation(Choice(mode="none")), Conversation.read([Message(role="user", text="hi")])],
    ids=["tools that may not be called", "no tools"],
)
async def test_without_tools_to_call_the_answer_is_text(asked: Conversation, decoding: Decoding) -> None:
    round = Round(asked, text="Hello.")
    events = await round.run(decoding=decoding)
    assert (text_of(events), ended(events).reason) == ("Hello.", "text")
    assert round.kinds == ["text"]
    assert ended(events).figures.plan_steps == 0


@EITHER
@pytest.mark.parametrize("marker", ['{"tool_calls": [', 'I call {"tool_calls"'])
async def test_text_can_contain_no_calls(marker: str, decoding: Decoding) -> None:
    round = Round(conversation(Choice(mode="none")), text=marker)
    with pytest.raises(DecodingFailed, match="constraint"):
        await round.run(decoding=decoding)


@EITHER
async def test_figures_say_how_the_round_was_decoded_and_on_how_many_tokens(decoding: Decoding) -> None:
    round = Round(conversation(), plan=outline(), text="Hello.", stream="Hello.")
    figures = ended(await round.run(decoding=decoding)).figures
    assert figures.decoding == decoding
    assert figures.prompt_tokens == len(round.engine.prefixes[0])
    assert (
        await round.decoder.count_tokens(round.conversation, RoundRequest(decoding=decoding)) == figures.prompt_tokens
    )


@pytest.mark.parametrize(
    ("choice", "decoding", "instructions"),
    [
        (Choice(), "parallel", plan.INSTRUCTIONS),
        (Choice(), "sequential", array.instructions(JSON)),
        (Choice(most=1), "parallel", array.instructions(JSON)),
        (Choice(mode="none"), "parallel", ""),
    ],
)
async def test_model_is_told_how_to_write_what_it_is_made_to_write(
    choice: Choice, decoding: Decoding, instructions: str
) -> None:
    stream = '{"tool_calls": [{"name": "now", "arguments": {}}]}'
    round = Round(conversation(choice), plan=outline("now"), calls=["{}"], stream=stream, text="No.")
    await round.run(decoding=decoding)
    expected = render(conversation(choice), JSON, BYTES, instructions=instructions)
    assert set(round.engine.prefixes) == {expected}


async def test_answer_in_text_is_asked_for_without_outline_and_without_tools() -> None:
    round = Round(conversation(), plan=outline(), text="Hello.")
    await round.run()
    planning, answering = round.engine.prefixes
    assert planning == render(conversation(), JSON, BYTES, instructions=plan.INSTRUCTIONS)
    assert answering == render(conversation(Choice(mode="none")), JSON, BYTES)


# What is refused


def nested(depth: int) -> dict[str, Any]:
    return {"items": nested(depth - 1)} if depth else {}


HOSTILE: dict[str, dict[str, Any]] = {
    "refused": {"type": "object", "properties": {"a": {"$ref": "https://elsewhere.example/schema"}}},
    "too deep": {"type": "object", "properties": {"a": nested(200)}},
}


@EITHER
@pytest.mark.parametrize(
    ("schema", "at"), [(HOSTILE["refused"], ("/properties/a", "$ref")), (HOSTILE["too deep"], ("", "$schema"))]
)
async def test_schema_that_is_refused_names_its_tool_pointer_and_keyword(
    schema: dict[str, Any], at: tuple[str, str], decoding: Decoding
) -> None:
    asked = conversation(tools=[*TOOLS, Tool(name="bad", parameters=schema)])
    round = Round(asked)
    with pytest.raises(SchemaRefused) as refused:
        await round.run(decoding=decoding)
    assert refused.value.place == "tools[3].function.parameters"
    assert (refused.value.pointer, refused.value.keyword) == at
    assert round.kinds == []


async def test_schema_of_a_tool_that_may_not_be_called_is_refused_all_the_same() -> None:
    asked = conversation(
        Choice(allowed=frozenset({"now"})), tools=[*TOOLS, Tool(name="bad", parameters=HOSTILE["refused"])]
    )
    with pytest.raises(SchemaRefused) as refused:
        await Round(asked).run()
    assert refused.value.place == "tools[3].function.parameters"


@EITHER
async def test_prompt_that_leaves_no_room_is_refused_before_the_first_event(decoding: Decoding) -> None:
    size = len(Round(conversation()).engine.tokenizer.encode("x" * 100))
    round = Round(conversation(text="x" * 100), context_length=size)
    with pytest.raises(ContextExceeded) as refused:
        await anext(round.events(decoding=decoding))
    assert refused.value.place == "messages"


@EITHER
async def test_engine_without_room_says_so_before_the_first_event(decoding: Decoding) -> None:
    round = Round(conversation(), capacity=0)
    with pytest.raises(Overloaded):
        await anext(round.events(decoding=decoding))


async def test_refused_and_hostile_schemas_cost_their_own_request_only() -> None:
    engine = ScriptedEngine(lambda _text, _constraint: None, step_s=0.0005)
    decoder = Decoder(engine, JSON)

    async def decode(asked: Conversation) -> list[Any]:
        return [event async for event in decoder.decode_round(asked, RoundRequest())]

    good = conversation(Choice(exact=("now", "note")))
    bad = [conversation(tools=[Tool(name="bad", parameters=schema)]) for schema in HOSTILE.values()]
    rounds = await asyncio.gather(*(decode(asked) for asked in [good, *bad, good, *bad]), return_exceptions=True)
    for place, outcome in enumerate(rounds):
        if place in (0, 3):
            assert isinstance(outcome, list)
            assert sorted(name for _, name, _ in calls_of(outcome)) == ["note", "now"]
        else:
            assert isinstance(outcome, RequestError)
    assert engine.live_branches == 0


# Side by side


@EITHER
async def test_rounds_decode_at_the_same_time_and_do_not_see_each_other(decoding: Decoding) -> None:
    engine = ScriptedEngine()
    decoder = Decoder(engine, JSON, DecodeOptions(call_tokens=400))

    async def decode(text: str, meeting: asyncio.Barrier) -> list[tuple[int, str, str]]:
        """The round's calls. At its first event it waits until as many rounds as shall meet have come so far."""
        events: list[Any] = []
        asked = conversation(Choice(exact=("note", "pack.bag", "now")), text=text)
        async for event in decoder.decode_round(asked, RoundRequest(decoding=decoding)):
            if not events:
                await meeting.wait()
            events.append(event)
        assert ended(events).reason == "calls"
        return sorted(calls_of(events))

    alone = [await decode("one", asyncio.Barrier(1)), await decode("two", asyncio.Barrier(1))]
    meeting = asyncio.Barrier(2)
    async with asyncio.timeout(20):  # rounds that took turns would never meet
        together = await asyncio.gather(decode("one", meeting), decode("two", meeting))
    assert [*together] == alone
    assert engine.live_branches == 0
