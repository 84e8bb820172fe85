"""Text to validated ToolCall. The grammar makes the text parse; the whole schema is checked all the same."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from grammars.dialects import Dialect
from grammars.schema import read_schema
from grammars.tools import CallError, Tool, ToolCall

CallOutcome = ToolCall | CallError


def new_call_id() -> str:
    """A fresh id, unique in any conversation."""
    return f"call_{uuid.uuid4().hex[:24]}"


def read_call(tool: Tool, arguments_text: str) -> CallOutcome:
    """The call that this text makes, valid for the tool's whole schema, or what is wrong with it."""
    try:
        arguments = json.loads(arguments_text)
    except ValueError as error:
        return CallError(kind="truncated", message=f"the arguments of {tool.name!r} are not JSON: {error}")
    return check_call(tool, arguments)


def check_call(tool: Tool, arguments: Any) -> CallOutcome:
    """The call with these arguments, or what is wrong with them, by JSON pointer and keyword."""
    problems = read_schema(tool.parameters).problems(arguments)
    if problems:
        said = "; ".join(f"{problem.pointer or '/'} ({problem.keyword}): {problem.message}" for problem in problems)
        return CallError(kind="invalid_arguments", message=f"arguments of {tool.name!r}: {said}")
    return ToolCall(id=new_call_id(), name=tool.name, arguments=arguments)


@dataclass(frozen=True, kw_only=True)
class WrittenCall:
    """A call as it stands in a stream: not validated yet."""

    name: str
    arguments: Any


class CallReader:
    """Reads the calls of a stream that `array.turn_constraint` governs, each as soon as it is complete.

    Whether the stream makes calls or answers in text shows when its beginning differs from the dialect's opening; until
    then `is_text` is `None`.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._opening = dialect.calls_open + dialect.call_open
        self._buffer = ""
        self._position = 0
        self.is_text: bool | None = None

    def push(self, text: str) -> list[WrittenCall]:
        """Take more of the stream; the calls that it completes."""
        self._buffer += text
        if self.is_text is None:
            if self._buffer.startswith(self._opening):
                self.is_text, self._position = False, len(self._opening)
            elif not self._opening.startswith(self._buffer):
                self.is_text = True
        return self._calls() if self.is_text is False else []

    def text(self, *, ended: bool = False) -> str:
        """The text that came since the last look, if the stream is text; empty as long as that is open.

        A stream that `ended` before it left the dialect's opening was text.
        """
        if self.is_text is None and ended:
            self.is_text = True
        if self.is_text is not True:
            return ""
        text, self._buffer = self._buffer, ""
        return text

    def _calls(self) -> list[WrittenCall]:
        calls = []
        between = self._dialect.call_close + self._dialect.separator + self._dialect.call_open
        while self._position < len(self._buffer):
            try:
                value, end = json.JSONDecoder().raw_decode(self._buffer, self._position)
            except ValueError:
                break  # the call is not complete yet
            assert isinstance(value, Mapping)  # the grammar writes nothing else here
            calls.append(WrittenCall(name=value["name"], arguments=value["arguments"]))
            self._position = end + len(between)
        return calls
