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


REQUEST = "What is the weather in Rome, Oslo and Bern? Then say hello to Ana"

CALLS = (
    WorkedCall(name="weather", subject="Rome", arguments={"city": "Rome"}),
    WorkedCall(name="weather", subject="Oslo", arguments={"city": "Oslo"}),
    WorkedCall(name="weather", subject="Bern", arguments={"city": "Bern"}),
    WorkedCall(name="greet", subject="Ana", arguments={"name": "Ana"}),
)

DEPENDENT = WorkedCall(name="greet", subject="the mayor of 1", arguments={"name": "$ref:1#/mayor"})
"""A call that needs the result of another one."""

TOOLS = "weather and greet"
"""The tools of the example, as a sentence names them."""
