"""A packed row teaches what its lessons would teach one by one, each with a prefix of its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, Qwen2Config, Qwen2ForCausalLM

from finetune.row_model import losses_by_kind, row_losses, weighted_sum
from finetune.rows import Lesson, Row, joined, packed_row, separate_rows

VOCABULARY = 97
CPU = torch.device("cpu")

SMALL = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}


def small_models() -> dict[str, torch.nn.Module]:
    torch.manual_seed(7)
    return {
        "llama": LlamaForCausalLM(LlamaConfig(**SMALL)),
        "qwen2": Qwen2ForCausalLM(Qwen2Config(**SMALL)),
        "mistral": MistralForCausalLM(MistralConfig(**SMALL, sliding_window=None)),
    }


MODELS = small_models()
TOKENS = st.integers(0, VOCABULARY - 1)


@st.composite
def lessons(draw: st.DrawFn) -> Lesson:
    written = draw(st.lists(TOKENS, min_size=1, max_size=6))
    weights = draw(st.lists(st.sampled_from([0.0, 1.0, 2.5]), min_size=len(written), max_size=len(written)))
    return Lesson(
        kind="call", suffix=tuple(draw(st.lists(TOKENS, max_size=5))), written=tuple(written), weights=tuple(weights)
    )


EXAMPLES = st.tuples(st.lists(TOKENS, min_size=1, max_size=20), st.lists(lessons(), min_size=1, max_size=5))


def by_lesson(model: torch.nn.Module, row: Row) -> list[float]:
    weighted = row_losses(model, row, CPU) * torch.from_numpy(row.weight)
    return [float(weighted[torch.from_numpy(row.lesson == number)].sum()) for number in range(len(row.kinds))]


def mean_loss(row: Row) -> float:
    return float(weighted_sum(row_losses(MODELS["llama"], row, CPU), row)) / float(row.weight.sum())


@pytest.mark.parametrize("family", MODELS)
@given(example=EXAMPLES)
@settings(deadline=None, max_examples=15)
def test_each_lesson_of_a_packed_row_has_the_loss_that_it_has_alone(
    family: str, example: tuple[list[int], list[Lesson]]
) -> None:
    prefix, taught = example
    model = MODELS[family]
    with torch.no_grad():
        packed = by_lesson(model, packed_row(prefix, taught))
        alone = [by_lesson(model, row)[0] for row in separate_rows(prefix, taught)]
    assert packed == pytest.approx(alone, abs=1e-4)


@given(examples=st.lists(EXAMPLES, min_size=1, max_size=3))
@settings(deadline=None, max_examples=15)
def test_examples_that_are_read_in_one_pass_have_the_losses_that_they_have_apart(
    examples: list[tuple[list[int], list[Lesson]]],
) -> None:
    rows = [packed_row(prefix, taught) for prefix, taught in examples]
    with torch.no_grad():
        together = row_losses(MODELS["llama"], joined(rows), CPU)
        apart = torch.cat([row_losses(MODELS["llama"], row, CPU) for row in rows])
    assert together.tolist() == pytest.approx(apart.tolist(), abs=1e-4)


def test_a_lesson_has_the_loss_of_the_same_text_as_an_ordinary_prompt() -> None:
    prefix, lesson = [5, 6, 7], Lesson(kind="call", suffix=(8, 9), written=(10, 11, 12), weights=(1.0, 1.0, 1.0))
    other = Lesson(kind="call", suffix=(8, 9, 10), written=(40,), weights=(1.0,))
    text = torch.tensor([[*prefix, 8, 9, 10, 11, 12]])
    with torch.no_grad():
        packed = row_losses(MODELS["llama"], packed_row(prefix, [other, lesson]), CPU)[1:]
        logits = MODELS["llama"](input_ids=text).logits[0].log_softmax(-1)
    plain = [-float(logits[place - 1, text[0, place]]) for place in (5, 6, 7)]
    assert packed.tolist() == pytest.approx(plain, abs=1e-4)


def test_what_the_grammar_forces_does_not_count() -> None:
    prefix = [1, 2, 3]
    forced = Lesson(kind="call", suffix=(4,), written=(5, 6, 7), weights=(0.0, 1.0, 0.0))
    free = Lesson(kind="call", suffix=(4, 5), written=(6,), weights=(1.0,))
    with torch.no_grad():
        assert mean_loss(packed_row(prefix, [forced])) == pytest.approx(mean_loss(packed_row(prefix, [free])), abs=1e-4)


def test_losses_are_told_apart_by_what_their_lessons_are_for() -> None:
    tally = Lesson(kind="tally", suffix=(4,), written=(5,), weights=(4.0,))
    call = Lesson(kind="call", suffix=(6,), written=(7, 8), weights=(0.0, 1.0))
    row = packed_row([1, 2, 3], [tally, call])
    with torch.no_grad():
        losses = row_losses(MODELS["llama"], row, CPU)
    assert losses_by_kind(losses, row) == {"tally": [float(losses[0])], "call": [float(losses[2])]}


def test_siblings_and_other_examples_are_not_seen() -> None:
    row = packed_row([1, 2], [Lesson(kind="call", suffix=(3,), written=(4, 5), weights=(1.0, 1.0))] * 2)
    both = joined([row, row])
    mask = both.mask
    assert mask.shape == (12, 12)
    assert mask[3].tolist() == [True, True, True, True] + [False] * 8  # the first branch
    assert mask[5].tolist() == [True, True, False, False, True, True] + [False] * 6  # its sibling
    assert not mask[6:, :6].any()
    assert np.array_equal(mask[6:, 6:], mask[:6, :6])
    assert row.position.tolist() == [0, 1, 2, 3, 2, 3]


def test_lesson_that_teaches_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="0 written tokens"):
        Lesson(kind="call", suffix=(1,), written=(), weights=())
    with pytest.raises(ValueError, match="1 written tokens with 2 weights"):
        Lesson(kind="call", written=(1,), weights=(1.0, 1.0))
    with pytest.raises(ValueError, match="a prefix and something to learn"):
        packed_row([], [Lesson(kind="call", written=(1,), weights=(1.0,))])
