"""Runs of the same cases put together: tally, outline, sequential, and the tally where it is sure enough."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from eval_cases import ENDING, RunLine, read_cases

from finetune.gating import (
    THRESHOLDS,
    Bin,
    GatedScore,
    Score,
    Scored,
    best,
    check_same_cases,
    gated_score,
    reliability,
    score,
)
from grammars.errors import ConfigurationError

TOGETHER = "together"
"""What all categories are called where there are several."""

Run = dict[str, tuple[RunLine, list[Scored]]]
"""The cases of a run by their category."""


@dataclass(frozen=True, kw_only=True)
class Gating:
    """One category: each run in a line, the table over the thresholds, every step of the curve, and the calibration."""

    category: str
    model: str
    outline: Score
    sequential: Score | None
    table: Sequence[GatedScore]
    best: GatedScore
    curve: Sequence[GatedScore]
    reliability: Sequence[Bin]


def read_gating(tally: Path, outline: Path, sequential: Path | None) -> list[Gating]:
    """Every category of the runs in these folders, and all together where there are several.

    Raises `ConfigurationError` if a folder holds no run of its kind, or the runs are not of the same cases and model.
    """
    tallied = run_with(tally, "--sure-tally 0", lambda line: line.sure_tally == 0)
    outlined = run_with(outline, "--plan-form outline", lambda line: line.plan_form == "outline")
    check_same_run(tallied, outlined, outline)
    streamed = None
    if sequential is not None:
        streamed = run_with(sequential, "--decoding sequential", lambda line: line.decoding == "sequential")
        check_same_run(tallied, streamed, sequential)
    groups = [[name] for name in tallied]
    if len(groups) > 1:
        groups.append(list(tallied))
    models = {line.model: None for line, _ in tallied.values()}
    if len(models) > 1:
        raise ConfigurationError(f"{tally} has cases of several models: {', '.join(models)}")
    [model] = models
    return [
        gating(
            names[0] if len(names) == 1 else TOGETHER,
            model,
            cases_of(tallied, names),
            cases_of(outlined, names),
            cases_of(streamed, names) if streamed else None,
        )
        for names in groups
    ]


def read_run(folder: Path) -> Run:
    """The files of cases in a folder, by their category. Raises `ConfigurationError` if there is none."""
    run: Run = {}
    for path in sorted(folder.glob(f"*{ENDING}")):
        line, cases = read_cases(path)
        run[line.category] = (line, [case.scored for case in cases])
    if not run:
        raise ConfigurationError(f"{folder} has no file of cases, which scripts/eval writes to --output")
    return run


def run_with(folder: Path, option: str, is_so: Callable[[RunLine], bool]) -> Run:
    """The same of a run with this option. Raises `ConfigurationError` if it is one of another kind."""
    run = read_run(folder)
    for category, (line, _) in run.items():
        if not is_so(line):
            raise ConfigurationError(f"{folder}: {category} is of no run with {option}")
    return run


def check_same_run(one: Run, other: Run, folder: Path) -> None:
    """Raise `ConfigurationError` unless both are of the same cases, model and settings, decoding and plan aside."""
    if one.keys() != other.keys():
        raise ConfigurationError(f"{folder} has the categories {', '.join(other)}, and not {', '.join(one)}")
    for category, (line, cases) in one.items():
        beside, those = other[category]
        if apart_from_plan(line) != apart_from_plan(beside):
            raise ConfigurationError(f"{folder}: {category} is of another model, or asked in another way")
        check_same_cases(cases, those)


def apart_from_plan(line: RunLine) -> RunLine:
    return replace(line, decoding="parallel", plan_form=None, sure_tally=None)


def cases_of(run: Mapping[str, tuple[RunLine, list[Scored]]], names: Sequence[str]) -> list[Scored]:
    return [case for name in names for case in run[name][1]]


def gating(
    category: str,
    model: str,
    tally: Sequence[Scored],
    outline: Sequence[Scored],
    sequential: Sequence[Scored] | None,
) -> Gating:
    """What the runs come to together."""
    table = [gated_score(tally, outline, threshold) for threshold in THRESHOLDS]
    sure = {case.tally_probability for case in tally if case.tally_probability is not None}
    return Gating(
        category=category,
        model=model,
        outline=score(outline),
        sequential=score(sequential) if sequential is not None else None,
        table=table,
        best=best(table),
        curve=[gated_score(tally, outline, threshold) for threshold in sorted({0.0, *sure, 1.0})],
        reliability=reliability(tally),
    )
