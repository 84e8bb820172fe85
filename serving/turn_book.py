"""TurnBook: one turn in the journal, begun, written round by round, finished with an answer to be given again."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from pydantic import TypeAdapter

from grammars.conversation import Message
from serving.approvals import Decision, Opening, open_round, read_decisions
from serving.decode.events import TextWritten
from serving.execute.execute import CallFinished, CallStarted
from serving.execute.journal import Hold, Idempotency, Journal, JournaledTurn, Kept
from serving.execute.turn_recorder import TurnRecorder
from serving.hidden_rounds import HiddenRound, handed_back_name, meant, read_hidden, restore, round_name, unshown
from serving.turn_account import RoundRecord, read_record
from serving.turn_events import CallHandedBack, ToolsListed, TurnBegan, TurnEnded, TurnEvent

ANSWER_EVENTS = (ToolsListed, TextWritten, CallStarted, CallFinished, CallHandedBack, TurnEnded)
"""The events that an answer is made of, on every wire: some show the calls that the server ran where they stand."""

ADAPTERS: dict[str, TypeAdapter[TurnEvent]] = {kind.__name__: TypeAdapter(kind) for kind in ANSWER_EVENTS}


@dataclass(frozen=True, kw_only=True)
class Continued:
    """Where a turn begins: what the client said, the same with what the server did put back, and the round that goes
    on with the client's decisions, if there is one; `history` then ends before it.
    """

    said: tuple[Message, ...]
    history: tuple[Message, ...]
    opening: Opening | None = None


class TurnBook:
    """What the journal has of one turn, and the pen to go on. Made by `begin_turn`; `close` it, whatever happens."""

    def __init__(self, journal: Journal, hold: Hold, turn: JournaledTurn) -> None:
        self.began = TurnBegan(turn_id=turn.id, created_s=turn.created_s, replayed=turn.state == "finished")
        self.past: tuple[RoundRecord, ...] = tuple(map(read_record, turn.rounds))
        self.recorder = TurnRecorder(journal, hold, turn.calls)
        self._journal = journal
        self._hold = hold
        self._turn = turn
        self._answer: list[TurnEvent] = []

    @property
    def answer(self) -> tuple[TurnEvent, ...] | None:
        """All of the answer, if the turn was finished before."""
        return None if self._turn.answer is None else read_answer(self._turn.answer)

    async def continued(self, messages: Sequence[Message], decisions: Sequence[Decision]) -> Continued:
        """How the turn goes on from the client's history, and with these decisions.

        Raises `RequestError` for decisions that do not fit, and `AlreadyTaken` for those that another request brought.
        """
        by_id = read_decisions(decisions)
        names = {name for message in messages if (name := handed_back_name(message)) is not None}
        if by_id:
            names.add(round_name(by_id))
        found = await self._journal.kept(self._turn.caller, sorted(names))
        kept = meant({name: read_hidden(text) for name, text in found.items()}, messages, by_id)
        said = unshown(messages, kept)
        opening = open_round(said, kept, by_id)
        if opening is None:
            return Continued(said=said, history=restore(said, kept))
        taken = await self._journal.take(self._hold, self._turn.caller, opening.name)
        for call in taken.calls if taken is not None else ():
            self._journal.intent_later(self._hold, call)
            self.recorder.add(call)
        return Continued(said=said, history=opening.before, opening=opening)

    def round_over(self, record: RoundRecord) -> None:
        """The next attempt, if there is one, begins after this round."""
        self._journal.round_over(self._hold, record.number, record.written())

    def hear(self, event: TurnEvent) -> None:
        """Keep the event, if the answer is made of such."""
        last = self._answer[-1] if self._answer else None
        if isinstance(event, TextWritten) and isinstance(last, TextWritten):
            self._answer[-1] = TextWritten(text=last.text + event.text, logprobs=last.logprobs + event.logprobs)
        elif isinstance(event, ANSWER_EVENTS):
            self._answer.append(event)

    async def finish(self, rounds: dict[str, HiddenRound], to_keep: str | None = None) -> None:
        """The answer is complete; `rounds` are kept for the requests that go on with it, under their names, and
        `to_keep` under the turn's id.
        """
        kept = [Kept(name=name, text=hidden.written()) for name, hidden in rounds.items()]
        if to_keep is not None:
            kept.append(Kept(name=self.began.turn_id, text=to_keep))
        await self._journal.finish(self._hold, written_answer(self._answer), kept)

    def close(self) -> None:
        """Let go of the turn. If it is not finished, its next attempt may begin."""
        self._journal.release(self._hold)


async def begin_turn(journal: Journal, caller: str, idempotency: Idempotency | None) -> TurnBook:
    """The book of a new turn, or of the one that this key stands for. Raises what `Journal.begin` does."""
    hold = Hold(turn_id=f"turn_{uuid.uuid4().hex}")
    turn = await journal.begin(hold, caller, idempotency)
    return TurnBook(journal, replace(hold, turn_id=turn.id), turn)


async def restored(journal: Journal, caller: str, messages: Sequence[Message]) -> tuple[Message, ...]:
    """The client's history with what the server did put back, but for rounds that wait for approval."""
    names = {name for message in messages if (name := handed_back_name(message)) is not None}
    kept = await journal.kept(caller, sorted(names))
    found = meant({name: read_hidden(text) for name, text in kept.items()}, messages, ())
    return restore(unshown(messages, found), {name: hidden for name, hidden in found.items() if not hidden.awaiting})


def written_answer(events: Sequence[TurnEvent]) -> str:
    """The events as JSON in ASCII, each with its name."""
    return json.dumps([[type(event).__name__, asdict(event)] for event in events])


def read_answer(text: str) -> tuple[TurnEvent, ...]:
    """The events that were written."""
    return tuple(ADAPTERS[name].validate_python(fields) for name, fields in json.loads(text))
