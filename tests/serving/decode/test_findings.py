"""Answers result by result: streams beside one another, handed on in the order of the calls."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grammars.conversation import Choice, Conversation, Message
from grammars.dialects import DIALECTS
from grammars.findings import QUESTION, finding_conversations
from grammars.tools import ToolCall
from serving.decode.events import TextWritten
from serving.decode.findings import BETWEEN, InOrder, finding_constraint
from serving.decode.request import DecodeOptions
from tests.grammars.test_constraint import refused_at
from tests.serving.decode.rounds import BYTES, TOOLS, Round, ended, outline, text_of

BY_RESULT = DecodeOptions(answer_by_result=True)
SAID = ["It is one.", "Two, then.", "Three it is, and long."]


def after(*results: str) -> Conversation:
    """What was asked, as many calls as there are results, and these; no more calls are due."""
    calls = tuple(ToolCall(id=str(place), name="note", arguments={"text": str(place)}) for place in range(len(results)))
    told = (Message(role="tool", text=text, call_id=call.id) for call, text in zip(calls, results, strict=True))
    messages = [Message(role="user", text="Which?"), Message(role="assistant", calls=calls), *told]
    return Conversation.read(messages, TOOLS, Choice(mode="none"))


async def test_findings_are_decoded_together_and_handed_on_in_the_order_of_the_calls() -> None:
    round = Round(after("1", "2", "3"), text=list(SAID), options=BY_RESULT)
    events = await round.run()
    assert text_of(events) == BETWEEN.join(SAID)
    figures = ended(events).figures
    assert (ended(events).reason, figures.branches, round.kinds) == ("text", 3, ["text"] * 3)
    spans = [span.steps for span in figures.spans]
    assert figures.steps == max(spans) < sum(spans)
    prefix = BYTES.grammar_tokenizer.decode_str(list(round.engine.prefixes[-1]))
    assert QUESTION in prefix
    assert "Which?" not in prefix


async def test_the_first_finding_is_handed_on_while_the_others_are_written() -> None:
    round = Round(after("1", "2"), text=["Ab.", "A long one."], options=BY_RESULT)
    pieces = [event.text for event in await round.run() if isinstance(event, TextWritten)]
    assert len(pieces) > 2
    assert "".join(pieces) == f"Ab.{BETWEEN}A long one."


@pytest.mark.parametrize(
    ("results", "options", "request_"),
    [
        (("1", "2"), DecodeOptions(), {}),
        (("1",), BY_RESULT, {}),
        (("1", "2"), BY_RESULT, {"decoding": "sequential"}),
        (("1", "2"), BY_RESULT, {"logprobs": 0}),
    ],
)
async def test_other_answers_are_one_stream(
    results: tuple[str, ...], options: DecodeOptions, request_: dict[str, Any]
) -> None:
    round = Round(after(*results), text="All of it.", options=options)
    events = await round.run(**request_)
    assert (text_of(events), ended(events).figures.branches) == ("All of it.", 1)


async def test_after_an_empty_plan_too_the_answer_is_written_result_by_result() -> None:
    messages = after("1", "2").messages
    round = Round(Conversation.read(messages, TOOLS), plan=outline(), text=SAID[:2], options=BY_RESULT)
    events = await round.run()
    assert text_of(events) == BETWEEN.join(SAID[:2])
    figures = ended(events).figures
    assert figures.steps > figures.plan_steps > 0


@pytest.mark.parametrize(
    ("stop", "told"),
    [
        ("one", "It is "),
        ("Two", f"It is one.{BETWEEN}"),
        ("long", BETWEEN.join(["It is one.", "Two, then.", "Three it is, and "])),
    ],
)
async def test_a_stop_string_ends_the_answer_wherever_it_comes(stop: str, told: str) -> None:
    round = Round(after("1", "2", "3"), text=list(SAID), options=BY_RESULT)
    events = await round.run(stop=(stop,))
    assert (text_of(events), ended(events).stop, ended(events).reason) == (told, stop, "text")


async def test_the_limit_is_each_findings_own() -> None:
    round = Round(after("1", "2"), text=["Ab.", "A long one."], options=BY_RESULT)
    events = await round.run(max_tokens=6)
    assert (text_of(events), ended(events).reason) == (f"Ab.{BETWEEN}A long", "length")


@given(st.lists(st.text("ab"), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_texts_come_whole_and_in_order_however_they_are_written(texts: list[str], random: Any) -> None:
    order = InOrder(len(texts))
    left = {index: [*text, None] for index, text in enumerate(texts)}
    told = ""
    while left:
        index = random.choice(sorted(left))
        letter = left[index].pop(0)
        told += order.end(index) if letter is None else order.take(index, letter)
        if letter is None:
            del left[index]
        assert order.over == (not left)
    assert told == BETWEEN.join(texts)


@pytest.mark.parametrize(("said", "place"), [("It is -3 in 5 days.", None), ("It is 3.", 6), ("<call>", 5)])
def test_a_finding_says_no_number_but_those_of_its_call_and_its_result(said: str, place: int | None) -> None:
    call = ToolCall(id="1", name="note", arguments={"text": "in 5 days"})
    other = ToolCall(id="2", name="note", arguments={"text": "in 3 days"})
    told = (Message(role="tool", text=text, call_id=id) for id, text in (("1", "-3"), ("2", "3")))
    messages = [Message(role="user", text="Which?"), Message(role="assistant", calls=(call, other)), *told]
    finding, _ = finding_conversations(Conversation.read(messages, TOOLS))
    constraint = finding_constraint(finding, replace(DIALECTS["json"], marker="<call>"))
    assert refused_at(constraint, said) == place
