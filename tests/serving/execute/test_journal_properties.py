"""The journal in SQLite does what the journal in memory does, whatever is asked of them."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from grammars.errors import PolycallError
from grammars.tools import CallError, ToolResult
from serving.execute.database.journal import DatabaseJournal
from serving.execute.journal import Hold, Idempotency, Journal, JournaledCall, JournaledTurn, Kept
from serving.execute.journal_memory import MemoryJournal

Step = Callable[[Journal, list[Hold]], Awaitable[Any]]
"""Does one thing on a journal. The holds are those that were begun before, in the same order on every journal."""

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
IDS = st.sampled_from(["call_1", "call_2", "call_3"])
NAMES = st.sampled_from(["one", "two"])
CALLERS = st.sampled_from(["", "ada"])
KEYS = st.none() | st.builds(Idempotency, key=NAMES, digest=st.sampled_from(["a", "b"]))
RESULTS = st.builds(ToolResult, call_id=IDS, value=VALUES) | st.builds(
    ToolResult,
    call_id=IDS,
    error=st.builds(CallError, kind=st.sampled_from(["timeout", "cancelled"]), message=st.text()),
)
CALLS = st.builds(
    JournaledCall,
    id=IDS,
    round=st.integers(0, 2),
    name=NAMES,
    arguments=st.dictionaries(st.text(max_size=5), VALUES, max_size=3),
    repeatable=st.booleans(),
    started_s=st.integers(1, 10**9).map(float),
)
TIMES = st.floats(0, 1e9)


@st.composite
def steps(draw: st.DrawFn) -> Step:
    which = draw(st.integers(0, 99))

    def held(holds: list[Hold]) -> Hold:
        return holds[which % len(holds)]

    async def begin(journal: Journal, holds: list[Hold]) -> JournaledTurn:
        hold = Hold(turn_id=f"turn_{len(holds)}")
        holds.append(hold)  # also where it is refused: a hold that nobody gave
        turn = await journal.begin(hold, caller, key)
        holds[-1] = replace(hold, turn_id=turn.id)
        return turn

    async def do(journal: Journal, holds: list[Hold]) -> Any:
        if kind == "begin" or not holds:
            return await begin(journal, holds)
        match kind:
            case "intent":
                return await journal.intent(held(holds), call)
            case "intent_later":
                return journal.intent_later(held(holds), call)
            case "outcome":
                return journal.outcome(held(holds), result, at_s)
            case "rename":
                return journal.rename(held(holds), call.id, f"{call.id}_again")
            case "round_over":
                return journal.round_over(held(holds), which % 3, text)
            case "finish":
                return await journal.finish(held(holds), text, [Kept(name=name, text=text)])
            case "release":
                return journal.release(held(holds))
            case "take":
                return await journal.take(held(holds), caller, name)
            case "kept":
                return await journal.kept(caller, ["one", "two", "three"])
        return await journal.turn(held(holds).turn_id, caller)

    kind = draw(
        st.sampled_from(
            ["begin", "intent", "intent_later", "outcome", "rename", "round_over", "finish", "release", "take", "kept"]
        )
    )
    caller, key, call, result = draw(CALLERS), draw(KEYS), draw(CALLS), draw(RESULTS)
    name, text, at_s = draw(NAMES), draw(st.text(alphabet="abc", max_size=3)), draw(TIMES)
    return do


async def told(journal: Journal, history: list[Step]) -> list[Any]:
    """What the journal said at each step, and in the end of all turns, but for what its clock says."""
    holds: list[Hold] = []
    said: list[Any] = []
    for step in history:
        try:
            said.append(timeless(await step(journal, holds)))
        except PolycallError as refused:
            said.append(type(refused))
    for number in range(len(holds)):
        for caller in ("", "ada"):
            said.append(timeless(await journal.turn(f"turn_{number}", caller)))
    return said


def timeless(what: Any) -> Any:
    return replace(what, created_s=0.0) if isinstance(what, JournaledTurn) else what


async def both(history: list[Step], folder: str) -> tuple[list[Any], list[Any]]:
    database = DatabaseJournal(f"sqlite:///{folder}/journal.sqlite3")
    await database.open()
    try:
        return await told(MemoryJournal(), history), await told(database, history)
    finally:
        await database.close()


@settings(max_examples=60, deadline=None)
@given(st.lists(steps(), min_size=1, max_size=25))
def test_sqlite_and_memory_say_the_same(history: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        memory, database = asyncio.run(both(history, folder))
    differences = [
        (number, *pair) for number, pair in enumerate(zip(memory, database, strict=True)) if pair[0] != pair[1]
    ]
    assert differences[:1] == []
