"""`from_schema` of hypothesis-jsonschema, made to run with the hypothesis that is installed.

hypothesis-jsonschema 0.23.1 draws the members of objects with `many.more()`, a private method that hypothesis has since
replaced by iteration. Where it is missing, that one module gets a `many` which has both.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from hypothesis.internal.conjecture import utils
from hypothesis_jsonschema import _from_schema, from_schema

__all__ = ["from_schema"]


class _Many(utils.many):
    _elements: Iterator[None] | None = None

    def more(self) -> bool:
        """Whether another element is to be drawn; ends the collection when none is."""
        if self._elements is None:
            self._elements = iter(self.__enter__())
        going_on = next(self._elements, "end") is None
        if not going_on:
            self.__exit__(None)
        return going_on


if not hasattr(utils.many, "more"):
    _module: Any = _from_schema
    _module.cu = SimpleNamespace(many=_Many)
