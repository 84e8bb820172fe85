"""JSON constants, as the grammar library reads them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

MAX_INTEGER = 2**53
MAX_WRITTEN = 16
"""The library reads numbers as doubles: larger integers it would round, as it would fractions of more characters."""


def is_exact(value: Any) -> bool:
    """Whether the grammar library keeps the value as it is: it reads numbers as doubles and rounds long ones."""
    if isinstance(value, dict | list):
        return all(map(is_exact, value.values() if isinstance(value, dict) else value))
    if isinstance(value, bool) or not isinstance(value, int | float):
        return True
    return abs(value) <= MAX_INTEGER and (value == int(value) or len(format(Decimal(repr(value)), "f")) <= MAX_WRITTEN)


def normal(value: Any) -> Any:
    """Numbers without a fraction as integers, however they were written."""
    if isinstance(value, dict):
        return {key: normal(item) for key, item in value.items()}
    if isinstance(value, list):
        return [normal(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def type_of(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "integer" if value == int(value) else "number"
    return "string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"
