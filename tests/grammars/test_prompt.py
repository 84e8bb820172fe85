"""Rendering a conversation: folded into plain messages, through a template that knows tools, and with hostile text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from grammars.conversation import Choice, Conversation, Message
from grammars.dialects import DIALECTS, HERMES, JSON, MISTRAL, Dialect
from grammars.errors import RequestError
from grammars.marks import FAMILIES
from grammars.prompt import call_ending, call_opening, call_text, folded_messages, render, render_text, short_id
from grammars.signature import signature
from grammars.tokenizer import Tokenizer
from grammars.tools import Tool, ToolCall, json_text
from serving.engines.byte_tokenizer import FIRST_SPECIAL, SPECIAL_TOKENS, ByteTokenizer
from serving.engines.transformers.tokenizer import HuggingFaceTokenizer
from tests.grammars.templates import BRACKETED, TAGGED, TRIMMING, TemplateTokenizer

BYTES = ByteTokenizer()
EVERY = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
UNMARKED = {name: dialect for name, dialect in DIALECTS.items() if dialect.marks is None}
STOCK = pytest.mark.parametrize("dialect", UNMARKED.values(), ids=UNMARKED)
FAST = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

WEATHER = Tool(
    name="get_weather",
    description='Says {what} the "weather" is.',
    parameters={"type": "object", "properties": {"city": {"type": "string", "description": "{0} é"}}},
)
CLOCK = Tool(name="clock")


def call(call_id: str, name: str = "get_weather", **arguments: Any) -> ToolCall:
    return ToolCall(id=call_id, name=name, arguments=arguments)


def user(text: str) -> Message:
    return Message(role="user", text=text)


def result(call_id: str, text: str) -> Message:
    return Message(role="tool", call_id=call_id, text=text)


ANSWERED = (
    user("Weather in Bern, and the time?"),
    Message(role="assistant", text="I look.", calls=(call("1", city="Bern"), call("2", "clock"))),
    result("2", "{noon}"),
    result("1", '{"sky": "{clear}"}'),
    user("Thanks."),
)


def conversation(*messages: Message, tools: tuple[Tool, ...] = (WEATHER, CLOCK), mode: Any = "auto") -> Conversation:
    return Conversation.read(messages, tools, Choice(mode=mode))


@pytest.fixture(scope="module")
def smollm2(smollm2_folder: Path) -> HuggingFaceTokenizer:
    return HuggingFaceTokenizer.load(smollm2_folder, vocabulary_size=49152)


# Folded: the template knows no tools


def messages_of(text: str) -> list[tuple[str, str]]:
    """Role and content of each message of the byte tokenizer's template, the last one open."""
    parts = [part.removesuffix("<|im_end|>\n") for part in text.split("<|im_start|>")[1:]]
    return [(part.partition("\n")[0], part.partition("\n")[2]) for part in parts]


FOLDED = {
    "json": (
        '{"tool_calls": [{"name": "get_weather", "arguments": {"city": "Bern"}}, {"name": "clock", "arguments": {}}]}',
        'Result of clock {}: {noon}\nResult of get_weather {"city": "Bern"}: {"sky": "{clear}"}',
    ),
    "hermes": (
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Bern"}}\n</tool_call>\n'
        '<tool_call>\n{"name": "clock", "arguments": {}}\n</tool_call>',
        '<tool_response>\n{"name": "clock", "content": "{noon}"}\n</tool_response>\n'
        '<tool_response>\n{"name": "get_weather", "content": {"sky": "{clear}"}}\n</tool_response>',
    ),
    "mistral": (
        '[TOOL_CALLS] [{"name": "get_weather", "arguments": {"city": "Bern"}}, {"name": "clock", "arguments": {}}]',
        '[TOOL_RESULTS] {"content": "{noon}"}[/TOOL_RESULTS]\n'
        '[TOOL_RESULTS] {"content": {"sky": "{clear}"}}[/TOOL_RESULTS]',
    ),
}
FOLDED["mistral-tekken"] = (
    FOLDED["mistral"][0].replace("] [", "]["),
    FOLDED["mistral"][1].replace("[TOOL_RESULTS] ", "[TOOL_RESULTS]"),
)


@STOCK
def test_calls_and_results_are_folded_into_plain_messages_in_their_order(dialect: Dialect) -> None:
    calls, results = FOLDED[dialect.name]
    [system, *said] = messages_of(render_text(conversation(*ANSWERED), dialect, BYTES))
    assert system[0] == "system"
    assert said == [
        ("user", "Weather in Bern, and the time?"),
        ("assistant", f"I look.\n{calls}"),
        ("user", results),
        ("user", "Thanks."),
        ("assistant", ""),
    ]


@STOCK
def test_results_at_the_end_are_folded_too(dialect: Dialect) -> None:
    said = messages_of(render_text(conversation(*ANSWERED[:-1]), dialect, BYTES))
    assert said[-2:] == [("user", FOLDED[dialect.name][1]), ("assistant", "")]


@STOCK
def test_tools_stand_in_the_system_message_as_json(dialect: Dialect) -> None:
    [(_, system), *_] = messages_of(render_text(conversation(user("hi")), dialect, BYTES))
    for tool in (WEATHER, CLOCK):
        written = json_text({"name": tool.name, "description": tool.description, "parameters": tool.parameters})
        assert system.count(written) == 1


def test_tools_stand_there_in_few_words_for_a_model_that_was_trained_on_them() -> None:
    dialect = DIALECTS["polycall-smollm2"]
    for tokenizer in (BYTES, TemplateTokenizer(TAGGED)):
        text = render_text(conversation(user("hi")), dialect, tokenizer)
        assert f"Tools:\n{signature(WEATHER)}\n{signature(CLOCK)}<|im_end|>" in text


@EVERY
def test_system_message_is_kept_before_tools_and_instructions(dialect: Dialect) -> None:
    be_brief = Message(role="system", text="Be brief.")
    text = render_text(conversation(be_brief, user("hi")), dialect, BYTES, instructions="Begin with {x}.")
    [(role, system), *said] = messages_of(text)
    assert role == "system"
    assert system.startswith("Be brief.\n\n")
    assert system.endswith("\n\nBegin with {x}.")
    assert said == [("user", "hi"), ("assistant", "")]


@EVERY
def test_without_tools_to_call_nothing_is_said_of_them(dialect: Dialect) -> None:
    for silent in (conversation(user("hi"), mode="none"), Conversation.read([user("hi")])):
        assert messages_of(render_text(silent, dialect, BYTES)) == [("user", "hi"), ("assistant", "")]


@STOCK
def test_only_allowed_tools_are_offered(dialect: Dialect) -> None:
    allowed = Conversation.read([user("hi")], [WEATHER, CLOCK], Choice(allowed=frozenset({"clock"})))
    text = render_text(allowed, dialect, BYTES)
    assert '"clock"' in text
    assert "get_weather" not in text


JSON_OR_NOT = st.one_of(st.text(), st.integers().map(str), st.dictionaries(st.text(), st.text()).map(json_text))


@given(JSON_OR_NOT)
@example("NaN")
@example("[" * 5000)
@example("9" * 5000)
@example('{"a": 1} {"b": 2}')
@example("")
def test_folded_results_that_stand_in_json_are_json_and_lose_nothing(text: str) -> None:
    said = (user("hi"), Message(role="assistant", calls=(call("1", "clock"),)), result("1", text))
    for dialect, opening, closing in (
        (HERMES, "<tool_response>\n", "\n</tool_response>"),
        (MISTRAL, "[TOOL_RESULTS] ", "[/TOOL_RESULTS]"),
    ):
        folded = str(folded_messages(said, dialect)[-1]["content"])
        written = json.loads(folded.removeprefix(opening).removesuffix(closing), parse_constant=pytest.fail)
        content = written["content"]
        assert content == text or json_text(content) == json_text(json.loads(text))


def test_smollm2_sees_the_tools_that_its_template_ignores(smollm2: HuggingFaceTokenizer) -> None:
    text = smollm2.decode(render(conversation(*ANSWERED), JSON, smollm2))
    assert text == render_text(conversation(*ANSWERED), JSON, smollm2)
    for seen in (json_text(WEATHER.description), '{"name": "clock", "description"', *FOLDED["json"], "I look."):
        assert text.count(seen) == 1
    assert text.endswith("<|im_end|>\n<|im_start|>assistant\n")


# Native: the template writes tools, calls and results by itself


def test_template_with_tools_gets_them_and_calls_as_they_are() -> None:
    tokenizer = TemplateTokenizer(TAGGED)
    assert render_text(conversation(*ANSWERED), HERMES, tokenizer, instructions="Be brief.") == (
        "<|im_start|>tools\n"
        '{"type": "function", "function": {"name": "get_weather", "description": "Says {what} the \\"weather\\" is.", '
        '"parameters": {"type": "object", "properties": {"city": {"type": "string", "description": "{0} é"}}}}}\n'
        '{"type": "function", "function": {"name": "clock", "description": "", '
        '"parameters": {"type": "object", "properties": {}}}}\n'
        "<|im_end|>\n"
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\nWeather in Bern, and the time?<|im_end|>\n"
        "<|im_start|>assistant\nI look."
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Bern"}}\n</tool_call>'
        '<tool_call>\n{"name": "clock", "arguments": {}}\n</tool_call><|im_end|>\n'
        "<|im_start|>tool\n{noon}<|im_end|>\n"
        '<|im_start|>tool\n{"sky": "{clear}"}<|im_end|>\n'
        "<|im_start|>user\nThanks.<|im_end|>\n"
        "<|im_start|>assistant"
    )


def test_template_with_tools_writes_calls_as_the_model_is_made_to_write_them() -> None:
    text = render_text(conversation(*ANSWERED), HERMES, TemplateTokenizer(TAGGED))
    for made in ANSWERED[1].calls:
        assert call_text(made.name, made.arguments, HERMES) in text


def test_mistral_ids_become_nine_letters_and_digits_the_same_for_call_and_result() -> None:
    tokenizer = TemplateTokenizer(BRACKETED)
    text = render_text(conversation(*ANSWERED), MISTRAL, tokenizer)
    for call_id in ("1", "2"):
        assert text.count(f'"{short_id(call_id, MISTRAL)}"') == 2
    with pytest.raises(RequestError, match="nine characters") as refused:
        render(conversation(*ANSWERED), HERMES, tokenizer)
    assert refused.value.place == "messages"


@given(st.text(), st.text())
def test_short_ids_are_stable_alphanumeric_and_differ_where_ids_do(one: str, other: str) -> None:
    short = short_id(one, MISTRAL)
    assert len(short) == 9
    assert short.isascii()
    assert short.isalnum()
    assert (short_id(other, MISTRAL) == short) == (one == other)
    assert short_id(one, JSON) == one


# Hostile text: special tokens that others wrote are text

CONTROL = [*SPECIAL_TOKENS, "<tool_call>", "[TOOL_CALLS]"]
HOSTILE = st.lists(
    st.sampled_from([*CONTROL, "<|im_end|", "<", "|>", " ", "\n", "a", "\ufdd0", '"', "\\", "{}"]), max_size=8
).map("".join)


@st.composite
def hostile_conversations(draw: st.DrawFn) -> Conversation:
    """Special tokens wherever a caller may write."""
    calls = (
        ToolCall(id="1", name=f"old {draw(HOSTILE)}", arguments={draw(HOSTILE): [draw(HOSTILE), 1]}),
        ToolCall(id="2", name="clock", arguments={}),
    )
    tool = Tool(
        name="clock",
        description=draw(HOSTILE),
        parameters={"type": "object", "properties": {draw(HOSTILE): {"description": draw(HOSTILE)}}},
    )
    return conversation(
        Message(role="system", text=draw(HOSTILE)),
        user(draw(HOSTILE)),
        Message(role="assistant", text=draw(HOSTILE), calls=calls),
        result("1", draw(HOSTILE)),
        result("2", draw(HOSTILE)),
        tools=(tool,),
    )


HARMLESS = conversation(
    Message(role="system", text="a"),
    user("a"),
    Message(role="assistant", text="a", calls=(call("1", "old"), call("2", "clock"))),
    result("1", "a"),
    result("2", "a"),
    tools=(CLOCK,),
)
"""The same messages with nothing special in them."""


def special(ids: tuple[int, ...], tokenizer: Tokenizer) -> list[int]:
    return [token for token in ids if tokenizer.grammar_tokenizer.is_special_token(token)]


@given(hostile_conversations())
@settings(deadline=None)
@EVERY
@pytest.mark.parametrize(
    "tokenizer",
    [BYTES, TemplateTokenizer(TRIMMING), TemplateTokenizer(TAGGED)],
    ids=["plain template", "template that trims", "template with tools"],
)
def test_special_tokens_that_others_wrote_are_text_in_any_place(
    tokenizer: Tokenizer, dialect: Dialect, hostile: Conversation
) -> None:
    ids = render(hostile, dialect, tokenizer)
    assert tokenizer.decode(ids) == render_text(hostile, dialect, tokenizer), "nothing is lost or changed"
    assert special(ids, tokenizer) == special(render(HARMLESS, dialect, tokenizer), tokenizer)


@given(hostile_conversations())
@FAST
def test_special_tokens_that_others_wrote_are_text_to_smollm2(
    smollm2: HuggingFaceTokenizer, hostile: Conversation
) -> None:
    ids = render(hostile, JSON, smollm2)
    assert smollm2.decode(ids) == render_text(hostile, JSON, smollm2)
    assert special(ids, smollm2) == special(render(HARMLESS, JSON, smollm2), smollm2)


def test_special_tokens_of_the_dialect_itself_stay_special() -> None:
    ids = render(conversation(user("hi")), HERMES, TaggedTokens(), instructions="Write <tool_call>.")
    assert ids.count(TOOL_CALL_ID) == 3, "twice in the dialect's instructions, once in those of the caller of render"
    hostile = render(conversation(user("<tool_call>")), HERMES, TaggedTokens(), instructions="Write <tool_call>.")
    assert hostile.count(TOOL_CALL_ID) == 3


TOOL_CALL_ID = FIRST_SPECIAL + len(SPECIAL_TOKENS)


class TaggedTokens(ByteTokenizer):
    """A vocabulary in which the tag before a call is one token."""

    @property
    def special_tokens(self) -> frozenset[str]:
        return super().special_tokens | {"<tool_call>"}

    def encode(self, text: str) -> tuple[int, ...]:
        first, *rest = (super(TaggedTokens, self).encode(piece) for piece in text.split("<tool_call>"))
        return (*first, *(token for piece in rest for token in (TOOL_CALL_ID, *piece)))


def test_template_that_acts_on_special_tokens_in_texts_is_refused() -> None:
    escaping = TemplateTokenizer(TRIMMING.replace("| trim", "| replace('<|im_end|>', '')"))
    assert render(conversation(user("hi")), JSON, escaping)
    with pytest.raises(RequestError, match="special tokens") as refused:
        render(conversation(user("hi <|im_end|>")), JSON, escaping)
    assert refused.value.place == "messages"


# Ordinary text: the ids are those of the whole text

STEERING = {*CONTROL, *(mark for marks in FAMILIES.values() for mark in marks.tokens)}
ORDINARY = st.text().filter(lambda text: not any(token in text for token in STEERING))


@given(ORDINARY, ORDINARY, ORDINARY)
@FAST
@EVERY
def test_ids_of_ordinary_text_are_those_of_the_whole_text(
    smollm2: HuggingFaceTokenizer, dialect: Dialect, said: str, described: str, came: str
) -> None:
    ordinary = conversation(
        user(said),
        Message(role="assistant", calls=(call("1", "clock", text=said),)),
        result("1", came),
        tools=(Tool(name="clock", description=described),),
    )
    for tokenizer in (BYTES, smollm2):
        text = render_text(ordinary, dialect, tokenizer, instructions="Go on.")
        assert render(ordinary, dialect, tokenizer, instructions="Go on.") == tokenizer.encode(text)


@EVERY
def test_opening_arguments_and_ending_make_a_call(dialect: Dialect) -> None:
    arguments = {"city": "Bern"}
    parts = call_opening("f", dialect) + json_text(arguments) + call_ending(dialect)
    assert parts == call_text("f", arguments, dialect)
