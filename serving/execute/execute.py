"""Executor: runs the calls of a turn, together as far as they may. Every call gets exactly one result, never a raise.

The seam is narrow on purpose: a turn begins an execution, starts calls on it, says when a round has no more of them,
hears what happens, and cancels it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable

from grammars.tools import Tool
from serving.execute.events import CallFinished, CallStarted, ExecutionEvent, Tell
from serving.execute.execution import Execution, ExecutionLimits, Options, Shared
from serving.execute.facts import ToolFacts
from serving.execute.recorder import CallRecorder, NoRecorder
from serving.execute.registry import Registry
from serving.execute.server_tool import ServerTool
from serving.execute.toolset import Chosen, ToolSet

__all__ = ["CallFinished", "CallStarted", "Execution", "ExecutionEvent", "ExecutionLimits", "Executor"]


class Executor:
    """Runs the tools of a registry. One for the whole server; serves many turns at once, on one event loop.

    The resources that tools use are those of the registry.
    """

    def __init__(self, registry: Registry, limits: ExecutionLimits | None = None) -> None:
        self._registry = registry
        self._tools: ToolSet = registry
        self._shared = Shared(registry, limits or ExecutionLimits())

    @property
    def tools(self) -> tuple[Tool, ...]:
        """The tools that are run here."""
        return self._tools.tools

    @property
    def server_tools(self) -> tuple[ServerTool, ...]:
        """Likewise, with what is known of them and what runs them."""
        found = (self._tools.get(tool.name) for tool in self._tools.tools)
        return tuple(tool for tool in found if tool is not None)

    def only(self, tools: Iterable[ServerTool]) -> Executor:
        """One for a single request: it runs these tools, whose names differ, and shares all else with this one."""
        narrowed = copy.copy(self)
        narrowed._tools = Chosen(tools)
        return narrowed

    def runs(self, name: str) -> bool:
        """Whether calls of this tool are run here; others are the client's."""
        return self._tools.get(name) is not None

    def facts(self, name: str) -> ToolFacts | None:
        """What is known of the tool, if it is run here."""
        found = self._tools.get(name)
        return None if found is None else found.facts

    def begin(
        self,
        tell: Tell,
        recorder: CallRecorder | None = None,
        *,
        references: bool = False,
        in_call_order: bool = False,
    ) -> Execution:
        """The execution of one turn. `tell` hears every event, on the event loop; it must not raise. `recorder` is
        asked before each call, and told what came of it.

        With `references`, an argument such as `$ref:call_1` stands for the result of another call of the turn; without,
        it is text. With `in_call_order`, each call waits for the one before it.
        """
        options = Options(references=references, in_call_order=in_call_order)
        return Execution(self._shared, self._tools, tell, recorder or NoRecorder(), options)

    def close(self) -> None:
        """End the processes of the pool. The executor can be used again afterwards."""
        self._registry.processes.close()
