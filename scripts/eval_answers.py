"""Answers that follow the results of calls: asked for, held against the right ones, and shown by failure mode."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

from ask_together import ask_together
from eval_view import shares
from rich.console import Console
from rich.table import Table

from finetune.answer_failures import ANSWER_MODES, Answer, AnswerMode, find_answer_failures
from finetune.evaluate import CONFIDENCE, Rate, rate
from finetune.examples import Example, read_examples
from grammars.dialects import dialect_of
from grammars.errors import ConfigurationError
from serving.config import load_settings
from serving.decode.events import CallFailed, CallWritten, RoundEnded, TextWritten
from serving.decode.round import DecodeOptions, Decoder, RoundRequest
from serving.engines.build import build_engine
from serving.models.catalogue import answers_by_result

BOUNDS = DecodeOptions(call_tokens=160, stream_tokens=700, text_tokens=400)
"""Weak weights that run away are cut: the longest gold answers of ours have some 150 tokens."""


@dataclass(frozen=True, kw_only=True)
class AnswerOutcome:
    """One case: what was answered, and the failure modes that it shows."""

    id: str
    text: str
    calls: int
    modes: tuple[AnswerMode, ...]


@dataclass(frozen=True, kw_only=True)
class AnswersReport:
    """A file's answers: how many show no failure mode, how many show each, and every one of them."""

    data: str
    model: str
    answer_by_result: bool
    right: Rate
    failure_modes: Mapping[AnswerMode, Rate]
    cases: tuple[AnswerOutcome, ...]


def evaluate_answers(
    data: Path, limit: int | None, settings: Mapping[str, str], by_result: bool | None, concurrency: int
) -> AnswersReport:
    """Ask for the answer of every row that has one after results, with a progress bar; result by result where that is
    said, or else where the catalogue says so of the model.

    Raises `ConfigurationError` for a file without such rows.
    """
    examples = [one for one in read_examples(data) if one.conversation.messages[-1].role == "tool" and one.text]
    if not examples:
        raise ConfigurationError(f"{data} has no row with results and the answer that follows from them")
    model = settings["model"]
    options = replace(BOUNDS, answer_by_result=answers_by_result(model) if by_result is None else by_result)
    outcomes = asyncio.run(ask_all(list(islice(examples, limit)), settings, options, concurrency))
    return report_of_answers(data.name, model, options, outcomes)


async def ask_all(
    examples: Sequence[Example], settings: Mapping[str, str], options: DecodeOptions, concurrency: int
) -> list[AnswerOutcome]:
    engine = build_engine(load_settings(settings))
    decoder = Decoder(engine, dialect_of(engine.tokenizer), options)
    try:
        return await ask_together(
            partial(ask_for_answer, decoder),
            examples,
            title="answers",
            concurrency=concurrency,
            console=Console(stderr=True),
        )
    finally:
        await engine.close()


async def ask_for_answer(decoder: Decoder, example: Example) -> AnswerOutcome:
    """One case, as serving asks for it: the model could also call again."""
    text, calls, is_cut = "", 0, False
    async for event in decoder.decode_round(example.conversation, RoundRequest(skip_forced=True)):
        match event:
            case TextWritten():
                text += event.text
            case CallWritten() | CallFailed():
                calls += 1
            case RoundEnded():
                is_cut = event.reason == "length"
    found = find_answer_failures(example, Answer(text=text, calls=calls, is_cut=is_cut))
    return AnswerOutcome(
        id=example.id, text=text, calls=calls, modes=tuple(mode for mode in ANSWER_MODES if mode in found)
    )


def report_of_answers(
    data: str, model: str, options: DecodeOptions, outcomes: Sequence[AnswerOutcome]
) -> AnswersReport:
    shown = Counter(mode for outcome in outcomes for mode in outcome.modes)
    return AnswersReport(
        data=data,
        model=model,
        answer_by_result=options.answer_by_result,
        right=rate(sum(not outcome.modes for outcome in outcomes), len(outcomes)),
        failure_modes={mode: rate(shown[mode], len(outcomes)) for mode in ANSWER_MODES},
        cases=tuple(outcomes),
    )


def show_answers(report: AnswersReport, console: Console) -> None:
    """One row for the right ones, one a failure mode."""
    way = "result by result" if report.answer_by_result else "in one stream"
    view = Table(title=f"{report.data}, {report.model}, {way}; {CONFIDENCE:.0%} intervals (Wilson)")
    view.add_column("answers")
    for column in ("cases", "of", "rate", "interval"):
        view.add_column(column, justify="right")
    rates: dict[str, Rate] = {"right": report.right}
    rates.update(report.failure_modes.items())
    for name, its in rates.items():
        view.add_row(name, str(its.cases), str(its.of), *shares(its))
    console.print(view)
