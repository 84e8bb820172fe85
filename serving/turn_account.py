"""TurnAccount: what a turn has used and done so far, round by round, and what its limits leave it."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, replace

from pydantic import TypeAdapter

from grammars.conversation import Message
from serving.decode.events import CallFailed, Figures, TextWritten
from serving.execute.execute import CallFinished
from serving.round_ledger import RoundLedger
from serving.turn_events import TurnFigures


@dataclass(frozen=True, kw_only=True)
class RoundRecord:
    """A round that is over. `messages` is what it adds to the conversation; a round of repeats adds nothing. `text` is
    what it answered with.

    Round 0 is one that waited for approval and was decoded in an earlier turn: it has no figures.
    """

    number: int
    messages: tuple[Message, ...]
    figures: Figures | None
    repeated: bool = False
    text: str = ""
    wait_s: float = 0.0
    server_calls: tuple[CallFinished, ...] = ()
    failures: tuple[CallFailed, ...] = ()

    def written(self) -> str:
        """As JSON in ASCII. The times of streams are left out: the clock that they are on ends with the server."""
        figures = None if self.figures is None else replace(self.figures, spans=())
        return json.dumps(asdict(replace(self, figures=figures)))


ROUND_RECORD = TypeAdapter(RoundRecord)


def read_record(text: str) -> RoundRecord:
    """The record that was written."""
    return ROUND_RECORD.validate_python(json.loads(text))


def record_of(number: int, ledger: RoundLedger) -> RoundRecord:
    """The record of a round, complete or cut, with the results of all calls that were started."""
    return RoundRecord(
        number=number,
        messages=() if ledger.repeated or not ledger.complete else ledger.messages(),
        figures=None if ledger.ended is None or number == 0 else ledger.ended.figures,
        repeated=ledger.repeated,
        text=ledger.text if number else "",
        wait_s=ledger.wait_s,
        server_calls=tuple(ledger.finished[call.id] for call in ledger.calls if call.id in ledger.finished),
        failures=tuple(ledger.failures),
    )


class TurnAccount:
    """The books of one turn. `start_s` is on the clock of `time.monotonic`."""

    def __init__(self, *, rounds: int, calls: int, max_tokens: int | None) -> None:
        self.start_s = time.monotonic()
        self.server_calls: list[CallFinished] = []
        self.failures: list[CallFailed] = []
        self.said: tuple[Message, ...] = ()
        self.decode_s = 0.0
        self._figures: list[Figures] = []
        self._repeats = 0
        self._wait_s = 0.0
        self._rounds_limit = rounds
        self._calls_limit = calls
        self._tokens_limit = max_tokens

    def enter(self, record: RoundRecord) -> None:
        """Enter a round that is over."""
        if record.figures is not None:
            self._figures.append(record.figures)
        self._repeats += record.repeated
        self._wait_s += record.wait_s
        self.server_calls += record.server_calls
        self.failures += record.failures

    def enter_past(self, record: RoundRecord) -> list[TextWritten | CallFinished]:
        """Enter a round that was over before the turn broke off, and tell of it; in this attempt it took no time."""
        at_once = [replace(done, start_s=self.start_s, end_s=self.start_s) for done in record.server_calls]
        self.enter(replace(record, wait_s=0.0, server_calls=tuple(at_once)))
        return [*([TextWritten(text=record.text)] if record.text else []), *at_once]

    @property
    def tokens_left(self) -> int | None:
        """What is left of the client's limit on written tokens, which holds for the turn as a whole."""
        limit = self._tokens_limit
        return None if limit is None else limit - sum(figures.completion_tokens for figures in self._figures)

    @property
    def calls_left(self) -> int:
        """How many more calls the server may run."""
        return max(0, self._calls_limit - len(self.server_calls))

    @property
    def next_is_last(self) -> bool:
        """Whether the budget of rounds leaves one more only."""
        return len(self._figures) + 1 >= self._rounds_limit

    def figures(self, *, out_of_time: bool) -> TurnFigures:
        """What the turn cost until now."""
        return TurnFigures(
            rounds=tuple(self._figures),
            repeats=self._repeats,
            out_of_time=out_of_time,
            start_s=self.start_s,
            total_s=time.monotonic() - self.start_s,
            decode_s=self.decode_s,
            wait_s=self._wait_s,
        )
