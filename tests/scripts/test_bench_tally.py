"""scripts/bench decode of a model that plans by a tally: it counts by itself, and the bench says how sure it was."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from bench_decode import WAYS, Run, decode_once, plans_of, tally_sure
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


async def decoded(calls: int, way: str, options: DecodeOptions = SURE, missed: int = 0) -> Run:
    engine = MarkedEngine(Model(missed))
    return await decode_once(Decoder(engine, TRAINED, options), weather_question(engine, calls), WAYS[way])


@pytest.mark.parametrize("calls", [1, 2, 9, 16])
async def test_sure_tally_decides_in_one_step_up_to_sixteen_calls(calls: int) -> None:
    run = await decoded(calls, "parallel")
    assert (run.plan, run.plan_steps, run.valid) == ("tally", 1, True)


async def test_unsure_tally_leaves_it_to_the_outline_and_is_counted() -> None:
    sure, unsure = await decoded(3, "parallel"), await decoded(3, "parallel", UNSURE)
    assert (unsure.plan, unsure.valid) == ("outline", True)
    assert plans_of([sure, unsure]) == "outline, tally"
    assert tally_sure([sure, unsure]) == 0.5


@pytest.mark.parametrize("missed", [1, -1], ids=["too few", "too many"])
async def test_wrong_count_is_not_valid(missed: int) -> None:
    run = await decoded(4, "parallel", missed=missed)
    assert (run.plan, run.valid) == ("tally", False)


async def test_tally_of_nothing_where_calls_are_required_decides_nothing() -> None:
    run = await decoded(3, "parallel", missed=3)
    assert (run.plan, run.valid, tally_sure([run])) == ("outline", True, 0.0)


async def test_sequential_peer_is_held_to_the_number_and_has_no_plan() -> None:
    run = await decoded(16, "sequential")
    assert (run.plan, run.valid) == ("none", True)
    assert tally_sure([run]) is None


async def test_stock_model_is_held_to_the_number_in_its_outline_too() -> None:
    engine = ScriptedEngine()
    question = weather_question(engine, 16)
    assert [tool.name for tool in question.tools] == ["get_weather"]
    run = await decode_once(Decoder(engine, DIALECTS["json"]), question, WAYS["parallel"])
    assert (run.plan, run.tallied) == ("joint", False)
