"""Tool, ToolCall, ToolResult: what can be called, a validated call, and what came of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

NAME_PATTERN = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")

ErrorKind = Literal[
    "invalid_arguments",
    "unknown_tool",
    "tool_error",
    "timeout",
    "truncated",
    "cancelled",
    "denied",
    "dependency_failed",
    "unknown_reference",
    "reference_cycle",
    "duplicate_id",
    "result_too_large",
    "unknown_outcome",
]
"""What can go wrong with one call. `unknown_outcome`: it was begun, and nobody knows whether it did what it does."""


def is_tool_name(name: str) -> bool:
    """Whether `name` can stand in a grammar, a prompt and every wire: a letter or underscore, then word characters."""
    return NAME_PATTERN.fullmatch(name) is not None


@dataclass(frozen=True, kw_only=True)
class Tool:
    """Something the model may call. `parameters` is the JSON Schema of the arguments object, as it was sent."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}})


@dataclass(frozen=True, kw_only=True)
class ToolCall:
    """One call, its arguments valid for the tool's whole schema."""

    id: str
    name: str
    arguments: Mapping[str, Any]

    @property
    def arguments_text(self) -> str:
        """The arguments as JSON text, in the order in which they were written."""
        return json_text(self.arguments)

    def same_as(self, other: ToolCall) -> bool:
        """Whether both ask for the same thing, whatever their ids and key order."""
        return self.name == other.name and same_json(self.arguments, other.arguments)


@dataclass(frozen=True, kw_only=True)
class CallError:
    """What went wrong with one call: data for the model and the caller, never an exception."""

    kind: ErrorKind
    message: str


@dataclass(frozen=True, kw_only=True)
class ToolResult:
    """What came of one call: a JSON value, or an error in its place."""

    call_id: str
    value: Any = None
    error: CallError | None = None

    @property
    def text(self) -> str:
        """What the model reads: a string as it is, anything else as JSON, an error with its kind."""
        if self.error is not None:
            return json_text({"error": self.error.kind, "message": self.error.message})
        return self.value if isinstance(self.value, str) else json_text(self.value)


def same_json(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal, whatever the order of names: 1 is 1.0, and not true."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same_json(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same_json, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def json_text(value: Any) -> str:
    """The one way polycall writes JSON for models and clients: one space after `,` and `:`, no escaping of letters."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
