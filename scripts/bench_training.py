"""What packing saves in training: tokens read and seconds a step, on the same examples in four layouts.

A step learns from all the examples at once: forward, backward and the optimizer's step of the very `Trainer` that
trains. Of each layout the first step is the warm-up.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from finetune.examples import RowRefused, read_examples
from finetune.layouts import rows_in_layout, simpletool_lessons
from finetune.lessons import example_lessons
from finetune.rows import Row
from finetune.trainer import StepLoss, Trainer
from finetune.training_config import TrainingConfig
from grammars.dialects import trained_dialect
from grammars.errors import ConfigurationError, RequestError
from grammars.tokenizer import Tokenizer
from serving.engines.transformers.tokenizer import load_tokenizer
from serving.models.catalogue import resolve_model

LAYOUTS = ("packed", "a row a stream", "SimpleTool's heads, packed", "SimpleTool's, a row a head")
"""Ours, the same streams without packing, and SimpleTool's fewer streams with and without it."""


@dataclass(frozen=True, kw_only=True)
class LayoutRow:
    """One layout: `tokens_ratio` and `step_ratio` are over those of packed rows."""

    layout: str
    rows: int
    tokens: int
    tokens_an_example: float
    tokens_ratio: float
    step_s: float
    step_ratio: float


@dataclass(frozen=True, kw_only=True)
class TrainingReport:
    """All layouts on the same examples; `left_out` of those drawn had a row of more than `example_tokens`, or could not
    be taught.
    """

    model: str
    data: str
    examples: int
    left_out: int
    example_tokens: int
    pass_tokens: int
    repeats: int
    layouts: list[LayoutRow]


def measure_training(
    settings: TrainingConfig, data: Path, examples: int, repeats: int, seed: int, console: Console
) -> TrainingReport:
    """Every layout in turn on so many examples of the file, drawn at random."""
    base = resolve_model(settings.model)
    tokenizer, _ = load_tokenizer(base)
    taken, left_out = layouts_of(data, examples, tokenizer, settings, seed)
    found: list[LayoutRow] = []
    with Progress(console=console) as progress:
        task = progress.add_task("training steps", total=len(LAYOUTS) * (repeats + 1))
        for name in LAYOUTS:
            rows = [row for layouts in taken for row in layouts[name]]
            tokens = sum(map(len, rows))
            step_s = median(step_seconds(settings, base, rows, repeats, lambda: progress.advance(task)))
            first = found[0] if found else None
            found.append(
                LayoutRow(
                    layout=name,
                    rows=len(rows),
                    tokens=tokens,
                    tokens_an_example=round(tokens / len(taken), 1),
                    tokens_ratio=round(tokens / first.tokens, 2) if first else 1.0,
                    step_s=round(step_s, 3),
                    step_ratio=round(step_s / first.step_s, 2) if first else 1.0,
                )
            )
    return TrainingReport(
        model=settings.model,
        data=data.name,
        examples=len(taken),
        left_out=left_out,
        example_tokens=settings.example_tokens,
        pass_tokens=settings.pass_tokens,
        repeats=repeats,
        layouts=found,
    )


def layouts_of(
    data: Path, count: int, tokenizer: Tokenizer, settings: TrainingConfig, seed: int
) -> tuple[list[Mapping[str, Sequence[Row]]], int]:
    """The rows of each example by layout, and how many examples were passed over to find so many."""
    dialect = trained_dialect(tokenizer)
    assert dialect.marks is not None  # or it would not be one to train on
    examples = list(read_examples(data, refused=list[RowRefused]()))
    random.Random(seed).shuffle(examples)
    found: list[Mapping[str, Sequence[Row]]] = []
    for drawn, example in enumerate(examples, start=1):
        calls = example.waves[0] if example.waves else ()
        try:
            prefix, lessons = example_lessons(
                example.conversation, calls, dialect, tokenizer, settings.weights_of(drawn)
            )
        except (RequestError, ValueError):
            continue
        heads = simpletool_lessons(example.conversation, calls, dialect.marks, tokenizer)
        made = [
            rows_in_layout(prefix, taught, packed=packed) for taught in (lessons, heads) for packed in (True, False)
        ]
        if all(len(row) <= settings.example_tokens for rows in made for row in rows):
            found.append(dict(zip(LAYOUTS, made, strict=True)))
        if len(found) == count:
            return found, drawn - count
    raise ConfigurationError(
        f"{data} has {len(found)} examples of at most {settings.example_tokens} tokens in every layout, not {count}"
    )


def step_seconds(
    settings: TrainingConfig, base: Path, rows: Sequence[Row], repeats: int, done: Callable[[], None]
) -> list[float]:
    """Seconds of each step that learns from all these rows, the first one left out."""
    config = settings.model_copy(
        update={"steps": repeats + 1, "batch_tokens": sum(map(len, rows)), "checkpoint_steps": repeats + 1}
    )
    at_s: list[float] = []

    def heard(_: StepLoss) -> None:
        at_s.append(time.perf_counter())
        done()

    with TemporaryDirectory() as folder:
        Trainer(config, base, Path(folder)).run(rows, heard)
    return [after - before for before, after in pairwise(at_s)]


def training_table(report: TrainingReport, machine: str) -> Table:
    """The layouts as a table, with model, data and machine above it."""
    view = Table(
        title=f"{report.examples} examples of {report.data}, {report.model}, {machine}; "
        f"passes of {report.pass_tokens} tokens, medians of {report.repeats} steps"
    )
    for column in ("layout", "rows", "tokens", "tokens an example", "x tokens", "step s", "x seconds"):
        view.add_column(column, justify="left" if column == "layout" else "right")
    for row in report.layouts:
        view.add_row(
            row.layout,
            *map(str, (row.rows, row.tokens, row.tokens_an_example, row.tokens_ratio, row.step_s, row.step_ratio)),
        )
    return view
