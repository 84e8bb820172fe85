"""Choosing tokens: never outside the mask, greedy or drawn from the nucleus, repeatable by seed."""

from __future__ import annotations

import numpy
import torch
from hypothesis import given
from hypothesis import strategies as st

from grammars.branch import Sampling
from serving.engines.transformers.sampling import Chooser, choose_tokens

VOCABULARY = 70


def mask_of(*tokens: int) -> numpy.ndarray:
    mask = numpy.zeros((VOCABULARY + 31) // 32, dtype=numpy.uint32)
    for token in tokens:
        mask[token // 32] |= numpy.uint32(1 << (token % 32))
    return mask


@given(st.sets(st.integers(0, VOCABULARY - 1), min_size=1), st.sampled_from([0.0, 0.7, 1.5]), st.integers(0, 2**31))
def test_chosen_token_is_always_allowed(allowed: set[int], temperature: float, seed: int) -> None:
    logits = torch.randn(1, VOCABULARY, generator=torch.Generator().manual_seed(seed))
    (token,) = choose_tokens(logits, [mask_of(*allowed)], [Chooser(Sampling(temperature=temperature, seed=seed))])
    assert token in allowed


def test_greedy_takes_the_best_allowed_token_of_each_stream() -> None:
    logits = torch.arange(VOCABULARY).float().repeat(2, 1)
    masks = [mask_of(3, 40), mask_of(*range(69))]
    assert choose_tokens(logits, masks, [Chooser(Sampling())] * 2) == [40, 68]


def test_nucleus_leaves_out_the_tail() -> None:
    logits = torch.tensor([2.0, 1.9, -3.0, -4.0])
    drawn = {Chooser(Sampling(temperature=1.0, top_p=0.9, seed=seed)).choose(logits) for seed in range(200)}
    assert drawn == {0, 1}


def test_tiny_top_p_still_leaves_the_best_token() -> None:
    assert Chooser(Sampling(temperature=2.0, top_p=1e-9, seed=1)).choose(torch.tensor([0.0, 1.0, 0.5])) == 1


def test_equal_seeds_draw_alike_and_siblings_do_not_disturb() -> None:
    logits = torch.randn(VOCABULARY, generator=torch.Generator().manual_seed(5))
    alone, beside, sibling = (Chooser(Sampling(temperature=1.0, seed=seed)) for seed in (7, 7, 8))
    first, second = [], []
    for _ in range(20):
        first.append(alone.choose(logits))
        sibling.choose(logits)
        second.append(beside.choose(logits))
    assert first == second
