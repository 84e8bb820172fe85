"""The plans of trained models: what their streams stand on, may write, and say."""

from __future__ import annotations

import pytest

from grammars.conversation import Choice, Conversation, Message
from grammars.errors import ConfigurationError
from grammars.marked_forms import marked_form, marked_outline, marked_tally
from grammars.marks import FAMILIES, SMOLLM2
from grammars.plan import PlannedCall
from grammars.plan_forms import PlanForm
from grammars.tools import Tool
from tests.grammars.walks import accepts, walk

TALLY, OUTLINE = marked_tally(SMOLLM2), marked_outline(SMOLLM2)
FORMS = pytest.mark.parametrize("form", [TALLY, OUTLINE], ids=lambda form: form.name)


def conversation(choice: Choice | None = None) -> Conversation:
    tools = (Tool(name="add"), Tool(name="greet.person"))
    return Conversation.read([Message(role="user", text="?")], tools, choice or Choice(mode="auto"))


@FORMS
def test_prompt_says_nothing_of_plans(form: PlanForm) -> None:
    assert form.instructions(conversation()) == ""


@FORMS
@pytest.mark.parametrize("seed", range(10))
def test_whatever_the_streams_may_write_reads_as_a_plan_within_bounds(form: PlanForm, seed: int) -> None:
    asked = conversation(Choice(mode="auto", most=5))
    texts = [walk(stream.constraint, seed + index) for index, stream in enumerate(form.streams(asked))]
    if all(text is not None for text in texts):
        plan = form.read([str(text) for text in texts], asked)
        assert len(plan.calls) <= 5
        assert all(call.tool in ("add", "greet.person") and call.subject for call in plan.calls)
        assert len({call.place for call in plan.calls}) == len(plan.calls)


def test_tally_asks_every_tool_for_one_digit() -> None:
    streams = TALLY.streams(conversation())
    assert [stream.opening for stream in streams] == ["<jupyter_start>add:", "<jupyter_start>greet.person:"]
    for stream in streams:
        assert all(accepts(stream.constraint, str(count)) for count in range(10))
        assert not accepts(stream.constraint, "10")
        assert not accepts(stream.constraint, "")


def test_tally_allows_no_more_than_the_caller() -> None:
    [first, _] = TALLY.streams(conversation(Choice(mode="auto", most=3)))
    assert accepts(first.constraint, "3")
    assert not accepts(first.constraint, "4")


def test_tally_says_calls_by_their_numbers() -> None:
    calls = TALLY.read(["2", "1"], conversation()).calls
    assert calls == tuple(
        PlannedCall(tool=tool, subject=subject)
        for tool, subject in (("add", "1 of 2"), ("add", "2 of 2"), ("greet.person", "1 of 1"))
    )
    assert TALLY.read(["0", "0"], conversation()).calls == ()
    assert TALLY.begun(["2", ""], conversation()).calls == ()


def test_outline_says_calls_by_their_subjects_while_it_is_written() -> None:
    [stream] = OUTLINE.streams(conversation())
    assert stream.opening == "<jupyter_text>"
    assert accepts(stream.constraint, "add: 3 and 4\ngreet.person: Ana\nend")
    assert OUTLINE.begun(["add: 3 and 4\ngreet"], conversation()).calls == (PlannedCall(tool="add", subject="3 and 4"),)


def test_form_is_found_by_its_name() -> None:
    assert marked_form("tally", SMOLLM2) == TALLY
    assert marked_form("outline", SMOLLM2) == OUTLINE
    with pytest.raises(ConfigurationError, match="no form of plan 'joint'; there are tally, outline"):
        marked_form("joint", SMOLLM2)


@pytest.mark.parametrize("family", FAMILIES)
def test_marks_of_a_family_are_four_tokens(family: str) -> None:
    assert len(FAMILIES[family].tokens) == 4
    assert FAMILIES[family].fit(FAMILIES[family].tokens | {"<|im_end|>"})
    assert not FAMILIES[family].fit(frozenset({"<|im_end|>"}))
