"""DatabaseJournal: the journal that survives. SQLite in a file by default, PostgreSQL for several servers.

A turn that runs is leased to its holder: the lease grows with every write and with a heartbeat. When it has run out,
for the holder was killed, another request may take the turn over; the old holder's token is then worth nothing, so that
a server that only slept cannot start another call. Clocks of several servers that disagree cost at most a turn that is
taken over early or late, never a call that runs twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncTransaction

from grammars.errors import AlreadyTaken, ConfigurationError, JournalUnavailable, TurnInProgress, TurnLost
from grammars.tools import ToolResult
from serving.execute.database import tables
from serving.execute.database.claim import claim
from serving.execute.database.connect import create_engine, read_url
from serving.execute.database.rows import call_row, journaled_call, journaled_turn, result_text
from serving.execute.database.statements import END_CALL, RENAME_CALL, upsert
from serving.execute.database.writer import FAILURES, Answer, Operation, Row, Writer
from serving.execute.journal import Hold, Idempotency, JournaledCall, JournaledTurn, Kept, Taken

LEASE_S = 10.0
"""How long a turn counts as held after its holder's last sign of life."""
KEEP_S = 30 * 24 * 3600.0
"""How long turns are kept, and with them idempotency keys."""
PRUNE_EVERY_S = 3600.0
TABLES_LOCK = int.from_bytes(b"polycall")
"""The number that PostgreSQL's servers lock while they make the tables."""


class DatabaseJournal:
    """A `Journal` in the database at a URL: `sqlite:///FILE` or `postgresql://USER:PASSWORD@HOST/NAME`."""

    def __init__(self, url: str, *, lease_s: float = LEASE_S, keep_s: float = KEEP_S) -> None:
        self._url = read_url(url)
        self._lease_s = lease_s
        self._keep_s = keep_s
        self._insert: Any = sqlite.insert if self._url.get_backend_name() == "sqlite" else postgresql.insert
        self._put_call = upsert(self._insert(tables.calls), key=("turn_id", "id"))
        self._engine: AsyncEngine | None = None
        self._writer: Writer | None = None
        self._beating: asyncio.Task[None] | None = None
        self._held: dict[str, str] = {}
        self._failed: set[str] = set()
        self._transaction: AsyncTransaction | None = None
        self._renewed: set[str] = set()

    async def open(self) -> None:
        """Connect, and make what tables are missing. Raises `ConfigurationError` where there is no such database."""
        try:
            self._engine = create_engine(self._url)
            async with self._engine.begin() as connection:
                if connection.dialect.name == "postgresql":  # servers that start together make the tables one by one
                    await connection.execute(select(func.pg_advisory_xact_lock(TABLES_LOCK)))
                await connection.run_sync(tables.metadata.create_all)
        except FAILURES as error:
            if self._engine is not None:
                await self._engine.dispose()
            shown = self._url.set(drivername=self._url.get_backend_name()).render_as_string(hide_password=True)
            raise ConfigurationError(f"the journal {shown!r} cannot be opened: {type(error).__name__}") from None
        self._writer = Writer(self._engine)
        self._writer.start()
        await self._do(self._prune)
        self._beating = asyncio.create_task(self._beat())

    async def close(self) -> None:
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.wait({self._beating})
        if self._writer is not None:
            await self._writer.stop()
        if self._engine is not None:
            await self._engine.dispose()

    async def begin(self, hold: Hold, caller: str, idempotency: Idempotency | None) -> JournaledTurn:
        async def operation(connection: AsyncConnection) -> JournaledTurn:
            row = await claim(connection, self._insert(tables.turns), hold, caller, idempotency, self._lease_s)
            return await read_turn(connection, row, state="finished" if row.state == "finished" else "running")

        turn = await self._do(operation)
        if turn.state == "running":
            self._held[hold.token] = turn.id
        return turn

    async def intent(self, hold: Hold, call: JournaledCall) -> None:
        self._check(hold)
        await self._writing.write(self._row(hold, self._put_call, call_row(hold.turn_id, call)))

    def intent_later(self, hold: Hold, call: JournaledCall) -> None:
        self._later(hold, self._row(hold, self._put_call, call_row(hold.turn_id, call)))

    def rename(self, hold: Hold, old_id: str, new_id: str) -> None:
        row = {"in_turn": hold.turn_id, "old_id": old_id, "new_id": new_id}
        self._later(hold, self._row(hold, RENAME_CALL, row))

    def outcome(self, hold: Hold, result: ToolResult, ended_s: float) -> None:
        row = {"in_turn": hold.turn_id, "of_call": result.call_id, "now": result_text(result), "at_s": ended_s}
        self._later(hold, self._row(hold, END_CALL, row))

    def round_over(self, hold: Hold, number: int, record: str) -> None:
        row = {"turn_id": hold.turn_id, "number": number, "record": record}
        self._later(hold, self._fenced(hold, self._insert(tables.rounds).values(row).on_conflict_do_nothing()))

    async def finish(self, hold: Hold, answer: str, kept: Sequence[Kept] = ()) -> None:
        statements = []
        turns = tables.turns.c
        caller = select(turns.caller).where(turns.id == hold.turn_id).scalar_subquery()
        for item in kept:
            row = {"caller": caller, "name": item.name, "record": item.text, "created_s": time.time()}
            fresh = self._insert(tables.kept).values(row)
            again = {"record": item.text, "taken_by": None, "created_s": row["created_s"]}
            statements.append(fresh.on_conflict_do_update(index_elements=["caller", "name"], set_=again))
        ended = {"state": "finished", "answer": answer, "token": None}
        statements.append(update(tables.turns).where(turns.id == hold.turn_id).values(ended))
        self._check(hold)
        await self._do(self._fenced(hold, *statements, ends=True))
        self._held.pop(hold.token, None)

    def release(self, hold: Hold) -> None:
        self._failed.discard(hold.token)
        if self._held.pop(hold.token, None) is None:
            return
        turns = tables.turns.c
        held = (turns.id == hold.turn_id) & (turns.token == hold.token) & (turns.state == "running")

        async def operation(connection: AsyncConnection) -> None:
            ended = {"state": "interrupted", "token": None}
            await connection.execute(update(tables.turns).where(held).values(ended))
            self._renewed.discard(hold.token)

        self._writing.do_later(operation, lambda: None)  # where it fails, the lease runs out

    async def turn(self, turn_id: str, caller: str) -> JournaledTurn | None:
        async def operation(connection: AsyncConnection) -> JournaledTurn | None:
            mine = (tables.turns.c.id == turn_id) & (tables.turns.c.caller == caller)
            row = (await connection.execute(select(tables.turns).where(mine))).one_or_none()
            if row is None:
                return None
            dead = row.state == "running" and row.lease_until_s <= time.time()
            return await read_turn(connection, row, state="interrupted" if dead else row.state)

        return await self._do(operation)

    async def answers(self, caller: str, turn_ids: Sequence[str]) -> dict[str, str]:
        async def operation(connection: AsyncConnection) -> dict[str, str]:
            turns = tables.turns.c
            mine = (turns.caller == caller) & turns.id.in_(turn_ids) & turns.answer.is_not(None)
            return {row.id: row.answer for row in await connection.execute(select(turns.id, turns.answer).where(mine))}

        return await self._do(operation) if turn_ids else {}

    async def kept(self, caller: str, names: Sequence[str]) -> dict[str, str]:
        async def operation(connection: AsyncConnection) -> dict[str, str]:
            kept = tables.kept.c
            found = select(kept.name, kept.record).where(kept.caller == caller, kept.name.in_(names))
            return {row.name: row.record for row in await connection.execute(found)}

        return await self._do(operation) if names else {}

    async def forget(self, caller: str, name: str) -> bool:
        async def operation(connection: AsyncConnection) -> bool:
            kept = tables.kept.c
            forgotten = delete(tables.kept).where(kept.caller == caller, kept.name == name)
            return (await connection.execute(forgotten)).rowcount > 0

        return await self._do(operation)

    async def take(self, hold: Hold, caller: str, name: str) -> Taken | None:
        async def operation(connection: AsyncConnection) -> Taken | None:
            kept = tables.kept.c
            mine = (kept.caller == caller) & (kept.name == name)
            row = (await connection.execute(select(tables.kept).where(mine).with_for_update())).one_or_none()
            if row is None:
                return None
            earlier: tuple[JournaledCall, ...] = ()
            if row.taken_by not in (None, hold.turn_id):
                earlier = await self._succeeded(connection, row.taken_by)
            await connection.execute(update(tables.kept).where(mine).values(taken_by=hold.turn_id))
            return Taken(text=row.record, calls=earlier)

        return await self._do(operation)

    async def _succeeded(self, connection: AsyncConnection, turn_id: str) -> tuple[JournaledCall, ...]:
        """The calls of approvals of a turn that was broken off. It can write nothing from now on."""
        found = select(tables.turns).where(tables.turns.c.id == turn_id).with_for_update()
        row = (await connection.execute(found)).one_or_none()
        if row is None:
            return ()
        if row.state == "finished":
            raise AlreadyTaken("these approvals were brought before, by a request that is answered")
        if row.state == "running" and row.lease_until_s > time.time():
            message = "these approvals were brought before, by a request that is being answered"
            raise TurnInProgress(message, retry_after_s=row.lease_until_s - time.time())
        ended = {"state": "interrupted", "token": None}
        await connection.execute(update(tables.turns).where(tables.turns.c.id == turn_id).values(ended))
        return tuple(call for call in await read_calls(connection, turn_id) if call.round == 0)

    def _row(self, hold: Hold, statement: Any, values: dict[str, Any]) -> Row:
        return Row(statement=statement, values=values, allowed=self._fenced(hold))

    def _later(self, hold: Hold, work: Operation[None] | Row) -> None:
        def failed() -> None:
            if hold.token in self._held:
                self._failed.add(hold.token)

        self._writing.do_later(work, failed)

    def _check(self, hold: Hold) -> None:
        if hold.token in self._failed:
            raise JournalUnavailable("what the turn did before could not be written down")

    def _fenced(self, hold: Hold, *statements: Any, ends: bool = False) -> Operation[None]:
        """The statements, if the turn is still held; they renew its lease."""

        async def operation(connection: AsyncConnection) -> None:
            transaction = connection.get_transaction()
            if transaction is not self._transaction:
                self._transaction, self._renewed = transaction, set()
            if hold.token not in self._renewed:  # once in a transaction is enough: nobody takes over a fresh lease
                turns = tables.turns.c
                mine = (turns.id == hold.turn_id) & (turns.token == hold.token)
                renewed = update(tables.turns).where(mine).values(lease_until_s=time.time() + self._lease_s)
                if (await connection.execute(renewed)).rowcount != 1:
                    raise TurnLost("another request has taken this turn over")
                self._renewed.add(hold.token)
            for statement in statements:
                await connection.execute(statement)
            if ends:
                self._renewed.discard(hold.token)

        return operation

    async def _do(self, operation: Operation[Answer]) -> Answer:
        return await self._writing.do(operation)

    @property
    def _writing(self) -> Writer:
        if self._writer is None:
            raise JournalUnavailable("the journal is not open")
        return self._writer

    async def _beat(self) -> None:
        """Show that the turns which are held here are alive, and now and then forget old ones."""
        pruned_s = time.monotonic()
        while True:
            await asyncio.sleep(self._lease_s / 4)
            with contextlib.suppress(JournalUnavailable):  # the log has it; the next time may do
                if self._held:
                    await self._do(self._renew)
                if time.monotonic() - pruned_s >= PRUNE_EVERY_S:
                    await self._do(self._prune)
                    pruned_s = time.monotonic()

    async def _renew(self, connection: AsyncConnection) -> None:
        held = tables.turns.c.token.in_(list(self._held))
        until = {"lease_until_s": time.time() + self._lease_s}
        await connection.execute(update(tables.turns).where(held, tables.turns.c.state == "running").values(until))

    async def _prune(self, connection: AsyncConnection) -> None:
        turns = tables.turns.c
        now_s = time.time()
        alive = (turns.state == "running") & (turns.lease_until_s > now_s)
        old = select(turns.id).where(turns.created_s < now_s - self._keep_s, ~alive).scalar_subquery()
        for table in (tables.calls, tables.rounds):
            await connection.execute(delete(table).where(table.c.turn_id.in_(old)))
        await connection.execute(delete(tables.turns).where(turns.created_s < now_s - self._keep_s, ~alive))
        await connection.execute(delete(tables.kept).where(tables.kept.c.created_s < now_s - self._keep_s))


async def read_turn(connection: AsyncConnection, row: Any, *, state: Any) -> JournaledTurn:
    found = select(tables.rounds.c.record).where(tables.rounds.c.turn_id == row.id).order_by(tables.rounds.c.number)
    records = tuple((await connection.execute(found)).scalars())
    return journaled_turn(row, state, records, await read_calls(connection, row.id))


async def read_calls(connection: AsyncConnection, turn_id: str) -> tuple[JournaledCall, ...]:
    calls = tables.calls.c
    found = select(tables.calls).where(calls.turn_id == turn_id).order_by(calls.started_s, calls.id)
    return tuple(map(journaled_call, await connection.execute(found)))
