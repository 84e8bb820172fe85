"""Findings: each result of a conversation that ends in results, with its call alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from grammars.conversation import Conversation, Message
from grammars.dialects import DIALECTS
from grammars.findings import QUESTION, finding_conversations, finding_prompts, finding_question
from grammars.prompt import render_for_answer
from grammars.tools import Tool, ToolCall
from serving.engines.transformers.tokenizer import HuggingFaceTokenizer

WEATHER = Tool(
    name="weather",
    description="Weather now.",
    parameters={"type": "object", "properties": {"city": {"type": "string"}}},
)


def call(id: str, city: str) -> ToolCall:
    return ToolCall(id=id, name="weather", arguments={"city": city})


def result(id: str, text: str) -> Message:
    return Message(role="tool", text=text, call_id=id)


BEFORE = (
    Message(role="system", text="Be kind."),
    Message(role="user", text="And in Rome?"),
    Message(role="assistant", calls=(call("0", "Rome"),)),
    result("0", "hot"),
    Message(role="assistant", text="Hot."),
)
ASKED = Message(role="user", text="Oslo, Bern, Lima?")


def conversation(*messages: Message) -> Conversation:
    return Conversation.read(messages, [WEATHER])


def test_each_result_since_the_user_spoke_stands_alone_with_its_call_in_the_order_of_the_calls() -> None:
    found = finding_conversations(
        conversation(
            *BEFORE,
            ASKED,
            Message(role="assistant", calls=(call("1", "Oslo"), call("2", "Bern"))),
            result("2", "windy"),
            result("1", "cold"),
            Message(role="assistant", calls=(call("3", "Lima"),)),
            result("3", "mild"),
        )
    )
    assert [[message.text for message in one.messages] for one in found] == [
        ["Be kind.", f"Weather now. {QUESTION}", "", said] for said in ("cold", "windy", "mild")
    ]
    assert [one.messages[2].calls for one in found] == [
        (call(id, city),) for id, city in (("1", "Oslo"), ("2", "Bern"), ("3", "Lima"))
    ]
    assert all(not one.callable_tools for one in found)


@pytest.mark.parametrize(
    ("description", "asked"),
    [("", QUESTION), (" Weather,\n in °C. ", f"Weather, in °C. {QUESTION}"), ("Weather", f"Weather {QUESTION}")],
)
def test_the_tools_description_says_what_the_result_is(description: str, asked: str) -> None:
    assert finding_question(description) == Message(role="user", text=asked)


def test_a_tool_that_is_no_longer_offered_has_no_description() -> None:
    messages = (ASKED, Message(role="assistant", calls=(call("1", "Oslo"),)), result("1", "cold"))
    [one] = finding_conversations(Conversation.read(messages, []))
    assert one.messages[0] == finding_question("")


@pytest.mark.parametrize("messages", [(ASKED,), BEFORE, (*BEFORE, ASKED)])
def test_where_results_are_not_the_last_that_was_said_there_is_nothing_to_say(messages: tuple[Message, ...]) -> None:
    assert finding_conversations(conversation(*messages)) == []


@pytest.mark.parametrize("cities", [("Oslo",), ("Oslo", "Bern"), ("Oslo", "Oslo"), ("Oslo", "Bern", "Lima")])
def test_prompts_are_one_prefix_and_what_follows_for_each(smollm2_folder: Path, cities: tuple[str, ...]) -> None:
    tokenizer = HuggingFaceTokenizer.load(smollm2_folder, vocabulary_size=49152)
    calls = tuple(call(str(place), city) for place, city in enumerate(cities))
    results = (result(one.id, "cold") for one in calls)
    alone = finding_conversations(conversation(ASKED, Message(role="assistant", calls=calls), *results))
    dialect = DIALECTS["polycall-smollm2"]
    prefix, suffixes = finding_prompts(alone, dialect, tokenizer)
    assert [(*prefix, *suffix) for suffix in suffixes] == [render_for_answer(one, dialect, tokenizer) for one in alone]
    assert QUESTION in tokenizer.grammar_tokenizer.decode_str(list(prefix))
    if len(set(cities)) > 1:
        assert len({suffix[:1] for suffix in suffixes}) > 1
