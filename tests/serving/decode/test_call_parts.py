"""Calls written argument by argument: each head a branch, put together call by call, on a scripted engine."""

from __future__ import annotations

import json
import re

import pytest

from grammars.branch import Sampling
from grammars.constraint import Constraint
from grammars.conversation import Choice, Conversation, Message
from grammars.dialects import DIALECTS, JSON
from grammars.errors import ConfigurationError
from grammars.plan import PlannedCall
from grammars.tools import Tool
from serving.decode.call_parts import parts_of
from serving.decode.events import CallFailed, CallWritten, DecodeEvent, Figures, RoundEnded
from serving.decode.round import DecodeOptions, Decoder, RoundRequest
from serving.engines.scripted import Answer, Failure, ScriptedEngine
from tests.serving.decode.rounds import RecordingEngine

TRAINED = DIALECTS["polycall-smollm2"]

FERRY = Tool(
    name="ferry",
    parameters={
        "type": "object",
        "properties": {
            "to": {"type": "string", "maxLength": 30},
            "cars": {"type": "integer"},
            "stops": {"type": "array", "items": {"type": "string", "maxLength": 9}, "uniqueItems": True},
        },
        "required": ["to"],
    },
)
CLOCK = Tool(name="clock", parameters={"type": "object", "properties": {"city": {"type": "string", "maxLength": 30}}})

WRITTEN: dict[str, Answer] = {
    "1 of 2: to": '{"to": "Oslo"}',
    "1 of 2: cars": '{"cars": 2}',
    "1 of 2: stops": "{}",
    "2 of 2: to": '{"to": "Bergen"}',
    "2 of 2: cars": "{}",
    "2 of 2: stops": '{"stops": ["Voss"]}',
    "1 of 2": '{"to": "whole"}',
    "2 of 2": '{"to": "whole too"}',
    "1 of 1": '{"city": "Rome"}',
}
OSLO, BERGEN = {"to": "Oslo", "cars": 2}, {"to": "Bergen", "stops": ["Voss"]}


def model(*, ferries: int = 2, clocks: int = 0, **other: Answer) -> RecordingEngine:
    """A model that writes `WRITTEN`, but `other` for these subjects or arguments."""

    def script(text: str, _: Constraint) -> Answer:
        stands_on = text.rpartition("assistant\n")[2]
        if stands_on in COUNTED:
            return str({"ferry": ferries, "clock": clocks}[COUNTED[stands_on]])
        if stands_on == "<jupyter_text>":
            return "ferry: Oslo\nferry: Bergen\nend"
        found = re.fullmatch(r"<jupyter_code>\w+: ([^<]*)<jupyter_output>", stands_on)
        if found is None:  # the second chance of a call, in one stream
            return '{"to": "again"}'
        name = found[1].rpartition(": ")[2]
        return {**WRITTEN, **other}[name if name in other else found[1]]

    return RecordingEngine(script)


COUNTED = {"<jupyter_start>ferry:": "ferry", "<jupyter_start>clock:": "clock"}


async def decoded(
    most: int,
    engine: RecordingEngine | None = None,
    *,
    choice: Choice | None = None,
    request: RoundRequest | None = None,
    sure_tally: float = 0,
) -> tuple[list[DecodeEvent], Figures]:
    """What the model comes to with so many heads."""
    engine = engine or model()
    asked = Conversation.read([Message(role="user", text="?")], [FERRY, CLOCK], choice)
    decoder = Decoder(engine, TRAINED, DecodeOptions(sure_tally=sure_tally, argument_heads=most))
    events = [event async for event in decoder.decode_round(asked, request or RoundRequest())]
    await engine.close()
    assert isinstance(events[-1], RoundEnded)
    return events, events[-1].figures


def arguments(events: list[DecodeEvent]) -> list[dict[str, object]]:
    """Those of the calls, in the order of the plan."""
    written = {event.index: dict(event.call.arguments) for event in events if isinstance(event, CallWritten)}
    return [written[index] for index in sorted(written)]


@pytest.mark.parametrize(
    ("most", "branches", "made"), [(6, 6, [OSLO, BERGEN]), (5, 2, [{"to": "whole"}, {"to": "whole too"}])]
)
async def test_every_argument_is_a_branch_where_that_makes_no_more_than_the_most(
    most: int, branches: int, made: list[dict[str, object]]
) -> None:
    events, figures = await decoded(most)
    assert arguments(events) == made
    assert (figures.branches, figures.plan_steps, figures.fallbacks) == (branches, 1, 0)


async def test_a_call_that_cannot_be_split_stays_whole_beside_those_that_are() -> None:
    events, figures = await decoded(7, model(clocks=1))
    assert arguments(events) == [OSLO, BERGEN, {"city": "Rome"}]
    labels = sorted(span.label for span in figures.spans if span.label != "plan")
    assert labels == ["clock", *sorted(2 * [f"ferry: {name}" for name in ("to", "cars", "stops")])]


async def test_all_arguments_are_written_in_the_steps_of_the_longest() -> None:
    _, figures = await decoded(6)
    steps = [span.steps for span in figures.spans if span.label != "plan"]
    assert len(steps) == 6
    assert figures.steps == figures.plan_steps + max(steps) < sum(steps)


async def test_a_call_of_which_an_argument_breaks_has_a_second_chance_and_its_siblings_are_not_touched() -> None:
    broken: dict[str, Answer] = {"1 of 2: cars": Failure(error="broken")}
    events, figures = await decoded(6, model(**broken))
    assert arguments(events) == [{"to": "again"}, BERGEN]
    assert [event.index for event in events if isinstance(event, CallWritten)] == [1, 0]
    assert figures.fallbacks == 1
    assert not [event for event in events if isinstance(event, CallFailed)]


async def test_what_is_wrong_with_an_argument_is_found_as_in_a_whole_call() -> None:
    twice: dict[str, Answer] = {"2 of 2: stops": '{"stops": ["Voss", "Voss"]}'}
    events, figures = await decoded(6, model(**twice))
    assert figures.fallbacks == 1  # the grammar takes it, the schema does not
    assert arguments(events) == [OSLO, {"to": "again"}]


async def test_an_argument_that_is_cut_by_the_limit_cuts_its_call() -> None:
    long: dict[str, Answer] = {"2 of 2: to": json.dumps({"to": "x" * 30})}
    events, _ = await decoded(6, model(**long), request=RoundRequest(max_tokens=14))
    assert OSLO in arguments(events)
    assert [event.error.kind for event in events if isinstance(event, CallFailed)] == ["truncated"]


async def test_a_model_that_was_not_trained_for_it_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="argument_heads: for models that were trained for it"):
        Decoder(ScriptedEngine(), JSON, DecodeOptions(argument_heads=1))


async def test_without_a_plan_the_calls_are_split_too() -> None:
    events, figures = await decoded(6, choice=Choice(mode="required", exact=("ferry", "ferry")))
    assert arguments(events) == [OSLO, BERGEN]
    assert (figures.plan_steps, figures.branches) == (0, 6)


async def test_calls_of_an_outline_stay_whole() -> None:
    whole: dict[str, Answer] = {name: json.dumps({"to": name}) for name in ("Oslo", "Bergen")}
    events, figures = await decoded(6, model(**whole), sure_tally=0.9)
    assert arguments(events) == [{"to": "Oslo"}, {"to": "Bergen"}]
    assert figures.branches == 2


async def test_every_branch_has_a_seed_of_its_own() -> None:
    engine = model(**{"2 of 2: to": Failure(error="broken")})
    await decoded(6, engine, request=RoundRequest(sampling=Sampling(temperature=1.0, seed=5)))
    seeds = {branch.sampling.seed for branch in engine.branches}
    assert len(engine.branches) == 2 + 6 + 1  # two tallies, which share a seed, the heads, a second chance
    assert len(seeds) == 1 + 6 + 1


@pytest.mark.parametrize(("least", "made", "removed"), [(0, 1, 1), (2, 2, 0)])
async def test_calls_that_say_the_same_are_left_out_unless_so_many_are_asked_for(
    least: int, made: int, removed: int
) -> None:
    same: dict[str, Answer] = {"to": '{"to": "Oslo"}', "cars": "{}", "stops": "{}"}
    choice = Choice(mode="required", least=least) if least else None
    events, figures = await decoded(6, model(**same), choice=choice)
    assert (len(arguments(events)), figures.duplicates_removed) == (made, removed)


async def test_an_argument_by_itself_may_refer_to_an_earlier_call() -> None:
    refers: dict[str, Answer] = {"2 of 2: cars": '{"cars": "$ref:1#/cars"}'}
    events, _ = await decoded(6, model(**refers), request=RoundRequest(parallel_dependencies=True))
    first, second = [event.call for event in events if isinstance(event, CallWritten)]
    assert (first.arguments["to"], second.arguments["cars"]) == ("Oslo", f"$ref:{first.id}#/cars")


def test_parts_know_their_call_and_their_number_in_it() -> None:
    calls = [PlannedCall(tool="ferry", subject="1 of 1", place=0), PlannedCall(tool="clock", subject="1 of 1", place=1)]
    parts = parts_of(calls, {0: FERRY, 1: CLOCK}, 4)
    assert [part.key for part in parts] == [(0, 0), (0, 1), (0, 2), (1, 0)]
    assert [part.call.subject for part in parts] == ["1 of 1: to", "1 of 1: cars", "1 of 1: stops", "1 of 1"]
    assert [part.key for part in parts_of(calls, {0: FERRY, 1: CLOCK}, 3)] == [(0, 0), (1, 0)]
