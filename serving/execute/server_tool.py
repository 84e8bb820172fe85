"""ServerTool: a tool that the server runs, wherever it comes from, and the seam behind which its calls run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from grammars.tools import Tool
from serving.execute.facts import ToolFacts

OWN = "polycall"
"""The label of tools that come from no source: the functions of the operator's own."""


class InvalidArguments(Exception):
    """The arguments do not fit the tool. The message says which and why, for the model; asking again does not help."""


class ToolRefused(Exception):
    """The tool answered, and its answer is no: an error of its own, in words for the model. It is not asked again."""


class ToolFailed(Exception):
    """The tool failed, in words for the model. It may be asked again, if it is idempotent."""


class JsonBytes(bytes):
    """A runner's value as JSON text, for one that has it in this form: it is parsed only if it is not too large."""


class Runner(Protocol):
    """How calls of one tool run. Used for many calls at once, on the event loop, which it must not block."""

    async def run(self, arguments: Mapping[str, Any]) -> Any:
        """The value of one call, which JSON can hold, or its `JsonBytes`.

        Raises `InvalidArguments`, `ToolRefused`, `ToolFailed`, or anything else, which is a failure that may pass.
        Cancelled when the attempt's time is over or the turn ends; what was begun outside may then go on.
        """
        ...


@runtime_checkable
class BatchRunner(Runner, Protocol):
    """A runner with a batch form: like calls of one turn run in one invocation."""

    async def run_batch(self, arguments: Sequence[Mapping[str, Any]]) -> Sequence[Any]:
        """One outcome for each of the arguments, in their order: a value, or the exception in its place."""
        ...


@dataclass(frozen=True, kw_only=True)
class ServerTool:
    """A tool that the server runs: what the model sees of it, what is known of it, what runs it.

    `label` is what callers read of where it comes from: the name of its source, or their own word for a server.
    """

    tool: Tool
    facts: ToolFacts
    runner: Runner
    label: str = OWN
