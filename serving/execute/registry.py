"""Registry: the Python functions that the server runs as tools, described to the model by their own signatures."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, get_type_hints

from pydantic import PydanticUserError, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from grammars.errors import ConfigurationError
from grammars.tools import Tool, is_tool_name, json_text

Function = TypeVar("Function", bound=Callable[..., Any])

DEFAULT_TIMEOUT_S = 30.0
"""How long one call may run where its tool does not say."""


@dataclass(frozen=True, kw_only=True)
class RegisteredTool:
    """A tool that the server runs: what the model sees of it, and the function behind it."""

    tool: Tool
    function: Callable[..., Any]
    is_async: bool
    timeout_s: float
    _arguments: TypeAdapter[dict[str, Any]]

    def read(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments as the function's annotations want them. Raises pydantic's `ValidationError`."""
        return self._arguments.validate_json(json_text(arguments))


class Registry:
    """The tools that the server runs itself. Filled while a module is imported, only read afterwards."""

    def __init__(self) -> None:
        self._tools: dict[str, RegisteredTool] = {}

    @property
    def tools(self) -> tuple[Tool, ...]:
        """What is offered to the model, in the order of registration."""
        return tuple(registered.tool for registered in self._tools.values())

    def get(self, name: str) -> RegisteredTool | None:
        """The tool of that name, if the server has it."""
        return self._tools.get(name)

    def tool(
        self, *, name: str | None = None, description: str | None = None, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> Callable[[Function], Function]:
        """Register the decorated function, sync or async, and return it unchanged.

        Name and description come from the function and its docstring unless they are given here; the JSON Schema of
        the arguments comes from its annotations, as pydantic reads them. A sync function runs in a thread of its own;
        when its time is up its result is given up, but Python cannot stop the thread. Raises `ConfigurationError` for
        a name that is not a tool name or is taken, and for parameters that no JSON object can fill.
        """

        def register(function: Function) -> Function:
            tool_name = name or function.__name__
            if not is_tool_name(tool_name):
                raise ConfigurationError(f"{tool_name!r} is not a tool name")
            if tool_name in self._tools:
                raise ConfigurationError(f"the tool {tool_name!r} is registered twice")
            if not timeout_s > 0:
                raise ConfigurationError(f"the tool {tool_name!r} needs a timeout_s above 0, not {timeout_s}")
            arguments = arguments_adapter(function, tool_name)
            self._tools[tool_name] = RegisteredTool(
                tool=Tool(
                    name=tool_name,
                    description=inspect.getdoc(function) or "" if description is None else description,
                    parameters=arguments.json_schema(schema_generator=UntitledJsonSchema),
                ),
                function=function,
                is_async=inspect.iscoroutinefunction(function),
                timeout_s=timeout_s,
                _arguments=arguments,
            )
            return function

        return register


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


class UntitledJsonSchema(GenerateJsonSchema):
    """Pydantic's JSON Schema without titles made up from names: they tell the model nothing and cost prompt tokens."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def arguments_adapter(function: Callable[..., Any], tool_name: str) -> TypeAdapter[dict[str, Any]]:
    """Reads a JSON object into keyword arguments for `function`, defaults filled in, without calling it."""
    signature = inspect.signature(function)
    try:
        hints = get_type_hints(function, include_extras=True)
    except NameError as error:
        raise ConfigurationError(f"the tool {tool_name!r}: an annotation names something unknown: {error}") from error
    for parameter in signature.parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise ConfigurationError(f"the tool {tool_name!r}: no JSON object can fill the parameter '{parameter}'")
        if parameter.name not in hints:
            raise ConfigurationError(f"the tool {tool_name!r}: the parameter {parameter.name!r} has no annotation")

    def keyword_arguments(**arguments: Any) -> dict[str, Any]:
        return arguments

    # pydantic reads a callable through these two, so it validates for `function` and then only collects
    target: Any = keyword_arguments
    target.__signature__ = signature
    target.__annotations__ = {name: hint for name, hint in hints.items() if name != "return"}
    try:
        return TypeAdapter(target)
    except PydanticUserError as error:
        raise ConfigurationError(f"the tool {tool_name!r}: {error.message}") from error
