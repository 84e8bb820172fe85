"""An evaluation as tables and as a plot, an earlier one beside it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import matplotlib
from eval_report import Report
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from finetune.evaluate import CONFIDENCE, Change, EarlierReport, Rate, changes

matplotlib.use("Agg")  # files only: no screen is needed

APART = ("category", "model", "decoding", "failure_modes")
"""What stands in the title, or in a table of its own."""


def show(report: Report, earlier: EarlierReport | None, console: Console) -> None:
    """The figures, then the failure modes, then what became of both since the earlier report."""
    console.print(figures_table(report))
    console.print(modes_table(report))
    if earlier is not None:
        console.print(changes_table(report, earlier))


def figures_table(report: Report) -> Table:
    """The report, one row a figure."""
    view = Table(title=f"{report.category}, {report.title}")
    view.add_column("figure")
    view.add_column("value", justify="right")
    for name, value in asdict(report).items():
        if name not in APART:
            view.add_row(
                name,
                "\n".join(f"{key}: {count}" for key, count in value.items()) or "none"
                if isinstance(value, dict)
                else str(value),
            )
    return view


def modes_table(report: Report) -> Table:
    """One row a failure mode: the cases that show it, of those in which it can occur, and how often it occurs."""
    view = Table(title=f"failure modes, {CONFIDENCE:.0%} intervals (Wilson)")
    view.add_column("failure mode")
    for column in ("cases", "of", "rate", "interval", "occurrences"):
        view.add_column(column, justify="right")
    for mode, shown in report.failure_modes.items():
        view.add_row(mode, str(shown.cases), str(shown.of), *shares(shown), str(shown.occurrences))
    return view


def changes_table(report: Report, earlier: EarlierReport) -> Table:
    """Accuracy and failure modes of both runs, and the difference with its interval; * marks one without 0 in it."""
    view = Table(title=f"{report.category}: {earlier.title} → {report.title}")
    view.add_column("")
    for column in ("before", "after", "difference", "interval", ""):
        view.add_column(column, justify="right")
    for name, both in changes(earlier, report.right_rate, report.failure_modes).items():
        view.add_row(name, counted(both.before), counted(both.after), *difference(both), "*" if both.is_clear else "")
    if not earlier.failure_modes:
        view.caption = "the earlier report has no failure modes"
    return view


def shares(shown: Rate) -> tuple[str, str]:
    if shown.of == 0:
        return "-", "-"
    return f"{shown.rate:.1%}", f"{shown.low:.1%} to {shown.high:.1%}"


def counted(shown: Rate) -> str:
    return f"{shown.cases} of {shown.of}, {shares(shown)[0]}"


def difference(both: Change) -> tuple[str, str]:
    if 0 in (both.before.of, both.after.of):
        return "-", "-"
    return f"{both.difference:+.1%}", f"{both.low:+.1%} to {both.high:+.1%}"


def draw(report: Report, earlier: EarlierReport | None, path: Path) -> None:
    """Accuracy and failure modes as bars with their intervals, those of the earlier report above, as a PNG."""
    now: dict[str, Rate] = {"right": report.right_rate}
    now.update(report.failure_modes.items())
    before: dict[str, Rate] = {"right": earlier.accuracy, **earlier.failure_modes} if earlier else {}
    names = [name for name, shown in now.items() if shown.of or (name in before and before[name].of)]
    figure = Figure(figsize=(8, 0.9 + 0.45 * len(names)), layout="constrained")
    axes = figure.subplots()
    runs = [(f"before: {earlier.title}", before, -0.2)] if earlier else []
    runs.append((f"after: {report.title}" if earlier else report.title, now, 0.2 if earlier else 0.0))
    for label, rates, offset in runs:
        there = [name for name in names if name in rates]
        values = [100 * rates[name].rate for name in there]
        spread = [
            [100 * max(0.0, rates[name].rate - rates[name].low) for name in there],
            [100 * max(0.0, rates[name].high - rates[name].rate) for name in there],
        ]
        places = [names.index(name) + offset for name in there]
        axes.barh(places, values, height=0.4 if earlier else 0.7, xerr=spread, label=label, capsize=2)
    axes.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel(f"% of the cases in which it can occur, {CONFIDENCE:.0%} intervals (Wilson)")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(fontsize=8)
    figure.suptitle(f"{report.category}, {report.cases} cases", fontsize=10)
    figure.savefig(path, dpi=150)
