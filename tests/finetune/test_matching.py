"""The matching is optimal: no other assignment has more pairs of one tool, or as many with fewer faults."""

from __future__ import annotations

from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from finetune.gold import gold_of
from finetune.matching import argument_faults, match
from grammars.tools import ToolCall

CALLS = st.lists(
    st.builds(
        lambda name, a, b: ToolCall(id="", name=name, arguments={"a": a, "b": b}),
        st.sampled_from(["f", "g"]),
        st.integers(0, 2),
        st.integers(0, 2),
    ),
    max_size=4,
)


@given(right=CALLS, emitted=CALLS)
def test_no_other_assignment_is_better(right: list[ToolCall], emitted: list[ToolCall]) -> None:
    gold = gold_of(right, ()).calls

    def judged(places: tuple[int, ...]) -> tuple[int, int, int]:
        """How good it is to give call i the gold call `places[i]`, one past the end for none; more is better."""
        pairs = [(gold[place], call) for place, call in zip(places, emitted, strict=True) if place < len(gold)]
        alike = [(one, call) for one, call in pairs if one.tool == call.name]
        return len(alike), -sum(len(list(argument_faults(*pair))) for pair in alike), len(pairs)

    found = match(gold, emitted)
    alike = [pair for pair in found.pairs if pair.same_tool]
    faults = sum(len(list(argument_faults(pair.gold, pair.call))) for pair in alike)
    best = max(map(judged, permutations(range(len(gold) + len(emitted)), len(emitted))))
    assert (len(alike), -faults, len(found.pairs)) == best
    assert len(found.pairs) + len(found.gold_left) == len(gold)
    assert len(found.pairs) + len(found.calls_left) == len(emitted)


def test_of_equally_good_assignments_the_one_in_order_is_taken() -> None:
    right = [ToolCall(id=str(number), name="f", arguments={"a": number}) for number in range(3)]
    emitted = [ToolCall(id=f"call_{number}", name="f", arguments={"a": 9}) for number in range(3)]
    pairs = match(gold_of(right, ()).calls, emitted).pairs
    assert [(pair.gold.id, pair.call.id) for pair in pairs] == [("0", "call_0"), ("1", "call_1"), ("2", "call_2")]
