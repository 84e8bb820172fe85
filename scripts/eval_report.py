"""Adding up the outcomes of an evaluation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eval_run import Outcome

from finetune.evaluate import ModeRate, Rate, mode_rates, rate, titled
from finetune.failures import Mode
from serving.decode.request import Decoding


@dataclass(frozen=True, kw_only=True)
class Report:
    """One category, or one file. `invalid_calls` counts calls handed on that break their tool's schema or the JSON.

    `decode_steps` and `plan_steps` are means on the critical path. A sequential stream counts a step a token, as other
    servers decode it, although this run skips the forced ones to save time.
    `failed_calls` counts calls that were given up after a second try, and are missing from the answer;
    `duplicates_removed` those that the decoder took for repeats, which are missing too and show in no failure mode.
    """

    category: str
    model: str
    decoding: Decoding
    plan_form: str | None
    cases: int
    accuracy: float
    right: int
    right_count: int
    invalid_calls: int
    failed_calls: int
    errors: dict[str, int]
    decode_steps: float
    plan_steps: float
    fallbacks: int
    duplicates_removed: int
    failure_modes: Mapping[Mode, ModeRate]

    @property
    def title(self) -> str:
        return titled(self.model, self.decoding, self.plan_form)

    @property
    def right_rate(self) -> Rate:
        """The accuracy with its interval."""
        return rate(self.right, self.cases)


def report_of(category: str, model: str, decoding: Decoding, plan_form: str, outcomes: Sequence[Outcome]) -> Report:
    """The sums and means over the cases."""
    count = len(outcomes)
    right = sum(outcome.verdict.valid for outcome in outcomes)
    return Report(
        category=category,
        model=model,
        decoding=decoding,
        plan_form=plan_form if decoding == "parallel" else None,
        cases=count,
        accuracy=round(right / count, 4),
        right=right,
        right_count=sum(outcome.right_count for outcome in outcomes),
        invalid_calls=sum(outcome.invalid_calls for outcome in outcomes),
        failed_calls=sum(outcome.failed_calls for outcome in outcomes),
        errors=dict(Counter(str(outcome.verdict.error_type) for outcome in outcomes if not outcome.verdict.valid)),
        decode_steps=round(sum(outcome.steps for outcome in outcomes) / count, 1),
        plan_steps=round(sum(outcome.plan_steps for outcome in outcomes) / count, 1),
        fallbacks=sum(outcome.fallbacks for outcome in outcomes),
        duplicates_removed=sum(outcome.duplicates_removed for outcome in outcomes),
        failure_modes=mode_rates([(outcome.gold, outcome.modes) for outcome in outcomes]),
    )
