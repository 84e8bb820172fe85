"""The evaluations:

scripts/eval bfcl --category C [--category C ...] [--limit N] --decoding sequential|parallel [--output FOLDER]
scripts/eval cases --data FILE [--limit N] --decoding sequential|parallel [--output FOLDER]
scripts/eval answers --data FILE [--limit N] [--json FILE]
scripts/eval gate --tally FOLDER --outline FOLDER [--sequential FOLDER] [--json FILE] [--plot FILE]
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer
from data_files import tell_left_out
from eval_answers import evaluate_answers, show_answers
from eval_evaluate import Files, Setup, evaluate
from eval_gate import read_gating
from eval_gate_view import draw_gating, show_gating
from eval_questions import ToolChoice, bfcl_questions, file_questions
from rich.console import Console

from finetune.bfcl import CATEGORIES
from grammars.plan_forms import FORMS
from serving.config import DEFAULT_MODEL
from serving.decode.round import RoundRequest

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Score polycall.")

Category = Annotated[
    list[str],
    typer.Option(help=f"A BFCL category; may be repeated, and the model is loaded once: {', '.join(CATEGORIES)}"),
]
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
Sure = Annotated[
    float | None,
    typer.Option(min=0, help="Of a trained model: from which probability on its tally counts, 0 for always"),
]
Heads = Annotated[
    int,
    typer.Option(
        min=0, help="Write each argument by itself, where that makes at most so many branches (parallel, after a tally)"
    ),
]
DialectName = Annotated[str | None, typer.Option(help="json, hermes, mistral; default: the model's own")]
Together = Annotated[int, typer.Option(min=1, help="Cases that are decoded together")]
Device = Annotated[str, typer.Option(help="cpu, cuda, or auto")]
Type = Annotated[str, typer.Option(help="float32, bfloat16, or auto for the stored type")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write the report to this file")]
Output = Annotated[
    Path | None,
    typer.Option(
        help="A folder for the report of each category, and for every case as it is answered; a run that ended early "
        "goes on from there"
    ),
]
Compare = Annotated[
    Path | None, typer.Option(help="A report of an earlier run, or the folder of its reports, to stand beside this one")
]
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
    sure_tally: Sure = None,
    argument_heads: Heads = 0,
    dialect: DialectName = None,
    concurrency: Together = 12,
    engine: EngineName = "transformers",
    device: Device = "auto",
    dtype: Type = "auto",
    output: Output = None,
    json_file: JsonFile = None,
    compare: Compare = None,
    plot: Plot = None,
) -> None:
    """Answer BFCL cases and score the calls with BFCL's own AST checker, and by failure mode."""
    files = Files(output=output, json_file=json_file, compare=compare, plot=plot)
    files.check(category)
    questions = {name: bfcl_questions(name, limit, tool_choice) for name in category}
    setup = Setup(
        settings={"model": model, "engine": engine, "device": device, "dtype": dtype},
        dialect=dialect,
        plan_form=plan_form,
        sure_tally=sure_tally,
        argument_heads=argument_heads,
        tool_choice=tool_choice,
        concurrency=concurrency,
    )
    evaluate(questions, RoundRequest(decoding=decoding), setup, files)


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
    sure_tally: Sure = None,
    argument_heads: Heads = 0,
    dialect: DialectName = None,
    concurrency: Together = 12,
    engine: EngineName = "transformers",
    device: Device = "auto",
    dtype: Type = "auto",
    output: Output = None,
    json_file: JsonFile = None,
    compare: Compare = None,
    plot: Plot = None,
) -> None:
    """Answer the rows of a file with gold calls, and count the failure modes."""
    files = Files(output=output, json_file=json_file, compare=compare, plot=plot)
    questions, refused = file_questions(data, limit, tool_choice, skip=skip)
    tell_left_out([*map(str, refused)], Console(stderr=True), what="rows")
    setup = Setup(
        settings={"model": model, "engine": engine, "device": device, "dtype": dtype},
        dialect=dialect,
        plan_form=plan_form,
        sure_tally=sure_tally,
        argument_heads=argument_heads,
        tool_choice=tool_choice,
        concurrency=concurrency,
        files={data.name: hashlib.sha256(data.read_bytes()).hexdigest()},
    )
    request = RoundRequest(decoding=decoding, parallel_dependencies=dependencies)
    evaluate({data.name: questions}, request, setup, files)


@app.command()
def answers(
    data: Annotated[Path, typer.Option(help="A file with rows that go on with results and an answer")],
    model: Model = DEFAULT_MODEL,
    answer_by_result: Annotated[
        bool | None,
        typer.Option(help="Whether each of several results is said by itself [default: as the catalogue says]"),
    ] = None,
    limit: Limit = None,
    concurrency: Together = 12,
    engine: EngineName = "transformers",
    device: Device = "auto",
    dtype: Type = "auto",
    json_file: JsonFile = None,
) -> None:
    """Ask for the answers that follow the results of calls, and count their failure modes."""
    settings = {"model": model, "engine": engine, "device": device, "dtype": dtype}
    report = evaluate_answers(data, limit, settings, answer_by_result, concurrency)
    show_answers(report, Console())
    if json_file is not None:
        json_file.write_text(json.dumps(asdict(report), indent=1) + "\n")


@app.command()
def gate(
    tally: Annotated[Path, typer.Option(help="The --output folder of a run with --sure-tally 0")],
    outline: Annotated[Path, typer.Option(help="That of a run of the same cases with --plan-form outline")],
    sequential: Annotated[
        Path | None, typer.Option(help="That of a run of the same cases with --decoding sequential")
    ] = None,
    json_file: JsonFile = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the curves over the threshold to this file")] = None,
) -> None:
    """The tally, the outline, and the tally where it is sure enough, at every threshold, from a run of each."""
    gatings = read_gating(tally, outline, sequential)
    for one in gatings:
        show_gating(one, Console())
    if json_file is not None:
        json_file.write_text(json.dumps([asdict(one) for one in gatings], indent=1) + "\n")
    if plot is not None:
        draw_gating(gatings, plot)


if __name__ == "__main__":
    app()
