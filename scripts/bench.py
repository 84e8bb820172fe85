"""The benchmarks: scripts/bench decode --engine E --model M --calls 1,2,4,8,16 [--json FILE]."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer
from bench_decode import DecodeRow, machine, measure_decode
from bench_view import draw, table
from rich.console import Console

from serving.config import load_settings
from serving.engines.build import build_engine

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Measure polycall.")


@app.callback()
def benchmarks() -> None:
    """Measure polycall."""


@app.command()
def decode(
    model: Annotated[str, typer.Option(help="Catalogue name, folder, GGUF file or hub id")] = "smollm2-135m",
    engine: Annotated[Literal["transformers"], typer.Option(help="What decodes")] = "transformers",
    calls: Annotated[str, typer.Option(help="How many calls, one row each, separated by commas")] = "1,2,4,8,16",
    repeats: Annotated[int, typer.Option(min=5, help="Measured runs of each way; medians are reported")] = 5,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto")] = "auto",
    dtype: Annotated[str, typer.Option(help="float32, bfloat16, or auto for the stored type")] = "auto",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the rows to this file")] = None,
    plot_file: Annotated[Path, typer.Option("--plot", help="Draw the plot to this file")] = Path("bench-decode.png"),
) -> None:
    """Decode the same N calls sequentially and in parallel, in turn, and compare."""
    settings = load_settings({"model": model, "engine": engine, "device": device, "dtype": dtype})
    counts = [int(count) for count in calls.split(",")]
    rows: list[DecodeRow] = measure_decode(build_engine(settings), engine, counts, repeats, Console(stderr=True))
    Console().print(table(rows, machine()))
    draw(rows, machine(), plot_file)
    if json_file is not None:
        json_file.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


if __name__ == "__main__":
    app()
