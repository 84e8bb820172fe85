"""Registry: the tools that the server runs, and the resources that they share."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

from grammars.errors import ConfigurationError
from grammars.tools import Tool, is_tool_name
from serving.execute.facts import DEFAULT_TIMEOUT_S, Resource, ToolFacts
from serving.execute.keys import check_template
from serving.execute.processes import Processes
from serving.execute.runners import BatchFunctionRunner, FunctionRunner, Place, in_thread, on_loop
from serving.execute.server_tool import ServerTool
from serving.execute.signatures import arguments_adapter, described_tool

Function = TypeVar("Function", bound=Callable[..., Any])


class Registry:
    """The tools that the server runs itself. Filled before the first request is answered, only read afterwards.

    Its compute tools share so many `processes`, by default one for each processor that may be used.
    """

    def __init__(self, *, processes: int | None = None) -> None:
        self.processes = Processes(processes)
        self._tools: dict[str, ServerTool] = {}
        self._resources: dict[str, Resource] = {}

    @property
    def tools(self) -> tuple[Tool, ...]:
        """What is offered to the model, in the order of registration."""
        return tuple(found.tool for found in self._tools.values())

    @property
    def resources(self) -> tuple[Resource, ...]:
        """What the tools share, in the order of declaration."""
        return tuple(self._resources.values())

    def get(self, name: str) -> ServerTool | None:
        """The tool of that name, if the server has it."""
        return self._tools.get(name)

    def resource(self, resource: Resource) -> None:
        """Declare a resource, before the first tool that uses it. Raises `ConfigurationError` for a taken name."""
        if resource.name in self._resources:
            raise ConfigurationError(f"the resource {resource.name!r} is declared twice")
        self._resources[resource.name] = resource

    def add(self, tool: ServerTool) -> None:
        """Register a tool. Raises `ConfigurationError` for a name that is none or is taken, or an unknown resource."""
        name = tool.tool.name
        if not is_tool_name(name):
            raise ConfigurationError(f"{name!r} is not a tool name")
        if name in self._tools:
            raise ConfigurationError(f"the tool {name!r} is registered twice")
        if tool.facts.resource is not None and tool.facts.resource not in self._resources:
            raise ConfigurationError(
                f"the tool {name!r} uses the resource {tool.facts.resource!r}, which is not declared"
            )
        try:
            for template in (*tool.facts.reads, *tool.facts.writes):
                check_template(template, tool.tool.parameters)
        except ConfigurationError as error:
            raise ConfigurationError(f"the tool {name!r}: {error}") from error
        self._tools[name] = tool

    def tool(
        self,
        *,
        name: str | None = None,
        description: str | None = None,
        read_only: bool = False,
        idempotent: bool = False,
        reads: Sequence[str] = (),
        writes: Sequence[str] = (),
        resource: str | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        retries: int = 0,
        duration_s: float | None = None,
        approval: Literal["always", "never"] = "never",
        compute: bool = False,
        batch: Callable[[list[dict[str, Any]]], Any] | None = None,
    ) -> Callable[[Function], Function]:
        """Register the decorated function, sync or async, and return it unchanged.

        Name and description come from the function and its docstring unless they are given here; the JSON Schema of
        the arguments comes from its annotations, as pydantic reads them. The facts are those of `ToolFacts`. `batch` is
        the same function for many calls: it takes a list of keyword arguments and returns as many values, of which any
        may be an exception. A sync function runs in a thread of its own, or, if it computes, in a process, which must
        be able to import it. When its time is up its result is given up; the process is ended, but Python cannot stop
        a thread. Raises `ConfigurationError` as `add` does, for facts that make no sense, and for parameters that no
        JSON object can fill.
        """

        def register(function: Function) -> Function:
            tool_name = name or function.__name__
            try:
                facts = ToolFacts(
                    read_only=read_only,
                    idempotent=idempotent,
                    reads=tuple(reads),
                    writes=tuple(writes),
                    resource=resource,
                    timeout_s=timeout_s,
                    retries=retries,
                    duration_s=duration_s,
                    approval=approval,
                    compute=compute,
                )
            except ConfigurationError as error:
                raise ConfigurationError(f"the tool {tool_name!r}: {error}") from error
            arguments = arguments_adapter(function, tool_name)
            place = self._place_of(function, facts, tool_name)
            runner = FunctionRunner(function, arguments, place)
            if batch is not None:
                batch_place = self._place_of(batch, facts, tool_name)
                runner = BatchFunctionRunner(function, arguments, place, batch, batch_place)
            tool = described_tool(function, arguments, tool_name, description)
            self.add(ServerTool(tool=tool, facts=facts, runner=runner))
            return function

        return register

    def _place_of(self, function: Callable[..., Any], facts: ToolFacts, tool_name: str) -> Place:
        """Where a function runs."""
        is_async = inspect.iscoroutinefunction(function)
        if not facts.compute:
            return on_loop if is_async else in_thread
        if is_async:
            raise ConfigurationError(f"the tool {tool_name!r}: what computes in a process cannot be async")
        if function.__module__ == "__main__" or "<locals>" in function.__qualname__:
            raise ConfigurationError(f"the tool {tool_name!r}: no process can import {function.__qualname__!r}")
        return self.processes.run


def registry_named(name: str) -> Registry:
    """The registry at `module:attribute`, importing the module. Raises `ConfigurationError` if there is none."""
    module_name, _, attribute = name.partition(":")
    try:
        registry = getattr(importlib.import_module(module_name), attribute)
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"the tools {name!r} cannot be imported: {error}") from error
    except AttributeError as error:
        raise ConfigurationError(f"the tools {name!r} do not exist: {error}") from error
    if not isinstance(registry, Registry):
        raise ConfigurationError(f"{name!r} is no Registry but {type(registry).__name__}")
    return registry
