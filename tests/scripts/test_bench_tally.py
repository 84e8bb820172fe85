"""scripts/bench decode of a model that plans by a tally: told how many calls, and left to count by itself."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from bench_decode import COUNTING, WAYS, Run, calls_figures, decode_in_all_ways, decode_once, plans_of, tally_sure
from bench_questions import weather_question

from grammars.constraint import Constraint
from grammars.dialects import DIALECTS, template_mark
from serving.decode.round import DecodeOptions, Decoder
from serving.engines.byte_tokenizer import ByteTokenizer
from serving.engines.scripted import ScriptedEngine

TRAINED = DIALECTS["polycall-smollm2"]

SURE = DecodeOptions(sure_tally=0.05)
"""A script finds each digit equally likely: surer than this."""
UNSURE = DecodeOptions(sure_tally=0.9)


class MarkedTokenizer(ByteTokenizer):
    @property
    def chat_template(self) -> str:
        return template_mark(TRAINED) + super().chat_template


class MarkedEngine(ScriptedEngine):
    """A scripted model that says of itself that it was trained."""

    @property
    def tokenizer(self) -> MarkedTokenizer:
        return MarkedTokenizer()


def arguments(city: str) -> dict[str, dict[str, Any]]:
    return {
        "get_weather": {"city": city, "temperature_unit": "celsius", "forecast_days": 3},
        "find_hotels": {"city": city, "room": "single", "nights": 3},
    }


class Model:
    """Counts the request's lines, and `missed` of them not; makes what these lines ask for."""

    def __init__(self, missed: int = 0) -> None:
        self._missed = missed

    def __call__(self, text: str, constraint: Constraint) -> str:
        prompt, _, stands_on = text.rpartition("assistant\n")
        lines = re.findall(r"^(get_weather|find_hotels): (\w+)", prompt.rpartition("user\n")[2], re.MULTILINE)
        if counted := re.fullmatch(r"<jupyter_start>(\w+):", stands_on):
            return str(sum(name == counted[1] for name, _ in lines) - self._missed)
        if stands_on == "<jupyter_text>":
            return "\n".join([*(f"{name}: {city}" for name, city in lines), "end"])
        if called := re.fullmatch(r"<jupyter_code>(\w+): (\w+)[^<]*<jupyter_output>", stands_on):
            return json.dumps(arguments(called[2])[called[1]])
        calls = [{"name": name, "arguments": arguments(city)[name]} for name, city in lines]
        return json.dumps({"tool_calls": calls})


def decoder(options: DecodeOptions = SURE, missed: int = 0) -> Decoder:
    return Decoder(MarkedEngine(Model(missed)), TRAINED, options)


async def told(calls: int, way: str = "parallel", missed: int = 0) -> Run:
    made = decoder(missed=missed)
    return await decode_once(made, weather_question(made.engine, calls), WAYS[way])


async def left_to_count(calls: int, options: DecodeOptions = SURE, missed: int = 0) -> Run:
    made = decoder(options, missed)
    return await decode_once(made, weather_question(made.engine, calls), WAYS["parallel"], counting=True)


@pytest.mark.parametrize("calls", [1, 2, 9])
@pytest.mark.parametrize("missed", [0, 1])
async def test_model_that_is_told_how_often_one_tool_is_called_has_nothing_to_plan(calls: int, missed: int) -> None:
    run = await told(calls, missed=missed)
    assert (run.plan, run.plan_steps, run.valid) == ("none", 0, True)


@pytest.mark.parametrize("missed", [0, 1])
async def test_model_that_is_told_the_sum_of_two_tools_calls_tallies_to_it(missed: int) -> None:
    run = await told(16, missed=missed)
    assert (run.plan, run.plan_steps, run.valid) == ("tally", 1, True)


@pytest.mark.parametrize("calls", [1, 2, 9, 16])
async def test_sure_tally_decides_in_one_step_up_to_sixteen_calls(calls: int) -> None:
    run = await left_to_count(calls)
    assert (run.plan, run.plan_steps, run.valid) == ("tally", 1, True)


async def test_unsure_tally_leaves_it_to_the_outline_and_is_counted() -> None:
    sure, unsure = await left_to_count(3), await left_to_count(3, UNSURE)
    assert (unsure.plan, unsure.valid) == ("outline", True)
    assert plans_of([sure, unsure]) == "outline, tally"
    assert tally_sure([sure, unsure]) == 0.5


@pytest.mark.parametrize("missed", [1, -1], ids=["too few", "too many"])
async def test_wrong_count_is_not_valid(missed: int) -> None:
    run = await left_to_count(4, missed=missed)
    assert (run.plan, run.valid) == ("tally", False)


async def test_row_says_how_often_the_model_counted_right() -> None:
    runs = [await decode_in_all_ways(decoder(missed=missed), weather_question(MarkedEngine(), 4)) for missed in (0, 1)]
    figures = calls_figures("lines", 4, {way: [run[way] for run in runs] for way in (*WAYS, COUNTING)})
    assert figures["valid"]
    assert (figures["plan_steps"], figures["counting_right"], figures["counting_plan"]) == (0, 0.5, "tally")
    assert figures["counting_ratio"] == pytest.approx(figures["sequential_s"] / figures["counting_s"], rel=0.02)


async def test_stock_model_is_not_left_to_count() -> None:
    stock = Decoder(ScriptedEngine(Model()), DIALECTS["json"])
    assert COUNTING not in await decode_in_all_ways(stock, weather_question(stock.engine, 2))


async def test_sequential_peer_is_held_to_the_number_and_has_no_plan() -> None:
    run = await told(16, "sequential")
    assert (run.plan, run.valid) == ("none", True)
    assert tally_sure([run]) is None


async def test_stock_model_is_held_to_the_number_in_its_outline_too() -> None:
    engine = ScriptedEngine()
    question = weather_question(engine, 16)
    assert [tool.name for tool in question.tools] == ["get_weather"]
    run = await decode_once(Decoder(engine, DIALECTS["json"]), question, WAYS["parallel"])
    assert (run.plan, run.tallied) == ("joint", False)
