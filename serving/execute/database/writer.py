"""Writer: one connection that does what many turns ask, in order, and commits what has gathered in one transaction.

A commit costs the same for one write as for a hundred; calls that start together wait for one commit. Rows of one
statement that come one after another are given to it at once, since each way to the database and back costs as well.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeVar

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from grammars.errors import JournalUnavailable, PolycallError

logger = logging.getLogger(__name__)

BATCH = 256
"""The most operations of one transaction."""

Answer = TypeVar("Answer")
Operation = Callable[[AsyncConnection], Awaitable[Answer]]
"""Reads and writes on a connection. It is done again when its transaction fails, and must not mind."""

Outcome = tuple[Any, PolycallError | None]

FAILURES = (SQLAlchemyError, OSError)
"""What a database raises: drivers let failures to connect through as they are."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of values for a statement, written unless `allowed` raises."""

    statement: Any
    values: Mapping[str, Any]
    allowed: Operation[None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    work: Operation[Any] | Row
    done: asyncio.Future[Any]

    @property
    def statement(self) -> Any:
        """What this job has in common with others that can be done at once; itself, if there are none."""
        return self.work.statement if isinstance(self.work, Row) else self


class Writer:
    """Does operations on one database. Belongs to one event loop, from `start` to `stop`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._jobs: asyncio.Queue[Job | None] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """Do what is still to be done, then end."""
        self._jobs.put_nowait(None)
        if self._task is not None:
            await self._task
        self._task = None

    async def do(self, operation: Operation[Answer]) -> Answer:
        """The operation's answer, once it is committed. Raises what it raises of ours, else `JournalUnavailable`.

        An operation that was asked for is done even if nobody waits for it any more.
        """
        answer: Answer = await self._put(operation)
        return answer

    async def write(self, row: Row) -> None:
        """Likewise, for a row."""
        await self._put(row)

    def do_later(self, work: Operation[Any] | Row, failed: Callable[[], None]) -> None:
        """Do it in its turn. Where it cannot be done the log says so, and `failed` is called."""

        def settled(done: asyncio.Future[Any]) -> None:
            if not done.cancelled() and done.exception() is not None:
                failed()

        self._put(work).add_done_callback(settled)

    def _put(self, work: Operation[Any] | Row) -> asyncio.Future[Any]:
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self._task is None or self._task.done():
            done.set_exception(JournalUnavailable("the journal is closed"))
        else:
            self._jobs.put_nowait(Job(work=work, done=done))
        return done

    async def _work(self) -> None:
        ends = False
        while not ends:
            batch = [await self._jobs.get()]
            while len(batch) < BATCH and not self._jobs.empty():
                batch.append(self._jobs.get_nowait())
            ends = None in batch
            jobs = [job for job in batch if job is not None]
            try:
                await self._do_together(jobs)
            except Exception:
                for job in jobs:  # whatever is wrong with one must not cost the others
                    await self._do_alone(job)

    async def _do_together(self, jobs: list[Job]) -> None:
        outcomes: list[Outcome] = []
        async with self._engine.begin() as connection:
            for _, group in groupby(jobs, key=lambda job: job.statement):
                works = [job.work for job in group]
                rows = [work for work in works if isinstance(work, Row)]
                outcomes += await outcomes_of_rows(rows, connection) if rows else []
                outcomes += [await outcome(work, connection) for work in works if not isinstance(work, Row)]
        for job, (answer, refused) in zip(jobs, outcomes, strict=True):
            settle(job, answer, refused)

    async def _do_alone(self, job: Job) -> None:
        retrying = AsyncRetrying(
            stop=stop_after_attempt(3),
            wait=wait_random_exponential(multiplier=0.05, max=1.0),
            retry=retry_if_exception_type(FAILURES),
            reraise=True,
        )
        try:
            async for attempt in retrying:
                with attempt:
                    await self._do_together([job])
        except Exception as error:
            # the words of a database may hold what was to be written, and how it is reached: they stay out of the log
            logger.error("the journal cannot be written: %s", type(error).__name__)
            settle(job, None, JournalUnavailable(f"the journal cannot be written: {type(error).__name__}"))


async def outcome(operation: Operation[Any], connection: AsyncConnection) -> Outcome:
    """What the operation answers or refuses. A refusal has written nothing, so the others' work stands."""
    try:
        return await operation(connection), None
    except PolycallError as refused:
        return None, refused


async def outcomes_of_rows(rows: Sequence[Row], connection: AsyncConnection) -> list[Outcome]:
    """Write the rows of one statement that are allowed, at once."""
    outcomes = [await outcome(row.allowed, connection) for row in rows]
    allowed = [dict(row.values) for row, (_, refused) in zip(rows, outcomes, strict=True) if refused is None]
    if allowed:
        await connection.execute(rows[0].statement, allowed)
    return outcomes


def settle(job: Job, answer: Any, refused: PolycallError | None) -> None:
    if job.done.done():  # nobody waits any more
        return
    if refused is not None:
        job.done.set_exception(refused)
    else:
        job.done.set_result(answer)
