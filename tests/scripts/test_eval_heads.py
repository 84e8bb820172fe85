"""Argument heads are decoded beside one another and put together, call by call."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from eval import app
from eval_heads import HeadDecoder
from eval_run import Outcome, Question, answer_question, decoder_of, plan_named
from typer.testing import CliRunner

from finetune.gold import Gold
from grammars.constraint import Constraint
from grammars.conversation import Choice, Conversation, Message
from grammars.tools import Tool
from serving.decode.round import RoundRequest
from serving.engines.scripted import Answer, Failure, ScriptedEngine

FERRY = Tool(
    name="ferry",
    parameters={
        "type": "object",
        "properties": {"to": {"type": "string"}, "cars": {"type": "integer"}, "night": {"type": "boolean"}},
        "required": ["to"],
    },
)
ARGUMENTS = {
    ("1", "to"): '{"to": "Oslo"}',
    ("1", "cars"): '{"cars": 2}',
    ("1", "night"): "{}",
    ("2", "to"): '{"to": "Bergen"}',
    ("2", "cars"): "{}",
    ("2", "night"): '{"night": true}',
}


def script(tally: str, **other: Answer):  # type: ignore[no-untyped-def]
    def written(text: str, _: Constraint) -> Answer:
        if text.endswith("<jupyter_start>ferry:"):
            return tally
        found = re.search(r"ferry: (\d) of \d: (\w+)<jupyter_output>$", text)
        assert found is not None, text
        number, name = found.groups()
        return other.get(name, ARGUMENTS[number, name])

    return written


async def answered(tally: str, choice: Choice | None = None, **other: Answer) -> Outcome:
    engine = ScriptedEngine(script(tally, **other))
    decoder = decoder_of(engine, "polycall-smollm2", "tally")
    asked = Conversation.read([Message(role="user", text="Ferries")], [FERRY], choice)
    heads = HeadDecoder(engine, decoder.dialect, decoder.options)
    assert plan_named("tally", heads) == "tally, argument heads"
    outcome = await answer_question(heads, Question(id="q", conversation=asked, gold=Gold()), RoundRequest())
    await engine.close()
    return outcome


async def test_every_call_is_what_its_heads_wrote() -> None:
    outcome = await answered("2")
    assert [call.arguments for call in outcome.calls] == [{"to": "Oslo", "cars": 2}, {"to": "Bergen", "night": True}]
    assert (outcome.failed_calls, outcome.invalid_calls, outcome.plan_steps) == (0, 0, 1)


async def test_plan_of_no_call_is_an_answer_in_text() -> None:
    outcome = await answered("0")
    assert (outcome.calls, outcome.modes) == ((), {})


async def test_head_that_breaks_fails_its_call_and_no_sibling() -> None:
    outcome = await answered("1", cars=Failure(error="broken"))
    assert (outcome.calls, outcome.failed_calls) == ((), 1)


@pytest.mark.parametrize(("least", "made", "removed"), [(0, 1, 1), (2, 2, 0)])
async def test_call_that_says_the_same_is_left_out_unless_so_many_are_asked_for(
    least: int, made: int, removed: int
) -> None:
    same: dict[str, Answer] = {"to": '{"to": "Oslo"}', "cars": "{}", "night": "{}"}
    choice = Choice(mode="required", least=least) if least else None
    outcome = await answered("2", choice, **same)
    assert (len(outcome.calls), outcome.duplicates_removed) == (made, removed)


def test_heads_are_not_for_one_stream(tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text('{"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}\n')
    result = CliRunner().invoke(app, ["cases", "--data", str(data), "--argument-heads", "--decoding", "sequential"])
    assert "--argument-heads is for --decoding parallel" in str(result.exception)
