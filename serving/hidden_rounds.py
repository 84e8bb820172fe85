"""HiddenRounds: what the server did in a turn that the client then continues, since the client's history lacks it.

A client that gets calls to run sees only those. What the server ran before them, and beside them, is kept here under
the ids of the client's calls, and put back when a request brings their results. Kept in memory and bounded: after a
restart, or when many other turns came between, a conversation goes on with what the client itself sent.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from grammars.conversation import Message
from grammars.tools import ToolCall


@dataclass(frozen=True, kw_only=True)
class HiddenRound:
    """One round that handed calls back: the rounds of the turn before it, all its calls in order, the server's results.

    `results` are the `tool` messages that answer the calls which the server ran.
    """

    before: tuple[Message, ...]
    calls: tuple[ToolCall, ...]
    results: tuple[Message, ...]


class HiddenRounds:
    """A bounded memory of hidden rounds, the oldest leaving first. Belongs to one event loop."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._rounds: OrderedDict[frozenset[str], HiddenRound] = OrderedDict()

    def keep(self, hidden: HiddenRound, handed_back: Sequence[ToolCall]) -> None:
        """Remember the round under the calls that the client got."""
        self._rounds[frozenset(call.id for call in handed_back)] = hidden
        while len(self._rounds) > self._size:
            self._rounds.popitem(last=False)

    def restore(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        """The client's history with every round put back that is remembered, results in call order.

        The history must already be in order: after an assistant message stand the results of all its calls.
        """
        restored: list[Message] = []
        index = 0
        while index < len(messages):
            message = messages[index]
            index += 1
            hidden = self._rounds.get(frozenset(call.id for call in message.calls)) if message.calls else None
            if hidden is None:
                restored.append(message)
                continue
            answers = messages[index : index + len(message.calls)]
            index += len(message.calls)
            by_id = {answer.call_id: answer for answer in (*answers, *hidden.results)}
            restored += hidden.before
            restored.append(replace(message, calls=hidden.calls))
            restored += [by_id[call.id] for call in hidden.calls]
        return tuple(restored)
