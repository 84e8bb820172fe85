"""The evaluations:

scripts/eval bfcl --category C [--limit N] --decoding sequential|parallel [--json FILE] [--compare REPORT.json]
scripts/eval cases --data FILE [--limit N] --decoding sequential|parallel [--json FILE] [--compare REPORT.json]
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer
from eval_questions import ToolChoice, bfcl_questions, file_questions
from eval_report import line, report_of
from eval_run import Question, answer_questions, decoder_of, plan_named
from eval_view import draw, show
from rich.console import Console

from finetune.bfcl import CATEGORIES
from finetune.evaluate import read_report
from grammars.plan_forms import FORMS
from serving.config import load_settings
from serving.decode.round import RoundRequest
from serving.engines.build import build_engine

SHOWN_REFUSALS = 20
"""How many rows that were left out are shown with their reasons; all of them are counted."""

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Score polycall.")

Category = Annotated[str, typer.Option(help=f"A BFCL category: {', '.join(CATEGORIES)}")]
Data = Annotated[Path, typer.Option(help="A file of Seal-Tools, ToolRL, ToolACE, xLAM, Hermes or OpenAI-format rows")]
Model = Annotated[str, typer.Option(help="Catalogue name, folder, GGUF file or hub id")]
EngineName = Annotated[Literal["transformers", "vllm"], typer.Option("--engine", help="What decodes")]
Way = Annotated[Literal["parallel", "sequential"], typer.Option(help="How calls are decoded")]
Limit = Annotated[int | None, typer.Option(min=1, help="Only the first so many cases")]
Form = Annotated[
    str | None,
    typer.Option(
        help=f"The form of the plan: {', '.join(FORMS)}; of a trained model: tally, outline; default: its own"
    ),
]
DialectName = Annotated[str | None, typer.Option(help="json, hermes, mistral; default: the model's own")]
Together = Annotated[int, typer.Option(min=1, help="Cases that are decoded together")]
Device = Annotated[str, typer.Option(help="cpu, cuda, or auto")]
Type = Annotated[str, typer.Option(help="float32, bfloat16, or auto for the stored type")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write the report to this file")]
CasesFile = Annotated[Path | None, typer.Option("--cases", help="Write every case's calls, verdict and failure modes")]
Compare = Annotated[Path | None, typer.Option(help="A report of an earlier run, to stand beside this one")]
Plot = Annotated[Path | None, typer.Option(help="Draw the failure modes, before and after, to this file")]


@app.callback()
def evaluations() -> None:
    """Score polycall."""


@app.command()
def bfcl(
    category: Category,
    model: Model = "qwen2.5-coder-1.5b",
    decoding: Way = "parallel",
    limit: Limit = None,
    tool_choice: Annotated[
        ToolChoice | None,
        typer.Option(help="Default: required where BFCL says which calls are right, auto where none or any is"),
    ] = None,
    plan_form: Form = None,
    dialect: DialectName = None,
    concurrency: Together = 12,
    engine: EngineName = "transformers",
    device: Device = "auto",
    dtype: Type = "auto",
    json_file: JsonFile = None,
    cases_file: CasesFile = None,
    compare: Compare = None,
    plot: Plot = None,
) -> None:
    """Answer BFCL cases and score the calls with BFCL's own AST checker, and by failure mode."""
    questions = bfcl_questions(category, limit, tool_choice)
    request = RoundRequest(decoding=decoding)
    settings = {"model": model, "engine": engine, "device": device, "dtype": dtype}
    setup = Setup(settings=settings, dialect=dialect, plan_form=plan_form, concurrency=concurrency)
    files = Files(json_file=json_file, cases_file=cases_file, compare=compare, plot=plot)
    evaluate(category, questions, request, setup, files)


@app.command()
def cases(
    data: Data,
    model: Model = "qwen2.5-coder-1.5b",
    decoding: Way = "parallel",
    limit: Limit = None,
    tool_choice: Annotated[
        ToolChoice, typer.Option(help="required: rows with calls must be answered with calls")
    ] = "auto",
    skip: Annotated[bool, typer.Option(help="Leave out rows that cannot be read, and list them")] = False,
    dependencies: Annotated[
        bool, typer.Option(help="Calls may refer to the results of others (parallel decoding only)")
    ] = False,
    plan_form: Form = None,
    dialect: DialectName = None,
    concurrency: Together = 12,
    engine: EngineName = "transformers",
    device: Device = "auto",
    dtype: Type = "auto",
    json_file: JsonFile = None,
    cases_file: CasesFile = None,
    compare: Compare = None,
    plot: Plot = None,
) -> None:
    """Answer the rows of a file with gold calls, and count the failure modes."""
    questions, refused = file_questions(data, limit, tool_choice, skip=skip)
    console = Console(stderr=True)
    if refused:
        console.print(f"{len(refused)} rows are left out", style="yellow")
        for reason in refused[:SHOWN_REFUSALS]:
            console.print(f"  {reason}", markup=False, highlight=False)
        if len(refused) > SHOWN_REFUSALS:
            console.print(f"  and {len(refused) - SHOWN_REFUSALS} more")
    request = RoundRequest(decoding=decoding, parallel_dependencies=dependencies)
    settings = {"model": model, "engine": engine, "device": device, "dtype": dtype}
    setup = Setup(settings=settings, dialect=dialect, plan_form=plan_form, concurrency=concurrency)
    files = Files(json_file=json_file, cases_file=cases_file, compare=compare, plot=plot)
    evaluate(data.name, questions, request, setup, files)


@dataclass(frozen=True, kw_only=True)
class Files:
    """What an evaluation reads beside its questions, and what it writes."""

    json_file: Path | None
    cases_file: Path | None
    compare: Path | None
    plot: Path | None


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What answers, and how many questions at a time."""

    settings: Mapping[str, str]
    dialect: str | None
    plan_form: str | None
    concurrency: int


def evaluate(name: str, questions: Sequence[Question], request: RoundRequest, setup: Setup, files: Files) -> None:
    """Answer the questions, show the report, and write what is asked for."""
    earlier = read_report(files.compare, name) if files.compare else None  # before the hours that answering may take
    decoder = decoder_of(build_engine(load_settings(setup.settings)), setup.dialect, setup.plan_form)
    title = f"{name}, {request.decoding}"
    outcomes = asyncio.run(
        answer_questions(decoder, questions, request, title, setup.concurrency, Console(stderr=True))
    )
    plan = plan_named(setup.plan_form, decoder)
    report = report_of(name, setup.settings["model"], request.decoding, plan, outcomes)
    show(report, earlier, Console())
    if files.json_file is not None:
        files.json_file.write_text(json.dumps(asdict(report), indent=1) + "\n")
    if files.cases_file is not None:
        files.cases_file.write_text("".join(map(line, outcomes)))
    if files.plot is not None:
        draw(report, earlier, files.plot)


if __name__ == "__main__":
    app()
