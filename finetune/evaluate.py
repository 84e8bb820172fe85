"""Rates of failure modes over many cases, with intervals, and one run beside another.

Pure arithmetic: what was emitted comes from whoever asked a model.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist

from finetune.failures import MODES, Mode
from finetune.gold import Gold
from grammars.errors import ConfigurationError

CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Rate:
    """`cases` of `of` show something: the share, and its Wilson interval at `CONFIDENCE`. Of nothing: 0, and 0 to 1."""

    cases: int
    of: int
    rate: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class ModeRate(Rate):
    """A failure mode: how many of the cases in which it can occur show it, and how often it occurs in these."""

    occurrences: int


@dataclass(frozen=True, kw_only=True)
class Change:
    """A rate before and after, and the difference with its interval (Newcombe's, from the two Wilson intervals).

    It takes the two runs as independent, which makes it wide where both answered the same cases.
    """

    before: Rate
    after: Rate
    difference: float
    low: float
    high: float

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out no change at all."""
        return self.low > 0 or self.high < 0


def rate(cases: int, of: int) -> Rate:
    """The share with its Wilson interval, which also holds for few cases and for shares near 0 and 1."""
    if of == 0:
        return Rate(cases=0, of=0, rate=0.0, low=0.0, high=1.0)
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    share = cases / of
    middle = share + z * z / (2 * of)
    spread = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    low, high = ((middle + side * spread) / (1 + z * z / of) for side in (-1, 1))
    return Rate(cases=cases, of=of, rate=round(share, 4), low=round(max(0.0, low), 4), high=round(min(1.0, high), 4))


CAN_OCCUR: dict[Mode, Callable[[Gold], bool]] = {
    "under_emission": lambda gold: bool(gold.due),
    "over_emission": lambda gold: bool(gold.due),
    "duplicate": lambda _: True,
    "wrong_tool": lambda gold: gold.any_call or bool(gold.due),
    "missing_argument": lambda gold: bool(gold.due),
    "extra_argument": lambda gold: bool(gold.due),
    "wrong_argument": lambda gold: bool(gold.due),
    "argument_bleed": lambda gold: len(gold.due) > 1,
    "dependency_violation": lambda gold: len(gold.due) < len(gold.calls),
    "invalid_json": lambda _: True,
    "call_where_none_is_due": lambda gold: not (gold.any_call or gold.due),
    "no_call_where_one_is_due": lambda gold: gold.any_call or bool(gold.due),
    "truncation": lambda _: True,
}
"""In which cases each mode can occur: these are what its rate is a share of."""


def mode_rates(cases: Sequence[tuple[Gold, Counter[Mode]]]) -> dict[Mode, ModeRate]:
    """Every mode's rate over these cases, each with the modes that it shows."""
    rates: dict[Mode, ModeRate] = {}
    for mode in MODES:
        of = sum(CAN_OCCUR[mode](gold) or bool(shown[mode]) for gold, shown in cases)
        having = sum(bool(shown[mode]) for _, shown in cases)
        occurrences = sum(shown[mode] for _, shown in cases)
        rates[mode] = ModeRate(**asdict(rate(having, of)), occurrences=occurrences)
    return rates


def change(before: Rate, after: Rate) -> Change:
    """What became of a rate."""
    low = math.hypot(after.rate - after.low, before.high - before.rate)
    high = math.hypot(after.high - after.rate, before.rate - before.low)
    difference = after.rate - before.rate
    return Change(
        before=before,
        after=after,
        difference=round(difference, 4),
        low=round(max(-1.0, difference - low), 4),
        high=round(min(1.0, difference + high), 4),
    )


@dataclass(frozen=True, kw_only=True)
class EarlierReport:
    """What an earlier report says: of what, how it was decoded, its accuracy, and its failure modes if it has them."""

    category: str
    model: str
    decoding: str
    plan_form: str | None
    accuracy: Rate
    failure_modes: Mapping[str, Rate]

    @property
    def title(self) -> str:
        return titled(self.model, self.decoding, self.plan_form)


def titled(model: str, decoding: str, plan_form: str | None) -> str:
    """What a run is called beside another."""
    return f"{model}, {decoding} ({plan_form})" if plan_form else f"{model}, {decoding}"


def read_report(path: Path, category: str) -> EarlierReport:
    """A report that `scripts/eval` wrote, of this category. Raises `ConfigurationError` if it is something else."""
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        earlier = EarlierReport(
            category=report["category"],
            model=report["model"],
            decoding=report["decoding"],
            plan_form=report.get("plan_form"),
            accuracy=rate(report["right"], report["cases"]),
            failure_modes={
                mode: rate(written["cases"], written["of"]) for mode, written in report.get("failure_modes", {}).items()
            },
        )
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(f"{path} is no report of scripts/eval: {type(error).__name__} {error}") from None
    if earlier.category != category:
        raise ConfigurationError(f"{path} reports on {earlier.category!r}, and cannot stand beside {category!r}")
    return earlier


def changes(earlier: EarlierReport, accuracy: Rate, modes: Mapping[Mode, Rate]) -> dict[str, Change]:
    """The accuracy and every mode that both runs have, before and after."""
    both: dict[str, Change] = {"right": change(earlier.accuracy, accuracy)}
    for mode, after in modes.items():
        if mode in earlier.failure_modes:
            both[mode] = change(earlier.failure_modes[mode], after)
    return both
