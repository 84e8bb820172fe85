"""The statements that many rows are given to at once: what a turn writes of its calls."""

from __future__ import annotations

from typing import Any

from sqlalchemy import bindparam, exists, update

from serving.execute.database.tables import calls

# A bound value may not have the name of a column that the statement sets.
OF_TURN = calls.c.turn_id == bindparam("in_turn")

NAMED = calls.alias("named")

TAKEN = exists().where(NAMED.c.turn_id == bindparam("in_turn"), NAMED.c.id == bindparam("new_id"))

RENAME_CALL = update(calls).where(OF_TURN, calls.c.id == bindparam("old_id"), ~TAKEN).values(id=bindparam("new_id"))

END_CALL = (
    update(calls)
    .where(OF_TURN, calls.c.id == bindparam("of_call"))
    .values(result=bindparam("now"), ended_s=bindparam("at_s"))
)


def upsert(insert: Any, *, key: tuple[str, ...]) -> Any:
    """The insertion, which puts a row in the place of the one with the same key."""
    others = {column.name: insert.excluded[column.name] for column in insert.table.c if column.name not in key}
    return insert.on_conflict_do_update(index_elements=list(key), set_=others)
