"""The turn: rounds, running calls while others decode, handing back, budgets, and what the next request finds."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from grammars.branch import Sampling
from grammars.conversation import Choice, Conversation, Message
from grammars.errors import ContextExceeded, DecodingFailed, Overloaded, RequestError
from grammars.tools import CallError, Tool, ToolCall
from serving.approvals import Decision, Required
from serving.callers import Caller
from serving.decode.events import CallFailed, CallWritten, DecodeEvent, Figures, RoundEnded, TextWritten
from serving.decode.round import RoundRequest
from serving.execute.database.journal import DatabaseJournal
from serving.execute.execute import CallFinished, CallStarted, Executor
from serving.execute.journal import Journal
from serving.execute.journal_memory import MemoryJournal
from serving.execute.registry import Registry
from serving.turn_events import CallHandedBack, TurnBegan, TurnEnded, TurnEvent
from serving.turn_request import TurnLimits, TurnRequest
from serving.turn_runner import TurnRunner

Step = DecodeEvent | float | Exception
"""What a scripted round does next: yield an event, sleep so many seconds, or raise."""

registry = Registry()
ran: list[str] = []
numbers = itertools.count()


@registry.tool()
async def weather(city: str, seconds: float = 0.0) -> dict[str, Any]:
    await asyncio.sleep(seconds)
    ran.append(city)
    return {"city": city, "degrees": 12}


@registry.tool()
async def broken() -> None:
    raise ValueError("out of order")


class ScriptedRounds:
    """A decoder that plays the given rounds and keeps what it was asked."""

    def __init__(self, *rounds: Sequence[Step]) -> None:
        self.rounds = list(rounds)
        self.asked: list[tuple[Conversation, RoundRequest]] = []
        self.live = 0

    async def decode_round(
        self, conversation: Conversation, request: RoundRequest
    ) -> AsyncGenerator[DecodeEvent, None]:
        self.asked.append((conversation, request))
        self.live += 1
        try:
            for step in self.rounds[len(self.asked) - 1]:
                if isinstance(step, Exception):
                    raise step
                if isinstance(step, float):
                    await asyncio.sleep(step)
                else:
                    yield step
        finally:
            self.live -= 1

    @property
    def modes(self) -> list[str]:
        return [conversation.choice.mode for conversation, _ in self.asked]


def written(index: int, name: str, **arguments: Any) -> CallWritten:
    return CallWritten(
        index=index, call=ToolCall(id=f"call_{name}_{index}_{next(numbers)}", name=name, arguments=arguments)
    )


def not_written(index: int, tool: str) -> CallFailed:
    return CallFailed(index=index, tool=tool, error=CallError(kind="truncated", message="the call was cut"))


def ended(reason: Literal["calls", "text", "length"], **figures: Any) -> RoundEnded:
    return RoundEnded(reason=reason, figures=Figures(decoding="parallel", **figures))


def text(*pieces: str) -> list[Step]:
    return [*(TextWritten(text=piece) for piece in pieces), ended("text", steps=3, completion_tokens=3)]


def calls(*events: Step) -> list[Step]:
    return [*events, ended("calls", steps=4, plan_steps=2, branches=len(events), completion_tokens=10)]


USER = Message(role="user", text="What is the weather?")
MAP = Tool(name="show_map")


def request(
    *messages: Message, tools: Sequence[Tool] = (MAP,), choice: Choice | None = None, max_tokens: int | None = None
) -> TurnRequest:
    return TurnRequest(
        messages=messages or (USER,),
        tools=tuple(tools),
        choice=choice,
        round=RoundRequest(sampling=Sampling(), decoding="parallel", max_tokens=max_tokens, stop=()),
    )


def runner(decoder: ScriptedRounds, journal: Journal | None = None, **limits: Any) -> TurnRunner:
    return TurnRunner(decoder, Executor(registry), TurnLimits(**limits), journal)


async def played(turns: TurnRunner, asked: TurnRequest | None = None) -> list[TurnEvent]:
    """All events of the turn but the first, which says that it has begun."""
    first, *events = [event async for event in turns.run(asked or request())]
    assert isinstance(first, TurnBegan)
    return events


def last(events: list[TurnEvent]) -> TurnEnded:
    assert isinstance(events[-1], TurnEnded)
    return events[-1]


def kinds(events: list[TurnEvent]) -> list[str]:
    return [type(event).__name__ for event in events]


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    ran.clear()


async def test_a_turn_of_text_is_the_text_and_its_end() -> None:
    events = await played(runner(ScriptedRounds(text("It is", " fine."))))
    assert kinds(events) == ["TextWritten", "TextWritten", "RoundEnded", "TurnEnded"]
    assert last(events).reason == "text"


async def test_a_server_call_starts_when_it_is_written_while_its_siblings_still_decode() -> None:
    decoder = ScriptedRounds(
        calls(written(0, "weather", city="Bern"), 0.1, written(1, "weather", city="Oslo")), text("Done.")
    )
    events = await played(runner(decoder))
    names = kinds(events)
    assert names[:3] == ["CallWritten", "CallStarted", "CallFinished"], "Bern is done before Oslo is written"
    assert names[3:] == [
        "CallWritten", "CallStarted", "RoundEnded", "CallFinished", "TextWritten", "RoundEnded", "TurnEnded"
    ]  # fmt: skip


async def test_a_reader_that_waits_does_not_hold_up_the_calls() -> None:
    decoder = ScriptedRounds(calls(written(0, "weather", city="Bern")), text("Done."))
    async with aclosing(runner(decoder).run(request())) as events:
        await anext(events)
        await asyncio.sleep(0.05)
        assert ran == ["Bern"]


async def test_calls_of_one_round_run_together() -> None:
    steps = [written(index, "weather", city=f"city {index}", seconds=0.2) for index in range(5)]
    begin_s = time.monotonic()
    events = await played(runner(ScriptedRounds(calls(*steps), text("Done."))))
    assert time.monotonic() - begin_s < 0.4
    figures = last(events).figures
    assert 0.15 < figures.wait_s < 0.3
    assert figures.decode_s < 0.1 < figures.total_s


async def test_results_reach_the_next_round_in_call_order_whichever_ends_first() -> None:
    decoder = ScriptedRounds(
        calls(written(1, "weather", city="Oslo"), written(0, "weather", city="Bern", seconds=0.05)), text("Done.")
    )
    events = await played(runner(decoder))
    assistant, first, second = decoder.asked[1][0].messages[1:]
    assert [call.arguments["city"] for call in assistant.calls] == ["Bern", "Oslo"]
    assert (first.text, second.text) == ('{"city": "Bern", "degrees": 12}', '{"city": "Oslo", "degrees": 12}')
    assert [first.call_id, second.call_id] == [call.id for call in assistant.calls]
    assert [done.call.arguments["city"] for done in last(events).server_calls] == ["Bern", "Oslo"]


async def test_a_raising_tool_is_a_result_for_the_model_beside_its_siblings() -> None:
    decoder = ScriptedRounds(calls(written(0, "broken"), written(1, "weather", city="Bern")), text("Partly."))
    events = await played(runner(decoder))
    results = [message.text for message in decoder.asked[1][0].messages if message.role == "tool"]
    assert results == [
        '{"error": "tool_error", "message": "ValueError: out of order"}',
        '{"city": "Bern", "degrees": 12}',
    ]
    assert last(events).reason == "text"


async def test_client_calls_are_handed_back_and_end_the_turn() -> None:
    events = await played(runner(ScriptedRounds(calls(written(0, "show_map", place="Bern")))))
    assert kinds(events) == ["CallWritten", "CallHandedBack", "RoundEnded", "TurnEnded"]
    assert last(events).reason == "calls"


@pytest.mark.parametrize(
    ("steps", "handed_back", "before_the_end"),
    [
        ([written(0, "show_map"), written(1, "show_map")], [0, 1], 2),
        ([written(1, "show_map"), written(0, "show_map")], [0, 1], 2),
        ([written(2, "show_map"), written(0, "show_map")], [0, 2], 1),
        ([written(3, "show_map"), not_written(1, "show_map"), written(0, "show_map")], [0, 3], 1),
        ([not_written(0, "show_map"), written(1, "show_map")], [1], 1),
        ([written(0, "weather", city="Bern"), written(1, "show_map")], [1], 1),
    ],
)
async def test_calls_are_handed_back_in_call_order_each_as_soon_as_its_place_is_known(
    steps: list[Step], handed_back: list[int], before_the_end: int
) -> None:
    events = await played(runner(ScriptedRounds(calls(*steps))))
    backs = [event for event in events if isinstance(event, CallHandedBack)]
    assert [int(event.call.id.split("_")[3]) for event in backs] == handed_back
    assert [event.position for event in backs] == list(range(len(backs)))
    at_the_end = kinds(events).index("RoundEnded")
    assert sum(isinstance(event, CallHandedBack) for event in events[:at_the_end]) == before_the_end


async def test_a_failed_call_beside_handed_back_ones_is_listed_not_lost() -> None:
    events = await played(runner(ScriptedRounds(calls(not_written(0, "show_map"), written(1, "show_map")))))
    assert [failure.tool for failure in last(events).failures] == ["show_map"]
    assert last(events).reason == "calls"


async def test_a_failed_call_beside_server_calls_is_told_to_the_model() -> None:
    decoder = ScriptedRounds(calls(written(0, "weather", city="Bern"), not_written(1, "weather")), text("Partly."))
    await played(runner(decoder))
    assistant, _, error = decoder.asked[1][0].messages[1:]
    assert [call.name for call in assistant.calls] == ["weather", "weather"]
    assert error.text == '{"error": "truncated", "message": "the call was cut"}'


async def test_a_turn_of_nothing_but_failures_raises_decoding_failed() -> None:
    with pytest.raises(DecodingFailed, match="weather: the call was cut"):
        await played(runner(ScriptedRounds(calls(not_written(0, "weather")))))


async def test_failures_after_something_usable_do_not_lose_it() -> None:
    decoder = ScriptedRounds(
        calls(written(0, "weather", city="Bern")), calls(not_written(0, "weather")), text("Bern is fine.")
    )
    events = await played(runner(decoder))
    assert last(events).reason == "text"
    assert len(last(events).server_calls) == len(last(events).failures) == 1


async def test_a_round_of_repeats_is_not_run_again_and_the_next_is_text() -> None:
    decoder = ScriptedRounds(
        calls(written(0, "weather", city="Bern")), calls(written(0, "weather", city="Bern")), text("Fine.")
    )
    events = await played(runner(decoder))
    assert ran == ["Bern"]
    assert decoder.modes == ["auto", "auto", "none"]
    assert decoder.asked[2][0].messages == decoder.asked[1][0].messages
    assert last(events).figures.repeats == 1


async def test_a_repeat_beside_something_new_runs_whichever_is_written_first() -> None:
    decoder = ScriptedRounds(
        calls(written(0, "weather", city="Bern")),
        calls(written(0, "weather", city="Bern"), written(1, "weather", city="Oslo")),
        text("Fine."),
    )
    events = await played(runner(decoder))
    assert sorted(ran) == ["Bern", "Bern", "Oslo"]
    assert last(events).figures.repeats == 0


async def test_what_was_answered_for_an_earlier_question_is_run_again() -> None:
    call = ToolCall(id="call_old", name="weather", arguments={"city": "Bern"})
    history = (
        USER,
        Message(role="assistant", calls=(call,)),
        Message(role="tool", text="{}", call_id="call_old"),
        Message(role="user", text="And now?"),
    )
    await played(runner(ScriptedRounds(calls(written(0, "weather", city="Bern")), text("Fine."))), request(*history))
    assert ran == ["Bern"]


@pytest.mark.parametrize(
    ("choice", "later"),
    [
        (Choice(mode="required", least=2), Choice(mode="auto")),
        (Choice(exact=("weather",)), Choice(mode="auto")),
        (Choice(exact=("weather",), most=1), Choice(mode="auto", most=1)),
        (Choice(mode="required", allowed=frozenset({"weather"})), Choice(allowed=frozenset({"weather"}))),
        (Choice(mode="required", most=3), Choice(mode="auto", most=3)),
    ],
)
async def test_what_is_required_holds_for_the_first_round_only(choice: Choice, later: Choice) -> None:
    decoder = ScriptedRounds(calls(written(0, "weather", city="Bern")), text("Fine."))
    await played(runner(decoder), request(choice=choice))
    assert [conversation.choice.mode for conversation, _ in decoder.asked] == ["required", "auto"]
    assert decoder.asked[1][0].choice == later


async def test_the_last_round_of_the_budget_is_text() -> None:
    rounds = [calls(written(0, "weather", city=f"city {number}")) for number in range(3)]
    decoder = ScriptedRounds(*rounds[:2], text("Enough."))
    assert last(await played(runner(decoder, rounds=3))).reason == "text"
    assert decoder.modes == ["auto", "auto", "none"]


async def test_the_budget_of_calls_bounds_the_next_rounds_and_then_forbids_calls() -> None:
    decoder = ScriptedRounds(
        calls(written(0, "weather", city="a"), written(1, "weather", city="b")),
        calls(written(0, "weather", city="c")),
        text("Enough."),
    )
    await played(runner(decoder, calls=3))
    assert [conversation.choice.most for conversation, _ in decoder.asked] == [16, 1, 0]
    assert decoder.modes == ["auto", "auto", "none"]


async def test_a_requests_bound_on_the_servers_calls_holds_within_a_round_and_leaves_the_clients_tools() -> None:
    decoder = ScriptedRounds(
        calls(written(0, "weather", city="a"), written(1, "weather", city="b"), written(2, "weather", city="c")),
        calls(written(0, "show_map", place="a")),
    )
    end = last(await played(runner(decoder), replace(request(), most_server_calls=2)))
    assert ran == ["a", "b"]
    assert [done.result.error and done.result.error.kind for done in end.server_calls] == [None, None, "denied"]
    assert decoder.asked[1][0].choice.allowed == {"show_map"}
    assert end.reason == "calls"


async def test_without_tools_of_the_clients_a_spent_bound_leaves_text() -> None:
    decoder = ScriptedRounds(calls(written(0, "weather", city="a")), text("Enough."))
    await played(runner(decoder), replace(request(tools=()), most_server_calls=1))
    assert decoder.modes == ["auto", "none"]


async def test_what_a_request_wants_kept_is_kept_under_its_turn_once_it_is_answered() -> None:
    turns = runner(ScriptedRounds(text("Fine.")))
    end = last(await played(turns, replace(request(), to_keep="words")))
    assert await turns.journal.kept("", [end.turn_id]) == {end.turn_id: "words"}


async def test_the_wall_time_ends_the_turn_as_cut_and_cancels_what_runs() -> None:
    decoder = ScriptedRounds(calls(written(0, "weather", city="Bern", seconds=60.0), 60.0))
    events = await played(runner(decoder, wall_s=0.1))
    assert last(events).reason == "length"
    assert last(events).figures.out_of_time
    [call] = last(events).server_calls
    assert call.result.error is not None
    assert call.result.error.kind == "cancelled"
    assert decoder.live == 0


async def test_the_clients_token_limit_holds_for_the_turn_as_a_whole() -> None:
    decoder = ScriptedRounds(
        calls(written(0, "weather", city="Bern")), calls(written(0, "weather", city="Oslo")), text("Never.")
    )
    events = await played(runner(decoder), request(max_tokens=20))
    assert [asked.max_tokens for _, asked in decoder.asked] == [20, 10]
    assert last(events).reason == "length"


async def test_a_round_that_was_cut_ends_the_turn_as_cut() -> None:
    decoder = ScriptedRounds([written(0, "weather", city="Bern"), not_written(1, "weather"), ended("length")])
    events = await played(runner(decoder))
    assert last(events).reason == "length"
    assert len(last(events).server_calls) == 1


async def test_a_turn_that_was_cut_asks_for_no_approval_and_says_that_the_calls_did_not_run() -> None:
    decoder = ScriptedRounds([written(0, "weather", city="Bern"), ended("length")])
    events = await played(runner(decoder), replace(request(), required=Required(tools=None)))
    assert (last(events).reason, last(events).awaiting, ran) == ("length", (), [])
    [call] = last(events).server_calls
    assert call.result.error is not None
    assert call.result.error.kind == "cancelled"


async def test_calls_that_want_approval_are_listed_in_call_order_whichever_is_written_first() -> None:
    steps = [written(index, "weather", city=f"city {index}") for index in (2, 0, 1)]
    events = await played(runner(ScriptedRounds(calls(*steps))), replace(request(), required=Required(tools=None)))
    assert [call.arguments["city"] for call in last(events).awaiting] == ["city 0", "city 1", "city 2"]


async def test_an_approved_call_does_not_run_if_the_caller_may_not_use_its_tool_any_more() -> None:
    decoder = ScriptedRounds(calls(written(0, "weather", city="Bern")), text("Not allowed."))
    turns = runner(decoder)
    asked = replace(request(), required=Required(tools=None))
    [call] = last(await played(turns, asked)).awaiting
    decisions = (Decision(call_id=call.id, approve=True),)
    events = await played(turns, replace(asked, decisions=decisions, required=Required(), caller=Caller(deny=("*",))))
    [done] = last(events).server_calls
    assert done.result.error is not None
    assert (done.result.error.kind, ran) == ("unknown_tool", [])


async def test_figures_of_all_rounds_are_added_up() -> None:
    events = await played(runner(ScriptedRounds(calls(written(0, "weather", city="Bern")), text("Fine."))))
    figures = last(events).figures
    assert (figures.steps, figures.plan_steps, figures.branches, figures.completion_tokens) == (7, 2, 1, 13)
    assert len(figures.rounds) == 2


async def test_closing_the_turn_frees_the_branches_and_cancels_the_calls() -> None:
    decoder = ScriptedRounds(calls(written(0, "weather", city="Bern", seconds=0.1), 60.0))
    turns = runner(decoder)
    async with aclosing(turns.run(request())) as events:
        async for event in events:
            if isinstance(event, CallStarted):
                break
    assert decoder.live == turns.live_turns == 0
    await asyncio.sleep(0.2)
    assert ran == []


@pytest.mark.parametrize("error", [ContextExceeded("too long", place="messages"), Overloaded("full")])
async def test_an_error_of_the_decoder_reaches_the_reader_as_it_is(error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        await played(runner(ScriptedRounds([error])))
    assert caught.value is error


async def test_an_error_while_calls_run_cancels_them() -> None:
    decoder = ScriptedRounds([written(0, "weather", city="Bern", seconds=0.1), 0.02, DecodingFailed("gone")])
    with pytest.raises(DecodingFailed):
        await played(runner(decoder))
    await asyncio.sleep(0.2)
    assert ran == []


async def test_more_turns_than_may_run_at_once_are_refused_and_the_running_one_is_unharmed() -> None:
    turns = runner(ScriptedRounds([0.1, *text("Fine.")]), turns=1)
    running = asyncio.create_task(played(turns))
    await asyncio.sleep(0.02)
    with pytest.raises(Overloaded):
        await played(turns)
    assert last(await running).reason == "text"
    assert turns.live_turns == 0


async def test_a_tool_of_the_server_and_one_of_the_client_cannot_share_a_name() -> None:
    with pytest.raises(RequestError) as caught:
        await played(runner(ScriptedRounds()), request(tools=[MAP, Tool(name="weather")]))
    assert caught.value.place == "tools[1].function.name"


async def test_server_tools_are_offered_beside_the_clients_unless_calls_are_forbidden() -> None:
    decoder = ScriptedRounds(text("Fine."), text("Fine."))
    turns = runner(decoder)
    await played(turns)
    await played(turns, request(choice=Choice(mode="none")))
    offered = [[tool.name for tool in conversation.tools] for conversation, _ in decoder.asked]
    assert offered == [["show_map", "weather", "broken"], ["show_map"]]


class TestMixedRounds:
    """A round with calls of both sides: the client sees its own, and the rest is put back when it goes on."""

    mixed = (
        calls(written(0, "weather", city="Bern")),
        calls(written(0, "weather", city="Oslo"), written(1, "show_map", place="Oslo")),
        text("Here it is."),
    )

    async def handed_back(self, turns: TurnRunner) -> tuple[ToolCall, ...]:
        events = await played(turns)
        assert last(events).reason == "calls"
        return tuple(event.call for event in events if isinstance(event, CallHandedBack))

    def answered(self, back: tuple[ToolCall, ...]) -> tuple[Message, ...]:
        results = [Message(role="tool", text=f"shown {call.name}", call_id=call.id) for call in back]
        return (USER, Message(role="assistant", calls=back), *results)

    async def test_server_calls_run_and_client_calls_are_handed_back(self) -> None:
        back = await self.handed_back(runner(ScriptedRounds(*self.mixed)))
        assert [call.name for call in back] == ["show_map"]
        assert ran == ["Bern", "Oslo"]

    async def test_the_next_request_goes_on_with_the_servers_calls_and_results_restored(self) -> None:
        decoder = ScriptedRounds(*self.mixed)
        turns = runner(decoder)
        await played(turns, request(*self.answered(await self.handed_back(turns))))
        messages = decoder.asked[2][0].messages
        assert [message.role for message in messages] == ["user", "assistant", "tool", "assistant", "tool", "tool"]
        assert [call.name for call in messages[3].calls] == ["weather", "show_map"]
        assert [message.text for message in messages[4:]] == ['{"city": "Oslo", "degrees": 12}', "shown show_map"]

    async def test_what_the_client_shows_of_the_servers_calls_is_not_read_twice(self) -> None:
        decoder = ScriptedRounds(*self.mixed)
        turns = runner(decoder)
        events = await played(turns)
        done = [event for event in events if isinstance(event, CallFinished)]
        back = tuple(event.call for event in events if isinstance(event, CallHandedBack))
        shown = [
            message
            for one in done
            for message in (
                Message(role="assistant", calls=(one.call,)),
                Message(role="tool", text=one.result.text, call_id=one.call.id),
            )
        ]
        user, *rest = self.answered(back)
        await played(turns, request(user, *shown, *rest))
        messages = decoder.asked[2][0].messages
        assert [message.role for message in messages] == ["user", "assistant", "tool", "assistant", "tool", "tool"]
        assert [call.name for call in messages[3].calls] == ["weather", "show_map"]

    async def test_a_server_that_was_restarted_restores_them_too(self, tmp_path: Path) -> None:
        decoder = ScriptedRounds(*self.mixed)
        back: tuple[ToolCall, ...] = ()
        for _ in range(2):
            turns = runner(decoder, DatabaseJournal(f"sqlite:///{tmp_path}/journal.sqlite3"))
            await turns.open()
            if back:
                await played(turns, request(*self.answered(back)))
            else:
                back = await self.handed_back(turns)
            await turns.close()
        roles = [message.role for message in decoder.asked[2][0].messages]
        assert roles == ["user", "assistant", "tool", "assistant", "tool", "tool"]

    async def test_another_caller_does_not_get_what_was_hidden(self) -> None:
        decoder = ScriptedRounds(*self.mixed)
        turns = runner(decoder)
        asked = request(*self.answered(await self.handed_back(turns)))
        await played(turns, replace(asked, caller=Caller(name="eve")))
        assert [message.role for message in decoder.asked[2][0].messages] == ["user", "assistant", "tool"]

    async def test_a_restored_call_counts_as_answered(self) -> None:
        decoder = ScriptedRounds(*self.mixed[:2], calls(written(0, "weather", city="Oslo")), text("Fine."))
        turns = runner(decoder)
        await played(turns, request(*self.answered(await self.handed_back(turns))))
        assert ran == ["Bern", "Oslo"]
        assert decoder.modes[-1] == "none"

    async def test_rounds_beyond_the_memory_are_forgotten_oldest_first(self) -> None:
        again = calls(written(0, "weather", city="Rome"), written(1, "show_map", place="Rome"))
        decoder = ScriptedRounds(*self.mixed[:2], again, text("Fine."), text("Fine."))
        turns = runner(decoder, MemoryJournal(1))
        first = await self.handed_back(turns)
        second = await self.handed_back(turns)
        await played(turns, request(*self.answered(first)))
        await played(turns, request(*self.answered(second)))
        assert [len(conversation.messages) for conversation, _ in decoder.asked[3:]] == [3, 4]

    async def test_a_bad_history_is_refused_with_the_clients_own_places(self) -> None:
        turns = runner(ScriptedRounds(*self.mixed))
        back = await self.handed_back(turns)
        stray = Message(role="tool", text="?", call_id="call_nobody")
        with pytest.raises(RequestError) as caught:
            await played(turns, request(*self.answered(back), stray))
        assert caught.value.place == "messages[3].tool_call_id"
