"""Text to validated ToolCall. The grammar makes the text parse; the whole schema is checked all the same."""

from __future__ import annotations

import json
import re
import sys
import uuid
from dataclasses import dataclass
from typing import Any

from grammars.dialects import Dialect
from grammars.schema import read_schema
from grammars.tools import CallError, Tool, ToolCall

CallOutcome = ToolCall | CallError

DIGITS_LIMIT = sys.int_info.default_max_str_digits
"""Longer integers are read as infinite, which no schema allows: converting one takes time that grows as its square."""

DECODER = json.JSONDecoder(parse_int=lambda digits: int(digits) if len(digits) <= DIGITS_LIMIT else float(digits))


def new_call_id() -> str:
    """A fresh id, unique in any conversation."""
    return f"call_{uuid.uuid4().hex[:24]}"


def read_call(tool: Tool, arguments_text: str) -> CallOutcome:
    """The call that this text makes, valid for the tool's whole schema, or what is wrong with it."""
    try:
        arguments = DECODER.decode(arguments_text)
    except ValueError as error:
        return CallError(kind="truncated", message=f"the arguments of {tool.name!r} are not JSON: {error}")
    except RecursionError:
        return CallError(kind="invalid_arguments", message=f"the arguments of {tool.name!r} nest too deep")
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
    arguments_text: str


STRUCTURE = re.compile(r'["\\{}]')


class CallReader:
    """Reads the calls of a stream that `array.turn_constraint` governs, each as soon as it is complete.

    Whether the stream makes calls or answers in text shows when its beginning differs from the dialect's opening; until
    then `is_text` is `None`.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._opening = dialect.calls_open + dialect.call_open
        self._between = len(dialect.call_close + dialect.separator + dialect.call_open)
        self._buffer = ""
        self._begin = 0
        self._scanned = 0
        self._depth = 0
        self._in_string = False
        self.is_text: bool | None = None

    def push(self, text: str) -> list[WrittenCall]:
        """Take more of the stream; the calls that it completes."""
        self._buffer += text
        if self.is_text is None:
            if self._buffer.startswith(self._opening):
                self.is_text, self._begin = False, len(self._opening)
                self._scanned = self._begin
            elif not self._opening.startswith(self._buffer):
                self.is_text = True
        calls = []
        while self.is_text is False and (end := self._call_end()) is not None:
            calls.append(written_call(self._buffer[self._begin : end]))
            self._begin = self._scanned = end + self._between
        return calls

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

    def _call_end(self) -> int | None:
        """Where the call ends that is being read; None while it is not complete. Looks at every character once."""
        while (found := STRUCTURE.search(self._buffer, self._scanned)) is not None:
            self._scanned = found.end() + (found[0] == "\\")
            if found[0] == '"':
                self._in_string = not self._in_string
            elif found[0] != "\\" and not self._in_string:
                self._depth += 1 if found[0] == "{" else -1
                if self._depth == 0:
                    return self._scanned
        self._scanned = max(self._scanned, len(self._buffer))
        return None


def written_call(text: str) -> WrittenCall:
    """The parts of a call as `prompt.call_text` writes them, but for what the dialect puts around it."""
    name, end = json.JSONDecoder().raw_decode(text, len('{"name": '))
    return WrittenCall(name=name, arguments_text=text[end + len(', "arguments": ') : -1])
