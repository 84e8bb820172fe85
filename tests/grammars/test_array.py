"""The grammar of a whole turn: which calls, how many, in which dialect, and when text may stand instead."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grammars import worked_example
from grammars.array import allows_text, instructions, literal, turn_constraint
from grammars.constraint import Constraint, compile_constraint
from grammars.conversation import CALLS_LIMIT, DEFAULT_MOST_CALLS, Choice, Conversation, Message
from grammars.dialects import DIALECTS, HERMES, JSON, MISTRAL, POLYCALL, Dialect
from grammars.errors import SchemaRefused
from grammars.parse import CallReader, read_call
from grammars.prompt import call_ending, call_opening, calls_text
from grammars.schema import read_schema
from grammars.tools import Tool, ToolCall
from serving.engines.byte_tokenizer import ByteTokenizer
from tests.grammars.schema_values import from_schema
from tests.grammars.walks import accepts, refused_at, walk

BYTES = ByteTokenizer()
EVERY = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)


def closed(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


DIGIT = {"type": "integer", "minimum": 0, "maximum": 9}
TOOLS = (
    Tool(name="add", parameters=closed(a=DIGIT, b=DIGIT)),
    Tool(name="add.all", parameters=closed(of={"type": "array", "items": DIGIT, "maxItems": 3})),
    Tool(name="greet", parameters=closed(name={"type": "string", "maxLength": 5}, polite={"type": "boolean"})),
    Tool(name="now", parameters=closed()),
)
CALLS = {
    "a": ToolCall(id="", name="add", arguments={"a": 1, "b": 2}),
    "s": ToolCall(id="", name="add.all", arguments={"of": [1, 2]}),
    "g": ToolCall(id="", name="greet", arguments={"name": "Ana", "polite": True}),
    "n": ToolCall(id="", name="now", arguments={}),
}
"""One call of each tool, by the first letter, or so."""


def constraint_for(choice: Choice, dialect: Dialect = JSON, tools: tuple[Tool, ...] = TOOLS) -> Constraint:
    conversation = Conversation.read([Message(role="user", text="hi")], tools, choice)
    return turn_constraint(conversation, dialect, BYTES)


def written(letters: str, dialect: Dialect) -> str:
    return calls_text([CALLS[letter] for letter in letters], dialect) if letters else "Hello."


# Which calls, and how many. No letter is an answer in text.

ALLOWED: dict[str, tuple[Choice, list[str], list[str]]] = {
    "auto": (Choice(), ["", "a", "s", "g", "n", "aa", "nags", "n" * DEFAULT_MOST_CALLS], ["n" * 17]),
    "required": (Choice(mode="required"), ["a", "gg", "n" * DEFAULT_MOST_CALLS], ["", "n" * 17]),
    "none": (Choice(mode="none"), [""], ["a", "ag"]),
    "named": (Choice(exact=("greet",)), ["g"], ["", "a", "gg", "ga", "ag"]),
    "exact": (Choice(exact=("add", "now", "add")), ["ana"], ["", "a", "an", "aan", "naa", "anaa", "ang"]),
    "allowed": (Choice(allowed=frozenset({"add", "now"})), ["", "a", "nan"], ["g", "s", "ag", "ga"]),
    "required of the allowed": (
        Choice(mode="required", allowed=frozenset({"now"})),
        ["n", "nn"],
        ["", "a", "na"],
    ),
    "least": (Choice(least=2), ["aa", "agn", "n" * DEFAULT_MOST_CALLS], ["", "a", "n" * 17]),
    "least and most": (Choice(least=2, most=3), ["ag", "agn"], ["", "a", "agna"]),
    "as many as most": (Choice(mode="required", least=2, most=2), ["ag", "nn"], ["", "a", "agn"]),
    "one at a time": (Choice(most=1), ["", "a", "g"], ["aa", "ga"]),
    "exactly one": (Choice(mode="required", most=1), ["a", "g"], ["", "ga"]),
    "as many as there may be": (Choice(most=CALLS_LIMIT), ["", "n" * CALLS_LIMIT], ["n" * (CALLS_LIMIT + 1)]),
}


@EVERY
@pytest.mark.parametrize(("choice", "accepted", "refused"), ALLOWED.values(), ids=ALLOWED)
def test_choice_decides_which_calls_may_be_written(
    dialect: Dialect, choice: Choice, accepted: list[str], refused: list[str]
) -> None:
    constraint = constraint_for(choice, dialect)
    for letters in accepted:
        assert accepts(constraint, written(letters, dialect)), letters
    for letters in refused:
        assert not accepts(constraint, written(letters, dialect)), letters


ADD = '{"name": "add", "arguments": {"a": 1, "b": 2}}'
OPEN = '{"tool_calls": ['

REFUSED: dict[str, tuple[Choice, Dialect, str, str]] = {
    "text where a call is required": (Choice(mode="required"), JSON, "", "Hello."),
    "call where none is allowed": (Choice(mode="none"), JSON, '{"tool_calls', '": ['),
    "call inside a text": (Choice(), JSON, 'I call {"tool_calls', '": ['),
    "no call": (Choice(), JSON, OPEN, "]}"),
    "unknown tool": (Choice(), JSON, f'{OPEN}{{"name": "', "sub"),
    "tool that is not allowed": (Choice(allowed=frozenset({"greet"})), JSON, f'{OPEN}{{"name": "', "add"),
    "tool of which another is the beginning": (Choice(exact=("add",)), JSON, f'{OPEN}{{"name": "add', ".all"),
    "exact tools in another order": (Choice(exact=("add", "now")), JSON, f'{OPEN}{{"name": "', "now"),
    "arguments of another tool": (Choice(), JSON, f'{OPEN}{{"name": "add", "arguments": {{"', 'name"'),
    "argument of another type": (Choice(), JSON, f'{OPEN}{{"name": "add", "arguments": {{"a": ', '"1"'),
    "argument out of bounds": (Choice(), JSON, f'{OPEN}{{"name": "add", "arguments": {{"a": 1', "0"),
    "argument missing": (Choice(), JSON, f'{OPEN}{{"name": "add", "arguments": {{"a": 1', "}"),
    "whitespace": (Choice(), JSON, OPEN, f" {ADD}"),
    "call after the most": (Choice(most=1), JSON, f"{OPEN}{ADD}", f", {ADD}"),
    "end before the least": (Choice(least=2), JSON, f"{OPEN}{ADD}", "]}"),
    "more after the end": (Choice(), JSON, f"{OPEN}{ADD}]}}", "\n"),
    "call inside a text, in tags": (Choice(), HERMES, "I call <tool_call", ">\n"),
    "tag without a line of its own": (Choice(mode="required"), HERMES, "<tool_call>", ADD),
    "text after a call": (Choice(), HERMES, f"<tool_call>\n{ADD}\n</tool_call>", " Done."),
    "end before the least, in tags": (Choice(least=2), HERMES, f"<tool_call>\n{ADD}\n</tool_call>", ""),
    "call inside a text, in brackets": (Choice(), MISTRAL, "I call [TOOL_CALLS", "] ["),
    "calls without a separator": (Choice(), MISTRAL, f"[TOOL_CALLS] [{ADD}", ADD),
}


@pytest.mark.parametrize(("choice", "dialect", "taken", "rest"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_allowed_is_refused_where_it_begins(
    choice: Choice, dialect: Dialect, taken: str, rest: str
) -> None:
    assert refused_at(constraint_for(choice, dialect), taken + rest) == len(taken)


@EVERY
@pytest.mark.parametrize("text", ["", "Hello.", "{}", '{"tool', "<tool", "[TOOL]", "a\n\n{é}", '{"a": [1]}', "}]"])
def test_any_text_that_begins_no_call_is_an_answer_in_auto(dialect: Dialect, text: str) -> None:
    assert accepts(constraint_for(Choice(), dialect), text)
    assert accepts(constraint_for(Choice(mode="none"), dialect), text)
    assert not accepts(constraint_for(Choice(mode="required"), dialect), text)
    assert not accepts(constraint_for(Choice(least=1), dialect), text)


@pytest.mark.parametrize(
    ("choice", "allowed"),
    [
        (Choice(), True),
        (Choice(mode="none"), True),
        (Choice(least=1), False),
        (Choice(mode="required"), False),
        (Choice(exact=("add",)), False),
    ],
)
def test_text_may_stand_where_no_call_must(choice: Choice, *, allowed: bool) -> None:
    read = Conversation.read([Message(role="user")], TOOLS, choice).choice
    assert allows_text(read) is allowed


# Properties


NAMES = [tool.name for tool in TOOLS]
BY_NAME = {tool.name: tool for tool in TOOLS}

CHOICES = st.one_of(
    st.builds(
        Choice,
        mode=st.sampled_from(["auto", "required"]),
        allowed=st.none() | st.frozensets(st.sampled_from(NAMES), min_size=1),
        least=st.integers(0, 3),
        most=st.integers(3, 5),
    ),
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=4).map(lambda names: Choice(exact=tuple(names))),
)


def calls_of(text: str, dialect: Dialect) -> list[ToolCall] | str:
    """The calls that a text makes, each checked, or the text itself."""
    reader = CallReader(dialect)
    calls = [read_call(BY_NAME[call.name], call.arguments_text) for call in reader.push(text)]
    valid = [call for call in calls if isinstance(call, ToolCall)]
    assert valid == calls
    return valid or reader.text(ended=True)


@given(CHOICES, st.sampled_from([*DIALECTS.values()]), st.integers(0, 2**32))
@settings(deadline=None)
def test_whatever_is_written_is_valid_calls_within_the_choice_or_text(
    choice: Choice, dialect: Dialect, seed: int
) -> None:
    conversation = Conversation.read([Message(role="user", text="hi")], TOOLS, choice)
    text = walk(turn_constraint(conversation, dialect, BYTES), seed, free_bytes=150)
    assert text is not None
    calls = calls_of(text, dialect)
    if isinstance(calls, str):
        assert calls == text
        assert allows_text(conversation.choice)
        return
    assert max(conversation.choice.least, 1) <= len(calls) <= conversation.choice.most
    assert {call.name for call in calls} <= {tool.name for tool in conversation.callable_tools}
    if choice.exact is not None:
        assert tuple(call.name for call in calls) == choice.exact


@st.composite
def valid_calls(draw: st.DrawFn) -> list[ToolCall]:
    """Any calls with any valid arguments."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=5))
    return [ToolCall(id="", name=name, arguments=draw(from_schema(BY_NAME[name].parameters))) for name in names]


@given(valid_calls(), st.sampled_from([*DIALECTS.values()]))
@settings(deadline=None)
def test_any_valid_calls_may_be_written_and_read_back(calls: list[ToolCall], dialect: Dialect) -> None:
    parts = [
        call_opening(call.name, dialect)
        + read_schema(BY_NAME[call.name].parameters).text(call.arguments)
        + call_ending(dialect)
        for call in calls
    ]
    text = dialect.calls_open + dialect.separator.join(parts) + dialect.calls_close
    exact = Choice(exact=tuple(call.name for call in calls))
    assert accepts(constraint_for(Choice(), dialect), text)
    assert accepts(constraint_for(exact, dialect), text)
    read = calls_of(text, dialect)
    assert not isinstance(read, str)
    assert [(call.name, call.arguments) for call in read] == [(call.name, call.arguments) for call in calls]


# Schemas, instructions and special tokens


def test_schema_that_cannot_be_honoured_is_refused() -> None:
    hostile = Tool(name="bad", parameters={"type": "object", "properties": {"a": {"$ref": "#/nowhere"}}})
    with pytest.raises(SchemaRefused) as refused:
        constraint_for(Choice(), tools=(TOOLS[0], hostile))
    assert refused.value.keyword == "$ref"


@EVERY
def test_worked_example_is_what_the_grammar_lets_the_model_write(dialect: Dialect) -> None:
    tools = (
        Tool(name="add", parameters=closed(a={"type": "integer"}, b={"type": "integer"})),
        Tool(name="greet", parameters=closed(name={"type": "string"})),
    )
    calls = [ToolCall(id="", name=call.name, arguments=call.arguments) for call in worked_example.CALLS]
    text = calls_text(calls, dialect)
    assert accepts(constraint_for(Choice(), dialect, tools), text)
    if dialect.marks is None:
        assert text in instructions(dialect)


@pytest.mark.parametrize("dialect", POLYCALL, ids=lambda dialect: dialect.name)
def test_trained_model_is_told_of_calls_in_one_stream_what_its_examples_told_it(dialect: Dialect) -> None:
    assert instructions(dialect) == ""


@pytest.mark.parametrize(
    "text", ["", "a", "<|endoftext|>", "a<|endoftext|>b", "<|im_start|><|endoftext|>\n", '"\\{}\x7fé']
)
def test_literal_takes_the_very_tokens_of_its_text(text: str) -> None:
    constraint = Constraint(f'start: "(" {literal(text, BYTES)} ")"')
    matcher = compile_constraint(constraint, BYTES).matcher()
    tokens = BYTES.encode(f"({text})")
    assert matcher.accepts(tokens) == len(tokens)


def test_special_token_in_a_literal_cannot_be_spelled_in_letters() -> None:
    matcher = compile_constraint(Constraint(f"start: {literal('a<|endoftext|>', BYTES)}"), BYTES).matcher()
    assert matcher.accepts([*b"a<|endoftext|>"]) == len("a")
