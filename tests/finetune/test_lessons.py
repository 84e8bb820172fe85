"""What an example teaches: the very streams that serving decodes, and of them the tokens that a model chooses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.lessons import Weights, answer_lessons, example_lessons, walked
from finetune.rows import packed_row, separate_rows
from finetune.subjects import subjects, words
from grammars.constraint import Constraint
from grammars.conversation import Conversation, Message
from grammars.dialects import DIALECTS, JSON
from grammars.errors import RequestError
from grammars.plan import SUBJECT_CHARACTERS
from grammars.prompt import ANSWER_INSTRUCTIONS, render
from grammars.tools import Tool, ToolCall
from serving.engines.transformers.tokenizer import HuggingFaceTokenizer
from tests.grammars.walks import accepts

DIALECT = DIALECTS["polycall-smollm2"]

WEATHER = Tool(
    name="get_weather",
    description="The weather forecast for a city.",
    parameters={
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "unit": {"enum": ["celsius", "fahrenheit"]},
            "days": {"type": "integer", "minimum": 1, "maximum": 14},
        },
        "required": ["city", "unit"],
    },
)
CLOCK = Tool(name="clock")


def call(name: str, **arguments: Any) -> ToolCall:
    return ToolCall(id="call_1", name=name, arguments=arguments)


def asked(text: str = "Weather in Bern and Oslo in celsius?") -> Conversation:
    return Conversation.read([Message(role="user", text=text)], [WEATHER, CLOCK])


TWO = [call("get_weather", city="Bern", unit="celsius"), call("get_weather", city="Oslo", unit="celsius", days=3)]


@pytest.fixture(scope="module")
def smollm2(smollm2_folder: Path) -> HuggingFaceTokenizer:
    return HuggingFaceTokenizer.load(smollm2_folder, vocabulary_size=49152)


def taught(calls: list[ToolCall], tokenizer: HuggingFaceTokenizer, weights: Weights | None = None) -> list[str]:
    """Each lesson as text: what it stands on, then what is chosen in brackets, and what is forced as it is."""
    _, lessons = example_lessons(asked(), calls, DIALECT, tokenizer, weights)
    return [
        tokenizer.decode(lesson.suffix)
        + "".join(
            f"[{tokenizer.decode([token])}]" if weight else tokenizer.decode([token])
            for token, weight in zip(lesson.written, lesson.weights, strict=True)
        )
        for lesson in lessons
    ]


def test_an_example_teaches_tallies_an_outline_every_call_twice_and_one_stream(smollm2: HuggingFaceTokenizer) -> None:
    texts = [text.replace("[", "").replace("]", "") for text in taught(TWO, smollm2)]
    one, two = '{"city": "Bern", "unit": "celsius"}', '{"city": "Oslo", "unit": "celsius", "days": 3}'
    sequential = (
        f'{{"tool_calls": [{{"name": "get_weather", "arguments": {one}}}, '
        f'{{"name": "get_weather", "arguments": {two}}}]}}'
    )
    assert texts == [
        "<jupyter_start>get_weather:2",
        "<jupyter_start>clock:0",
        "<jupyter_text>get_weather: Bern\nget_weather: Oslo, 3\nend",
        f"<jupyter_code>get_weather: Bern<jupyter_output>{one}",
        f"<jupyter_code>get_weather: Oslo, 3<jupyter_output>{two}",
        f"<jupyter_code>get_weather: 1 of 2<jupyter_output>{one}",
        f"<jupyter_code>get_weather: 2 of 2<jupyter_output>{two}",
        sequential.replace("[", "").replace("]", ""),
    ]


def test_what_the_grammar_forces_does_not_count(smollm2: HuggingFaceTokenizer) -> None:
    text = taught(TWO, smollm2)[3]
    # A quote may be part of a longer token, and after the unit days may follow: both are left to the model.
    assert text == '<jupyter_code>get_weather: Bern<jupyter_output>{"city":[ "][Bern][",] "unit": "[c]elsius["}]'


def test_no_call_is_taught_by_zeros_and_an_empty_outline(smollm2: HuggingFaceTokenizer) -> None:
    texts = taught([], smollm2)
    assert texts == ["<jupyter_start>get_weather:[0]", "<jupyter_start>clock:[0]", "<jupyter_text>[end]"]


def test_an_answer_without_tools_is_taught_as_it_is(smollm2: HuggingFaceTokenizer) -> None:
    plain = Conversation.read([Message(role="user", text="Who are you?")], [])
    assert example_lessons(plain, [], DIALECT, smollm2)[1] == []
    prefix, [lesson] = answer_lessons(plain, "A model.", DIALECT, smollm2)
    assert (lesson.kind, smollm2.decode(lesson.written)) == ("text", "A model.<|im_end|>")
    assert prefix == render(plain, DIALECT, smollm2)


def test_weight_of_nothing_leaves_a_kind_of_lesson_out(smollm2: HuggingFaceTokenizer) -> None:
    only = Weights(tally=0, tally_of_none=0, outline=0, numbered_call=0, sequential=0, call=2.5)
    _, lessons = example_lessons(asked(), TWO, DIALECT, smollm2, only)
    assert len(lessons) == 2
    assert {weight for lesson in lessons for weight in lesson.weights} == {0.0, 2.5}


def telling(calls: list[ToolCall], tokenizer: HuggingFaceTokenizer, kind: str = "numbered call") -> list[list[str]]:
    """The tokens of each lesson of this kind that count four times as much as others."""
    _, lessons = example_lessons(asked(), calls, DIALECT, tokenizer, Weights(telling=4.0, argument=1.0))
    calls_by_number = [lesson for lesson in lessons if lesson.kind == kind]
    assert {weight for lesson in calls_by_number for weight in lesson.weights} <= {0.0, 1.0, 4.0}
    return [
        [tokenizer.decode([token]) for token, weight in zip(lesson.written, lesson.weights, strict=True) if weight == 4]
        for lesson in calls_by_number
    ]


def test_what_tells_a_numbered_call_from_its_siblings_counts_more(smollm2: HuggingFaceTokenizer) -> None:
    oslo_too = call("get_weather", city="Oslo", unit="fahrenheit")
    # From Bern each Oslo differs in the city, from the other Oslo in the unit.
    assert telling([oslo_too, *TWO], smollm2) == [["Os", "f"], ["Bern"], ["Os", "c"]]


def test_what_tells_an_argument_from_its_siblings_counts_more_too(smollm2: HuggingFaceTokenizer) -> None:
    oslo_too = call("get_weather", city="Oslo", unit="fahrenheit")
    found = telling([oslo_too, *TWO], smollm2, "argument")
    cities, units, days = found[:3], found[3:6], found[6:]
    assert cities == [["Os"], ["Bern"], ["Os"]]
    assert units == [["f"], ["c"], ["c"]]
    assert [len(tokens) for tokens in days] == [1, 1, 1]  # that there are none, or that there are some


def test_a_call_without_siblings_or_with_equal_ones_has_nothing_telling(smollm2: HuggingFaceTokenizer) -> None:
    assert telling([TWO[0], call("clock")], smollm2) == [[]]  # of a clock's call nothing is free
    assert telling([TWO[0], TWO[0]], smollm2) == [[], []]


def test_arguments_can_be_taught_one_by_one(smollm2: HuggingFaceTokenizer) -> None:
    heads = Weights(tally=0, tally_of_none=0, outline=0, call=0, numbered_call=0, argument=1.0, sequential=0)
    texts = [text.replace("[", "").replace("]", "") for text in taught(TWO, smollm2, heads)]
    opened = "<jupyter_code>get_weather: "
    assert texts == [
        f'{opened}1 of 2: city<jupyter_output>{{"city": "Bern"}}',
        f'{opened}2 of 2: city<jupyter_output>{{"city": "Oslo"}}',
        f'{opened}1 of 2: unit<jupyter_output>{{"unit": "celsius"}}',
        f'{opened}2 of 2: unit<jupyter_output>{{"unit": "celsius"}}',
        f"{opened}1 of 2: days<jupyter_output>{{}}",
        f'{opened}2 of 2: days<jupyter_output>{{"days": 3}}',
    ]


def test_calls_that_cannot_be_split_are_taught_whole_where_arguments_are_taught(smollm2: HuggingFaceTokenizer) -> None:
    heads = Weights(tally=0, tally_of_none=0, outline=0, call=0, numbered_call=0, argument=1.0, sequential=0)
    port = Tool(name="port", parameters={"type": "object", "properties": {"of": {"type": "string"}}})
    conversation = Conversation.read([Message(role="user", text="Ports?")], [port, WEATHER])
    made = [ToolCall(id="call_1", name="port", arguments={"of": "Oslo"}), TWO[0]]
    _, lessons = example_lessons(conversation, made, DIALECT, smollm2, heads)
    assert [lesson.kind for lesson in lessons] == ["numbered call", "argument", "argument", "argument"]
    assert smollm2.decode(lessons[0].suffix) == "<jupyter_code>port: 1 of 1<jupyter_output>"


def test_packing_spares_most_of_the_tokens(smollm2: HuggingFaceTokenizer) -> None:
    prefix, lessons = example_lessons(asked(), TWO, DIALECT, smollm2)
    apart = sum(len(row) for row in separate_rows(prefix, lessons))
    assert len(packed_row(prefix, lessons)) * 2 < apart


def test_what_cannot_be_taught_is_refused(smollm2: HuggingFaceTokenizer) -> None:
    with pytest.raises(RequestError, match="not offered: other"):
        example_lessons(asked(), [call("other")], DIALECT, smollm2)
    with pytest.raises(RequestError, match="does not allow"):
        example_lessons(asked(), [call("get_weather", city="Bern", unit="kelvin")], DIALECT, smollm2)
    with pytest.raises(ValueError, match="'json' has no marks"):
        example_lessons(asked(), TWO, JSON, smollm2)


def test_arguments_are_taught_in_the_order_of_the_schema(smollm2: HuggingFaceTokenizer) -> None:
    [turned] = [call("get_weather", unit="celsius", city="Bern")]
    assert taught([turned], smollm2) == taught([TWO[0]], smollm2)


TEXTS = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cc", "Cs", "Cn"]), max_size=12)
"""Of characters that SmolLM2 has tokens for: its vocabulary lacks bytes of the rarest."""


@given(city=TEXTS, days=st.none() | st.integers(1, 14))
@settings(deadline=None, max_examples=60)
def test_any_call_is_walked_as_serving_would_write_it(
    smollm2: HuggingFaceTokenizer, city: str, days: int | None
) -> None:
    made = call("get_weather", city=city, unit="celsius", **({} if days is None else {"days": days}))
    _, lessons = example_lessons(asked(), [made], DIALECT, smollm2)
    by_subject = lessons[3]
    assert smollm2.decode(by_subject.written) == made.arguments_text
    assert any(by_subject.weights)


def test_walk_of_a_text_that_is_all_forced_chooses_nothing(smollm2: HuggingFaceTokenizer) -> None:
    tokens, free = walked(Constraint.choice(["only this"]), "only this", smollm2)
    assert smollm2.decode(tokens) == "only this"
    assert not any(free)
    with pytest.raises(RequestError, match="does not allow"):
        walked(Constraint.choice(["only this"]), "only that", smollm2)


# Subjects


def test_subject_is_what_tells_a_call_from_its_siblings() -> None:
    assert subjects(TWO) == ["Bern", "Oslo, 3"]
    assert subjects([TWO[0], call("clock")]) == ["Bern", "1 of 1"]


def test_calls_that_say_the_same_are_told_apart_by_number() -> None:
    assert subjects([TWO[0], TWO[0]]) == ["1 of 2", "2 of 2"]


@given(st.lists(st.dictionaries(TEXTS, TEXTS | st.lists(st.integers()) | st.text(min_size=70), max_size=3), max_size=4))
@settings(deadline=None, max_examples=100)
def test_every_subject_can_stand_in_an_outline_and_differs_from_its_siblings(arguments: list[dict[str, Any]]) -> None:
    calls = [call("get_weather", **{f"a{name}": value for name, value in one.items()}) for one in arguments]
    found = subjects(calls)
    line = Constraint.regex(rf'[^\s:{{}}\[\]"][^\n{{}}\[\]"]{{0,{SUBJECT_CHARACTERS - 1}}}')
    assert all(accepts(line, subject) for subject in found)
    assert len(set(found)) == len(found)


def test_long_value_is_cut_between_words() -> None:
    said = words(call("clock", text="word " * 30), [])
    assert said == " ".join(["word"] * 12)


def test_one_stream_learns_that_it_makes_no_call_by_how_the_answer_begins(smollm2: HuggingFaceTokenizer) -> None:
    _, lessons = example_lessons(asked(), [], DIALECT, smollm2, text="It is sunny.")
    [one] = [lesson for lesson in lessons if lesson.kind == "sequential"]
    assert (smollm2.decode(one.written), one.suffix, one.weights) == ("It", (), (1.0,))
    for calls, text in (([], ""), (TWO, "It is sunny.")):
        _, lessons = example_lessons(asked(), calls, DIALECT, smollm2, text=text)
        assert "It" not in {smollm2.decode(lesson.written) for lesson in lessons}


def test_an_answer_in_text_is_learned_to_its_end_on_the_prompt_that_is_served(smollm2: HuggingFaceTokenizer) -> None:
    messages = [
        Message(role="user", text="Weather in Bern?"),
        Message(role="assistant", calls=(TWO[0],)),
        Message(role="tool", text="sunny", call_id=TWO[0].id),
    ]
    conversation = Conversation.read(messages, [WEATHER, CLOCK])
    prefix, [text] = answer_lessons(conversation, "It is sunny.", DIALECT, smollm2)
    assert smollm2.decode(text.written[:-1]) == "It is sunny."
    assert text.written[-1] in smollm2.end_ids
    assert (text.suffix, set(text.weights)) == ((), {1.0})
    read = smollm2.decode(prefix)
    assert ANSWER_INSTRUCTIONS in read
    assert WEATHER.description not in read  # it is offered no more
    for answer, weights in (("", Weights()), ("It is sunny.", Weights(text=0))):
        assert answer_lessons(conversation, answer, DIALECT, smollm2, weights)[1] == []
