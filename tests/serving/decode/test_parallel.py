"""Parallel decoding: plan, branches, join; the second chance of a call; duplicates; what it costs."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grammars.branch import Sampling
from grammars.conversation import Choice, Conversation
from grammars.dialects import DIALECTS, HERMES, JSON, Dialect
from grammars.plan import Plan, PlannedCall, outline_text
from grammars.plan_forms import Joint
from grammars.prompt import calls_text
from grammars.tools import Tool, ToolCall
from serving.decode.events import CallWritten
from serving.decode.round import DecodeOptions
from serving.engines.byte_tokenizer import FIRST_SPECIAL
from serving.engines.scripted import Failure
from tests.serving.decode.rounds import (
    BYTES,
    NOTE,
    SPELLED,
    Round,
    SpellingEngine,
    bag,
    calls_of,
    conversation,
    ended,
    failures_of,
    note,
    outline,
    text_of,
)

LONG = note("x" * 100)
THREE = outline("note", "pack.bag", "now")
THREE_CALLS = [note("a"), bag("b"), "{}"]
REPEATS = bag("a", "a")
"""The grammar takes it; the whole schema does not."""

UNMARKED = {name: dialect for name, dialect in DIALECTS.items() if dialect.marks is None}

# Calls


async def test_each_planned_call_is_written_by_a_branch_of_its_own() -> None:
    round = Round(conversation(), plan=THREE, calls=THREE_CALLS)
    events = await round.run()
    assert sorted(calls_of(events)) == [(0, "note", note("a")), (1, "pack.bag", bag("b")), (2, "now", "{}")]
    assert round.kinds == ["plan", "call", "call", "call"]
    assert ended(events).reason == "calls"
    assert len({event.call.id for event in events if isinstance(event, CallWritten)}) == 3


WRITTEN = st.lists(
    st.one_of(
        st.text(alphabet="ab é", max_size=9).map(lambda text: ("note", {"text": text})),
        st.lists(st.sampled_from("abc"), unique=True, max_size=3).map(lambda things: ("pack.bag", {"things": things})),
        st.just(("now", {})),
    ),
    min_size=1,
    max_size=6,
    unique_by=repr,
)


@given(WRITTEN, st.sampled_from([*UNMARKED.values()]))
@settings(deadline=None)
def test_parallel_makes_the_very_calls_that_sequential_makes(
    written: list[tuple[str, dict[str, object]]], dialect: Dialect
) -> None:
    calls = [ToolCall(id="", name=name, arguments=arguments) for name, arguments in written]
    round = Round(
        conversation(),
        plan=outline(*(call.name for call in calls)),
        calls=[call.arguments_text for call in calls],
        stream=calls_text(calls, dialect),
        dialect=dialect,
    )
    parallel = asyncio.run(round.run())
    sequential = asyncio.run(round.run(decoding="sequential"))
    expected = [(index, call.name, call.arguments_text) for index, call in enumerate(calls)]
    assert sorted(calls_of(parallel)) == expected
    assert calls_of(sequential) == expected
    assert ended(parallel).reason == ended(sequential).reason == "calls"


async def test_calls_come_in_the_order_in_which_their_branches_end() -> None:
    round = Round(
        conversation(), plan=outline("note", "note", "note"), calls=[LONG, note("a"), note("x" * 40)], step_s=0.0001
    )
    order, live = [], []
    async for event in round.events():
        if isinstance(event, CallWritten):
            order.append(event.index)
            live.append(round.engine.live_branches)
    assert order == [1, 2, 0]
    assert live == [2, 1, 0], "the others still decode when a call is handed on"


async def test_branches_skip_what_the_grammar_forces() -> None:
    round = Round(conversation(), plan=outline("now"), calls=["{}"])
    await round.run()
    [call] = round.engine.groups[1]
    assert (call.steps, call.text) == (0, "{}}"), "the arguments, and the end of the call"


# Text


async def test_empty_outline_means_an_answer_in_text() -> None:
    round = Round(conversation(), plan=outline(), text="Hello.")
    events = await round.run()
    assert text_of(events) == "Hello."
    assert len(events) > 2, "it comes as it is written"
    assert calls_of(events) == []
    assert ended(events).reason == "text"
    assert round.kinds == ["plan", "text"]


# A plan that cannot be read


@pytest.mark.parametrize(
    ("plan", "options"),
    [(outline("note", "now"), DecodeOptions(plan_tokens=10)), (Failure(error="broke"), None), ("what?", None)],
    ids=["too long", "broken", "not an outline"],
)
async def test_round_without_a_plan_is_decoded_in_one_stream_and_counted(
    plan: str | Failure, options: DecodeOptions | None
) -> None:
    calls = [
        ToolCall(id="", name="note", arguments={"text": "a"}),
        ToolCall(id="", name="now", arguments={}),
    ]
    round = Round(conversation(), plan=plan, stream=calls_text(calls, JSON), options=options)
    events = await round.run()
    assert calls_of(events) == [(0, "note", note("a")), (1, "now", "{}")]
    figures = ended(events).figures
    assert figures.fallbacks == 1
    assert figures.decoding == "parallel"
    assert round.kinds == ["plan", "stream"]


@dataclass(frozen=True, kw_only=True)
class OneCall(Joint):
    """A form whose plan is always one call, whatever is asked for, and is known at its end only."""

    def begun(self, texts: Sequence[str], conversation: Conversation) -> Plan:
        return Plan()

    def read(self, texts: Sequence[str], conversation: Conversation) -> Plan:
        return Plan(calls=(PlannedCall(tool="note", subject="part 0"),))


async def test_plan_of_too_few_calls_is_none_and_the_round_is_decoded_in_one_stream() -> None:
    calls = [ToolCall(id="", name="note", arguments={"text": text}) for text in ("a", "b")]
    round = Round(
        conversation(Choice(mode="required", least=2)),
        plan=outline("note", "now"),
        stream=calls_text(calls, JSON),
        options=DecodeOptions(plan_form=OneCall(name="one call", asked="")),
    )
    events = await round.run()
    assert [arguments for _, _, arguments in calls_of(events)] == [note("a"), note("b")]
    assert ended(events).figures.fallbacks == 1


async def test_round_without_a_plan_may_still_answer_in_text() -> None:
    round = Round(conversation(), plan=Failure(error="broke"), stream="Hello.")
    events = await round.run()
    assert (text_of(events), ended(events).reason) == ("Hello.", "text")


# The second chance


SECOND_CHANCES = {
    "invalid by a checked keyword": (REPEATS, None),
    "broken": (Failure(error="broke"), None),
    "not what the grammar takes": ("nonsense", None),
    "too long": (bag("x" * 20, "y" * 20), DecodeOptions(call_tokens=30)),
}


@pytest.mark.parametrize(("bad", "options"), SECOND_CHANCES.values(), ids=SECOND_CHANCES)
async def test_call_that_went_wrong_is_written_once_more_and_counted(
    bad: str | Failure, options: DecodeOptions | None
) -> None:
    round = Round(
        conversation(),
        plan=outline("note", "pack.bag", "now"),
        calls=[note("a"), bad, "{}"],
        retries=[bag("a")],
        options=options,
    )
    events = await round.run()
    assert sorted(calls_of(events)) == [(0, "note", note("a")), (1, "pack.bag", bag("a")), (2, "now", "{}")]
    assert calls_of(events)[-1][0] == 1, "after its siblings"
    assert failures_of(events) == []
    assert ended(events).figures.fallbacks == 1
    assert ended(events).reason == "calls"
    assert round.kinds == ["plan", "call", "call", "call", "retry"]


@pytest.mark.parametrize(
    ("bad", "options", "kind"),
    [
        (REPEATS, None, "invalid_arguments"),
        (Failure(error="broke"), None, "invalid_arguments"),
        (bag("x" * 20, "y" * 20), DecodeOptions(call_tokens=30), "truncated"),
    ],
    ids=["invalid by a checked keyword", "broken", "too long"],
)
async def test_call_that_goes_wrong_twice_fails_alone(
    bad: str | Failure, options: DecodeOptions | None, kind: str
) -> None:
    round = Round(
        conversation(),
        plan=outline("note", "pack.bag", "now"),
        calls=[note("a"), bad, "{}"],
        retries=[bad],
        options=options,
    )
    events = await round.run()
    assert sorted(calls_of(events)) == [(0, "note", note("a")), (2, "now", "{}")]
    assert failures_of(events) == [(1, "pack.bag", kind)]
    assert ended(events).figures.fallbacks == 1
    assert round.kinds == ["plan", "call", "call", "call", "retry"]


async def test_every_call_that_went_wrong_has_its_own_second_chance() -> None:
    round = Round(
        conversation(),
        plan=outline("pack.bag", "note", "pack.bag"),
        calls=[REPEATS, note("a"), REPEATS],
        retries=[REPEATS, bag("b")],
    )
    events = await round.run()
    assert calls_of(events) == [(1, "note", note("a")), (2, "pack.bag", bag("b"))]
    assert failures_of(events) == [(0, "pack.bag", "invalid_arguments")]
    assert ended(events).figures.fallbacks == 2


@pytest.mark.parametrize("dialect", UNMARKED.values(), ids=UNMARKED)
async def test_second_chance_stands_on_the_calls_that_are_written(dialect: Dialect) -> None:
    round = Round(
        conversation(), plan=outline("pack.bag", "now"), calls=[REPEATS, "{}"], retries=[bag("a")], dialect=dialect
    )
    await round.run()
    written = calls_text([ToolCall(id="", name="now", arguments={})], dialect)
    stands_on = BYTES.decode(round.engine.branches[-1].suffix)
    assert stands_on.startswith(written.removesuffix(dialect.calls_close) + dialect.separator)
    assert stands_on.endswith(f'{dialect.call_open}{{"name": "pack.bag", "arguments": ')


async def test_second_chances_stand_on_those_before_them() -> None:
    round = Round(
        conversation(),
        plan=outline("pack.bag", "now", "pack.bag"),
        calls=[REPEATS, "{}", REPEATS],
        retries=[bag("b"), bag("c")],
    )
    await round.run()
    stands_on = BYTES.decode(round.engine.branches[-1].suffix)
    assert bag("b") in stands_on
    assert stands_on.index(bag("b")) < stands_on.index('"now"'), "in the order of the plan"


# Duplicates


async def test_duplicates_are_removed_and_counted() -> None:
    round = Round(
        conversation(), plan=outline("note", "note", "now", "note"), calls=[note("a"), note("a"), "{}", note("b")]
    )
    events = await round.run()
    assert Counter(call[1:] for call in calls_of(events)) == {
        ("note", note("a")): 1,
        ("now", "{}"): 1,
        ("note", note("b")): 1,
    }
    assert ended(events).figures.duplicates_removed == 1


@pytest.mark.parametrize(
    ("choice", "kept"),
    [
        (Choice(), 1),
        (Choice(mode="required"), 1),
        (Choice(least=2), 2),
        (Choice(least=3), 3),
        (Choice(exact=("note",) * 4), 4),
    ],
)
async def test_duplicates_are_kept_where_so_many_calls_are_asked_for(choice: Choice, kept: int) -> None:
    round = Round(conversation(choice), plan=outline(*["note"] * 4), calls=[note("a")] * 4)
    events = await round.run()
    assert [call[1:] for call in calls_of(events)] == [("note", note("a"))] * kept
    assert ended(events).figures.duplicates_removed == 4 - kept


async def test_equal_calls_of_different_tools_are_no_duplicates() -> None:
    other = Tool(name="other", parameters=NOTE.parameters)
    round = Round(conversation(tools=[NOTE, other]), plan=outline("note", "other"), calls=[note("a"), note("a")])
    assert len(calls_of(await round.run())) == 2


# Limits and sampling


async def test_streams_have_the_finite_limits_of_the_options() -> None:
    options = DecodeOptions(plan_tokens=300, call_tokens=200, text_tokens=100)
    calls = Round(conversation(), plan=outline("pack.bag"), calls=[REPEATS], retries=[bag()], options=options)
    await calls.run()
    assert [branch.max_new_tokens for branch in calls.engine.branches] == [300, 200, 200]
    text = Round(conversation(), plan=outline(), text="Hello.", options=options)
    await text.run()
    assert [branch.max_new_tokens for branch in text.engine.branches] == [300, 100]


async def test_max_tokens_bounds_every_stream() -> None:
    round = Round(conversation(), plan=outline("pack.bag", "now"), calls=[REPEATS, "{}"], retries=[bag()])
    await round.run(max_tokens=60)
    assert {branch.max_new_tokens for branch in round.engine.branches} == {60}


async def test_equal_seeds_give_every_stream_a_seed_of_its_own_and_the_same_ones_again() -> None:
    seeds = []
    for seed in (7, 7, 8):
        round = Round(
            conversation(),
            plan=outline("pack.bag", "pack.bag", "now"),
            calls=[REPEATS, REPEATS, "{}"],
            retries=[REPEATS, bag("a")],
        )
        await round.run(sampling=Sampling(temperature=0.7, top_p=0.9, seed=seed))
        assert {(branch.sampling.temperature, branch.sampling.top_p) for branch in round.engine.branches} == {
            (0.7, 0.9)
        }
        seeds.append([branch.sampling.seed for branch in round.engine.branches])
    assert len(set(seeds[0])) == len(seeds[0]) == 6
    assert seeds[0] == seeds[1]
    assert not set(seeds[0]) & set(seeds[2])


async def test_without_a_seed_no_stream_has_one() -> None:
    round = Round(conversation(), plan=THREE, calls=THREE_CALLS)
    await round.run(sampling=Sampling(temperature=1.0))
    assert {branch.sampling for branch in round.engine.branches} == {Sampling(temperature=1.0)}


# Figures


async def test_figures_are_those_of_the_critical_path() -> None:
    round = Round(
        conversation(),
        plan=outline("note", "pack.bag", "now"),
        calls=[LONG, REPEATS, "{}"],
        retries=[bag("a")],
        step_s=0.0001,
    )
    figures = ended(await round.run()).figures
    [plan], *groups, [retry] = round.engine.groups
    branches = [end for group in groups for end in group]
    longest = max(end.steps for end in branches)
    assert longest > 100, "the long note"
    assert figures.plan_steps == plan.steps > 0
    assert max(plan.steps, longest) + retry.steps <= figures.steps < plan.steps + longest + retry.steps
    assert figures.branches == 4
    assert figures.prompt_tokens == len(round.engine.prefixes[0])
    assert figures.completion_tokens == sum(len(end.tokens) for end in [plan, *branches, retry])
    assert Counter(span.label for span in figures.spans) == Counter(
        ["plan", "note", "pack.bag", "now", "pack.bag (retry)"]
    )
    assert all(span.start_s <= span.end_s for span in figures.spans)
    ends = {span.label: span.end_s for span in figures.spans}
    starts = {span.label: span.start_s for span in figures.spans}
    assert starts["note"] < ends["plan"], "a branch begins when its line is complete"
    assert max(ends["plan"], ends["note"], ends["pack.bag"]) <= starts["pack.bag (retry)"]
    assert max(starts["note"], starts["pack.bag"]) < ends["pack.bag"] < ends["note"], "they decode together"


async def test_more_calls_cost_tokens_and_no_steps_beside_the_plan() -> None:
    figures = []
    for count in (1, 8):
        round = Round(conversation(Choice(least=count)), plan=outline(*["note"] * count), calls=[LONG] * count)
        figures.append(ended(await round.run()).figures)
    few, many = figures
    assert many.steps - many.plan_steps == few.steps - few.plan_steps
    assert many.completion_tokens > 6 * few.completion_tokens


async def test_all_streams_of_a_round_stand_on_one_prefix() -> None:
    round = Round(conversation(), plan=outline("pack.bag", "now"), calls=[REPEATS, "{}"], retries=[bag()])
    await round.run()
    assert len(set(round.engine.prefixes)) == 1


# Leaving


@pytest.mark.parametrize("dialect", [JSON, HERMES], ids=lambda dialect: dialect.name)
async def test_closing_the_round_between_calls_frees_its_branches(dialect: Dialect) -> None:
    round = Round(
        conversation(), plan=outline("note", "note", "now"), calls=[LONG, LONG, "{}"], dialect=dialect, step_s=0.001
    )
    events = round.events()
    first = await anext(events)
    assert isinstance(first, CallWritten)
    assert round.engine.live_branches == 2
    await events.aclose()
    assert round.engine.live_branches == 0


@pytest.mark.parametrize("kind", ["plan", "call", "retry"])
async def test_cancelling_the_reader_frees_the_stream_that_decodes(kind: str) -> None:
    slow = bag("x" * 20, "y" * 20)
    round = Round(conversation(), plan=outline("pack.bag"), calls=[REPEATS], retries=[slow], step_s=0.01)
    reading = asyncio.create_task(round.run())
    while not (kind in round.kinds and round.engine.live_branches):
        await asyncio.sleep(0.001)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert round.engine.live_branches == 0
    assert round.kinds[-1] == kind


# Special tokens that the model spells in letters


async def test_second_chance_reads_special_tokens_in_arguments_as_text() -> None:
    round = Round(
        conversation(),
        plan=outline("note", "pack.bag"),
        calls=[note(SPELLED), REPEATS],
        retries=[bag()],
        engine_class=SpellingEngine,
    )
    assert (0, "note", note("<|im_end|>")) in calls_of(await round.run())
    suffix = round.engine.branches[-1].suffix
    assert note("<|im_end|>") in BYTES.decode(suffix)
    assert max(suffix) < FIRST_SPECIAL


async def test_branch_reads_special_tokens_in_its_subject_as_text() -> None:
    plan = outline_text(Plan(calls=(PlannedCall(tool="now", subject=SPELLED),)))
    round = Round(conversation(), plan=plan, calls=["{}"], engine_class=SpellingEngine)
    await round.run()
    suffix = round.engine.branches[-1].suffix
    assert "<|im_end|>" in BYTES.decode(suffix)
    assert max(suffix) < FIRST_SPECIAL
