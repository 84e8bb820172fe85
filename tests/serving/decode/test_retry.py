"""What a branch wrote: a call, or the kind of error. (The second chance itself is specified with the rounds.)"""

from __future__ import annotations

from typing import Any

import pytest

from grammars.tools import CallError, ToolCall
from serving.decode.retry import read_branch
from serving.engines.base import BranchEnded
from tests.serving.decode.rounds import BAG, bag


def end(text: str, reason: Any = "complete", error: str | None = None) -> BranchEnded:
    return BranchEnded(branch=0, reason=reason, text=text, tokens=(), steps=0, forced_tokens=0, at_s=0.0, error=error)


def test_complete_and_valid_arguments_are_a_call() -> None:
    call = read_branch(BAG, "}", end(bag("a", "b") + "}"))
    assert isinstance(call, ToolCall)
    assert (call.name, call.arguments) == ("pack.bag", {"things": ["a", "b"]})


@pytest.mark.parametrize(
    ("ended", "kind", "said"),
    [
        (end(bag("a", "a") + "}"), "invalid_arguments", "/things (uniqueItems)"),
        (end(bag("a"), "length"), "truncated", "limit"),
        (end(bag("a")[:-1]), "truncated", "not JSON"),
        (end("", "failed", "out of fuel"), "invalid_arguments", "out of fuel"),
    ],
)
def test_anything_else_is_an_error_that_says_why_and_of_which_tool(ended: BranchEnded, kind: str, said: str) -> None:
    error = read_branch(BAG, "}", ended)
    assert isinstance(error, CallError)
    assert error.kind == kind
    assert said in error.message
    assert "'pack.bag'" in error.message
