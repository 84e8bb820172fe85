"""What a source of tools offers, and which of it the operator takes, under which names and with which facts."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from grammars.errors import ConfigurationError, SchemaRefused
from grammars.schema import read_schema
from grammars.tools import Tool, is_tool_name
from serving.execute.facts import ToolFacts
from serving.execute.server_tool import Runner, ServerTool

LONGEST_WORDS = 2000
"""How many characters of an error from outside are told."""


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A tool as its source has it: under the source's own name for it, with what the source says of its facts."""

    tool: Tool
    facts: Mapping[str, Any]
    runner: Runner


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What the operator says of the tools of one source, by the source's names for them.

    `include` takes only these, `exclude` all but these. `facts` of single tools stand above `defaults` for all, and
    both above what the source says; `retries` by default are for those tools only that may be repeated. `prefix` comes
    before every name.
    """

    include: Sequence[str] | None = None
    exclude: Sequence[str] = ()
    prefix: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def takes(self, name: str) -> bool:
        """Whether the tool of that name is wanted."""
        return name not in self.exclude and (self.include is None or name in self.include)

    def check(self, source: str, names: Collection[str]) -> None:
        """Raise `ConfigurationError` for a tool that is spoken of here and that the source does not have."""
        unknown = sorted({*(self.include or ()), *self.exclude, *self.facts}.difference(names))
        if unknown:
            raise ConfigurationError(f"{source}: there is no tool {', '.join(map(repr, unknown))}")

    def tool(self, source: str, offer: Offer) -> ServerTool:
        """The tool as the server has it. Raises `ConfigurationError` if it cannot be offered to a model."""
        own_name = offer.tool.name
        tool = Tool(
            name=tool_name(self.prefix + own_name),
            description=offer.tool.description,
            parameters=offer.tool.parameters,
        )
        try:
            read_schema(tool.parameters)
            facts = self._facts(offer)
        except (SchemaRefused, ConfigurationError) as error:
            reason = f"{source}: the tool {own_name!r} cannot be offered (exclude it, or say otherwise): {error}"
            raise ConfigurationError(reason) from error
        return ServerTool(tool=tool, facts=facts, runner=offer.runner, label=source.partition(".")[2] or source)

    def _facts(self, offer: Offer) -> ToolFacts:
        stated = self.facts.get(offer.tool.name, {})
        merged = {**offer.facts, **self.defaults, **stated}
        if "retries" not in stated and not (merged.get("idempotent") or merged.get("read_only")):
            merged.pop("retries", None)
        return ToolFacts(**merged)


def tool_name(name: str) -> str:
    """The name under which the model knows a tool: characters that cannot stand in it become underscores."""
    found = re.sub(r"[^A-Za-z0-9_.-]", "_", name)
    found = found if re.match(r"[A-Za-z_]", found) else f"_{found}"
    return found if is_tool_name(found) else found[:128]


def shortened(text: str) -> str:
    """The text, or its beginning and how much was left out."""
    if len(text) <= LONGEST_WORDS:
        return text
    return f"{text[:LONGEST_WORDS]}... ({len(text) - LONGEST_WORDS} more characters)"
