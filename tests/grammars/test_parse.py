"""From text to calls: what a stream made, each call as soon as it is complete, and what is wrong with the others."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grammars.dialects import DIALECTS, HERMES, JSON, Dialect
from grammars.parse import CallReader, WrittenCall, check_call, new_call_id, read_call
from grammars.prompt import calls_text
from grammars.tools import CallError, Tool, ToolCall, json_text

EVERY = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
DIALECT = st.sampled_from([*DIALECTS.values()])

ANY = Tool(name="any", parameters={"type": "object"})
BOOK = Tool(
    name="book",
    parameters={
        "type": "object",
        "properties": {
            "nights": {"type": "integer", "minimum": 1},
            "guests": {"type": "array", "uniqueItems": True, "items": {"type": "string"}},
        },
        "required": ["nights"],
        "additionalProperties": False,
    },
)

# Texts that look like the syntax around them are the hard ones.
TEXTS = st.text() | st.lists(st.sampled_from(['"', "\\", "{", "}", "]", ", ", "\n</tool_call>", "]}", "é"])).map(
    "".join
)
ARGUMENTS = st.dictionaries(
    TEXTS,
    st.recursive(
        TEXTS | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=5
    ),
    max_size=3,
)
CALLS = st.lists(st.builds(ToolCall, id=st.just(""), name=st.sampled_from(["f", "get.it"]), arguments=ARGUMENTS))


@st.composite
def pieces(draw: st.DrawFn, text: str) -> list[str]:
    """The text cut anywhere, empty pieces among them."""
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=12)))
    return [text[start:end] for start, end in pairwise([0, *cuts, len(text)])]


def as_written(calls: list[ToolCall]) -> list[WrittenCall]:
    return [WrittenCall(name=call.name, arguments_text=call.arguments_text) for call in calls]


# Streams


@given(CALLS.filter(bool), DIALECT, st.data())
def test_calls_are_the_same_however_the_stream_is_cut(
    calls: list[ToolCall], dialect: Dialect, data: st.DataObject
) -> None:
    text = calls_text(calls, dialect)
    reader = CallReader(dialect)
    read = [call for piece in data.draw(pieces(text)) for call in reader.push(piece)]
    assert read == as_written(calls) == CallReader(dialect).push(text)
    assert reader.is_text is False
    assert reader.text(ended=True) == ""


@given(CALLS.filter(bool), DIALECT)
def test_each_call_comes_with_its_last_character(calls: list[ToolCall], dialect: Dialect) -> None:
    text = calls_text(calls, dialect)
    reader = CallReader(dialect)
    came = [len(text[: place + 1]) for place, char in enumerate(text) for _ in reader.push(char)]
    ends = [len(calls_text(calls[: count + 1], dialect)) for count in range(len(calls))]
    assert came == [end - len(dialect.call_close + dialect.calls_close) for end in ends]


@given(st.text().filter(lambda text: not any(one.marker in text for one in DIALECTS.values())), DIALECT, st.data())
def test_text_comes_out_as_it_went_in(text: str, dialect: Dialect, data: st.DataObject) -> None:
    reader = CallReader(dialect)
    out = ""
    for piece in data.draw(pieces(text)):
        assert reader.push(piece) == []
        out += reader.text()
    assert out + reader.text(ended=True) == text


@EVERY
def test_text_is_held_back_only_while_it_may_begin_calls(dialect: Dialect) -> None:
    opening = dialect.calls_open + dialect.call_open
    for size in range(1, len(opening)):
        reader = CallReader(dialect)
        reader.push(opening[:size])
        assert (reader.is_text, reader.text()) == (None, "")
        assert reader.push("é") == []
        assert (reader.is_text, reader.text(), reader.text()) == (True, f"{opening[:size]}é", "")


@EVERY
def test_stream_that_ends_as_the_beginning_of_calls_was_text(dialect: Dialect) -> None:
    beginning = (dialect.calls_open + dialect.call_open)[:-1]
    reader = CallReader(dialect)
    reader.push(beginning)
    assert reader.text(ended=True) == beginning
    assert reader.is_text


@pytest.mark.parametrize("end", [1, 20, 44])
def test_call_that_is_cut_does_not_come(end: int) -> None:
    calls = [ToolCall(id="", name="f", arguments={"a": "}" * 5, "b": [{}]})] * 2
    one = calls_text(calls[:1], HERMES)
    reader = CallReader(HERMES)
    assert reader.push(calls_text(calls, HERMES)[: len(one) + end]) == as_written(calls[:1])


def test_long_stream_in_small_pieces_is_read_in_time() -> None:
    text = calls_text([ToolCall(id="", name="f", arguments={"text": '{"' * 200_000})], JSON)
    reader = CallReader(JSON)
    start_s = time.perf_counter()
    read = [call for place in range(0, len(text), 4) for call in reader.push(text[place : place + 4])]
    assert len(read) == 1
    assert time.perf_counter() - start_s < 5, "reading again from the start with every piece would take minutes"


# Arguments


def test_valid_arguments_make_a_call_with_an_id_of_its_own() -> None:
    one, other = (read_call(BOOK, '{"nights": 2, "guests": ["Ana"]}') for _ in range(2))
    assert isinstance(one, ToolCall)
    assert isinstance(other, ToolCall)
    assert (one.name, one.arguments) == ("book", {"nights": 2, "guests": ["Ana"]})
    assert one.same_as(other)
    assert one.id != other.id


def test_ids_are_unique_and_fit_every_wire() -> None:
    ids = {new_call_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(len(call_id) <= 40 and call_id.isascii() for call_id in ids)


INVALID: dict[str, tuple[Tool, dict[str, Any], Any, str, str]] = {
    "bound": (BOOK, {"nights": 1}, {"nights": 0}, "/nights", "minimum"),
    "type": (BOOK, {"nights": 2}, {"nights": "2"}, "/nights", "type"),
    "true is no number": (BOOK, {"nights": 1}, {"nights": True}, "/nights", "type"),
    "missing": (BOOK, {"nights": 1}, {}, "/", "required"),
    "unknown": (BOOK, {"nights": 1}, {"nights": 1, "stars": 5}, "/", "additionalProperties"),
    "repeated": (
        BOOK,
        {"nights": 1, "guests": ["a", "b"]},
        {"nights": 1, "guests": ["a", "a"]},
        "/guests",
        "uniqueItems",
    ),
    "deep": (BOOK, {"nights": 1, "guests": []}, {"nights": 1, "guests": ["a", 5]}, "/guests/1", "type"),
    "no object": (ANY, {}, [], "/", "type"),
    "no number": (ANY, {"a": 1e300}, {"a": float("inf")}, "/", "type"),
}


@pytest.mark.parametrize(("tool", "valid", "invalid", "pointer", "keyword"), INVALID.values(), ids=INVALID)
def test_invalid_arguments_are_an_error_that_names_pointer_and_keyword(
    tool: Tool, valid: dict[str, Any], invalid: Any, pointer: str, keyword: str
) -> None:
    assert isinstance(check_call(tool, valid), ToolCall)
    error = check_call(tool, invalid)
    assert isinstance(error, CallError)
    assert error.kind == "invalid_arguments"
    assert f"{pointer} ({keyword}): " in error.message
    assert repr(tool.name) in error.message


def test_every_problem_is_named() -> None:
    error = check_call(BOOK, {"nights": 0, "guests": ["a", "a"]})
    assert isinstance(error, CallError)
    assert "/nights (minimum)" in error.message
    assert "/guests (uniqueItems)" in error.message


@pytest.mark.parametrize("text", ["", "{", '{"nights": ', '{"nights": 1', '{"nights": 1}}', "nights"])
def test_text_that_is_not_json_was_cut(text: str) -> None:
    error = read_call(BOOK, text)
    assert isinstance(error, CallError)
    assert error.kind == "truncated"


@pytest.mark.parametrize(
    ("accepted", "refused"),
    [
        (f'{{"a": {"9" * 4000}}}', f'{{"a": {"9" * 5000}}}'),
        (f'{{"a": -{"9" * 4000}}}', f'{{"a": -{"9" * 5000}}}'),
        ('{"a": 1e308}', '{"a": 1e309}'),
        ('{"a": 1}', '{"a": NaN}'),
        (f'{{"a": {"[" * 100}{"]" * 100}}}', f'{{"a": {"[" * 200}{"]" * 200}}}'),
        (f'{{"a": {"[" * 100}{"]" * 100}}}', f'{{"a": {"[" * 100_000}{"]" * 100_000}}}'),
    ],
    ids=["long number", "long negative number", "infinite", "not a number", "deep", "very deep"],
)
def test_values_that_no_schema_can_judge_are_an_error_even_where_anything_goes(accepted: str, refused: str) -> None:
    call = read_call(ANY, accepted)
    assert isinstance(call, ToolCall)
    assert json_text(call.arguments)
    error = read_call(ANY, refused)
    assert isinstance(error, CallError)
    assert error.kind == "invalid_arguments"
