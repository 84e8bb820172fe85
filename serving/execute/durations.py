"""Durations: what a call of each tool may be expected to take, so that a turn can begin with its longest way."""

from __future__ import annotations

from serving.execute.server_tool import ServerTool

FIRST_S = 1.0
"""What is expected of a tool of which nothing is known."""

WEIGHT = 0.3
"""How much the newest call counts: the estimate follows a tool that becomes slow within a few calls."""


class Durations:
    """Learned over all turns of the server."""

    def __init__(self) -> None:
        self._learned: dict[str, float] = {}

    def expected_s(self, tool: ServerTool) -> float:
        """What the tool's facts say, or else what its calls took, the newest weighing most."""
        if tool.facts.duration_s is not None:
            return tool.facts.duration_s
        return self._learned.get(tool.tool.name, FIRST_S)

    def learn(self, tool: ServerTool, took_s: float) -> None:
        """A call of the tool gave its value after `took_s`."""
        if tool.facts.duration_s is not None:
            return  # it counts alone; and tools of servers that requests name must not fill the memory
        name = tool.tool.name
        before_s = self._learned.get(name, took_s)
        self._learned[name] = before_s + WEIGHT * (took_s - before_s)
