"""The outline: what it may say under each choice, and the plan that it reads back into."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from grammars.constraint import Constraint
from grammars.conversation import CALLS_LIMIT, DEFAULT_MOST_CALLS, Choice, Conversation, Message
from grammars.plan import (
    SUBJECT_CHARACTERS,
    Plan,
    PlannedCall,
    outline_constraint,
    outline_text,
    read_outline,
)
from grammars.tools import Tool
from tests.grammars.walks import accepts, walk

NAMES = ("add", "add.all", "a-b", "now")
TOOLS = tuple(Tool(name=name) for name in NAMES)


def conversation(choice: Choice | None = None, tools: tuple[Tool, ...] = TOOLS) -> Conversation:
    return Conversation.read([Message(role="user", text="hi")], tools, choice)


def constraint_for(choice: Choice | None = None) -> Constraint:
    return outline_constraint(conversation(choice))


def plan(*tools: str, subject: str = "Bern") -> Plan:
    return Plan(calls=tuple(PlannedCall(tool=tool, subject=f"{subject} {place}") for place, tool in enumerate(tools)))


# What an outline may say

MANY = DEFAULT_MOST_CALLS
ALLOWED: dict[str, tuple[Choice, list[list[str]], list[list[str]]]] = {
    "auto": (Choice(), [[], ["add"], ["now", "add.all", "now"], ["now"] * MANY], [["now"] * (MANY + 1), ["sub"]]),
    "required": (Choice(mode="required"), [["add"], ["now"] * MANY], [[], ["now"] * (MANY + 1)]),
    "exact": (
        Choice(exact=("add", "now", "add")),
        [["add", "now", "add"]],
        [[], ["add", "now"], ["add", "add", "now"], ["add", "now", "add", "add"], ["add", "now", "now"]],
    ),
    "allowed": (Choice(allowed=frozenset({"add", "now"})), [[], ["now", "add"]], [["add.all"], ["add", "a-b"]]),
    "least": (Choice(least=2), [["add"] * 2, ["add"] * 5], [[], ["add"]]),
    "least and most": (Choice(least=2, most=3), [["add"] * 2, ["add"] * 3], [["add"], ["add"] * 4]),
    "as many as most": (Choice(least=2, most=2), [["add"] * 2], [["add"], ["add"] * 3]),
    "as many as there may be": (Choice(most=CALLS_LIMIT), [["now"] * CALLS_LIMIT], [["now"] * (CALLS_LIMIT + 1)]),
}


@pytest.mark.parametrize(("choice", "accepted", "refused"), ALLOWED.values(), ids=ALLOWED)
def test_choice_decides_which_calls_may_be_planned(
    choice: Choice, accepted: list[list[str]], refused: list[list[str]]
) -> None:
    constraint = constraint_for(choice)
    for tools in accepted:
        assert accepts(constraint, outline_text(plan(*tools))), tools
    for tools in refused:
        assert not accepts(constraint, outline_text(plan(*tools))), tools


@pytest.mark.parametrize(
    ("name", "accepted", "refused"),
    [("add.all", "add.all", "addxall"), ("a-b", "a-b", "a-bb"), ("add", "add", "add.all"), ("add", "add", "Add")],
)
def test_names_stand_for_themselves_and_are_no_patterns(name: str, accepted: str, refused: str) -> None:
    constraint = constraint_for(Choice(allowed=frozenset({name})))
    assert accepts(constraint, outline_text(plan(accepted)))
    assert not accepts(constraint, outline_text(plan(refused)))


def one_call(subject: str) -> str:
    return outline_text(Plan(calls=(PlannedCall(tool="now", subject=subject),)))


@pytest.mark.parametrize(
    ("accepted", "refused"),
    [
        ("Bern", ""),
        ("Bern", " "),
        ("EUR to USD", "EUR\nUSD"),
        ("at 12:30", ": 12:30"),
        ("a, b; c (d)", "{a}"),
        ("a b", "[a]"),
        ("a b", '"a"'),
        ("x" * SUBJECT_CHARACTERS, "x" * (SUBJECT_CHARACTERS + 1)),
        ("Zürich", "Zü\nrich"),
    ],
)
def test_subjects_are_a_few_words_and_no_arguments(accepted: str, refused: str) -> None:
    assert accepts(constraint_for(), one_call(accepted))
    assert not accepts(constraint_for(), one_call(refused))


@pytest.mark.parametrize("ending", ["", "\n", "."])
def test_outline_ends_where_it_says_so(ending: str) -> None:
    complete = outline_text(plan("now"))
    assert accepts(constraint_for(), complete)
    refused = complete + ending if ending else complete.removesuffix("d")
    assert not accepts(constraint_for(), refused)


# Reading it back

PLANNED = st.builds(
    PlannedCall,
    tool=st.sampled_from(NAMES),
    subject=st.sampled_from(["Bern", "Oslo", "EUR to USD", "at 12: 30", "end", "now: Bern", "é"]),
)
PLANS = st.lists(PLANNED, max_size=8).map(lambda calls: Plan(calls=tuple(calls)))


@given(PLANS)
def test_outline_of_a_plan_is_allowed_and_reads_back_into_it(planned: Plan) -> None:
    text = outline_text(planned)
    assert accepts(constraint_for(), text)
    assert read_outline(text, least=len(planned.calls)) == planned


@given(PLANS, st.integers(0, 8))
def test_repeated_lines_are_removed_from_the_end_down_to_the_least(planned: Plan, least: int) -> None:
    read = read_outline(outline_text(planned), least=least).calls
    distinct = list(dict.fromkeys(planned.calls))
    assert len(read) == max(len(distinct), min(least, len(planned.calls)))
    assert list(dict.fromkeys(read)) == distinct, "all that differ stay, in their order"
    kept = iter(planned.calls)
    assert all(call in kept for call in read), "what stays keeps its order"
    if least <= len(distinct):
        assert list(read) == distinct


CHOICES = st.one_of(
    st.builds(
        Choice,
        mode=st.sampled_from(["auto", "required"]),
        allowed=st.none() | st.frozensets(st.sampled_from(NAMES), min_size=1),
        least=st.integers(0, 3),
        most=st.integers(3, 6),
    ),
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=4).map(lambda names: Choice(exact=tuple(names))),
)


@given(CHOICES, st.integers(0, 2**32))
@settings(deadline=None)
def test_whatever_outline_is_written_reads_into_a_plan_within_the_choice(choice: Choice, seed: int) -> None:
    asked = conversation(choice)
    text = walk(outline_constraint(asked), seed, free_bytes=60)
    assert text is not None
    read = read_outline(text, least=asked.choice.least).calls
    assert asked.choice.least <= len(read) <= asked.choice.most
    assert {call.tool for call in read} <= {tool.name for tool in asked.callable_tools}
    assert all(call.subject for call in read)
    if choice.exact is not None:
        assert tuple(call.tool for call in read) == choice.exact


@given(st.text(max_size=SUBJECT_CHARACTERS))
@example("Bern\rnow: Oslo")
@example("Bern\x0bnow: Oslo")
@example("Bern\x85elsewhere: Oslo")
@example("Bern\u2028elsewhere: Oslo")
@example("\x1f")
def test_one_line_is_one_call_of_its_tool_whatever_its_subject(subject: str) -> None:
    if accepts(constraint_for(), one_call(subject)):
        [call] = read_outline(one_call(subject)).calls
        assert call == PlannedCall(tool="now", subject=subject.strip(" "))
        assert call.subject


# Without an outline, and after it
