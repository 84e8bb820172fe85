"""Putting a dialogue together whose calls have no ids, and whose results come in the calls' order."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from finetune.readers.data_rows import Unreadable
from finetune.readers.informal import tool_name
from grammars.conversation import Message
from grammars.tools import ToolCall, json_text

WrittenCall = tuple[Any, Any]
"""A call as data has it: what should be its name, and what should be its arguments."""


class Dialogue:
    """A list of messages that gives calls their ids, and results to calls."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._calls = 0

    def system(self, text: str) -> None:
        self.messages.append(Message(role="system", text=text.strip()))

    def user(self, text: str) -> None:
        self.messages.append(Message(role="user", text=text.strip()))

    def assistant(self, text: str, calls: Sequence[WrittenCall] = ()) -> None:
        made = []
        for name, arguments in calls:
            if not isinstance(name, str) or not isinstance(arguments, dict):
                raise Unreadable(f"a call needs a name and an object of arguments: {json_of(name, arguments)}")
            self._calls += 1
            made.append(ToolCall(id=f"past_{self._calls}", name=tool_name(name), arguments=arguments))
        self.messages.append(Message(role="assistant", text=text.strip(), calls=tuple(made)))

    def results(self, results: Sequence[str]) -> None:
        """The results of the calls that the assistant made last, in their order."""
        calls = self.messages[-1].calls if self.messages else ()
        if len(calls) != len(results):
            raise Unreadable(f"{len(calls)} calls, and results of {len(results)}")
        self.messages += [
            Message(role="tool", text=result, call_id=call.id) for call, result in zip(calls, results, strict=True)
        ]

    def observed(self, text: str) -> None:
        """The results as one text: a JSON array with one entry a call, or, of a single call, anything."""
        calls = self.messages[-1].calls if self.messages else ()
        try:
            entries = json.loads(text)
        except (ValueError, RecursionError):
            entries = None
        if isinstance(entries, list) and len(entries) == len(calls):
            self.results([result_text(entry) for entry in entries])
        else:
            self.results([text.strip()])


def result_text(entry: Any) -> str:
    """One call's result: what stands beside the tool's name, if that is how it is written."""
    if isinstance(entry, dict) and "name" in entry:
        for key in ("results", "result", "content", "response"):
            if key in entry:
                entry = entry[key]
                break
    return entry if isinstance(entry, str) else json_text(entry)


def json_of(*values: Any) -> str:
    return json.dumps(values, ensure_ascii=False, default=str)[:200]
