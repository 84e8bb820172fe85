"""HiddenRound: what the server did in a turn that the client then continues, since the client's history lacks it.

A client that gets calls to run sees only those. What the server ran before them, and beside them, is kept in the
journal under the ids of the client's calls, and put back when a request brings their results. A round whose calls wait
for approval is kept likewise; where nothing was handed back, under the ids of the calls that wait.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from pydantic import TypeAdapter

from grammars.conversation import Message
from grammars.tools import ToolCall


@dataclass(frozen=True, kw_only=True)
class HiddenRound:
    """One round at which a turn stopped: the rounds before it, its text, all its calls in order, the server's results.

    `results` are the `tool` messages that answer the calls which the server ran, `awaiting` the ids of those that wait
    for approval. `said` is how many messages of the client's come before all that, without the instructions that its
    history begins with: these may be others in the next request.
    """

    before: tuple[Message, ...]
    text: str = ""
    calls: tuple[ToolCall, ...]
    results: tuple[Message, ...]
    awaiting: tuple[str, ...] = ()
    said: int = 0

    def written(self) -> str:
        """As JSON in ASCII."""
        return json.dumps(asdict(self))


HIDDEN_ROUND = TypeAdapter(HiddenRound)


def read_hidden(text: str) -> HiddenRound:
    """The round that was written."""
    return HIDDEN_ROUND.validate_python(json.loads(text))


def round_name(call_ids: Iterable[str]) -> str:
    """The name under which the journal keeps a round: it can be told from the ids that the client has."""
    return hashlib.sha256("\n".join(sorted(call_ids)).encode()).hexdigest()


def handed_back_name(message: Message) -> str | None:
    """The name of the round whose calls stand in this message of the client's history, if it is one with calls."""
    return round_name(call.id for call in message.calls) if message.calls else None


def instructions(messages: Sequence[Message]) -> int:
    """With how many instructions, which are system messages, the history begins."""
    return next((index for index, message in enumerate(messages) if message.role != "system"), len(messages))


def meant(
    kept: Mapping[str, HiddenRound], messages: Sequence[Message], decided: Iterable[str]
) -> dict[str, HiddenRound]:
    """Those rounds whose calls the history has as handed back, and the one whose calls are decided now.

    A message with just the calls that waited for approval is none of these: it shows what came of them.
    """
    names = {round_name(decided)}
    for message in messages:
        name = handed_back_name(message) or ""
        if name in kept and not {call.id for call in message.calls} <= {*kept[name].awaiting}:
            names.add(name)
    return {name: hidden for name, hidden in kept.items() if name in names}


def unshown(messages: Sequence[Message], kept: Mapping[str, HiddenRound]) -> tuple[Message, ...]:
    """The client's history without the calls of these rounds that the server ran. Some wires show them to the client,
    which then sends them back; the journal knows better where they stood.
    """
    handed_back = {call.id for message in messages if handed_back_name(message) in kept for call in message.calls}
    shown = {
        call.id
        for hidden in kept.values()
        for calls in (hidden.calls, *(message.calls for message in hidden.before))
        for call in calls
        if call.id not in handed_back
    }
    return tuple(
        message
        for message in messages
        if message.call_id not in shown and not (message.calls and all(call.id in shown for call in message.calls))
    )


def restore(messages: Sequence[Message], kept: Mapping[str, HiddenRound]) -> tuple[Message, ...]:
    """The client's history with every round put back that was kept under its name, results in call order.

    The history must already be in order: after an assistant message stand the results of all its calls.
    """
    restored: list[Message] = []
    index = 0
    while index < len(messages):
        message = messages[index]
        index += 1
        hidden = kept.get(handed_back_name(message) or "")
        if hidden is None:
            restored.append(message)
            continue
        answers = messages[index : index + len(message.calls)]
        index += len(message.calls)
        by_id = {answer.call_id: answer for answer in (*answers, *hidden.results)}
        restored += hidden.before
        restored.append(replace(message, text=message.text or hidden.text, calls=hidden.calls))
        restored += [by_id[call.id] for call in hidden.calls]
    return tuple(restored)
