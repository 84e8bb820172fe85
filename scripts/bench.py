"""The benchmarks:

scripts/bench decode --engine E --model M --calls 1,2,4,8,16 [--json FILE]
scripts/bench simpletool --engine E --model M --calls 1,2,4,8 [--json FILE]
scripts/bench execute --engine E --model M [--data FOLDER] [--json FILE]
scripts/bench frontend [--json FILE]
scripts/bench training --data FILE [--config FILE] [--json FILE]
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

import typer
from bench_decode import DecodeRow, machine, measure_decode
from bench_execute import measure_execute
from bench_execute_view import draw_execute, execute_table
from bench_frontend import frontend_table, measure_frontend
from bench_overlap import overlap_rows
from bench_questions import Question
from bench_simpletool import measure_simpletool
from bench_training import measure_training, training_table
from bench_view import draw, table
from bench_vllm import measure_vllm
from bench_vllm_view import draw_vllm, show_simpletool, show_vllm
from rich.console import Console

from finetune.training_config import load_training_config
from serving.config import load_settings
from serving.decode.round import DecodeOptions
from serving.engines.base import Engine
from serving.engines.build import build_engine
from serving.engines.scripted import ScriptedEngine
from serving.models.catalogue import resolve_model

SCRIPTED_STEP_S = 0.004
"""How long one decode step of the scripted engine takes."""

RECIPE = Path(__file__).parents[1] / "finetune" / "configs" / "smollm2-135m.toml"

ArgumentHeads = Annotated[
    int, typer.Option(min=0, help="Of a model that was trained for it: each argument a branch, up to so many branches")
]

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Measure polycall.")


@app.callback()
def benchmarks() -> None:
    """Measure polycall."""


@app.command()
def decode(
    model: Annotated[str, typer.Option(help="Catalogue name, folder, GGUF file or hub id")] = "smollm2-135m",
    engine: Annotated[
        Literal["transformers", "vllm"], typer.Option(help="What decodes; vllm also measures stock vLLM")
    ] = "transformers",
    calls: Annotated[str, typer.Option(help="How many calls, one row each, separated by commas")] = "1,2,4,8,16",
    question: Annotated[
        Question, typer.Option(help="How the calls are asked for: in lines like the outline's, or in a sentence")
    ] = "lines",
    repeats: Annotated[int, typer.Option(min=5, help="Measured runs of each way; medians are reported")] = 5,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto")] = "auto",
    dtype: Annotated[str, typer.Option(help="float32, bfloat16, or auto for the stored type")] = "auto",
    regimes: Annotated[bool, typer.Option(help="For vllm: FILE-regimes.json: caches, clients")] = True,
    eager: Annotated[bool, typer.Option(help="For vllm: do not compile; starts sooner, steps take longer")] = False,
    argument_heads: ArgumentHeads = 0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the rows to this file")] = None,
    plot_file: Annotated[Path, typer.Option("--plot", help="Draw the plot to this file")] = Path("bench-decode.png"),
) -> None:
    """Decode the same N calls sequentially and in parallel, in turn, and compare."""
    counts = [int(count) for count in calls.split(",")]
    console = Console(stderr=True)
    options = DecodeOptions(argument_heads=argument_heads)
    if engine == "vllm":
        report = measure_vllm(
            model, dtype, counts, repeats, console, question, regimes=regimes, eager=eager, options=options
        )
        show_vllm(report, machine(), Console())
        draw_vllm(report, machine(), plot_file)
        written = [asdict(row) for row in report.rows]
        if json_file is not None and regimes:
            beside = {"regimes": list(map(asdict, report.regimes)), "load": list(map(asdict, report.load))}
            json_file.with_stem(f"{json_file.stem}-regimes").write_text(json.dumps(beside, indent=1) + "\n")
    else:
        settings = load_settings({"model": model, "engine": engine, "device": device, "dtype": dtype})
        rows: list[DecodeRow] = measure_decode(
            build_engine(settings), engine, counts, repeats, console, question, options
        )
        Console().print(table(rows, machine()))
        draw(rows, machine(), plot_file)
        written = [asdict(row) for row in rows]
    if json_file is not None:
        json_file.write_text(json.dumps(written, indent=1) + "\n")


@app.command()
def simpletool(
    model: Annotated[str, typer.Option(help="Catalogue name, folder, GGUF file or hub id")] = "smollm2-135m",
    engine: Annotated[Literal["transformers", "vllm"], typer.Option(help="What decodes")] = "vllm",
    calls: Annotated[str, typer.Option(help="How many calls, one row each, separated by commas")] = "1,2,4,8",
    repeats: Annotated[int, typer.Option(min=1, help="Measured runs; medians are reported")] = 5,
    argument_heads: ArgumentHeads = 0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the rows to this file")] = None,
) -> None:
    """Compare with SimpleTool's layout (arXiv:2603.00030): the arguments of one call at once, call after call."""
    report = measure_simpletool(
        model,
        engine,
        [int(count) for count in calls.split(",")],
        repeats,
        Console(stderr=True),
        DecodeOptions(argument_heads=argument_heads),
    )
    show_simpletool(report, machine(), Console())
    if json_file is not None:
        json_file.write_text(json.dumps(asdict(report), indent=1) + "\n")


@app.command()
def execute(
    engine: Annotated[
        Literal["scripted", "transformers"], typer.Option(help="What decodes the calls that run while it decodes")
    ] = "scripted",
    model: Annotated[str, typer.Option(help="For 'transformers': catalogue name, folder or hub id")] = "smollm2-135m",
    data: Annotated[
        Path | None,
        typer.Option(help="LLMCompiler's question sets (its folder datasets/), to play plans shaped after them"),
    ] = None,
    only: Annotated[str, typer.Option(help="Play these workloads only, separated by commas")] = "",
    seed: Annotated[int, typer.Option(help="Of the latencies, graphs, faults and questions")] = 1,
    repeats: Annotated[int, typer.Option(min=1, help="Measured runs; medians are reported")] = 3,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the rows to this file")] = None,
    plot_file: Annotated[Path, typer.Option("--plot", help="Draw the plot to this file")] = Path("bench-execute.png"),
) -> None:
    """Run the same calls by a loop, threads, asyncio.gather, LangGraph's ToolNode and polycall, and compare."""
    chosen = [name.strip() for name in only.split(",") if name.strip()]
    rows = measure_execute(seed, repeats, data, Console(stderr=True), chosen)
    if not chosen or "overlap" in chosen:
        rows += overlap_rows(engines(engine, model), repeats)
    if not rows:
        raise typer.BadParameter(f"no workload is called {only!r}", param_hint="--only")
    Console().print(execute_table(rows, machine()))
    draw_execute(rows, machine(), plot_file)
    if json_file is not None:
        json_file.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


@app.command()
def frontend(
    requests: Annotated[int, typer.Option(min=20, help="Requests of each case to each side")] = 400,
    vllm: Annotated[bool, typer.Option(help="Also stock vLLM's API server, if vLLM is installed")] = True,
    model: Annotated[str, typer.Option(help="Whose tokenizer vLLM's API server takes")] = "smollm2-135m",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the rows to this file")] = None,
) -> None:
    """Answer the same requests by polycall with a scripted engine, FastAPI's bare echo and stock vLLM, in turn."""
    vllm = vllm and find_spec("vllm") is not None
    rows = measure_frontend(requests, resolve_model(model) if vllm else None, Console(stderr=True))
    Console().print(frontend_table(rows, machine()))
    if json_file is not None:
        json_file.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


@app.command()
def training(
    data: Annotated[Path, typer.Option(help="A file of rows, as scripts/train reads them")],
    config: Annotated[Path, typer.Option(help="The settings of a run, as TOML: model, adapter, passes")] = RECIPE,
    examples: Annotated[int, typer.Option(min=1, help="How many examples of it a step learns from")] = 32,
    repeats: Annotated[int, typer.Option(min=1, help="Measured steps; medians are reported")] = 5,
    seed: Annotated[int, typer.Option(help="Of the draw of the examples")] = 1,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the report to this file")] = None,
) -> None:
    """Train on the same examples in packed rows, in a row a stream, and in SimpleTool's row a head, and compare."""
    report = measure_training(load_training_config(config), data, examples, repeats, seed, Console(stderr=True))
    Console().print(training_table(report, machine()))
    if json_file is not None:
        json_file.write_text(json.dumps(asdict(report), indent=1) + "\n")


def engines(name: str, model: str) -> Callable[[], Engine]:
    """Gives an engine for each round: always the same, or scripted ones that all write alike."""
    if name == "scripted":
        return lambda: ScriptedEngine(step_s=SCRIPTED_STEP_S)
    engine = build_engine(load_settings({"model": model, "engine": name}))
    return lambda: engine


if __name__ == "__main__":
    app()
