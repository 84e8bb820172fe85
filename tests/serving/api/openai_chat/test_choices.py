"""Several choices of one request: whole turns side by side, told apart by their index."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai import BadRequestError, InternalServerError
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from grammars.constraint import Constraint
from serving.api.openai_chat.choices import ChoicesAnswer, run_choices
from serving.decode.round import RoundRequest
from serving.engines.scripted import Answer
from serving.execute.registry import Registry
from serving.turn_events import TurnEvent
from serving.turn_request import TurnLimits, TurnRequest
from serving.turn_runner import TurnRunner
from tests.serving.api.api_server import Serve, Server
from tests.serving.api.openai_chat.chat import TOOLS, USER, ask, stream
from tests.serving.api.turns import turns

CALLS = [("weather", {"city": "Bern"}), ("time_of_day", {"city": "Oslo"})]


def drawn(_text: str, _constraint: Constraint) -> Answer:
    """The script of a model that draws its words: what it writes hangs on the seed alone."""
    return None


def texts(answer: Any) -> list[str | None]:
    return [choice.message.content for choice in answer.choices]


def told(answer: Any) -> list[Any]:
    return [
        (
            choice.index,
            choice.message.role,
            choice.message.content,
            choice.finish_reason,
            [(call.function.name, call.function.arguments) for call in choice.message.tool_calls or ()],
        )
        for choice in answer.choices
    ]


def test_every_choice_is_an_answer_of_its_own(serve: Serve) -> None:
    answer = ask(serve(drawn), n=4, seed=7, max_tokens=40)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert len(set(texts(answer))) == 4
    reports = [(choice.model_extra or {})["polycall"] for choice in answer.choices]
    assert len({report["turn_id"] for report in reports}) == 4
    assert "polycall" not in (answer.model_extra or {})


def test_seed_repeats_all_choices_and_the_first_is_that_of_a_request_for_one(serve: Serve) -> None:
    server = serve(drawn)
    asked: dict[str, Any] = {"seed": 7, "max_tokens": 40}
    assert texts(ask(server, n=3, **asked)) == texts(ask(server, n=3, **asked))
    assert texts(ask(server, n=3, **asked))[:1] == texts(ask(server, n=1, **asked)) == texts(ask(server, **asked))


def test_choices_make_calls_each_with_ids_of_its_own(serve: Serve) -> None:
    answer = ask(serve([CALLS]), n=3, tools=TOOLS)
    ids = [call.id for choice in answer.choices for call in choice.message.tool_calls or ()]
    assert len(set(ids)) == 6
    assert {choice.finish_reason for choice in answer.choices} == {"tool_calls"}


@pytest.mark.parametrize("said", ["Hello there.", CALLS], ids=["text", "calls"])
def test_stream_put_together_by_the_real_client_equals_the_whole_answer(serve: Serve, said: Any) -> None:
    server = serve([said])
    whole = ask(server, n=3, tools=TOOLS)
    state = ChatCompletionStreamState()
    chunks = stream(server, n=3, tools=TOOLS, stream_options={"include_usage": True})
    for chunk in chunks:
        list(state.handle_chunk(chunk))
    streamed = state.current_completion_snapshot
    assert told(streamed) == told(whole)
    assert len({chunk.id for chunk in chunks}) == len({chunk.created for chunk in chunks}) == 1
    reports = [chunk.choices[0].index for chunk in chunks if (chunk.model_extra or {}).get("polycall")]
    assert sorted(reports) == [0, 1, 2]
    assert [bool(chunk.usage) for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1].usage is not None
    assert whole.usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


class LastFirst(TurnRunner):
    """In place of a runner: each of these turns says no more than that it began until the one after it has ended."""

    def __init__(self, turns: Sequence[Sequence[TurnEvent]]) -> None:
        self._turns = turns
        self._begun = 0
        self._over = [asyncio.Event() for _ in turns]

    async def run(self, request: TurnRequest) -> AsyncGenerator[TurnEvent, None]:
        index = self._begun
        self._begun += 1
        began, *rest = self._turns[index]
        yield began
        if index + 1 < len(self._turns):
            await self._over[index + 1].wait()
        for event in rest:
            yield event
        self._over[index].set()


@settings(max_examples=30)
@given(st.lists(turns(), min_size=2, max_size=4))
async def test_real_client_puts_choices_together_of_which_the_last_writes_first(said: list[list[TurnEvent]]) -> None:
    answer = ChoicesAnswer(len(said), model="m", named=False, include_usage=False)
    asked = TurnRequest(messages=(), round=RoundRequest())
    events = [event async for event in run_choices(LastFirst(said), asked, len(said))]
    chunks = [
        ChatCompletionChunk.model_validate_json(sent.data or "") for event in events for sent in answer.streamed(event)
    ]
    opened = [chunk.choices[0].index for chunk in chunks[: len(said)]]
    roles = [chunk.choices[0].index for chunk in chunks if chunk.choices[0].delta.role]
    assert opened == roles == [*range(len(said))]
    ends = [chunk.choices[0].index for chunk in chunks if chunk.choices[0].finish_reason]
    assert ends == [*reversed(range(len(said)))], "else nothing is shown here"
    state = ChatCompletionStreamState()
    for chunk in chunks:
        list(state.handle_chunk(chunk))
    whole = ChoicesAnswer(len(said), model="m", named=False, include_usage=False).whole(events)
    assert told(state.current_completion_snapshot) == told(ChatCompletion.model_validate_json(whole))


def test_choices_are_decoded_side_by_side(serve: Serve) -> None:
    """Nobody waits for another: deltas of all choices come before any of them has ended."""
    server = serve(["one two three four five"], step_s=0.005)
    chunks = [chunk.choices[0] for chunk in stream(server, n=3)]
    first_end = next(place for place, choice in enumerate(chunks) if choice.finish_reason)
    assert set(Counter(choice.index for choice in chunks[:first_end])) == {0, 1, 2}


def test_prompt_counts_once_and_what_is_written_adds_up(serve: Serve) -> None:
    server = serve(["Hello."])
    one, three = ask(server).usage, ask(server, n=3).usage
    assert one is not None
    assert three is not None
    assert (three.prompt_tokens, three.completion_tokens) == (one.prompt_tokens, 3 * one.completion_tokens)
    assert three.total_tokens == three.prompt_tokens + three.completion_tokens


# Where several choices make no sense


def refused(server: Server, **request: Any) -> BadRequestError:
    with pytest.raises(BadRequestError) as error:
        ask(server, n=2, **request)
    return error.value


def with_tool() -> Registry:
    tools = Registry()

    @tools.tool()
    async def now() -> str:
        """The time."""
        return "noon"

    return tools


def test_server_that_runs_tools_does_not_run_them_once_a_choice(serve: Serve) -> None:
    server = serve(["Hello."], registry=with_tool())
    error = refused(server)
    assert (error.param, "runs tools" in error.message) == ("n", True)
    assert len(ask(server, n=2, tool_choice="none").choices) == 2


def test_idempotency_key_stands_for_one_turn(serve: Serve) -> None:
    error = refused(serve(["Hello."]), extra_headers={"Idempotency-Key": "k"})
    assert (error.param, "idempotency" in error.message) == ("n", True)


def test_approvals_are_decided_in_one_turn(serve: Serve) -> None:
    approvals = [{"approval_request_id": "call_1", "approve": True}]
    error = refused(serve(["Hello."]), extra_body={"polycall": {"approvals": approvals}})
    assert (error.param, "approved" in error.message) == ("n", True)


@pytest.mark.parametrize("streamed", [False, True])
def test_without_room_for_all_there_is_none_for_any(serve: Serve, streamed: bool) -> None:
    server = serve(["Hello."], limits=TurnLimits(turns=2), step_s=0.001)
    with pytest.raises(InternalServerError) as full:
        server.client.chat.completions.create(model="scripted", messages=[USER], n=3, stream=streamed)
    assert full.value.status_code == 503
    assert server.runner.live_turns == 0
    assert len(ask(server, n=2).choices) == 2


def test_client_that_leaves_frees_every_choice(serve: Serve) -> None:
    server = serve(["A long answer. " * 200], step_s=0.001)
    body = json.dumps({"model": "scripted", "messages": [USER], "n": 3, "stream": True})
    with httpx.stream("POST", f"{server.url}/v1/chat/completions", content=body) as response:
        lines = response.iter_lines()  # kept: without it the connection would be closed at once
        next(lines)
        assert server.runner.live_turns == 3
    ask(server, max_tokens=1)
    until_free(server)


def until_free(server: Server) -> None:
    """The server is asked, again and again, until it has noticed that its client left."""
    for _ in range(500):
        if server.runner.live_turns == 0:
            break
        httpx.get(f"{server.url}/health")
    assert (server.runner.live_turns, server.engine.live_branches) == (0, 0)


def test_error_of_one_choice_is_the_answers(serve: Serve) -> None:
    with pytest.raises(InternalServerError, match="the grammar of the answer broke"):
        ask(serve(["no object"]), n=2, response_format={"type": "json_object"})
