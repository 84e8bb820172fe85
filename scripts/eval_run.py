"""Answering questions with a decoder, and judging what it calls."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from jsonschema_rs import is_valid
from rich.console import Console
from rich.progress import Progress

from finetune.bfcl import Verdict
from finetune.failures import Emission, FailedCall, Mode, find_failures
from finetune.gold import Gold
from grammars.conversation import Conversation
from grammars.dialects import dialect_named, dialect_of
from grammars.errors import ConfigurationError, DecodingFailed, RequestError
from grammars.marked_forms import marked_form
from grammars.plan_forms import form_named
from grammars.tools import Tool, ToolCall
from serving.decode.events import CallFailed, CallWritten, Figures, RoundEnded, TextWritten
from serving.decode.round import DecodeOptions, Decoder, RoundRequest
from serving.engines.base import Engine

BOUNDS = DecodeOptions(plan_tokens=300, call_tokens=160, stream_tokens=700, text_tokens=16)
"""The same bounds for both ways: weak weights that run away are cut."""

TEXT_ENDS = (" ", "\n")
"""Where an answer in text is broken off, if its bound does not come first: weak weights write words without an end.
That the model answers so is measured, and not what it says.
"""

Judge = Callable[[Sequence[ToolCall]], Verdict]


@dataclass(frozen=True, kw_only=True)
class Question:
    """One case: what is asked, what a right answer calls, and a judge of its own, if it has one.

    Without a judge, an answer is right if it shows no failure mode.
    """

    id: str
    conversation: Conversation
    gold: Gold
    judge: Judge | None = None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One case: the calls that were made, the verdict, the failure modes that show, and what it took."""

    id: str
    calls: tuple[ToolCall, ...]
    verdict: Verdict
    gold: Gold
    modes: Counter[Mode]
    invalid_calls: int
    failed_calls: int
    right_count: bool
    steps: int
    plan_steps: int
    tally_probability: float | None
    fallbacks: int
    duplicates_removed: int


def decoder_of(
    engine: Engine,
    dialect: str | None,
    plan_form: str | None,
    sure_tally: float | None = None,
    argument_heads: int = 0,
) -> Decoder:
    """A decoder within `BOUNDS`, in the dialect and the form of plan of these names or else the model's own.

    `sure_tally` is from when on a trained model's tally counts, `argument_heads` up to how many branches it writes
    arguments by themselves. Raises `ConfigurationError` where one of them would say nothing.
    """
    spoken = dialect_named(dialect) if dialect else dialect_of(engine.tokenizer)
    if sure_tally is not None and (spoken.marks is None or plan_form is not None):
        raise ConfigurationError(
            f"how sure a tally must be is for trained models that plan in their own way, and not for "
            f"{spoken.name!r} with the plan {plan_form or 'joint'!r}"
        )
    if argument_heads and plan_form not in (None, "tally"):
        raise ConfigurationError(f"arguments are written by themselves after a tally, and not after {plan_form!r}")
    options = replace(BOUNDS, argument_heads=argument_heads)
    if plan_form is not None:
        form = form_named(plan_form) if spoken.marks is None else marked_form(plan_form, spoken.marks)
        options = replace(options, plan_form=form)
    elif sure_tally is not None:
        options = replace(options, sure_tally=sure_tally)
    return Decoder(engine, spoken, options)


def plan_named(plan_form: str | None, decoder: Decoder) -> str:
    """What a report calls the plan."""
    own = "joint" if decoder.dialect.marks is None else f"tally, outline below {decoder.options.sure_tally:g}"
    name = own if plan_form is None else plan_form
    heads = decoder.options.argument_heads
    return f"{name}, up to {heads} argument heads" if heads else name


async def answer_questions(
    decoder: Decoder,
    questions: Sequence[Question],
    request: RoundRequest,
    title: str,
    concurrency: int,
    console: Console,
    *,
    done: Mapping[str, Outcome] | None = None,
    heard: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Every question answered and judged, with a progress bar. Those that are `done`, by their ids, are not asked.

    `heard` is told each outcome as it comes.
    """
    done = done or {}
    gate = asyncio.Semaphore(concurrency)
    request = replace(request, skip_forced=True, stop=TEXT_ENDS)
    with Progress(console=console) as progress:
        task = progress.add_task(title, total=len(questions), completed=sum(one.id in done for one in questions))

        async def answer(question: Question) -> Outcome:
            if question.id in done:
                return done[question.id]
            async with gate:
                outcome = await answer_question(decoder, question, request)
            if heard is not None:
                heard(outcome)
            progress.advance(task)
            return outcome

        return list(await asyncio.gather(*map(answer, questions)))


async def answer_question(decoder: Decoder, question: Question, request: RoundRequest) -> Outcome:
    """One question. Where nothing could be decoded, the verdict says why, and no call was made."""
    calls: dict[int, ToolCall] = {}
    failed: list[FailedCall] = []
    figures = Figures(decoding=request.decoding)
    is_cut = is_text = False
    broken = None
    try:
        async for event in decoder.decode_round(question.conversation, request):
            match event:
                case CallWritten():
                    calls[event.index] = event.call
                case CallFailed():
                    failed.append(FailedCall(tool=event.tool, kind=event.error.kind))
                case TextWritten():
                    is_text = True
                case RoundEnded():
                    figures, is_cut = event.figures, event.reason == "length"
    except (RequestError, DecodingFailed) as error:
        broken = Verdict(valid=False, error_type=f"not_decoded:{error.code}", error=str(error))
    made = tuple(calls[index] for index in sorted(calls))
    emission = Emission(calls=made, failed=tuple(failed), is_cut=is_cut and not is_text)
    tools = question.conversation.tools
    modes = find_failures(question.gold, emission, tools)
    forced = sum(span.forced_tokens for span in figures.spans) if request.decoding == "sequential" else 0
    return Outcome(
        id=question.id,
        calls=made,
        verdict=broken or (question.judge(made) if question.judge else verdict_of(modes)),
        gold=question.gold,
        modes=modes,
        invalid_calls=invalid_calls(tools, made),
        failed_calls=len(failed),
        right_count=bool(made) if question.gold.any_call else len(made) == len(question.gold.due),
        steps=figures.steps + forced,
        plan_steps=figures.plan_steps,
        tally_probability=figures.tally_probability,
        fallbacks=figures.fallbacks,
        duplicates_removed=figures.duplicates_removed,
    )


def verdict_of(modes: Counter[Mode]) -> Verdict:
    """Right if nothing is wrong."""
    return Verdict(valid=not modes, error_type=", ".join(sorted(modes)) or None)


def invalid_calls(tools: Sequence[Tool], calls: Sequence[ToolCall]) -> int:
    """How many calls break their tool's schema, by a validator that decoding has no part in."""
    schemas = {tool.name: tool.parameters for tool in tools}
    valid = [call.name in schemas and is_valid(dict(schemas[call.name]), dict(call.arguments)) for call in calls]
    return valid.count(False)
