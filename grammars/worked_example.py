"""The one worked example with which every form of plan and every dialect asks: one request, and the calls it needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class WorkedCall:
    """One call of the example: its tool, its arguments, and the words of the request that tell it from the others."""

    name: str
    subject: str
    arguments: dict[str, Any]


REQUEST = "What is 3 plus 4 and 5 plus 6? Then say hello to Ana"

CALLS = (
    WorkedCall(name="add", subject="3 and 4", arguments={"a": 3, "b": 4}),
    WorkedCall(name="add", subject="5 and 6", arguments={"a": 5, "b": 6}),
    WorkedCall(name="greet", subject="Ana", arguments={"name": "Ana"}),
)

DEPENDENT = WorkedCall(name="add", subject="the result of 1 and 5", arguments={"a": "$ref:1", "b": 5})
"""A call that needs the result of another one."""

TOOLS = "add and greet"
"""The tools of the example, as a sentence names them."""
