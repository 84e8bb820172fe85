from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import demo
import demo_tools
import pytest
from demo_view import CELLS, bar, show
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

ROOT = Path(__file__).parents[2]


def report(calls: list[tuple[str, dict[str, Any]]], total_s: float = 2.0) -> dict[str, Any]:
    """A server's report of a turn with these calls, as far as the demo reads it."""
    return {
        "steps": 10,
        "times": {"total_s": total_s, "decode_s": 1.0, "wait_s": 0.5},
        "streams": [{"label": "plan", "start_s": 0.0, "end_s": 0.5, "steps": 7}],
        "server_calls": [
            {"name": name, "arguments": arguments, "result": {}, "error": None, "start_s": 0.6, "end_s": 0.9}
            for name, arguments in calls
        ],
    }


def shown(parallel: dict[str, Any], sequential: dict[str, Any]) -> str:
    console = Console(file=io.StringIO(), width=120)
    show(console, "Why?", "model", demo.checked_calls(parallel), "Because.", parallel, sequential)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


# The tools.


@pytest.mark.parametrize(
    ("tool", "arguments", "result"),
    [
        (demo_tools.get_weather, ["Oslo, Norway"], {"city": "Oslo, Norway", "celsius": -3, "sky": "snow"}),
        (demo_tools.get_local_time, ["tokyo"], {"city": "tokyo", "local_time": "21:00"}),
        (
            demo_tools.convert_currency,
            [2000, "NOK", "EUR"],
            {"amount": 170.0, "currency": "EUR"},
        ),
        (
            demo_tools.search_hotels,
            ["Lisbon", 100],
            {"city": "Lisbon", "hotels": [{"name": "Casa do Tejo", "euros": 92}]},
        ),
    ],
)
async def test_tool_same_question_has_always_the_same_answer(
    tool: Callable[..., Awaitable[Any]], arguments: list[Any], result: dict[str, Any]
) -> None:
    assert await tool(*arguments) == result


async def test_tool_place_or_currency_that_is_unknown_is_an_error_with_the_known_ones() -> None:
    with pytest.raises(LookupError, match=r"no city 'Atlantis' here; there are .*tokyo"):
        await demo_tools.get_weather("Atlantis")
    with pytest.raises(LookupError, match=r"no currency 'XYZ' here; there are EUR"):
        await demo_tools.convert_currency(1, "XYZ", "EUR")


async def test_tools_take_the_time_that_they_simulate() -> None:
    loop = asyncio.get_running_loop()
    start_s = loop.time()
    await asyncio.gather(demo_tools.get_weather("Oslo"), demo_tools.search_hotels("Oslo"))
    assert 1.0 <= loop.time() - start_s < 1.5


# What is shown.


@given(st.floats(0, 100), st.floats(0, 100), st.floats(0.001, 100))
def test_bar_is_seen_and_stays_within_its_cells(first_s: float, second_s: float, width_s: float) -> None:
    start_s, end_s = sorted(min(value, width_s) for value in (first_s, second_s))
    text = bar(start_s, end_s, width_s, "green").plain
    assert 1 <= len(text) <= CELLS
    assert text.endswith("█")


def test_calls_are_held_against_their_schemas() -> None:
    calls = [("get_weather", {"city": "Oslo"}), ("get_weather", {"town": "Oslo"}), ("get_wether", {"city": "Oslo"})]
    assert [call["valid"] for call in demo.checked_calls(report(calls))] == [True, False, False]


def test_view_has_question_calls_streams_answer_and_ratio() -> None:
    calls = [("get_weather", {"city": "Oslo"})]
    text = shown(report(calls, total_s=2.0), report(calls, total_s=5.0))
    for part in ("Why?", '{"city": "Oslo"}', "decode plan", "run    get_weather", "Because.", "2.5x"):
        assert part in text
    assert "different calls" not in text


def test_view_of_runs_with_different_calls_says_so() -> None:
    assert "different calls" in shown(report([("get_weather", {"city": "Oslo"})]), report([]))


# The whole of it. SmolLM2 answers badly, and may ramble: its turns are cut short.


@pytest.mark.slow
@pytest.mark.usefixtures("smollm2_folder")
def test_demo_as_json_is_one_object_with_both_times_and_valid_calls() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "demo.py"), "--model", "smollm2-135m", "--json"]
    limits = {"POLYCALL_MAX_ROUNDS": "2", "POLYCALL_TURN_TIMEOUT_S": "8"}
    with subprocess.Popen(command, env={**os.environ, **limits}, stdout=subprocess.PIPE) as process:
        try:
            printed, _ = process.communicate(timeout=200)
        except subprocess.TimeoutExpired:
            process.terminate()  # which ends the server too
            raise
    assert process.returncode == 0
    answer = json.loads(printed)
    assert set(answer) == {"calls", "answer", "parallel_s", "sequential_s", "parallel_steps", "sequential_steps"}
    assert all(call["valid"] for call in answer["calls"])
    assert min(answer["parallel_s"], answer["sequential_s"]) > 0


def test_demo_of_a_model_that_is_none_says_so_in_one_line() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "demo.py"), "--model", "nowhere"]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 1
    assert process.stdout == ""
    assert process.stderr.startswith("demo: there is no model 'nowhere': name one of smollm2-135m")
    assert len(process.stderr.splitlines()) == 1
