"""The forms of plans: each allows what it can read back, within the caller's bounds, and says how it is asked for."""

from __future__ import annotations

import pytest

from grammars.conversation import Choice, Conversation, Message
from grammars.errors import ConfigurationError
from grammars.plan import PlannedCall
from grammars.plan_forms import FORMS, PlanForm, form_named
from grammars.tools import Tool
from tests.grammars.walks import accepts, walk

TOOLS = (Tool(name="add"), Tool(name="greet.person"))


def conversation(choice: Choice | None = None) -> Conversation:
    return Conversation.read([Message(role="user", text="?")], TOOLS, choice or Choice(mode="auto"))


@pytest.mark.parametrize("form", FORMS.values(), ids=list(FORMS))
@pytest.mark.parametrize("seed", range(10))
def test_whatever_the_streams_may_write_reads_as_a_plan_within_bounds(form: PlanForm, seed: int) -> None:
    asked = conversation(Choice(mode="auto", most=5))
    texts = [walk(stream.constraint, seed + index) for index, stream in enumerate(form.streams(asked))]
    if all(text is not None for text in texts):
        plan = form.read([str(text) for text in texts], asked)
        assert len(plan.calls) <= 5
        assert all(call.tool in ("add", "greet.person") and call.subject for call in plan.calls)


@pytest.mark.parametrize(
    ("name", "texts", "calls"),
    [
        ("joint", ["add: 3 and 4\ngreet.person: Ana\nend"], [("add", "3 and 4"), ("greet.person", "Ana")]),
        ("joint", ["end"], []),
        (
            "array",
            ['[{"name": "add", "request": "3 and 4"}, {"name": "greet.person", "request": "Ana"}]'],
            [("add", "3 and 4"), ("greet.person", "Ana")],
        ),
        ("array", ["[]"], []),
        ("alias", ["b: Ana\na: 3 and 4\nend"], [("greet.person", "Ana"), ("add", "3 and 4")]),
        ("lists", ["3 and 4; 5 and 6\n", "none\n"], [("add", "3 and 4"), ("add", "5 and 6")]),
        ("lists", ["none\n", "none\n"], []),
        ("tally", ["2", "0"], [("add", "call 1 of 2"), ("add", "call 2 of 2")]),
        ("tally", ["0", "0"], []),
    ],
)
def test_texts_of_a_form_are_allowed_and_read_as_the_calls_they_say(
    name: str, texts: list[str], calls: list[tuple[str, str]]
) -> None:
    form, asked = form_named(name), conversation()
    for stream, text in zip(form.streams(asked), texts, strict=True):
        assert accepts(stream.constraint, text)
    expected = tuple(PlannedCall(tool=tool, subject=subject) for tool, subject in calls)
    assert form.read(texts, asked).calls == expected


@pytest.mark.parametrize("form", FORMS.values(), ids=list(FORMS))
@pytest.mark.parametrize("choice", [Choice(mode="auto", most=6), Choice(mode="required", least=3, most=4)], ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_what_an_unfinished_plan_says_already_is_part_of_the_finished_one(
    form: PlanForm, choice: Choice, seed: int
) -> None:
    asked = conversation(choice)
    texts = [str(walk(stream.constraint, seed + index)) for index, stream in enumerate(form.streams(asked))]
    finished = {call.place: call for call in form.read(texts, asked).calls}
    for length in range(max(map(len, texts))):
        begun = form.begun([text[:length] for text in texts], asked)
        assert all(finished[call.place] == call for call in begun.calls)


ONE = "add: 3 and 4\n"


@pytest.mark.parametrize(
    ("least", "most", "text", "places"),
    [
        (0, 4, ONE * 2, [0]),
        (3, 4, ONE * 2, [0]),
        (4, 4, ONE * 2, [0, 1]),
        (3, 4, ONE * 3, [0, 1]),
        (3, 4, ONE + "add: 5 and 6\n" + ONE, [0, 1]),
        (4, 4, ONE + "add: 5 and 6\n" + ONE, [0, 1, 2]),
    ],
)
def test_repeat_begins_as_soon_as_it_is_needed_whatever_follows(
    least: int, most: int, text: str, places: list[int]
) -> None:
    begun = form_named("joint").begun([text], conversation(Choice(mode="required", least=least, most=most)))
    assert [call.place for call in begun.calls] == places


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("joint", "subtract: 1\nend"),
        ("array", '[{"name": "sub", "request": "1"}]'),
        ("alias", "c: 1\nend"),
        ("alias", "add: 1\nend"),
        ("lists", "\n"),
        ("tally", "10"),
    ],
)
def test_texts_that_say_no_plan_are_not_allowed(name: str, refused: str) -> None:
    assert not accepts(form_named(name).streams(conversation())[0].constraint, refused)


@pytest.mark.parametrize("form", FORMS.values(), ids=list(FORMS))
def test_every_form_says_how_it_is_asked_for(form: PlanForm) -> None:
    assert form.instructions(conversation())


def test_aliases_are_told_to_the_model() -> None:
    assert "a = add\nb = greet.person" in form_named("alias").instructions(conversation())


def test_form_that_is_none_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigurationError, match="tally"):
        form_named("poem")
