"""References: `$ref:<call id>` and `$ref:<call id>#/json/pointer` as an argument's value, in place of a call's result.

A reference is a whole string; the same letters inside a longer text are text. What replaces it is the JSON value, with
its type, not its text. Replacing is one walk over what the model wrote: a tool's output that reads like a reference
stays what it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from grammars.references import MARK


class MissingValue(Exception):
    """The call has its result, and the result has nothing at the place that the reference names."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The result of a call, or the part of it at `pointer` (RFC 6901; empty for all of it)."""

    call_id: str
    pointer: str = ""

    def value_in(self, value: Any) -> Any:
        """What stands at the pointer in `value`, or `MissingValue`."""
        if not self.pointer:
            return value
        first, *steps = self.pointer.split("/")
        if first:
            raise MissingValue(f"{self.pointer!r} is no JSON pointer: it begins with '/'")
        for step in steps:
            name = step.replace("~1", "/").replace("~0", "~")
            if isinstance(value, Mapping) and name in value:
                value = value[name]
            elif isinstance(value, list) and is_index(name) and int(name) < len(value):
                value = value[int(name)]
            else:
                raise MissingValue(f"the result of the call {self.call_id!r} has nothing at {self.pointer!r}")
        return value


def is_index(step: str) -> bool:
    """Whether a step of a pointer can count into an array: digits, without a leading zero, few enough to mean it."""
    return step.isascii() and step.isdigit() and len(step) < 10 and (step == "0" or step[0] != "0")


def read_reference(value: Any) -> Reference | None:
    """The reference that `value` is, if it is one."""
    if not isinstance(value, str) or not value.startswith(MARK):
        return None
    call_id, _, pointer = value.removeprefix(MARK).partition("#")
    return Reference(call_id=call_id, pointer=pointer)


def references_in(value: Any) -> Iterator[Reference]:
    """Every reference in a JSON value, however deep, in the order of writing."""
    if (found := read_reference(value)) is not None:
        yield found
    elif isinstance(value, Mapping):
        for member in value.values():
            yield from references_in(member)
    elif isinstance(value, list | tuple):
        for member in value:
            yield from references_in(member)


def substituted(value: Any, results: Mapping[str, Any]) -> Any:
    """The JSON value with each of its references replaced, once. Raises `MissingValue`.

    `results` holds the result of every call that is referred to. What replaces a reference is not looked into.
    """
    if (found := read_reference(value)) is not None:
        return found.value_in(results[found.call_id])
    if isinstance(value, Mapping):
        return {name: substituted(member, results) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [substituted(member, results) for member in value]
    return value
