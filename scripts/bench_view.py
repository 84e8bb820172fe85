"""Benchmarks as a table and as a plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from bench_decode import DecodeRow
from matplotlib.figure import Figure
from rich.table import Table

matplotlib.use("Agg")  # files only: no screen is needed

COLUMNS = {
    "sequential_s": "sequential s",
    "sequential_skipping_s": "skipping s",
    "parallel_s": "parallel s",
    "ratio": "ratio",
    "sequential_steps": "sequential steps",
    "sequential_skipping_steps": "skipping steps",
    "parallel_steps": "parallel steps",
    "plan_steps": "plan steps",
    "branches": "branches",
    "valid": "valid",
    "counting_s": "counting s",
    "counting_ratio": "counting ratio",
    "counting_steps": "counting steps",
    "counting_right": "counted right",
    "counting_plan": "counting plan",
    "tally_sure": "tally sure",
    "peak_mib": "peak MiB",
    "peak_mib_one_branch": "one branch MiB",
}


def table(rows: Sequence[DecodeRow], machine: str) -> Table:
    """The rows as a table, one column a number of calls, with model and machine above it."""
    view = Table(title=f"{rows[0].model} on {rows[0].engine}, {machine}, asked in {rows[0].question}")
    view.add_column("")
    for row in rows:
        view.add_column(f"{row.calls} calls" if row.calls > 1 else "1 call", justify="right")
    for name, title in COLUMNS.items():
        values = [getattr(row, name) for row in rows]
        if any(value is not None for value in values):
            view.add_row(title, *map(str, values))
    return view


def draw(rows: Sequence[DecodeRow], machine: str, path: Path) -> None:
    """Seconds and decode steps over the number of calls, as a PNG."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    seconds, steps = figure.subplots(1, 2)
    counts = [row.calls for row in rows]
    for way, marker in (("sequential", "o"), ("sequential_skipping", "s"), ("parallel", "^")):
        label = way.replace("_", ", ")
        seconds.plot(counts, [getattr(row, f"{way}_s") for row in rows], marker=marker, label=label)
        steps.plot(counts, [getattr(row, f"{way}_steps") for row in rows], marker=marker, label=label)
    for row in rows:
        seconds.annotate(f"{row.ratio}x", (row.calls, row.parallel_s), textcoords="offset points", xytext=(0, -14))
    for axes, unit in ((seconds, "seconds (median)"), (steps, "decode steps on the critical path")):
        axes.set_xlabel("calls of three arguments")
        axes.set_ylabel(unit)
        axes.set_xticks(counts)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    seconds.legend()
    figure.suptitle(f"{rows[0].model} on {rows[0].engine}, {machine}", fontsize=10)
    figure.savefig(path, dpi=150)
