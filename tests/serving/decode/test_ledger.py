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


STREAMS = st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), max_size=5)
"""Steps and tokens of streams."""


@given(STREAMS, st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99), st.integers(0, 99)), max_size=5), STREAMS)
def test_steps_are_those_of_the_critical_path_and_tokens_are_all(
    plan: list[tuple[int, int]], branches: list[tuple[int, int, int]], retries: list[tuple[int, int]]
) -> None:
    ledger = Ledger("parallel", prompt_tokens=5)
    for steps, tokens, begun_at in branches[:2]:  # those that ended while the plan was still written
        ledger.branch("call", 1.0, end(steps, tokens), begun_at=begun_at)
    plan_steps = max((steps for steps, _ in plan), default=0)
    ledger.plan([("plan", 1.0, end(*stream)) for stream in plan], steps=plan_steps)
    for steps, tokens, begun_at in branches[2:]:
        ledger.branch("call", 1.0, end(steps, tokens), begun_at=begun_at)
    for stream in retries:
        ledger.stream("retry", 1.0, end(*stream))
    figures = ledger.figures()
    assert figures.plan_steps == plan_steps
    beside = max([plan_steps, *(begun_at + steps for steps, _, begun_at in branches)])
    assert figures.steps == beside + sum(steps for steps, _ in retries)
    assert figures.branches == len(branches) + len(retries)
    written = [(steps, tokens) for steps, tokens, _ in branches]
    streams = [*written[:2], *plan, *written[2:], *retries]
    assert figures.completion_tokens == sum(tokens for _, tokens in streams)
    assert figures.prompt_tokens == 5
    assert [(span.steps, span.start_s, span.end_s, span.forced_tokens) for span in figures.spans] == [
        (steps, 1.0, 2.0, 3) for steps, _ in streams
    ]


def test_round_of_no_streams_cost_nothing() -> None:
    figures = Ledger("sequential", prompt_tokens=0).figures()
    assert (figures.decoding, figures.steps, figures.branches, figures.spans) == ("sequential", 0, 0, ())
