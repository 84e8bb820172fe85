"""What every journal keeps: one key is one turn, only its holder writes, and what was begun is found again."""

from __future__ import annotations

import asyncio
import stat
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from grammars.errors import AlreadyTaken, ConfigurationError, JournalUnavailable, KeyReused, TurnInProgress, TurnLost
from grammars.tools import CallError, ToolResult
from serving.execute.database.connect import create_engine, read_url
from serving.execute.database.journal import DatabaseJournal
from serving.execute.journal import Hold, Idempotency, Journal, JournaledCall, JournaledTurn, Kept
from serving.execute.journal_memory import MemoryJournal
from tests.postgres import Postgres

LEASE_S = 0.4
KEY = Idempotency(key="order-1", digest="a" * 64)
STRANGE: dict[str, Any] = {"text": 'it\'s "\u0000\ud800" — 世界', "number": 10**30, "deep": [{"x": None}, 1.5, True]}


def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/state/journal.sqlite3"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return sqlite_url(tmp_path)
    new: Callable[[], str] = request.getfixturevalue("postgres").new_database
    return new()


@pytest.fixture
async def server(url: str) -> AsyncIterator[Callable[..., Any]]:
    """Starts one more server on the same database."""
    async with AsyncExitStack() as stack:

        async def start(**options: Any) -> DatabaseJournal:
            journal = DatabaseJournal(url, **{"lease_s": LEASE_S, **options})
            await journal.open()
            stack.push_async_callback(journal.close)
            return journal

        yield start


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
async def journal(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Journal]:
    found: Journal
    if request.param == "memory":
        found = MemoryJournal()
    elif request.param == "sqlite":
        found = DatabaseJournal(sqlite_url(tmp_path))
    else:
        found = DatabaseJournal(request.getfixturevalue("postgres").new_database())
    await found.open()
    yield found
    await found.close()


def entry(name: str, round: int = 1, **more: Any) -> JournaledCall:
    values = {"arguments": {"order": 7}, "repeatable": False, "started_s": time.time(), **more}
    return JournaledCall(id=f"call_{name}", round=round, name=name, **values)


async def begun(journal: Journal, caller: str = "", key: Idempotency | None = KEY) -> tuple[Hold, JournaledTurn]:
    hold = Hold(turn_id=f"turn_{time.monotonic_ns()}")
    turn = await journal.begin(hold, caller, key)
    return replace(hold, turn_id=turn.id), turn


async def seen(journal: Journal, hold: Hold, caller: str = "") -> JournaledTurn:
    turn = await journal.turn(hold.turn_id, caller)
    assert turn is not None
    return turn


async def test_calls_stand_in_the_order_of_their_start_and_of_one_moment_by_their_ids(journal: Journal) -> None:
    hold, _ = await begun(journal)
    for name, started_s in (("c", 5.0), ("b", 7.0), ("a", 5.0)):
        await journal.intent(hold, entry(name, started_s=started_s))
    assert [call.id for call in (await seen(journal, hold)).calls] == ["call_a", "call_c", "call_b"]


async def test_a_new_turn_runs_and_has_nothing_behind_it(journal: Journal) -> None:
    _, turn = await begun(journal)
    assert (turn.state, turn.key, turn.rounds, turn.calls, turn.answer) == ("running", "order-1", (), (), None)
    assert abs(turn.created_s - time.time()) < 5


async def test_a_finished_turn_gives_its_answer_to_the_same_key_and_runs_no_more(journal: Journal) -> None:
    hold, _ = await begun(journal)
    await journal.finish(hold, "the answer")
    again, turn = await begun(journal)
    assert (turn.id, turn.state, turn.answer) == (hold.turn_id, "finished", "the answer")
    with pytest.raises(TurnLost):
        await journal.intent(again, entry("late"))


async def test_a_key_with_another_request_is_refused_and_the_turn_unharmed(journal: Journal) -> None:
    hold, _ = await begun(journal)
    with pytest.raises(KeyReused) as refused:
        await begun(journal, key=Idempotency(key="order-1", digest="b" * 64))
    assert refused.value.place == "Idempotency-Key"
    await journal.finish(hold, "the answer")


async def test_the_same_request_is_refused_while_its_turn_runs(journal: Journal) -> None:
    await begun(journal)
    with pytest.raises(TurnInProgress) as refused:
        await begun(journal)
    assert 0 < refused.value.retry_after_s <= 10


async def test_the_same_key_of_another_caller_is_another_turn(journal: Journal) -> None:
    mine, _ = await begun(journal, "ada")
    other, turn = await begun(journal, "bob", Idempotency(key="order-1", digest="b" * 64))
    assert turn.state == "running"
    assert other.turn_id != mine.turn_id
    assert await journal.turn(mine.turn_id, "bob") is None


async def test_requests_without_a_key_are_turns_of_their_own(journal: Journal) -> None:
    one, _ = await begun(journal, key=None)
    two, _ = await begun(journal, key=None)
    assert one.turn_id != two.turn_id


async def test_of_two_requests_with_one_key_at_once_one_runs(journal: Journal) -> None:
    answers = await asyncio.gather(*(begun(journal) for _ in range(8)), return_exceptions=True)
    assert [type(answer) for answer in answers].count(TurnInProgress) == 7


async def test_a_released_turn_goes_on_with_what_was_done(journal: Journal) -> None:
    hold, _ = await begun(journal)
    await journal.intent(hold, entry("charge", arguments=STRANGE, started_s=1.0))
    journal.intent_later(hold, entry("look_up", repeatable=True, round=2, started_s=2.0))
    journal.outcome(hold, ToolResult(call_id="call_charge", value=STRANGE), 3.0)
    journal.round_over(hold, 2, "second")
    journal.round_over(hold, 1, "first")
    journal.release(hold)
    again, turn = await begun(journal)
    assert again.turn_id == hold.turn_id
    assert turn.state == "running"
    assert turn.rounds == ("first", "second")
    charge, look_up = turn.calls
    assert (charge.arguments, charge.ended_s, charge.known) == (STRANGE, 3.0, True)
    assert charge.result == ToolResult(call_id="call_charge", value=STRANGE)
    assert (look_up.round, look_up.repeatable, look_up.result, look_up.known) == (2, True, None, False)


async def test_an_error_is_an_outcome_and_a_cancellation_leaves_it_open(journal: Journal) -> None:
    hold, _ = await begun(journal)
    for kind in ("tool_error", "cancelled"):
        await journal.intent(hold, entry(kind))
        error = CallError(kind=kind, message="no")  # type: ignore[arg-type]
        journal.outcome(hold, ToolResult(call_id=f"call_{kind}", error=error), 3.0)
    journal.release(hold)
    _, turn = await begun(journal)
    assert {call.name: call.known for call in turn.calls} == {"tool_error": True, "cancelled": False}


async def test_a_call_can_be_renamed_and_keeps_its_result(journal: Journal) -> None:
    hold, _ = await begun(journal)
    await journal.intent(hold, entry("charge"))
    journal.outcome(hold, ToolResult(call_id="call_charge", value=1), 3.0)
    journal.rename(hold, "call_charge", "call_again")
    await journal.finish(hold, "done")
    [call] = (await seen(journal, hold)).calls
    assert (call.id, call.result) == ("call_again", ToolResult(call_id="call_again", value=1))


async def test_a_call_renamed_to_the_id_of_another_keeps_its_own(journal: Journal) -> None:
    hold, _ = await begun(journal)
    await journal.intent(hold, entry("charge", started_s=1.0))
    await journal.intent(hold, entry("label", started_s=2.0))
    journal.rename(hold, "call_charge", "call_label")
    await journal.finish(hold, "done")
    assert [(call.id, call.name) for call in (await seen(journal, hold)).calls] == [
        ("call_charge", "charge"),
        ("call_label", "label"),
    ]


async def test_an_intent_written_again_stands_in_the_place_of_the_first(journal: Journal) -> None:
    hold, _ = await begun(journal)
    await journal.intent(hold, entry("charge", started_s=1.0))
    await journal.intent(hold, entry("charge", started_s=2.0))
    assert [call.started_s for call in (await seen(journal, hold)).calls] == [2.0]


async def test_a_holder_whose_turn_was_released_can_write_nothing(journal: Journal) -> None:
    hold, _ = await begun(journal)
    await journal.intent(hold, entry("charge"))
    journal.release(hold)
    with pytest.raises(TurnLost):
        await journal.intent(hold, entry("charge"))
    await begun(journal)
    with pytest.raises(TurnLost):
        await journal.intent(hold, entry("charge"))
    with pytest.raises(TurnLost):
        await journal.finish(hold, "late")
    journal.release(hold)
    assert (await seen(journal, hold)).state == "running"


async def test_what_is_kept_is_found_under_its_name_by_its_caller(journal: Journal) -> None:
    hold, _ = await begun(journal, "ada")
    await journal.finish(hold, "done", [Kept(name="one", text="1"), Kept(name="two", text="2")])
    assert await journal.kept("ada", ["one", "two", "three"]) == {"one": "1", "two": "2"}
    assert await journal.kept("bob", ["one"]) == {}
    assert await journal.kept("ada", []) == {}


async def test_what_is_forgotten_is_kept_no_more_and_only_for_its_caller(journal: Journal) -> None:
    turn = Hold(turn_id="turn_1")
    await journal.begin(turn, "ada", None)
    await journal.finish(turn, "{}", [Kept(name="one", text="1"), Kept(name="two", text="2")])
    assert not await journal.forget("bob", "one")
    assert await journal.forget("ada", "one")
    assert not await journal.forget("ada", "one")
    assert await journal.kept("ada", ["one", "two"]) == {"two": "2"}


async def test_answers_are_of_finished_turns_of_the_caller(journal: Journal) -> None:
    for turn_id, caller in (("turn_1", "ada"), ("turn_2", "ada"), ("turn_3", "bob"), ("turn_4", "ada")):
        hold = Hold(turn_id=turn_id)
        await journal.begin(hold, caller, None)
        if turn_id != "turn_4":
            await journal.finish(hold, f'"{turn_id}"')
    asked = ["turn_2", "turn_3", "turn_4", "turn_5", "turn_1"]
    assert await journal.answers("ada", asked) == {"turn_1": '"turn_1"', "turn_2": '"turn_2"'}
    assert await journal.answers("ada", []) == {}


async def test_what_is_kept_again_takes_the_place_of_the_old(journal: Journal) -> None:
    for record in ("1", "2"):
        hold, _ = await begun(journal, key=None)
        await journal.finish(hold, "done", [Kept(name="one", text=record)])
    assert await journal.kept("", ["one"]) == {"one": "2"}


class TestTaking:
    """What was kept is acted on by one turn."""

    async def kept(self, journal: Journal) -> None:
        hold, _ = await begun(journal, key=None)
        await journal.finish(hold, "stopped", [Kept(name="calls", text="the calls")])

    async def taker(self, journal: Journal) -> Hold:
        hold, _ = await begun(journal, key=None)
        taken = await journal.take(hold, "", "calls")
        assert taken is not None
        assert taken.text == "the calls"
        return hold

    async def test_what_nobody_kept_cannot_be_taken(self, journal: Journal) -> None:
        hold, _ = await begun(journal)
        assert await journal.take(hold, "", "calls") is None

    async def test_nobody_takes_what_an_answered_turn_took(self, journal: Journal) -> None:
        await self.kept(journal)
        await journal.finish(await self.taker(journal), "done")
        with pytest.raises(AlreadyTaken):
            await self.taker(journal)

    async def test_nobody_takes_what_a_running_turn_took_but_itself(self, journal: Journal) -> None:
        await self.kept(journal)
        hold = await self.taker(journal)
        with pytest.raises(TurnInProgress):
            await self.taker(journal)
        assert await journal.take(hold, "", "calls") is not None

    async def test_the_taker_after_a_broken_off_turn_learns_what_that_one_began(self, journal: Journal) -> None:
        await self.kept(journal)
        first = await self.taker(journal)
        await journal.intent(first, entry("charge", round=0))
        await journal.intent(first, entry("later", round=1))
        journal.release(first)
        second, _ = await begun(journal, key=None)
        taken = await journal.take(second, "", "calls")
        assert taken is not None
        assert [call.name for call in taken.calls] == ["charge"]


class TestServers:
    """Several servers on one database, some of which die."""

    async def test_a_turn_outlives_its_server(self, server: Callable[..., Any]) -> None:
        first = await server()
        hold, _ = await begun(first)
        await first.finish(hold, "the answer", [Kept(name="one", text="1")])
        await first.close()
        second = await server()
        _, turn = await begun(second)
        assert turn.answer == "the answer"
        assert await second.kept("", ["one"]) == {"one": "1"}

    async def test_a_turn_is_held_as_long_as_its_server_lives(self, server: Callable[..., Any]) -> None:
        first, second = await server(), await server()
        await begun(first)
        for _ in range(4):
            await asyncio.sleep(LEASE_S / 2)
            with pytest.raises(TurnInProgress):
                await begun(second)

    async def test_a_turn_whose_server_shows_no_life_is_taken_over_and_its_holder_fenced_out(
        self, server: Callable[..., Any]
    ) -> None:
        first, second = await server(), await server()
        hold, _ = await begun(first)
        await first.intent(hold, entry("charge"))
        first._beating.cancel()
        await asyncio.sleep(LEASE_S * 1.1)
        assert (await seen(second, hold)).state == "interrupted"
        _, turn = await begun(second)
        assert [call.name for call in turn.calls] == ["charge"]
        with pytest.raises(TurnLost):
            await first.intent(hold, entry("late"))
        first.outcome(hold, ToolResult(call_id="call_charge", value="late"), 1.0)
        with pytest.raises(TurnLost):
            await first.finish(hold, "late")
        [call] = (await seen(second, hold)).calls
        assert call.result is None

    async def test_of_many_servers_that_take_one_turn_over_one_gets_it(self, server: Callable[..., Any]) -> None:
        first = await server()
        await begun(first)
        first._beating.cancel()
        await asyncio.sleep(LEASE_S * 1.1)
        others = [await server(lease_s=60.0) for _ in range(4)]
        answers = await asyncio.gather(*(begun(other) for other in others), return_exceptions=True)
        assert [type(answer) for answer in answers].count(TurnInProgress) == 3

    async def test_old_turns_are_forgotten_and_running_ones_kept(self, server: Callable[..., Any]) -> None:
        first = await server()
        old, _ = await begun(first)
        await first.intent(old, entry("charge"))
        await first.finish(old, "done", [Kept(name="one", text="1")])
        running, _ = await begun(first, key=None)
        second = await server(keep_s=0.0)
        assert await second.turn(old.turn_id, "") is None
        assert await second.kept("", ["one"]) == {}
        assert (await seen(second, running)).state == "running"

    async def test_many_turns_at_once_lose_nothing(self, server: Callable[..., Any]) -> None:
        journals = [await server(lease_s=60.0) for _ in range(2)]

        async def one(number: int) -> None:
            journal = journals[number % 2]
            hold, _ = await begun(journal, key=Idempotency(key=f"key {number}", digest="a"))
            await journal.intent(hold, entry("charge", arguments={"number": number}))
            journal.outcome(hold, ToolResult(call_id="call_charge", value=number), 1.0)
            await journal.finish(hold, str(number))
            [call] = (await seen(journals[0], hold)).calls
            assert call.result is not None
            assert call.result.value == call.arguments["number"] == number

        await asyncio.gather(*(one(number) for number in range(100)))

    async def test_a_closed_journal_takes_no_more(self, server: Callable[..., Any]) -> None:
        journal = await server()
        hold, _ = await begun(journal)
        await journal.close()
        with pytest.raises(JournalUnavailable):
            await journal.intent(hold, entry("charge"))


async def test_a_connection_that_was_cut_is_made_again(postgres: Postgres) -> None:
    url = postgres.new_database()
    journal = DatabaseJournal(url)
    await journal.open()
    try:
        hold, _ = await begun(journal)
        other = create_engine(read_url(url))
        async with other.begin() as connection:
            found = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            cut = await connection.execute(text(f"SELECT pg_terminate_backend(pid) {found}"))
            assert cut.scalars().all() == [True]
        await other.dispose()
        await journal.intent(hold, entry("charge"))
        assert [call.name for call in (await seen(journal, hold)).calls] == ["charge"]
    finally:
        await journal.close()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("no url", "no database URL"),
        ("mysql://u@localhost/x", "not in 'mysql'"),
        ("sqlite://", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
    ],
)
def test_a_url_that_is_no_journals_is_refused(url: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        DatabaseJournal(url)


@pytest.mark.parametrize(
    ("url", "names"),
    [("postgresql://ada:secret@127.0.0.1:1/x", "127.0.0.1:1"), ("sqlite:////proc/none/j", "'sqlite:////proc/none/j'")],
)
async def test_a_database_that_cannot_be_is_named_without_its_password(url: str, names: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        await DatabaseJournal(url).open()
    assert names in str(refused.value)
    assert "secret" not in str(refused.value)


async def test_the_file_of_the_journal_is_its_owners_alone(tmp_path: Path) -> None:
    journal = DatabaseJournal(sqlite_url(tmp_path))
    await journal.open()
    await begun(journal)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "state").iterdir()}
    await journal.close()
    assert set(modes.values()) == {0o600}


async def test_servers_that_start_together_on_an_empty_database_all_do(url: str) -> None:
    journals = [DatabaseJournal(url) for _ in range(4)]
    await asyncio.gather(*(journal.open() for journal in journals))
    await asyncio.gather(*(begun(journal, key=None) for journal in journals))
    for journal in journals:
        await journal.close()
