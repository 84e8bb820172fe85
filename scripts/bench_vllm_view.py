"""The benchmarks against stock vLLM and SimpleTool's layout as tables and as a plot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import matplotlib
from bench_simpletool import SimpleToolReport
from bench_vllm_report import VllmReport
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

matplotlib.use("Agg")  # files only: no screen is needed


def table_of(title: str, rows: Sequence[Any]) -> Table:
    """Rows of one kind, a column a row."""
    view = Table(title=title)
    for name in asdict(rows[0]):
        view.add_column(name.replace("_", " "), justify="right")
    for row in rows:
        view.add_row(*(str(value) for value in asdict(row).values()))
    return view


def title_of(report: VllmReport, machine: str) -> str:
    """The conditions of the first table and of the plot."""
    first = report.rows[0]
    return f"{first.model} on vLLM beside stock vLLM, {machine}, asked in {first.question}, warm prefix, one client"


def show_vllm(report: VllmReport, machine: str, console: Console) -> None:
    """All tables of the report."""
    turned = Table(title=title_of(report, machine))
    turned.add_column("")
    for row in report.rows:
        turned.add_column(f"{row.calls} calls" if row.calls > 1 else "1 call", justify="right")
    for name in asdict(report.rows[0]):
        if name not in ("engine", "model", "question", "calls"):
            turned.add_row(name.replace("_", " "), *(str(getattr(row, name)) for row in report.rows))
    console.print(turned)
    if report.regimes:
        console.print(table_of("8 calls, by cache regime", report.regimes))
    if report.load:
        console.print(table_of("8 calls a request, clients at once", report.load))


def show_simpletool(report: SimpleToolReport, machine: str, console: Console) -> None:
    """Both tables of the report."""
    console.print(table_of(f"SimpleTool's layout, {report.model} on {report.engine}, {machine}", report.rows))
    console.print(table_of("decode steps", report.steps))


def draw_vllm(report: VllmReport, machine: str, path: Path) -> None:
    """Seconds over the number of calls, and what plan and branches took of them, as a PNG."""
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    seconds, parts = figure.subplots(1, 2)
    counts = [row.calls for row in report.rows]
    for name, label, marker in (
        ("vllm_s", "stock vLLM, array of N", "s"),
        ("sequential_s", "polycall, sequential", "o"),
        ("parallel_s", "polycall, parallel", "^"),
    ):
        seconds.plot(counts, [getattr(row, name) for row in report.rows], marker=marker, label=label)
    for row in report.rows:
        place = (row.calls, row.vllm_s)
        seconds.annotate(f"{row.ratio_vllm}x", place, textcoords="offset points", xytext=(0, 8), ha="center")
    seconds.set_ylabel("seconds (median)")
    names = [str(row.calls) for row in report.rows]
    plan = [row.plan_s for row in report.rows]
    parts.bar(names, plan, label="plan (first branches decode beside it)")
    parts.bar(names, [row.branches_s for row in report.rows], bottom=plan, label="branches after the plan")
    parts.set_ylabel("seconds of parallel decoding")
    for axes in (seconds, parts):
        axes.set_xlabel("calls of three arguments")
        axes.set_ylim(bottom=0)
        axes.margins(y=0.15)
        axes.grid(alpha=0.3)
        axes.legend()
    seconds.set_xticks(counts)
    figure.suptitle(title_of(report, machine), fontsize=10)
    figure.savefig(path, dpi=150)
