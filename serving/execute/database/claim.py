"""How a turn gets its holder: a new turn, one that was broken off, or one whose holder shows no sign of life.

Clients ask for a running turn again and again, of several servers at once. Asking therefore only reads; a row is locked
by nobody but who may have it, so that servers do not wait for each other.
"""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from grammars.errors import KeyReused, TurnInProgress
from serving.execute.database import tables
from serving.execute.journal import Hold, Idempotency


async def claim(
    connection: AsyncConnection, insert: Any, hold: Hold, caller: str, idempotency: Idempotency | None, lease_s: float
) -> Any:
    """The turn's row, as it was found; unless it is finished, the hold's token has the turn now.

    Raises `KeyReused` and `TurnInProgress`, and has then written nothing. `insert` is the insertion into the turns.
    """
    turns = tables.turns.c
    mine = turns.id == hold.turn_id
    if idempotency is not None:
        mine = (turns.caller == caller) & (turns.idempotency_key == idempotency.key)
    found = select(tables.turns).where(mine)
    row = (await connection.execute(found)).one_or_none()
    if row is None:
        fresh = {
            "id": hold.turn_id,
            "caller": caller,
            "idempotency_key": None if idempotency is None else idempotency.key,
            "digest": None if idempotency is None else idempotency.digest,
            "state": "running",
            "token": hold.token,
            "lease_until_s": time.time() + lease_s,
            "created_s": time.time(),
        }
        await connection.execute(insert.values(fresh).on_conflict_do_nothing())
        row = (await connection.execute(found)).one()
    if idempotency is not None and row.digest != idempotency.digest:
        message = f"the idempotency key {idempotency.key!r} was used for another request"
        raise KeyReused(message, place="Idempotency-Key")
    if row.state == "finished" or row.token == hold.token:
        return row
    now_s = time.time()
    dead = (turns.state == "interrupted") | ((turns.state == "running") & (turns.lease_until_s <= now_s))
    is_dead = row.state == "interrupted" or row.lease_until_s <= now_s
    if is_dead:
        taken = {"state": "running", "token": hold.token, "lease_until_s": now_s + lease_s}
        # whether it is still so shows when the row is locked: of two that take it over, one finds nothing to update
        if (await connection.execute(update(tables.turns).where(turns.id == row.id, dead).values(taken))).rowcount == 1:
            return row
    wait_s = max(0.0, row.lease_until_s - now_s)
    raise TurnInProgress("the request with this idempotency key is being answered", retry_after_s=wait_s)
