"""The rule of the tree: a token sees the prefix and its own branch, up to itself; arrays and tensors alike."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from grammars.tree import PREFIX, visible

ROWS = st.tuples(st.integers(1, 5), st.lists(st.integers(1, 4), max_size=4))
"""The length of the prefix, and of each branch."""


def row(prefix: int, branches: list[int]) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Branch number and position of each token, all branches starting where the prefix ends."""
    places = [(PREFIX, position) for position in range(prefix)]
    for number, length in enumerate(branches, start=1):
        places += [(number, prefix + position) for position in range(length)]
    branch, position = zip(*places, strict=True)
    return numpy.array(branch), numpy.array(position)


def mask(branch: Any, position: Any) -> Any:
    return visible(
        query_branch=branch[:, None],
        query_position=position[:, None],
        key_branch=branch[None, :],
        key_position=position[None, :],
    )


@given(ROWS)
def test_each_branch_sees_what_it_would_see_in_a_row_of_its_own(shape: tuple[int, list[int]]) -> None:
    prefix, branches = shape
    branch, position = row(prefix, branches)
    seen = mask(branch, position)
    for number, length in enumerate(branches, start=1):
        own = numpy.flatnonzero((branch == PREFIX) | (branch == number))
        causal = numpy.tril(numpy.ones((prefix + length, prefix + length), dtype=bool))
        assert (seen[numpy.ix_(own, own)] == causal).all()


@given(ROWS)
def test_nothing_is_seen_outside_of_prefix_and_own_branch(shape: tuple[int, list[int]]) -> None:
    branch, position = row(*shape)
    for query, key in numpy.argwhere(mask(branch, position)):
        assert branch[key] in (PREFIX, branch[query])
    for token, seen in enumerate(mask(branch, position)):
        assert seen.sum() == position[token] + 1, "as many as its position says"


@pytest.mark.parametrize("module", [numpy.asarray, torch.asarray])
def test_arrays_and_tensors_get_the_same_answer(module: Any) -> None:
    branch, position = row(2, [2, 1])
    assert mask(module(branch), module(position)).tolist() == [
        [True, False, False, False, False],
        [True, True, False, False, False],
        [True, True, True, False, False],
        [True, True, True, True, False],
        [True, True, False, False, True],
    ]
