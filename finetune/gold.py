"""Gold: what a right answer calls, as something that emitted calls can be held against.

A gold call does not have one right text: BFCL accepts several values for an argument, schemas have defaults, and an
argument may take what another call returns. `GoldArgument` says of each what it accepts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from grammars.references import MARK
from grammars.tools import Tool, ToolCall, same_json


@dataclass(frozen=True, kw_only=True)
class GoldArgument:
    """One argument: which values are right, whether it may be left out, and whose result it takes, if it does.

    An argument that `needs` another gold call, named by its id, accepts no value that could be known before.
    """

    accepts: Callable[[Any], bool]
    optional: bool = False
    needs: str | None = None


@dataclass(frozen=True, kw_only=True)
class GoldCall:
    """One call of a right answer. An argument that is not listed has no place in it."""

    id: str
    tool: str
    arguments: Mapping[str, GoldArgument]

    @property
    def is_due(self) -> bool:
        """Whether the call can be written now: it needs no other's result."""
        return all(argument.needs is None for argument in self.arguments.values())


@dataclass(frozen=True, kw_only=True)
class Gold:
    """The calls of a right answer, in any order; none where none is due.

    `any_call`: at least one call is due, and which one is not said, so that there are no calls here.
    """

    calls: tuple[GoldCall, ...] = ()
    any_call: bool = False

    @property
    def due(self) -> tuple[GoldCall, ...]:
        """The calls that need no other's result."""
        return tuple(call for call in self.calls if call.is_due)


def gold_of(calls: Sequence[ToolCall], tools: Sequence[Tool]) -> Gold:
    """Gold of plain calls, each argument with one right value, strings compared as `same_value` does.

    A string `$ref:<id>` in place of an argument, with or without a JSON pointer, takes the result of an earlier one of
    these calls. What the tool's schema states as the `default` of an argument may be said or left out.
    """
    schemas = {tool.name: tool.parameters for tool in tools}
    ids = [call.id for call in calls]
    return Gold(
        calls=tuple(gold_call(call, schemas.get(call.name, {}), set(ids[:place])) for place, call in enumerate(calls))
    )


def gold_call(call: ToolCall, schema: Mapping[str, Any], earlier: set[str]) -> GoldCall:
    arguments = {name: plain_argument(value, earlier) for name, value in call.arguments.items()}
    for name, own in schema.get("properties", {}).items():
        if not isinstance(own, Mapping) or "default" not in own:
            continue
        default = partial(same_value, own["default"])
        if name not in arguments or arguments[name].accepts(own["default"]):
            arguments[name] = GoldArgument(accepts=default, optional=True)
    return GoldCall(id=call.id, tool=call.name, arguments=arguments)


def plain_argument(value: Any, earlier: set[str]) -> GoldArgument:
    needed = call_meant(value)
    if needed in earlier:
        return GoldArgument(accepts=lambda _: False, needs=needed)
    return GoldArgument(accepts=partial(same_value, value))


def call_meant(value: Any) -> str | None:
    """The id of the call that an argument refers to; None if it is no reference."""
    if not isinstance(value, str) or not value.startswith(MARK):
        return None
    return value.removeprefix(MARK).partition("#")[0] or None


def same_value(one: Any, other: Any) -> bool:
    """Whether two values of an argument say the same: equal JSON, but for case and the spacing of strings."""
    return same_json(without_case(one), without_case(other))


def without_case(value: Any) -> Any:
    if isinstance(value, str):
        return " ".join(value.casefold().split())
    if isinstance(value, Mapping):
        return {name: without_case(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [without_case(member) for member in value]
    return value
