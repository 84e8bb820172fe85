"""Signatures: a Python function as a tool: its JSON Schema for the model, and its arguments read as it wants them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, get_type_hints

from pydantic import PydanticUserError, TypeAdapter, ValidationError
from pydantic.json_schema import GenerateJsonSchema

from grammars.errors import ConfigurationError
from grammars.tools import Tool


class UntitledJsonSchema(GenerateJsonSchema):
    """Pydantic's JSON Schema without titles made up from names: they tell the model nothing and cost prompt tokens."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def described_tool(
    function: Callable[..., Any], arguments: TypeAdapter[dict[str, Any]], name: str, description: str | None
) -> Tool:
    """What the model sees of a function: described by its docstring, unless a description is given."""
    return Tool(
        name=name,
        description=inspect.getdoc(function) or "" if description is None else description,
        parameters=arguments.json_schema(schema_generator=UntitledJsonSchema),
    )


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


def readable(error: ValidationError) -> str:
    """Which arguments are wrong and why, on one line, without pydantic's links."""
    details = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, detail['loc'])) or 'arguments'}: {detail['msg']}" for detail in details)
