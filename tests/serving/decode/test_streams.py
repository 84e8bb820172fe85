"""Streams followed to their ends: when each began, and what one has cost that is left before its end."""

from __future__ import annotations

import pytest

from grammars.branch import Branch
from grammars.constraint import Constraint
from grammars.prompt import Prefix
from serving.decode.streams import OpenStream, StreamEnded, run_stream, run_streams
from serving.engines.base import BranchProgress, BranchStarted
from serving.engines.scripted import ScriptedEngine
from tests.serving.decode.rounds import BYTES

PREFIX: Prefix = BYTES.encode("hello")


def text_branch() -> Branch:
    return Branch(constraint=Constraint.text(), max_new_tokens=50)


async def test_every_stream_ends_once_and_began_before_it_did() -> None:
    engine = ScriptedEngine(["Hello."], step_s=0.0005)
    branches = [text_branch(), Branch(constraint=Constraint.choice(["forced"]), max_new_tokens=50), text_branch()]
    events = [event async for event in run_streams(engine, PREFIX, branches)]
    ended = [event for event in events if isinstance(event, StreamEnded)]
    assert sorted(event.index for event in ended) == [0, 1, 2]
    assert ended[0].index == 1, "what is all forced ends first"
    starts = {event.branch: event.at_s for event in events if isinstance(event, BranchStarted)}
    for event in ended:
        assert event.start_s == starts[event.index] <= event.end.at_s


async def test_one_stream_is_followed_to_its_end() -> None:
    ended = await run_stream(ScriptedEngine(["Hello."]), PREFIX, text_branch())
    assert (ended.end.text, ended.end.reason) == ("Hello.", "complete")


async def test_closing_frees_the_streams() -> None:
    engine = ScriptedEngine(["Hello."])
    events = run_streams(engine, PREFIX, [text_branch()] * 3)
    await anext(events)
    assert engine.live_branches == 3
    await events.aclose()
    assert engine.live_branches == 0


@pytest.mark.parametrize("pieces", [1, 3, 6])
async def test_stream_that_is_left_has_cost_what_it_wrote(pieces: int) -> None:
    stream = OpenStream()
    left = None
    async for event in run_streams(ScriptedEngine(["Hello."]), PREFIX, [text_branch()]):
        if not isinstance(event, StreamEnded):
            stream.take(event)
            left = event if isinstance(event, BranchProgress) else left
        if len(stream.left(BYTES).text) == pieces:
            break
    end = stream.left(BYTES)
    assert left is not None
    assert (end.text, end.steps, len(end.tokens), end.forced_tokens) == ("Hello."[:pieces], pieces, pieces, 0)
    assert stream.start_s <= end.at_s == left.at_s
