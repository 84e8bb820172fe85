"""The writer of the journal: what is asked together is committed together, and one's failure is its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from grammars.errors import JournalUnavailable, TurnLost
from serving.execute.database.connect import create_engine, read_url
from serving.execute.database.writer import BATCH, Operation, Row, Writer


@pytest.fixture
async def writer(tmp_path: Path) -> AsyncIterator[Writer]:
    engine = create_engine(read_url(f"sqlite:///{tmp_path}/one.sqlite3"))
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE numbers (number INTEGER PRIMARY KEY)"))
    found = Writer(engine)
    found.start()
    yield found
    await found.stop()
    await engine.dispose()


def add(number: int, seen: list[int] | None = None) -> Operation[int]:
    async def operation(connection: AsyncConnection) -> int:
        if seen is not None:
            seen.append(number)
        await connection.execute(text("INSERT INTO numbers VALUES (:number)"), {"number": number})
        return number * 10

    return operation


async def numbers(connection: AsyncConnection) -> list[int]:
    return list((await connection.execute(text("SELECT number FROM numbers ORDER BY number"))).scalars())


async def refuse(_connection: AsyncConnection) -> None:
    raise TurnLost("not yours")


async def test_each_gets_its_own_answer_and_all_is_written(writer: Writer) -> None:
    count = 2 * BATCH + 3
    answers = await asyncio.gather(*(writer.do(add(number)) for number in range(count)))
    assert answers == [number * 10 for number in range(count)]
    assert await writer.do(numbers) == list(range(count))


async def test_operations_are_done_in_the_order_in_which_they_were_asked_for(writer: Writer) -> None:
    seen: list[int] = []
    for number in (3, 1, 2):
        writer.do_later(add(number, seen), lambda: None)
    await writer.do(add(0, seen))
    assert seen == [3, 1, 2, 0]


async def test_a_refusal_reaches_its_asker_and_costs_the_others_nothing(writer: Writer) -> None:
    answers = await asyncio.gather(writer.do(add(1)), writer.do(refuse), writer.do(add(2)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [int, TurnLost, int]
    assert await writer.do(numbers) == [1, 2]


async def test_what_the_database_refuses_costs_the_others_nothing(writer: Writer) -> None:
    await writer.do(add(1))
    answers = await asyncio.gather(writer.do(add(2)), writer.do(add(1)), writer.do(add(3)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [int, JournalUnavailable, int]
    assert await writer.do(numbers) == [1, 2, 3]


async def test_a_mistake_of_ours_costs_the_others_nothing(writer: Writer) -> None:
    async def mistaken(_connection: AsyncConnection) -> None:
        raise KeyError("oops")

    answers = await asyncio.gather(writer.do(mistaken), writer.do(add(1)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [JournalUnavailable, int]


async def test_what_could_not_be_written_later_is_told(writer: Writer) -> None:
    failed: list[str] = []
    writer.do_later(add(1), lambda: failed.append("first"))
    writer.do_later(add(1), lambda: failed.append("second"))
    await writer.do(numbers)
    assert failed == ["second"]


async def test_an_operation_is_done_even_if_nobody_waits_any_more(writer: Writer) -> None:
    waiting = asyncio.create_task(writer.do(add(1)))
    await asyncio.sleep(0)
    waiting.cancel()
    assert await writer.do(numbers) == [1]


async def test_what_was_asked_for_is_done_before_the_end_and_nothing_after_it(writer: Writer) -> None:
    asked = asyncio.gather(*(writer.do(add(number)) for number in range(5)))
    await asyncio.sleep(0)
    await writer.stop()
    assert await asked == [0, 10, 20, 30, 40]
    with pytest.raises(JournalUnavailable):
        await writer.do(add(9))


async def allow(_connection: AsyncConnection) -> None:
    return None


INSERT = text("INSERT INTO numbers VALUES (:number)")


def row(number: int, allowed: Operation[None] = allow) -> Row:
    return Row(statement=INSERT, values={"number": number}, allowed=allowed)


async def test_rows_of_one_statement_are_written_but_for_those_that_are_not_allowed(writer: Writer) -> None:
    rows = [row(1), row(2, refuse), row(3)]
    answers = await asyncio.gather(*map(writer.write, rows), return_exceptions=True)
    assert [type(answer) for answer in answers] == [type(None), TurnLost, type(None)]
    assert await writer.do(numbers) == [1, 3]


async def test_a_row_that_the_database_refuses_costs_the_others_of_its_statement_nothing(writer: Writer) -> None:
    await writer.do(add(1))
    answers = await asyncio.gather(*(writer.write(row(number)) for number in (0, 1, 2)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [type(None), JournalUnavailable, type(None)]
    assert await writer.do(numbers) == [0, 1, 2]


async def test_rows_and_operations_keep_their_order(writer: Writer) -> None:
    asked = [writer.write(row(1)), writer.do(numbers), writer.write(row(2)), writer.write(row(3)), writer.do(numbers)]
    answers = await asyncio.gather(*asked)
    assert [answer for answer in answers if answer is not None] == [[1], [1, 2, 3]]
