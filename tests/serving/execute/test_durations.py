"""Durations: what is known of a tool counts, then what was learned of it."""

from __future__ import annotations

from typing import Any

import pytest

from serving.execute.durations import FIRST_S, Durations
from serving.execute.registry import Registry
from serving.execute.server_tool import ServerTool


def tool(**facts: Any) -> ServerTool:
    registry = Registry()

    @registry.tool(**facts)
    def look() -> None: ...

    found = registry.get("look")
    assert found is not None
    return found


def test_a_tool_that_says_what_it_takes_is_believed() -> None:
    durations = Durations()
    durations.learn(tool(), 9.0)
    assert durations.expected_s(tool(duration_s=0.5)) == 0.5


def test_a_tool_of_which_nothing_is_known_is_like_every_other() -> None:
    assert Durations().expected_s(tool()) == FIRST_S


def test_the_first_call_is_taken_whole_and_later_ones_move_it() -> None:
    durations, look = Durations(), tool()
    durations.learn(look, 4.0)
    assert durations.expected_s(look) == 4.0
    durations.learn(look, 2.0)
    assert 2.0 < durations.expected_s(look) < 4.0
    for _ in range(20):
        durations.learn(look, 2.0)
    assert durations.expected_s(look) == pytest.approx(2.0, abs=0.01)


def test_nothing_is_learned_of_a_tool_that_is_believed() -> None:
    durations = Durations()
    durations.learn(tool(duration_s=0.5), 9.0)
    assert durations.expected_s(tool()) == FIRST_S
