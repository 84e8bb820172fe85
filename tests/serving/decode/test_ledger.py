"""The books of a round: what decodes together counts once on the critical path."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from serving.decode.ledger import Ledger
from serving.engines.base import BranchEnded


def end(steps: int, tokens: int) -> BranchEnded:
    return BranchEnded(
        branch=0, reason="complete", text="", tokens=(1,) * tokens, steps=steps, forced_tokens=3, at_s=2.0
    )


GROUPS = st.lists(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), max_size=5), max_size=5)
"""Steps and tokens of streams; those of one list decode together."""


@given(GROUPS, GROUPS)
def test_steps_are_the_longest_of_each_group_and_tokens_are_all(
    plans: list[list[tuple[int, int]]], groups: list[list[tuple[int, int]]]
) -> None:
    ledger = Ledger("parallel", prompt_tokens=5)
    for entered, is_plan in ((plans, True), (groups, False)):
        for group in entered:
            ledger.streams([(f"{is_plan}", 1.0, end(*stream)) for stream in group], plan=is_plan)
    figures = ledger.figures()
    plan_steps = sum(max(steps for steps, _ in group) for group in plans if group)
    assert figures.plan_steps == plan_steps
    assert figures.steps == plan_steps + sum(max(steps for steps, _ in group) for group in groups if group)
    assert figures.branches == sum(map(len, groups))
    streams = [stream for group in [*plans, *groups] for stream in group]
    assert figures.completion_tokens == sum(tokens for _, tokens in streams)
    assert figures.prompt_tokens == 5
    assert [(span.steps, span.start_s, span.end_s, span.forced_tokens) for span in figures.spans] == [
        (steps, 1.0, 2.0, 3) for steps, _ in streams
    ]


def test_round_of_no_streams_cost_nothing() -> None:
    figures = Ledger("sequential", prompt_tokens=0).figures()
    assert (figures.decoding, figures.steps, figures.branches, figures.spans) == ("sequential", 0, 0, ())
