"""Execution benchmarks as a table and as a plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from bench_execute import ExecuteRow
from matplotlib.figure import Figure
from rich.table import Table

matplotlib.use("Agg")  # files only: no screen is needed

COLORS = {"sequential": "#bbbbbb", "thread pool": "#8fb3d9", "gather": "#5b8fc7", "ToolNode": "#e0a458"}
"""Of the runners that polycall, which is dark, is compared with."""

BAR = 0.16
"""How high a bar is, where workloads stand one apart."""


def execute_table(rows: Sequence[ExecuteRow], machine: str) -> Table:
    """The rows, one line each, workload by workload."""
    view = Table(title=f"running the calls of a turn, {machine}")
    for column in ("workload", "runner", "makespan s", "bound s", "ratio", "lost", "notes"):
        is_text = column in ("workload", "runner", "notes")
        view.add_column(column, justify="left" if is_text else "right", no_wrap=column != "notes")
    last = None
    for row in rows:
        if last is not None and row.workload != last:
            view.add_section()
        cells = (row.makespan_s, row.bound_s, row.ratio, row.results_lost)
        view.add_row(row.workload if row.workload != last else "", row.runner, *map(str, cells), notes(row))
        last = row.workload
    return view


def notes(row: ExecuteRow) -> str:
    found = []
    if row.out_of_order:
        found.append(f"{row.out_of_order} out of order")
    if row.invocations is not None:
        found.append(f"{row.invocations} invocation{'s' * (row.invocations != 1)}")
    if row.decode_s is not None:
        found.append(f"decoded {row.decode_s} s, first call at {row.first_call_s} s, saved {row.saving_s} s")
    return ", ".join(found)


def draw_execute(rows: Sequence[ExecuteRow], machine: str, path: Path) -> None:
    """Time over the least that is possible, for each workload and runner, as a PNG; what was lost stands beside it."""
    workloads = list(dict.fromkeys(row.workload for row in rows))
    figure = Figure(figsize=(10, 0.62 * len(workloads) + 1.6), layout="constrained")
    axes = figure.subplots()
    labelled: set[str] = set()
    for place, workload in enumerate(workloads):
        found = [row for row in rows if row.workload == workload]
        for number, row in enumerate(found):
            y = place + (number - (len(found) - 1) / 2) * BAR
            color = "#1b4f2f" if row.runner == "polycall" else COLORS.get(row.runner, "#d9c7a3")
            label = row.runner if row.runner not in labelled else None
            labelled.add(row.runner)
            axes.barh(y, row.ratio, height=BAR, color=color, label=label)
            words = f" {row.ratio:.2f}" + (f"  lost {row.results_lost}" if row.results_lost else "")
            words += f"  {row.out_of_order} out of order" if row.out_of_order else ""
            axes.annotate(words, (row.ratio, y), va="center", fontsize=6)
    axes.axvline(1.0, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xlim(0.5, 3 * max(row.ratio for row in rows))
    axes.set_xticks([1, 2, 5, 10, 20, 50], ["1", "2", "5", "10", "20", "50"])
    axes.set_ylim(-0.6, len(workloads) - 0.4)
    axes.set_yticks(range(len(workloads)), workloads)
    axes.invert_yaxis()
    axes.set_xlabel("time over the least that is possible (log scale; 1 is best)")
    axes.legend(fontsize=7, loc="lower right")
    figure.suptitle(f"running the calls of a turn, {machine}", fontsize=10)
    figure.savefig(path, dpi=150)
