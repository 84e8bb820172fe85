"""ScriptedEngine: says what the script says, only inside the constraint, and keeps the engine's contract."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grammars.branch import Branch, Sampling
from grammars.constraint import Constraint
from grammars.errors import ContextExceeded, Overloaded
from grammars.schema import read_schema
from serving.engines.base import BranchEnded, BranchEvent, BranchProgress, BranchStarted, Scope
from serving.engines.byte_tokenizer import END_ID, ByteTokenizer
from serving.engines.scripted import Failure, ScriptedEngine

TOKENIZER = ByteTokenizer()
PREFIX = TOKENIZER.encode("<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n")
CITY = Constraint.schema(
    read_schema(
        {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 20}, "days": {"type": "integer", "maximum": 99}},
            "required": ["city", "days"],
            "additionalProperties": False,
        }
    ).grammar
)
BERN = '{"city": "Bern", "days": 3}'


def branch(constraint: Constraint = CITY, **options: Any) -> Branch:
    return Branch(constraint=constraint, **{"max_new_tokens": 200, **options})


async def decoded(engine: ScriptedEngine, *branches: Branch) -> list[BranchEvent]:
    return [event async for event in engine.decode(PREFIX, branches)]


async def ends(engine: ScriptedEngine, *branches: Branch) -> list[BranchEnded]:
    found = [event for event in await decoded(engine, *branches) if isinstance(event, BranchEnded)]
    assert engine.live_branches == 0
    return sorted(found, key=lambda event: event.branch)


@given(st.text())
def test_any_text_survives_encoding_and_decoding(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


def test_special_tokens_in_text_become_those_tokens() -> None:
    assert TOKENIZER.encode("a<|im_end|>") == (ord("a"), END_ID)


def test_chat_is_rendered_up_to_where_the_assistant_begins() -> None:
    rendered = TOKENIZER.render_chat([{"role": "user", "content": "hello"}], None)
    assert TOKENIZER.encode(rendered) == PREFIX
    assert not TOKENIZER.renders_tools


async def test_the_first_answer_that_the_constraint_accepts_is_written() -> None:
    engine = ScriptedEngine(['{"city": "Bern"}', BERN, '{"city": "Oslo", "days": 1}'])
    [end] = await ends(engine, branch())
    assert (end.reason, end.text) == ("complete", BERN)
    assert TOKENIZER.decode(end.tokens) == BERN


async def test_a_function_sees_all_that_the_branch_stands_on_and_its_constraint() -> None:
    seen: list[tuple[str, Constraint]] = []

    def script(text: str, constraint: Constraint) -> str:
        seen.append((text, constraint))
        return BERN

    await ends(ScriptedEngine(script), branch(suffix=TOKENIZER.encode("weather: ")))
    assert seen == [(TOKENIZER.decode(PREFIX) + "weather: ", CITY)]


@pytest.mark.parametrize("answer", ['{"city": "Bern"}', '{"town": "Bern"}', "Bern", '{"city": "Bern", "days": 3}!', ""])
@pytest.mark.parametrize("skip_forced", [True, False])
async def test_text_that_the_constraint_does_not_allow_ends_as_failed(answer: str, skip_forced: bool) -> None:
    [end] = await ends(ScriptedEngine(lambda _text, _constraint: answer), branch(skip_forced=skip_forced))
    if answer.startswith(BERN):
        assert (end.reason, end.text) == ("complete", BERN), "a complete object cannot be gone on with"
    else:
        assert end.reason == "failed"
        assert end.error is not None
        assert "script" in end.error


async def test_forced_tokens_cost_no_step() -> None:
    engine = ScriptedEngine([BERN])
    [skipping] = await ends(engine, branch())
    [stepping] = await ends(engine, branch(skip_forced=False))
    assert skipping.text == stepping.text == BERN
    assert (stepping.steps, stepping.forced_tokens) == (len(BERN), 0)
    assert skipping.steps + skipping.forced_tokens == len(BERN)
    assert 0 < skipping.steps < len(BERN) / 2


async def test_text_ends_with_an_end_token_that_costs_a_step_and_is_not_in_the_text() -> None:
    [end] = await ends(ScriptedEngine(["Hello."]), branch(Constraint.text()))
    assert (end.text, end.steps, end.forced_tokens, len(end.tokens)) == ("Hello.", 7, 0, 6)


async def test_a_choice_of_one_is_written_without_a_step() -> None:
    [end] = await ends(ScriptedEngine(), branch(Constraint.choice(["only"])))
    assert (end.text, end.steps, end.forced_tokens) == ("only", 0, 4)


@pytest.mark.parametrize("limit", [1, 5, 12])
async def test_the_limit_cuts_and_says_so(limit: int) -> None:
    [end] = await ends(ScriptedEngine([BERN]), branch(max_new_tokens=limit))
    assert (end.reason, end.text) == ("length", BERN[:limit])
    assert end.steps + end.forced_tokens >= len(end.tokens) == limit


async def test_progress_joins_to_the_whole_text_and_every_branch_starts_and_ends_once() -> None:
    engine = ScriptedEngine(["Grüße, 世界!"])
    events = await decoded(engine, branch(Constraint.text()), branch(), branch(Constraint.text()))
    for index in range(3):
        own = [event for event in events if event.branch == index]
        assert isinstance(own[0], BranchStarted)
        assert isinstance(own[-1], BranchEnded)
        pieces = [event.text for event in own[1:-1] if isinstance(event, BranchProgress)]
        assert len(pieces) == len(own) - 2
        assert "".join(pieces) == own[-1].text
    assert [event.text for event in events if isinstance(event, BranchEnded) and event.branch != 1] == [
        "Grüße, 世界!"
    ] * 2


@pytest.mark.parametrize("seed", range(10))
async def test_a_walk_without_a_script_completes_the_constraint(seed: int) -> None:
    [end] = await ends(ScriptedEngine(), branch(sampling=Sampling(seed=seed)))
    assert end.reason == "complete"
    assert set(json.loads(end.text)) == {"city", "days"}


async def test_equal_seeds_walk_alike_and_others_do_not() -> None:
    async def walk(seed: int) -> Sequence[str]:
        found = await ends(ScriptedEngine(), *(branch(sampling=Sampling(seed=seed + place)) for place in range(4)))
        return [end.text for end in found]

    assert await walk(1) == await walk(1)
    assert await walk(1) != await walk(100)


async def test_an_injected_failure_ends_one_branch_and_not_its_siblings() -> None:
    def script(text: str, _constraint: Constraint) -> str | Failure:
        return Failure(error="out of memory") if text.endswith("bad") else BERN

    bad, good = await ends(ScriptedEngine(script), branch(suffix=TOKENIZER.encode("bad")), branch())
    assert (bad.reason, bad.error, bad.text) == ("failed", "out of memory", '{"city": "')
    assert (good.reason, good.text) == ("complete", BERN)


async def test_a_step_takes_its_time_whatever_the_number_of_branches() -> None:
    engine = ScriptedEngine(["twelve chars"], step_s=0.01)
    begin_s = time.monotonic()
    found = await ends(engine, *(branch(Constraint.text()) for _ in range(8)))
    took_s = time.monotonic() - begin_s
    assert [end.steps for end in found] == [13] * 8
    assert 0.12 < took_s < 0.5


async def test_closing_frees_the_branches_within_one_step() -> None:
    engine = ScriptedEngine(["a long answer " * 20], step_s=0.01)
    async with aclosing(engine.decode(PREFIX, [branch(Constraint.text()), branch(Constraint.text())])) as events:
        await anext(events)
        assert engine.live_branches == 2
    assert engine.live_branches == 0


async def test_concurrent_calls_take_turns() -> None:
    engine = ScriptedEngine(["a text of some length"], step_s=0.001)
    order: list[str] = []

    async def follow(name: str) -> None:
        async for event in engine.decode(PREFIX, [branch(Constraint.text())]):
            if isinstance(event, BranchProgress):
                order.append(name)

    await asyncio.gather(follow("a"), follow("b"))
    assert order.index("b") < len(order) - 1 - order[::-1].index("a"), "b begins before a ends"


async def test_a_prompt_that_fills_the_context_is_refused_before_the_first_event() -> None:
    with pytest.raises(ContextExceeded) as caught:
        await decoded(ScriptedEngine(context_length=len(PREFIX)), branch())
    assert caught.value.place == "messages"


async def test_the_context_cuts_a_text_that_runs_into_it() -> None:
    [end] = await ends(ScriptedEngine(["a long text"], context_length=len(PREFIX) + 4), branch(Constraint.text()))
    assert (end.reason, end.text) == ("length", "a lo")


async def test_more_branches_than_the_capacity_are_refused_as_overloaded() -> None:
    engine = ScriptedEngine(capacity=1)
    with pytest.raises(Overloaded):
        await decoded(engine, branch(), branch())
    assert [end.reason for end in await ends(engine, branch())] == ["complete"]


async def test_a_closed_engine_ends_what_is_open_and_takes_nothing_new() -> None:
    engine = ScriptedEngine(["a long answer " * 20], step_s=0.01)
    events = engine.decode(PREFIX, [branch(Constraint.text())])
    await anext(events)
    await engine.close()
    await engine.close()
    assert not engine.healthy
    with pytest.raises(Overloaded):
        [event async for event in events]
    with pytest.raises(Overloaded):
        await decoded(engine, branch())
    assert engine.live_branches == 0


async def test_all_allowed_tokens_count_as_equally_likely() -> None:
    engine = ScriptedEngine(["yes"])
    either = Constraint.choice(["yes", "you", "no"])
    events = await decoded(engine, branch(either, skip_forced=False, logprobs=2))
    likely = [token for event in events if isinstance(event, BranchProgress) for token in event.logprobs]
    assert [(token.text, round(math.exp(token.logprob), 6)) for token in likely] == [("y", 0.5), ("e", 0.5), ("s", 1.0)]
    assert [[top.text for top in token.top] for token in likely] == [["n", "y"], ["e", "o"], ["s"]]


async def test_what_was_read_before_counts_as_held_for_its_tenant_alone() -> None:
    engine = ScriptedEngine(["x"] * 9)

    async def cached(text: str, tenant: str) -> int | None:
        events = engine.decode(TOKENIZER.encode(text), [branch(Constraint.text())], Scope(tenant=tenant))
        [started] = [event async for event in events if isinstance(event, BranchStarted)]
        return started.cached_tokens

    asked = [("Hello Ada", "a"), ("Hello Bob", "a"), ("Hello Ada", "b"), ("Hello Ada", "a")]
    assert [await cached(*one) for one in asked] == [0, len("Hello "), 0, len("Hello Ada")]
