"""TransformersEngine on a real model: a branch decodes as if its text were a prompt of its own, beside any siblings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from grammars.branch import Branch, Sampling
from grammars.constraint import Constraint, compile_constraint
from grammars.errors import ContextExceeded, Overloaded, RequestError
from grammars.tree import PREFIX
from serving.engines.base import BranchEnded, BranchEvent, BranchProgress, BranchStarted, Scope
from serving.engines.transformers.engine import TransformersEngine
from serving.engines.transformers.model import Span, TreeModel
from serving.engines.transformers.row import Row
from serving.engines.transformers.worker import WorkerLimits

WEATHER = (
    '{"type": "object", "properties": {"city": {"type": "string", "maxLength": 12}, "unit": {"enum": ["C", "F"]}}, '
    '"required": ["city", "unit"], "additionalProperties": false, '
    '"x-guidance": {"whitespace_flexible": false, "item_separator": ", ", "key_separator": ": "}}'
)
FREE = Constraint.text()


@pytest.fixture(scope="module")
def engine(smollm2_folder: Path) -> Iterator[TransformersEngine]:
    """In float32: rounding to bfloat16 depends on how many tokens share a pass, which can turn a near tie."""
    engine = TransformersEngine.load(smollm2_folder, name="smollm2-135m", device="cpu", dtype="float32")
    yield engine
    asyncio.run(engine.close())


@pytest.fixture(scope="module")
def model(engine: TransformersEngine) -> TreeModel:
    return engine._model


@pytest.fixture(scope="module")
def prefix(engine: TransformersEngine) -> tuple[int, ...]:
    question = "What is the weather in Paris, London and Rome?"
    return engine.tokenizer.encode(engine.tokenizer.render_chat([{"role": "user", "content": question}], None))


def branch(engine: TransformersEngine, suffix: str, constraint: Constraint = FREE, **changes: object) -> Branch:
    given: dict[str, object] = {"max_new_tokens": 12, **changes}
    return Branch(suffix=engine.tokenizer.encode(suffix), constraint=constraint, **given)  # type: ignore[arg-type]


async def ends(events: AsyncGenerator[BranchEvent, None]) -> list[BranchEnded]:
    found = [event async for event in events if isinstance(event, BranchEnded)]
    return sorted(found, key=lambda end: end.branch)


async def texts(engine: TransformersEngine, prefix: Sequence[int], branches: Sequence[Branch]) -> list[str]:
    return [end.text for end in await ends(engine.decode(prefix, branches))]


# The tree


def test_logits_of_every_branch_equal_those_of_its_text_as_a_prompt_of_its_own(
    smollm2_folder: Path, engine: TransformersEngine, model: TreeModel, prefix: tuple[int, ...]
) -> None:
    reference = AutoModelForCausalLM.from_pretrained(smollm2_folder, dtype=torch.float32)
    suffixes = [engine.tokenizer.encode(text) for text in ("Paris is", "In the city of London there", "R")]
    with torch.inference_mode():
        row, other = Row(model.shape), Row(model.shape)
        spans = [Span(row=row, branch=PREFIX, tokens=prefix, first_position=0, wants_logits=False)]
        for number, suffix in enumerate(suffixes, start=1):
            spans.append(
                Span(row=row, branch=number, tokens=suffix, first_position=len(prefix), wants_logits=True),
            )
        # Another turn in the same pass must change nothing.
        spans.append(Span(row=other, branch=PREFIX, tokens=prefix[:7], first_position=0, wants_logits=True))
        logits = model.read(spans)
        prompts = [*((*prefix, *suffix) for suffix in suffixes), prefix[:7]]
        for written, prompt in zip(logits, prompts, strict=True):
            expected = reference(torch.tensor([prompt])).logits[0, -1]
            torch.testing.assert_close(written, expected, atol=2e-4, rtol=1e-4)


async def test_order_and_number_of_siblings_do_not_change_what_a_branch_writes(
    engine: TransformersEngine, prefix: tuple[int, ...]
) -> None:
    suffixes = ["\nParis:", "\nLondon:", "\nRome:", "\nThe", "\n1."]
    branches = [branch(engine, suffix) for suffix in suffixes]
    alone = [(await texts(engine, prefix, [one]))[0] for one in branches]
    assert await texts(engine, prefix, branches) == alone
    assert await texts(engine, prefix, branches[::-1]) == alone[::-1]
    assert len(set(alone)) > 1


async def test_concurrent_turns_write_what_each_writes_alone(
    engine: TransformersEngine, prefix: tuple[int, ...]
) -> None:
    prefixes = [prefix, prefix[:-3], prefix[3:]]
    branches = [branch(engine, "\nParis"), branch(engine, "\nOslo")]
    alone = [await texts(engine, one, branches) for one in prefixes]
    together = await asyncio.gather(*(texts(engine, one, branches) for one in prefixes))
    assert list(together) == alone


async def test_prefix_that_goes_through_an_earlier_branch_writes_as_if_read_afresh(
    engine: TransformersEngine, prefix: tuple[int, ...]
) -> None:
    (plan,) = await ends(engine.decode(prefix, [branch(engine, "\nPlan:")]))
    longer = (*prefix, *engine.tokenizer.encode("\nPlan:"), *plan.tokens)
    continued = await texts(engine, longer, [branch(engine, "\nSo")])
    engine.forget_prefixes()
    assert await texts(engine, longer, [branch(engine, "\nSo")]) == continued


async def test_branch_without_suffix_goes_on_from_the_prefix(
    engine: TransformersEngine, prefix: tuple[int, ...]
) -> None:
    without = await texts(engine, prefix, [Branch(constraint=FREE, max_new_tokens=8)])
    split = Branch(suffix=prefix[-4:], constraint=FREE, max_new_tokens=8)
    assert await texts(engine, prefix[:-4], [split]) == without


async def test_keys_and_values_of_the_prefix_are_held_once_for_all_branches(engine: TransformersEngine) -> None:
    thousand = engine.tokenizer.encode("word " * 1000)[:1000]
    peaks = []
    for count in (1, 16):
        engine.forget_prefixes()
        await ends(engine.decode(thousand, [branch(engine, f" {n}", max_new_tokens=8) for n in range(count)]))
        peaks.append(engine.rows_bytes)
    own = 16 * 16 * engine._model.shape.token_bytes  # what 16 branches of at most 16 tokens hold of their own
    assert peaks[1] <= 1.3 * (peaks[0] + own)
    assert peaks[1] < 2 * 1000 * engine._model.shape.token_bytes


async def test_plan_and_the_branches_that_begin_beside_it_stand_on_one_row(engine: TransformersEngine) -> None:
    thousand = engine.tokenizer.encode("word " * 1000)[:1000]
    engine.forget_prefixes()
    plan = engine.decode(thousand, [branch(engine, "", max_new_tokens=200)])
    await anext(plan)
    await ends(
        engine.decode(thousand, [branch(engine, " a", max_new_tokens=4), branch(engine, " b", max_new_tokens=4)])
    )
    await plan.aclose()
    assert engine.rows_bytes < 1.5 * 1000 * engine._model.shape.token_bytes


# Constraints


async def test_forced_tokens_cost_no_step_and_change_nothing(
    engine: TransformersEngine, prefix: tuple[int, ...]
) -> None:
    weather = Constraint.schema(WEATHER)
    (skipping,) = await ends(engine.decode(prefix, [branch(engine, "", weather, max_new_tokens=40)]))
    (stepping,) = await ends(engine.decode(prefix, [branch(engine, "", weather, max_new_tokens=40, skip_forced=False)]))
    assert skipping.reason == stepping.reason == "complete"
    assert skipping.text == stepping.text
    assert stepping.forced_tokens == 0
    assert skipping.steps + skipping.forced_tokens == len(skipping.tokens)
    assert skipping.steps < stepping.steps == len(stepping.tokens)


async def test_text_without_a_choice_takes_no_step_at_all(engine: TransformersEngine, prefix: tuple[int, ...]) -> None:
    (end,) = await ends(engine.decode(prefix, [branch(engine, "", Constraint.choice(["yes"]))]))
    assert (end.text, end.reason, end.steps) == ("yes", "complete", 0)


@pytest.mark.parametrize("constraint", [FREE, Constraint.schema(WEATHER)], ids=["free text", "JSON"])
async def test_logprobs_are_those_of_the_model_among_the_allowed_tokens(
    engine: TransformersEngine, smollm2_folder: Path, prefix: tuple[int, ...], constraint: Constraint
) -> None:
    wanted = branch(engine, "", constraint, max_new_tokens=6, logprobs=3, skip_forced=False)
    events = [event async for event in engine.decode(prefix, [wanted])]
    [end] = [event for event in events if isinstance(event, BranchEnded)]
    told = [likely for event in events if isinstance(event, BranchProgress) for likely in event.logprobs]
    assert len(told) == len(end.tokens) == 6
    read = torch.tensor([[*prefix, *end.tokens]])
    with torch.inference_mode():
        logits = AutoModelForCausalLM.from_pretrained(smollm2_folder, dtype=torch.float32)(read).logits[0]
    matcher = compile_constraint(constraint, engine.tokenizer).matcher()
    for place, (token, likely) in enumerate(zip(end.tokens, told, strict=True)):
        allowed = torch.tensor(matcher.allowed() or ())
        expected = torch.log_softmax(logits[len(prefix) + place - 1][allowed], dim=-1)
        values, best = expected.topk(min(3, len(allowed)))
        assert likely.logprob == pytest.approx(float(expected[allowed == token]), abs=1e-3)
        assert [top.logprob for top in likely.top] == pytest.approx(values.tolist(), abs=1e-3)
        assert [top.text for top in likely.top] == [engine.tokenizer.decode([int(allowed[index])]) for index in best]
        matcher.consume(token)


async def test_prefix_that_is_still_held_is_told_and_another_tenants_is_not(engine: TransformersEngine) -> None:
    async def cached(tenant: str) -> int | None:
        written = engine.decode(read, [branch(engine, "", max_new_tokens=1)], Scope(tenant=tenant))
        [started] = [event async for event in written if isinstance(event, BranchStarted)]
        return started.cached_tokens

    read = engine.tokenizer.encode("A text that nobody has read before, in any of these tests.")
    # A branch without a suffix reads the prefix's last token for itself.
    assert [await cached(tenant) for tenant in ("a", "a", "b")] == [0, len(read) - 1, 0]


async def test_limit_cuts_a_branch_and_says_so(engine: TransformersEngine, prefix: tuple[int, ...]) -> None:
    (end,) = await ends(engine.decode(prefix, [branch(engine, "", max_new_tokens=3)]))
    assert (end.reason, len(end.tokens)) == ("length", 3)


async def test_events_of_a_branch_come_in_order_and_their_text_adds_up(
    engine: TransformersEngine, prefix: tuple[int, ...]
) -> None:
    events = [event async for event in engine.decode(prefix, [branch(engine, "\nÅ"), branch(engine, "\n日")])]
    for index in (0, 1):
        own = [event for event in events if event.branch == index]
        assert isinstance(own[0], BranchStarted)
        assert isinstance(own[-1], BranchEnded)
        assert "".join(event.text for event in own if isinstance(event, BranchProgress)) == own[-1].text
        assert [event.at_s for event in own] == sorted(event.at_s for event in own)


async def test_equal_seeds_repeat_a_sampled_text_whoever_decodes_beside_it(
    engine: TransformersEngine, prefix: tuple[int, ...]
) -> None:
    sampled = branch(engine, "\nOnce", sampling=Sampling(temperature=1.0, top_p=0.95, seed=11))
    other = branch(engine, "\nOnce", sampling=Sampling(temperature=1.0, top_p=0.95, seed=12))
    alone = await texts(engine, prefix, [sampled])
    beside = await texts(engine, prefix, [other, sampled])
    assert beside[1] == alone[0]
    assert beside[0] != beside[1]


# Sharing the machine


async def test_closing_frees_the_branches_within_one_step(engine: TransformersEngine, prefix: tuple[int, ...]) -> None:
    events = engine.decode(prefix, [branch(engine, "\nA", max_new_tokens=4000) for _ in range(3)])
    await anext(events)
    assert engine.live_branches == 3
    steps = engine.steps
    await events.aclose()
    while engine.live_branches:
        await asyncio.sleep(0.001)
    assert engine.steps - steps <= 1


async def test_short_turn_is_not_held_up_by_a_long_one(engine: TransformersEngine, prefix: tuple[int, ...]) -> None:
    long = asyncio.create_task(ends(engine.decode(prefix, [branch(engine, "\nA", max_new_tokens=150)])))
    while not engine.live_branches:
        await asyncio.sleep(0.001)
    await ends(engine.decode(prefix, [branch(engine, "\nB", max_new_tokens=5)]))
    assert not long.done()
    await long


async def test_jobs_beyond_the_limit_of_streams_wait_their_turn(smollm2_folder: Path) -> None:
    limits = WorkerLimits(streams=2, waiting_jobs=1)
    engine = TransformersEngine.load(smollm2_folder, name="m", device="cpu", limits=limits)
    prefix = engine.tokenizer.encode("Hello there")
    first = asyncio.create_task(ends(engine.decode(prefix, [branch(engine, " a", max_new_tokens=100)] * 2)))
    while not engine.live_branches:
        await asyncio.sleep(0.001)
    second = asyncio.create_task(ends(engine.decode(prefix, [branch(engine, " b", max_new_tokens=2)])))
    await asyncio.sleep(0.05)
    with pytest.raises(Overloaded):
        await ends(engine.decode(prefix, [branch(engine, " c")]))
    assert len(await first) == 2
    assert len(await second) == 1
    await engine.close()


async def test_closed_engine_ends_open_streams_and_refuses_new_ones(smollm2_folder: Path) -> None:
    engine = TransformersEngine.load(smollm2_folder, name="m", device="cpu")
    prefix = engine.tokenizer.encode("Hello there")
    events = engine.decode(prefix, [branch(engine, " a", max_new_tokens=4000)])
    await anext(events)
    await engine.close()
    with pytest.raises(Overloaded):
        await ends(events)
    assert not engine.healthy
    with pytest.raises(Overloaded):
        await ends(engine.decode(prefix, [branch(engine, " a")]))


async def test_failed_forward_pass_ends_its_turns_and_the_engine_goes_on(
    engine: TransformersEngine, prefix: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("no memory")

    with monkeypatch.context() as patch:
        patch.setattr(engine._model, "read", broken)
        with pytest.raises(Exception, match="no memory"):
            await ends(engine.decode(prefix, [branch(engine, "\nA")]))
    assert engine.healthy
    assert len(await texts(engine, prefix, [branch(engine, "\nA")])) == 1


# Bad input


async def test_prompt_longer_than_the_context_is_refused_before_it_is_read(engine: TransformersEngine) -> None:
    with pytest.raises(ContextExceeded, match=str(engine.context_length)):
        await ends(engine.decode([5] * engine.context_length, [branch(engine, "x")]))


async def test_empty_prefix_is_refused(engine: TransformersEngine) -> None:
    with pytest.raises(RequestError):
        await ends(engine.decode([], [branch(engine, "x")]))


async def test_grammar_that_does_not_compile_is_refused(engine: TransformersEngine, prefix: tuple[int, ...]) -> None:
    with pytest.raises(RequestError, match="grammar"):
        await ends(engine.decode(prefix, [branch(engine, "", Constraint("start: nothing"))]))
