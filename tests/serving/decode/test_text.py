"""Answers in text: JSON by a schema beside tools, how likely tokens were, and what of a prompt was held."""

from __future__ import annotations

import codecs
import json
from typing import Any, Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from grammars.answer import asking_for, read_answer_schema
from grammars.conversation import Choice, Conversation, Message
from grammars.dialects import DIALECTS, HERMES, JSON, MISTRAL, Dialect
from grammars.errors import DecodingFailed, SchemaRefused
from grammars.prompt import ANSWER_INSTRUCTIONS, render, render_for_answer
from grammars.tools import ToolCall
from serving.decode.events import DecodeEvent, TextWritten
from serving.decode.request import Decoding
from serving.decode.text import TextPieces
from serving.engines.base import TokenLogprob
from serving.engines.scripted import Answer
from tests.serving.decode.rounds import BYTES, Round, calls_of, conversation, ended, note, outline, text_of

EITHER = pytest.mark.parametrize("decoding", ["parallel", "sequential"])

CITY: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}, "days": {"type": "integer"}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
OSLO = '{"city": "Oslo", "days": 3}'
UNIQUE: dict[str, Any] = {"type": "array", "items": {"type": "integer"}, "maxItems": 4, "uniqueItems": True}
"""The grammar does not enforce `uniqueItems`."""


# A schema for the answer


@EITHER
@pytest.mark.parametrize("choice", [Choice(), Choice(most=1), Choice(mode="none")])
async def test_answer_is_what_the_schema_asks_for(choice: Choice, decoding: Decoding) -> None:
    round = Round(conversation(choice), plan=outline(), stream="Well, ", text=OSLO)
    events = await round.run(decoding=decoding, answer_schema=CITY)
    assert (text_of(events), ended(events).reason) == (OSLO, "text")


@EITHER
async def test_answer_that_the_schema_does_not_allow_cannot_be_written(decoding: Decoding) -> None:
    round = Round(conversation(), plan=outline(), stream="Well, ", text='{"town": "Oslo"}')
    with pytest.raises(DecodingFailed, match="constraint"):
        await round.run(decoding=decoding, answer_schema=CITY)


@EITHER
@pytest.mark.parametrize("choice", [Choice(), Choice(mode="required"), Choice(exact=("note", "now"))])
async def test_calls_are_written_as_if_no_schema_were_asked_for(choice: Choice, decoding: Decoding) -> None:
    stream = f'{{"tool_calls": [{{"name": "note", "arguments": {note("a")}}}, {{"name": "now", "arguments": {{}}}}]}}'

    async def events(**asked: Any) -> tuple[set[Any], list[DecodeEvent]]:
        round = Round(conversation(choice), plan=outline("note", "now"), calls=[note("a"), "{}"], stream=stream)
        written = await round.run(decoding=decoding, **asked)
        return {*round.engine.prefixes, *round.engine.branches}, written

    asked, written = await events(answer_schema=CITY)
    assert sorted(calls_of(written)) == [(0, "note", note("a")), (1, "now", "{}")]
    assert asked == (await events())[0]


@EITHER
@pytest.mark.parametrize("dialect", [JSON, HERMES, MISTRAL])
@pytest.mark.parametrize("text", ['{"tool_calls": [1]}', '{"tool_calls": [{"name": "now", "arguments": {}}]}'])
async def test_answer_may_look_like_a_call(dialect: Dialect, text: str, decoding: Decoding) -> None:
    """Whether the model calls is decided before the answer begins, so that nothing in it can be taken for a call."""
    round = Round(conversation(), plan=outline(), stream="", text=text, dialect=dialect)
    events = await round.run(decoding=decoding, answer_schema={"type": "object"})
    assert (text_of(events), calls_of(events)) == (text, [])


@EITHER
async def test_model_reads_the_schema_where_it_answers_and_only_there(decoding: Decoding) -> None:
    round = Round(conversation(), plan=outline(), stream="Well", text=OSLO)
    await round.run(decoding=decoding, answer_schema=CITY)
    deciding, answering = round.engine.prefixes
    assert json.dumps(CITY) not in BYTES.decode(deciding)
    told = asking_for(conversation(Choice(mode="none")), read_answer_schema(CITY))
    assert answering == render(told, JSON, BYTES)
    assert json.dumps(CITY) in BYTES.decode(answering)


async def test_answer_after_results_follows_the_schema() -> None:
    call = ToolCall(id="c1", name="now", arguments={})
    said = [Message(role="system", text="Be brief."), Message(role="user", text="hi")]
    after = [Message(role="assistant", calls=(call,)), Message(role="tool", text="noon", call_id="c1")]
    asked = Conversation.read([*said, *after], conversation().tools)
    round = Round(asked, plan=outline(), text=OSLO)
    events = await round.run(answer_schema=CITY)
    assert text_of(events) == OSLO
    answering = BYTES.decode(round.engine.prefixes[-1])
    assert "Be brief.\n\nWrite your answer as JSON" in answering
    assert ANSWER_INSTRUCTIONS in answering


@pytest.mark.parametrize(("dialect", "decoding"), [(JSON, "parallel"), (DIALECTS["polycall-smollm2"], "sequential")])
@pytest.mark.parametrize("mode", ["auto", "none"])
async def test_answer_after_results_stands_on_the_prompt_that_is_taught_whether_calls_were_allowed_or_not(
    mode: Literal["auto", "none"], dialect: Dialect, decoding: Decoding
) -> None:
    call = ToolCall(id="c1", name="now", arguments={})
    after = [Message(role="assistant", calls=(call,)), Message(role="tool", text="noon", call_id="c1")]
    asked = Conversation.read([Message(role="user", text="hi"), *after], conversation().tools, Choice(mode=mode))
    round = Round(asked, plan=outline(), stream="In words.", text="Noon.", dialect=dialect)
    events = await round.run(decoding=decoding)
    assert text_of(events) == "Noon."
    assert round.engine.prefixes[-1] == render_for_answer(asked, dialect, BYTES)
    assert ANSWER_INSTRUCTIONS in BYTES.decode(round.engine.prefixes[-1])


async def test_schema_that_spells_a_special_token_ends_no_message() -> None:
    [special] = BYTES.encode("<|im_end|>")
    counts = []
    for word in ("<|im_end|>", "end"):
        round = Round(conversation(Choice(mode="none")), text='"')
        await round.run(answer_schema={"const": word}, max_tokens=1)
        assert word in BYTES.decode(round.engine.prefixes[0])
        counts.append(round.engine.prefixes[0].count(special))
    assert counts[0] == counts[1]


@EITHER
async def test_schema_that_is_refused_names_its_field_pointer_and_keyword(decoding: Decoding) -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": "https://elsewhere.example/schema"}}}
    round = Round(conversation())
    with pytest.raises(SchemaRefused) as refused:
        await round.run(decoding=decoding, answer_schema=schema)
    assert refused.value.place == "response_format.json_schema.schema"
    assert (refused.value.pointer, refused.value.keyword) == ("/properties/a", "$ref")
    assert round.kinds == []


async def test_answer_that_breaks_what_only_a_check_enforces_is_written_once_more() -> None:
    round = Round(conversation(Choice(mode="none")), text=["[1, 1]", "[1, 2]"])
    events = await round.run(answer_schema=UNIQUE)
    assert (text_of(events), ended(events).reason, ended(events).figures.fallbacks) == ("[1, 2]", "text", 1)
    again = BYTES.decode(round.engine.prefixes[-1])
    assert "[1, 1]" in again
    assert "uniqueItems" in again.partition("[1, 1]")[2]


async def test_answer_that_breaks_it_twice_is_an_error_and_none_of_it_is_handed_on() -> None:
    round = Round(conversation(Choice(mode="none")), text=["[1, 1]", "[2, 2]"])
    with pytest.raises(DecodingFailed, match="uniqueItems"):
        await anext(round.events(answer_schema=UNIQUE))


@pytest.mark.parametrize(
    ("asked", "text", "reason"),
    [({"max_tokens": 4}, "[1, ", "length"), ({"stop": (" 1]",)}, "[1,", "text")],
    ids=["the limit", "a stop string"],
)
async def test_answer_that_was_cut_is_handed_on_as_cut(asked: dict[str, Any], text: str, reason: str) -> None:
    round = Round(conversation(Choice(mode="none")), text="[1, 1]")
    events = await round.run(answer_schema=UNIQUE, **asked)
    assert (text_of(events), ended(events).reason) == (text, reason)


# How likely each token was


@EITHER
@pytest.mark.parametrize("asked", [{}, {"answer_schema": CITY}], ids=["free text", "JSON"])
async def test_every_token_of_a_text_has_its_logprob(asked: dict[str, Any], decoding: Decoding) -> None:
    text = OSLO if asked else "Grüß Gott. 你好"
    round = Round(conversation(), plan=outline(), stream=text, text=text)
    events = await round.run(decoding=decoding, logprobs=2, **asked)
    likely = [logprob for event in events if isinstance(event, TextWritten) for logprob in event.logprobs]
    assert b"".join(bytes(logprob.bytes) for logprob in likely).decode() == text_of(events) == text
    assert all(logprob.logprob <= 0 and len(logprob.top) <= 2 for logprob in likely)
    assert any(logprob.logprob < 0 and len(logprob.top) == 2 for logprob in likely)


async def test_forced_text_is_certain_and_costs_a_step_where_logprobs_are_asked_for() -> None:
    async def steps(**asked: Any) -> tuple[list[DecodeEvent], int]:
        round = Round(conversation(Choice(mode="none")), text=OSLO)
        events = await round.run(answer_schema=CITY, **asked)
        return events, ended(events).figures.steps

    events, with_them = await steps(logprobs=0)
    likely = [logprob for event in events if isinstance(event, TextWritten) for logprob in event.logprobs]
    assert [logprob.logprob for logprob in likely[: len('{"city": "')]] == [0.0] * len('{"city": "')
    assert with_them == len(OSLO)
    assert (await steps())[1] < with_them


@EITHER
async def test_nobody_pays_for_what_was_not_asked_for(decoding: Decoding) -> None:
    stream = '{"tool_calls": [{"name": "now", "arguments": {}}]}'
    round = Round(conversation(), plan=outline("now"), calls=["{}"], stream=stream)
    await round.run(decoding=decoding)
    assert [branch.logprobs for branch in round.engine.branches] == [None] * len(round.engine.branches)
    again = Round(conversation(), plan=outline("now"), calls=["{}"])
    await again.run(logprobs=3)
    assert [branch.logprobs for branch in again.engine.branches] == [None, None]


@given(st.lists(st.binary(min_size=1, max_size=4), max_size=12), st.lists(st.text("aé\ufffd", min_size=1), max_size=2))
@example([b"\xe2", b"\x82\xac", b"ab"], ["b"])
def test_tokens_go_with_the_piece_in_which_they_begin(spelled: list[bytes], stops: list[str]) -> None:
    """Whatever the tokens spell, and wherever a stop string cuts: a text has the tokens that reach into it."""
    tokens = [TokenLogprob(text="", bytes=tuple(token), logprob=-float(place)) for place, token in enumerate(spelled)]
    pieces = TextPieces(tuple(stops))
    written: list[TextWritten] = []
    utf8 = codecs.getincrementaldecoder("utf-8")("replace")
    for place, token in enumerate(tokens):
        is_last = place == len(tokens) - 1
        written += pieces.take(utf8.decode(spelled[place], final=is_last), [token], ended=is_last)
        if pieces.stop is not None:
            break
    text = "".join(piece.text for piece in written)
    count = sum(len(piece.logprobs) for piece in written)
    assert [token for piece in written for token in piece.logprobs] == tokens[:count]
    assert b"".join(spelled[:count]).decode(errors="replace").startswith(text)
    if pieces.stop is None:
        assert (count, text) == (len(tokens), b"".join(spelled).decode(errors="replace"))
    elif count:
        before = codecs.getincrementaldecoder("utf-8")("replace").decode(b"".join(spelled[: count - 1]))
        assert len(before) < len(text)


# What of the prompt was held


@EITHER
async def test_cached_tokens_are_those_of_the_prompt_that_the_engine_still_held(decoding: Decoding) -> None:
    twice: list[Answer] = ["Hello.", "Hello."]
    round = Round(conversation(), plan=[outline(), outline()], text=twice, stream=twice)
    first, second = [ended(await round.run(decoding=decoding)).figures for _ in range(2)]
    assert (first.cached_tokens, second.cached_tokens) == (0, second.prompt_tokens)


async def test_answer_in_text_is_asked_for_on_another_prompt_which_is_not_counted_as_held() -> None:
    round = Round(conversation(), plan=outline(), text="Hello.")
    figures = ended(await round.run()).figures
    assert figures.cached_tokens == 0
    assert len(round.engine.prefixes) == 2
