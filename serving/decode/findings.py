"""Answers result by result: what each result says is a stream of its own, all of them beside one another.

They are handed on in the order of the calls: the first as it is written, the rest once those before are over.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from grammars.branch import Branch
from grammars.constraint import Constraint
from grammars.conversation import Conversation
from grammars.dialects import Dialect
from grammars.findings import finding_conversations, finding_prompts, known_texts
from grammars.prompt import Prefix
from grammars.said_numbers import text_of_known_numbers
from serving.decode.events import TextWritten
from serving.decode.ledger import Ledger
from serving.decode.request import Round
from serving.decode.streams import OpenStream, StreamEnded, check_unbroken, run_streams
from serving.decode.text_pieces import TextPieces

BETWEEN = "\n"
"""What stands between the findings of an answer."""


def findings_of(round: Round) -> list[Conversation]:
    """What an answer is made of that is written result by result: where the options say so, of several results, as
    plain text that nothing is asked about token by token, and not where the caller wants one stream. Else nothing.
    """
    request = round.request
    plain_text = request.answer_schema is None and request.logprobs is None
    if not round.options.answer_by_result or request.decoding != "parallel" or not plain_text:
        return []
    found = finding_conversations(round.conversation)
    return found if len(found) > 1 else []


async def write_findings(
    round: Round, findings: Sequence[Conversation], ledger: Ledger
) -> AsyncGenerator[TextWritten, None]:
    """An answer as its findings, up to a stop string or the limit of each."""
    prefix, branches = await asyncio.to_thread(finding_branches, round, findings)
    texts = InOrder(len(branches))
    pieces = TextPieces(round.request.stop)
    streams = [OpenStream() for _ in branches]
    ended: dict[int, StreamEnded] = {}
    async with aclosing(run_streams(round.engine, prefix, branches, round.request.scope)) as events:
        async for event in events:
            if isinstance(event, StreamEnded):
                check_unbroken(event.end)
                ended[event.index] = event
                text = texts.end(event.index)
            else:
                ledger.hear(event)
                text = texts.take(event.branch, streams[event.branch].take(event))
            for piece in pieces.take(text, (), ended=texts.over):
                yield piece
            if pieces.stop is not None:
                break
    ledger.stop = pieces.stop
    cut = any(event.end.reason == "length" for event in ended.values())
    ledger.reason = "length" if cut and pieces.stop is None else "text"
    tokenizer = round.engine.tokenizer
    ledger.together(
        "text",
        [
            (ended[index].start_s, ended[index].end) if index in ended else (stream.start_s, stream.left(tokenizer))
            for index, stream in enumerate(streams)
        ],
    )


def finding_branches(round: Round, findings: Sequence[Conversation]) -> tuple[Prefix, list[Branch]]:
    """What all findings stand on, and the branch of each."""
    prefix, suffixes = finding_prompts(findings, round.dialect, round.engine.tokenizer)
    branches = [
        Branch(
            constraint=finding_constraint(finding, round.dialect),
            suffix=suffix,
            max_new_tokens=round.limit(round.options.text_tokens),
            sampling=round.sampling(place),
        )
        for place, (finding, suffix) in enumerate(zip(findings, suffixes, strict=True))
    ]
    return prefix, branches


def finding_constraint(finding: Conversation, dialect: Dialect) -> Constraint:
    """Text that begins no call, and says no number but those of the finding's own conversation: of the system's
    messages, of what the tool is for, of the call and of its result.
    """
    return Constraint.text(without=[dialect.marker], like=text_of_known_numbers(known_texts(finding)))


@dataclass
class InOrder:
    """Texts that are written beside one another, to be handed on one after another."""

    count: int

    def __post_init__(self) -> None:
        self._waiting = [""] * self.count
        self._ended = [False] * self.count
        self._turn = 0

    @property
    def over(self) -> bool:
        """Whether all has been handed on."""
        return self._turn == self.count

    def take(self, index: int, text: str) -> str:
        """More of one text; what may be handed on now."""
        self._waiting[index] += text
        return self._ready()

    def end(self, index: int) -> str:
        """One text is over; what may be handed on now."""
        self._ended[index] = True
        return self._ready()

    def _ready(self) -> str:
        ready = ""
        while self._turn < self.count:
            ready += self._waiting[self._turn]
            self._waiting[self._turn] = ""
            if not self._ended[self._turn]:
                break
            self._turn += 1
            if self._turn < self.count:
                ready += BETWEEN
        return ready
