"""How a trained model plans: by a tally in one step, by an outline where the tally is unsure, in the same prompt."""

from __future__ import annotations

import re

import pytest

from grammars.constraint import Constraint
from grammars.conversation import Choice, Conversation, Message
from grammars.dialects import DIALECTS, JSON
from grammars.marked_forms import marked_outline, marked_tally
from grammars.plan_forms import JOINT
from grammars.tools import Tool
from serving.decode.events import CallWritten, Figures, RoundEnded, TextWritten
from serving.decode.planning import TALLIED_TOOLS, plan_forms
from serving.decode.round import DecodeOptions, Decoder, RoundRequest
from serving.engines.scripted import Answer, Failure, ScriptedEngine

TRAINED = DIALECTS["polycall-smollm2"]
CITY = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 20}}, "required": ["city"]}
TOOLS = (Tool(name="weather", parameters=CITY), Tool(name="clock"))

SURE = DecodeOptions(sure_tally=0.05)
"""A script finds each of ten digits equally likely: surer than this."""
UNSURE = DecodeOptions(sure_tally=0.5)


class Trained:
    """A scripted model that knows the marks: what it counts, outlines and calls with, and whose tally breaks."""

    def __init__(self, *, counts: dict[str, str], outline: str = "end", broken: str | None = None) -> None:
        self.stood_on: list[str] = []
        self._counts = counts
        self._outline = outline
        self._broken = broken

    def __call__(self, text: str, constraint: Constraint) -> Answer:
        stands_on = text.rpartition("assistant\n")[2]
        self.stood_on.append(stands_on)
        if counted := re.fullmatch(r"<jupyter_start>(\w+):", stands_on):
            return Failure(error="broken") if counted[1] == self._broken else self._counts[counted[1]]
        if stands_on == "<jupyter_text>":
            return self._outline
        if called := re.fullmatch(r"<jupyter_code>(\w+): (.*)<jupyter_output>", stands_on):
            return f'{{"city": "{called[2]}"}}' if called[1] == "weather" else "{}"
        return "In words."


def conversation(choice: Choice | None = None, tools: tuple[Tool, ...] = TOOLS) -> Conversation:
    return Conversation.read([Message(role="user", text="?")], tools, choice or Choice(mode="auto"))


async def decoded(
    model: Trained, options: DecodeOptions, choice: Choice | None = None
) -> tuple[list[tuple[str, str]], str, Figures]:
    """The calls in their order, the text, and what it cost."""
    calls: dict[int, tuple[str, str]] = {}
    text = ""
    figures = Figures(decoding="parallel")
    decoder = Decoder(ScriptedEngine(model), TRAINED, options)
    async for event in decoder.decode_round(conversation(choice), RoundRequest()):
        match event:
            case CallWritten():
                calls[event.index] = (event.call.name, event.call.arguments_text)
            case TextWritten():
                text += event.text
            case RoundEnded():
                figures = event.figures
    return [calls[index] for index in sorted(calls)], text, figures


def weather(city: str) -> tuple[str, str]:
    return "weather", f'{{"city": "{city}"}}'


async def test_sure_tally_is_the_plan_and_takes_one_step() -> None:
    model = Trained(counts={"weather": "2", "clock": "1"})
    calls, _, figures = await decoded(model, SURE)
    assert calls == [weather("1 of 2"), weather("2 of 2"), ("clock", "{}")]
    assert figures.plan_steps == 1
    assert figures.tally_probability == pytest.approx(0.1, abs=0.01)
    assert figures.fallbacks == 0
    assert "<jupyter_text>" not in model.stood_on


@pytest.mark.parametrize(("weathers", "clocks", "made"), [("1", "0", 1), ("1", "1", 1), ("0", "0", 0)])
async def test_a_tally_also_decides_where_one_call_is_allowed(weathers: str, clocks: str, made: int) -> None:
    model = Trained(counts={"weather": weathers, "clock": clocks})
    calls, text, figures = await decoded(model, SURE, Choice(mode="auto", most=1))
    assert (len(calls), bool(text), figures.plan_steps) == (made, not made, 1)


async def test_unsure_tally_gives_way_to_an_outline() -> None:
    model = Trained(counts={"weather": "2", "clock": "2"}, outline="weather: Bern\nweather: Oslo\nend")
    calls, _, figures = await decoded(model, UNSURE)
    assert calls == [weather("Bern"), weather("Oslo")]
    assert figures.plan_steps > 10
    assert figures.tally_probability == pytest.approx(0.1, abs=0.01)
    assert figures.steps > figures.plan_steps
    assert [span.label for span in figures.spans].count("plan") == 3
    assert figures.fallbacks == 0


async def test_tally_that_breaks_has_no_probability_and_gives_way_whatever_the_threshold() -> None:
    model = Trained(counts={"weather": "2"}, outline="clock: now\nend", broken="clock")
    calls, _, figures = await decoded(model, DecodeOptions(sure_tally=0))
    assert calls == [("clock", "{}")]
    assert figures.tally_probability is None


async def test_plan_in_one_form_only_is_not_asked_how_sure_it_is() -> None:
    assert TRAINED.marks is not None
    for form in (marked_tally(TRAINED.marks), marked_outline(TRAINED.marks)):
        model = Trained(counts={"weather": "2", "clock": "1"}, outline="clock: now\nend")
        _, _, figures = await decoded(model, DecodeOptions(plan_form=form))
        assert figures.plan_steps > 0
        assert figures.tally_probability is None


async def test_no_call_is_an_answer_in_text_by_either_plan() -> None:
    for options in (SURE, UNSURE):
        calls, text, figures = await decoded(Trained(counts={"weather": "0", "clock": "0"}), options)
        assert (calls, text) == ([], "In words.")
        assert figures.fallbacks == 0


@pytest.mark.parametrize(
    ("counts", "choice", "made"),
    [
        (("0", "0"), Choice(mode="required"), 1),
        (("1", "1"), Choice(mode="required", least=4), 4),
        (("3", "3"), Choice(mode="auto", most=3), 3),
        (("1", "1"), Choice(mode="required", least=2, most=2), 2),
    ],
)
async def test_counts_of_a_tally_come_to_what_the_caller_allows(
    counts: tuple[str, str], choice: Choice, made: int
) -> None:
    calls, _, figures = await decoded(
        Trained(counts=dict(zip(("weather", "clock"), counts, strict=True))), SURE, choice
    )
    assert len(calls) + figures.duplicates_removed == made
    assert figures.plan_steps == 1
    assert figures.fallbacks == 0


async def test_tally_that_is_bent_to_the_bounds_is_held_against_the_threshold_too() -> None:
    model = Trained(counts={"weather": "0", "clock": "0"}, outline="clock: now\nend")
    calls, _, figures = await decoded(model, UNSURE, Choice(mode="required"))
    assert calls == [("clock", "{}")]
    assert figures.tally_probability == pytest.approx(0.1, abs=0.01)
    assert figures.plan_steps > 1


@pytest.mark.parametrize(
    ("choice", "tools", "made"),
    [
        (Choice(exact=("weather", "clock", "weather")), TOOLS, ["weather", "clock", "weather"]),
        (Choice(mode="required", least=3, most=3), TOOLS[:1], ["weather"] * 3),
    ],
)
@pytest.mark.parametrize("parallel_dependencies", [False, True])
async def test_counts_that_the_caller_fixes_need_no_plan(
    choice: Choice, tools: tuple[Tool, ...], made: list[str], parallel_dependencies: bool
) -> None:
    model = Trained(counts={})
    decoder = Decoder(ScriptedEngine(model), TRAINED)
    asked = RoundRequest(parallel_dependencies=parallel_dependencies)
    *written, ended = [event async for event in decoder.decode_round(conversation(choice, tools), asked)]
    calls = sorted((event for event in written if isinstance(event, CallWritten)), key=lambda event: event.index)
    assert [event.call.name for event in calls] == made
    assert isinstance(ended, RoundEnded)
    assert (ended.reason, ended.figures.plan_steps, ended.figures.branches) == ("calls", 0, len(made))
    assert all(stands_on.startswith("<jupyter_code>") for stands_on in model.stood_on)
    cities = [event.call.arguments["city"] for event in calls if event.call.name == "weather"]
    assert cities == [f"{number} of {len(cities)}" for number in range(1, len(cities) + 1)]


def test_forms_by_what_the_model_was_trained_for_and_the_caller_leaves_open() -> None:
    def names(choice: Choice | None = None, tools: tuple[Tool, ...] = TOOLS) -> list[str]:
        return [form.name for form in plan_forms(DecodeOptions(), TRAINED, conversation(choice, tools))]

    assert names() == ["tally", "outline"]
    assert names(Choice(mode="required")) == ["tally", "outline"]
    assert names(Choice(mode="required", least=3)) == ["tally", "outline"]
    assert names(Choice(exact=("clock", "weather"))) == ["tally"]
    assert names(Choice(exact=("clock",) * 10)) == ["outline"]
    assert names(Choice(mode="required", least=9, most=9), TOOLS[:1]) == ["tally"]
    assert names(Choice(mode="required", least=10, most=10), TOOLS[:1]) == ["outline"]
    assert names(Choice(mode="required", least=10), TOOLS[:1]) == ["outline"]
    many = tuple(Tool(name=f"tool_{number}") for number in range(TALLIED_TOOLS + 1))
    assert names(tools=many) == ["outline"]
    assert names(tools=many[1:]) == ["tally", "outline"]


def test_stock_model_plans_in_the_joint_form_or_as_the_options_say() -> None:
    assert plan_forms(DecodeOptions(), JSON, conversation()) == (JOINT,)
    assert plan_forms(DecodeOptions(plan_form=JOINT), TRAINED, conversation()) == (JOINT,)
