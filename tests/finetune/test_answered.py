"""Examples one round later: each call has a result, no more are due, and the answer says what came of every one."""

from __future__ import annotations

import json
from random import Random

import pytest

from finetune.answered import answered, in_words
from finetune.synthetic.examples import synthetic_examples
from tests.finetune.composed.requests import EXAMPLES


def said_of(result: str) -> str:
    """What an answer says of a result that the model reads like this."""
    try:
        value = json.loads(result)
    except ValueError:
        return f": {result}."
    return ": no result, since " if isinstance(value, dict) and "error" in value else f": {in_words(value)}."


def test_every_call_has_a_result_and_the_answer_says_all_their_values_in_order() -> None:
    with_calls = [example for example in synthetic_examples(3, 80) if example.calls]
    assert len(with_calls) > 40
    for seed, example in enumerate(with_calls):
        later = answered(example, Random(seed))
        asked, made, *results = later.conversation.messages[-len(example.calls) - 2 :]
        assert (asked.role, made.calls, later.calls) == ("user", example.calls, ())
        assert [result.call_id for result in results] == [call.id for call in example.calls]
        assert later.conversation.tools == example.conversation.tools
        told = later.text
        for result in results:
            words = said_of(result.text)
            assert words in told, later.text
            told = told.partition(words)[2]


def test_the_same_chance_makes_the_same_results() -> None:
    assert answered(EXAMPLES[0], Random(1)) == answered(EXAMPLES[0], Random(1))


def test_what_failed_is_said_to_have() -> None:
    later = [answered(EXAMPLES[0], Random(seed)) for seed in range(60)]
    texts = [(one.conversation.messages[-1].text, one.text) for one in later]
    failed = [text for result, text in texts if '"error"' in result]
    assert failed
    assert all(text.startswith("Rome: no result, since ") for text in failed)


def test_an_object_is_said_field_by_field() -> None:
    assert in_words({"distance_km": 12.5, "status": "open"}) == "distance km 12.5, status open"


def test_nothing_comes_after_no_calls() -> None:
    nothing = next(example for example in synthetic_examples(1) if not example.calls)
    with pytest.raises(ValueError, match="not just one wave"):
        answered(nothing, Random(1))
