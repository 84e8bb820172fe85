"""Tally, outline, sequential, and gated decoding side by side: as tables, and as curves over the threshold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from eval_gate import Gating
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from finetune.evaluate import CONFIDENCE, Rate
from finetune.gating import Score

matplotlib.use("Agg")  # files only: no screen is needed


def show_gating(gating: Gating, console: Console) -> None:
    """The table over the thresholds, which one is best, and how far the tally's probability can be believed."""
    console.print(thresholds_table(gating))
    best = gating.best
    console.print(
        f"best of these by accuracy, then by fewer steps: the tally from {best.threshold:g} on, {counted(best.right)} "
        f"right, {best.decode_steps:.1f} steps",
        highlight=False,
        soft_wrap=True,
    )
    console.print(reliability_table(gating))


def thresholds_table(gating: Gating) -> Table:
    """One row a way to decode."""
    view = Table(title=f"{gating.category}, {gating.model}: {CONFIDENCE:.0%} intervals (Wilson), mean decode steps")
    view.add_column("plan")
    for column in ("by the tally", "right", "", "interval", "counts right", "", "decode steps"):
        view.add_column(column, justify="right")
    for one in gating.table:
        name = f"tally from {one.threshold:g} on" if one.threshold else "tally, always"
        view.add_row(name, f"{one.tallied.rate:.1%}", *cells(one))
    view.add_section()
    view.add_row("outline", "", *cells(gating.outline))
    if gating.sequential is not None:
        view.add_row("sequential", "", *cells(gating.sequential))
    return view


def cells(score: Score) -> tuple[str, ...]:
    return (
        counted(score.right),
        f"{score.right.rate:.1%}",
        interval(score.right),
        counted(score.right_count),
        f"{score.right_count.rate:.1%}",
        f"{score.decode_steps:.1f}",
    )


def reliability_table(gating: Gating) -> Table:
    """One row a bin: how sure the tallies in it are, and how often as many calls came of them as are due."""
    view = Table(title=f"{gating.category}: the tally's own probability against how often its counts are right")
    view.add_column("probability")
    for column in ("mean", "counts right", "", "interval", ""):
        view.add_column(column, justify="right")
    for one in gating.reliability:
        right = one.right_count
        believed = "" if right.low <= one.mean <= right.high else "too sure" if one.mean > right.high else "too unsure"
        view.add_row(
            f"{one.low:g} to {one.high:g}",
            f"{one.mean:.3f}",
            counted(right),
            f"{right.rate:.1%}",
            interval(right),
            believed,
        )
    return view


def counted(shown: Rate) -> str:
    return f"{shown.cases} of {shown.of}"


def interval(shown: Rate) -> str:
    return f"{shown.low:.1%} to {shown.high:.1%}"


def draw_gating(gatings: Sequence[Gating], path: Path) -> None:
    """A column a category: what is right over the threshold, and below it what that costs, as a PNG."""
    figure = Figure(figsize=(1.5 + 4.5 * len(gatings), 6.5), layout="constrained")
    columns = figure.subplots(2, len(gatings), sharex=True, squeeze=False)
    for number, gating in enumerate(gatings):
        draw_right(gating, columns[0][number])
        draw_steps(gating, columns[1][number])
    figure.suptitle(f"{gatings[0].model}: the tally from a probability on, the outline below it", fontsize=10)
    figure.savefig(path, dpi=150)


def draw_right(gating: Gating, axes: Axes) -> None:
    places = [one.threshold for one in gating.curve]
    right = [one.right for one in gating.curve]
    axes.step(places, [100 * one.rate for one in right], where="pre", label="right", color="C0")
    low, high = ([100 * edge for edge in edges] for edges in zip(*((one.low, one.high) for one in right), strict=True))
    axes.fill_between(places, low, high, step="pre", alpha=0.15, color="C0")
    counts = [100 * one.right_count.rate for one in gating.curve]
    axes.step(places, counts, where="pre", label="counts right", color="C1")
    for name, score, style in others(gating):
        axes.axhline(100 * score.right.rate, color="C0", linestyle=style, label=f"right, {name}")
        axes.axhline(100 * score.right_count.rate, color="C1", linestyle=style, label=f"counts right, {name}")
    axes.set_title(f"{gating.category}, {gating.outline.right.of} cases", fontsize=10)
    axes.set_ylabel(f"% of the cases, {CONFIDENCE:.0%} interval (Wilson)")
    axes.set_ylim(0, 100)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)


def draw_steps(gating: Gating, axes: Axes) -> None:
    places = [one.threshold for one in gating.curve]
    axes.step(places, [one.decode_steps for one in gating.curve], where="pre", label="decode steps", color="C2")
    for name, score, style in others(gating):
        axes.axhline(score.decode_steps, color="C2", linestyle=style, label=f"decode steps, {name}")
    axes.set_xlabel("the least probability at which the tally counts")
    axes.set_ylabel("mean decode steps")
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    share = axes.twinx()
    share.step(places, [100 * one.tallied.rate for one in gating.curve], where="pre", color="C7", linewidth=1)
    share.set_ylabel("% decided by the tally (grey)")
    share.set_ylim(0, 100)


def others(gating: Gating) -> list[tuple[str, Score, str]]:
    """The runs that no threshold changes, each with the style of its line."""
    known = [("outline", gating.outline, "--")]
    if gating.sequential is not None:
        known.append(("sequential", gating.sequential, ":"))
    return known
