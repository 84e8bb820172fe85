"""Answering BFCL cases with a decoder, and adding up what the official checker says."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from jsonschema_rs import is_valid
from rich.console import Console
from rich.progress import Progress

from finetune.bfcl import Case, Verdict, expects_calls, score
from grammars.conversation import Choice, Conversation
from grammars.dialects import dialect_named, dialect_of
from grammars.plan_forms import form_named
from grammars.tools import ToolCall
from serving.decode.events import CallFailed, CallWritten, RoundEnded
from serving.decode.request import Decoding
from serving.decode.round import DecodeOptions, Decoder, RoundRequest
from serving.engines.base import Engine

BOUNDS = DecodeOptions(plan_tokens=300, call_tokens=160, stream_tokens=700)
"""The same bounds for both ways: weak weights that run away are cut."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One case: the calls that were made, the checker's verdict, and what it took."""

    id: str
    calls: tuple[ToolCall, ...]
    verdict: Verdict
    invalid_calls: int
    failed_calls: int
    right_count: bool
    steps: int
    plan_steps: int
    fallbacks: int


@dataclass(frozen=True, kw_only=True)
class Report:
    """One category. `invalid_calls` counts calls handed on that break their tool's schema or the JSON.

    `decode_steps` and `plan_steps` are means on the critical path. A sequential stream counts a step a token, as other
    servers decode it, although this run skips the forced ones to save time.
    `failed_calls` counts calls that were given up after a second try, and are missing from the answer.
    """

    category: str
    model: str
    decoding: Decoding
    plan_form: str | None
    cases: int
    accuracy: float
    right: int
    right_count: int
    invalid_calls: int
    failed_calls: int
    errors: dict[str, int]
    decode_steps: float
    plan_steps: float
    fallbacks: int


def decoder_of(engine: Engine, dialect: str | None, plan_form: str) -> Decoder:
    """A decoder within `BOUNDS`, in the dialect of this name or else the model's own."""
    spoken = dialect_named(dialect) if dialect else dialect_of(engine.tokenizer)
    return Decoder(engine, spoken, replace(BOUNDS, plan_form=form_named(plan_form)))


async def answer_cases(
    decoder: Decoder, cases: Sequence[Case], decoding: Decoding, concurrency: int, console: Console
) -> list[Outcome]:
    """Every case answered and scored, with a progress bar; closes the decoder's engine."""
    gate = asyncio.Semaphore(concurrency)
    with Progress(console=console) as progress:
        task = progress.add_task(f"{cases[0].category}, {decoding}", total=len(cases))

        async def answer(case: Case) -> Outcome:
            async with gate:
                outcome = await answer_case(decoder, case, decoding)
                progress.advance(task)
                return outcome

        outcomes = await asyncio.gather(*map(answer, cases))
    await decoder.engine.close()
    return list(outcomes)


async def answer_case(decoder: Decoder, case: Case, decoding: Decoding) -> Outcome:
    """One case. Where calls are due the choice is `required`, for both ways; else the model may answer in text."""
    choice = Choice(mode="required" if expects_calls(case.category) else "auto")
    conversation = Conversation.read(case.messages, case.tools, choice)
    calls: dict[int, ToolCall] = {}
    failed = 0
    async for event in decoder.decode_round(conversation, RoundRequest(decoding=decoding, skip_forced=True)):
        if isinstance(event, CallWritten):
            calls[event.index] = event.call
        elif isinstance(event, CallFailed):
            failed += 1
        elif isinstance(event, RoundEnded):
            figures = event.figures
    made = tuple(calls[index] for index in sorted(calls))
    forced = sum(span.forced_tokens for span in figures.spans) if decoding == "sequential" else 0
    return Outcome(
        id=case.id,
        calls=made,
        verdict=score(case, made),
        invalid_calls=invalid_calls(case, made),
        failed_calls=failed,
        right_count=len(made) == len(case.ground_truth),
        steps=figures.steps + forced,
        plan_steps=figures.plan_steps,
        fallbacks=figures.fallbacks,
    )


def invalid_calls(case: Case, calls: Sequence[ToolCall]) -> int:
    """How many calls break their tool's schema, by a validator that decoding has no part in."""
    schemas = {tool.name: tool.parameters for tool in case.tools}
    valid = [call.name in schemas and is_valid(dict(schemas[call.name]), dict(call.arguments)) for call in calls]
    return valid.count(False)


def report_of(category: str, model: str, decoding: Decoding, plan_form: str, outcomes: Sequence[Outcome]) -> Report:
    """The sums and means over the cases."""
    count = len(outcomes)
    right = sum(outcome.verdict.valid for outcome in outcomes)
    return Report(
        category=category,
        model=model,
        decoding=decoding,
        plan_form=plan_form if decoding == "parallel" else None,
        cases=count,
        accuracy=round(right / count, 4),
        right=right,
        right_count=sum(outcome.right_count for outcome in outcomes),
        invalid_calls=sum(outcome.invalid_calls for outcome in outcomes),
        failed_calls=sum(outcome.failed_calls for outcome in outcomes),
        errors=dict(Counter(str(outcome.verdict.error_type) for outcome in outcomes if not outcome.verdict.valid)),
        decode_steps=round(sum(outcome.steps for outcome in outcomes) / count, 1),
        plan_steps=round(sum(outcome.plan_steps for outcome in outcomes) / count, 1),
        fallbacks=sum(outcome.fallbacks for outcome in outcomes),
    )
