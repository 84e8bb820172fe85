"""The evaluations: scripts/eval bfcl --category C [--limit N] --decoding sequential|parallel [--json FILE]."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer
from eval_bfcl import Outcome, Report, answer_cases, decoder_of, report_of
from rich.console import Console
from rich.table import Table

from finetune.bfcl import load_cases
from grammars.plan_forms import FORMS
from serving.config import load_settings
from serving.engines.build import build_engine

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Score polycall.")


@app.callback()
def evaluations() -> None:
    """Score polycall."""


@app.command()
def bfcl(
    category: Annotated[str, typer.Option(help="A BFCL category, such as parallel or parallel_multiple")],
    model: Annotated[str, typer.Option(help="Catalogue name, folder, GGUF file or hub id")] = "qwen2.5-coder-1.5b",
    decoding: Annotated[Literal["parallel", "sequential"], typer.Option(help="How calls are decoded")] = "parallel",
    limit: Annotated[int | None, typer.Option(help="Only the first so many cases")] = None,
    plan_form: Annotated[str, typer.Option(help=f"The form of the plan: {', '.join(FORMS)}")] = "joint",
    dialect: Annotated[str | None, typer.Option(help="json, hermes, mistral; default: the model's own")] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Cases that are decoded together")] = 12,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto")] = "auto",
    dtype: Annotated[str, typer.Option(help="float32, bfloat16, or auto for the stored type")] = "auto",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the report to this file")] = None,
    cases_file: Annotated[Path | None, typer.Option("--cases", help="Write every case's calls and verdict")] = None,
) -> None:
    """Answer BFCL cases and score the calls with BFCL's own AST checker."""
    cases = load_cases(category, limit)
    engine = build_engine(load_settings({"model": model, "device": device, "dtype": dtype}))
    decoder = decoder_of(engine, dialect, plan_form)
    outcomes = asyncio.run(answer_cases(decoder, cases, decoding, concurrency, Console(stderr=True)))
    report = report_of(category, model, decoding, plan_form, outcomes)
    Console().print(table(report))
    if json_file is not None:
        json_file.write_text(json.dumps(asdict(report), indent=1) + "\n")
    if cases_file is not None:
        cases_file.write_text("".join(line(outcome) for outcome in outcomes))


def table(report: Report) -> Table:
    """The report, one row a figure."""
    view = Table(title=f"BFCL {report.category}, {report.model}, {report.decoding}")
    view.add_column("figure")
    view.add_column("value", justify="right")
    for name, value in asdict(report).items():
        if name not in ("category", "model", "decoding"):
            view.add_row(
                name,
                "\n".join(f"{key}: {count}" for key, count in value.items()) or "none"
                if isinstance(value, dict)
                else str(value),
            )
    return view


def line(outcome: Outcome) -> str:
    """One case as JSON lines have it."""
    calls = [{"name": call.name, "arguments": dict(call.arguments)} for call in outcome.calls]
    written = {"id": outcome.id, "calls": calls, **asdict(outcome.verdict), "steps": outcome.steps}
    return json.dumps(written, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    app()
