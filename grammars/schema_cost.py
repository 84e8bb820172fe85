"""What it would cost to judge a value: how often the validator would apply a subschema, before it starts.

Schemas that refer to themselves twice in one place double the work with every level of the value, which no limit on the
schema alone can tell. The count is an upper bound, exact where no choice ends early.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from grammars.schema_document import ONE, Document, step
from grammars.schema_references import IN_PLACE, in_place

MAX_EVALUATIONS = 200_000
"""About a tenth of a second of validation."""

MAX_DEPTH = 128
"""How deep a value may nest. The validator recurses on its stack, up to `in_place_depth` times a level."""

RETRIED = 3
"""How often `unevaluatedItems` and `unevaluatedProperties` look again at the schemas beside them."""


@dataclass(frozen=True)
class Cost:
    """The cost of one schema's values."""

    document: Document
    _expanded: dict[str, dict[str, int]] = field(default_factory=dict)

    def excess(self, value: Any) -> str:
        """Why this value cannot be judged; empty if it can."""
        total = 0
        waiting: list[tuple[Any, dict[str, int], int]] = [(value, self._expand(""), 1)]
        while waiting:
            item, counts, depth = waiting.pop()
            total += sum(counts.values())
            if total > MAX_EVALUATIONS:
                return f"checking it takes more than {MAX_EVALUATIONS} steps"
            if isinstance(item, float) and not math.isfinite(item):
                return f"{item} is no JSON number"
            if isinstance(item, dict | list | tuple):
                if depth > MAX_DEPTH:
                    return f"it nests deeper than {MAX_DEPTH} levels"
                members = item.items() if isinstance(item, dict) else enumerate(item)
                waiting.extend((member, self._below(counts, key), depth + 1) for key, member in members)
        return ""

    def _below(self, counts: dict[str, int], key: str | int) -> dict[str, int]:
        found: dict[str, int] = {}
        for pointer, count in counts.items():
            for place in self._members(pointer, key):
                for inner, times in self._expand(place).items():
                    found[inner] = min(found.get(inner, 0) + count * times, 2 * MAX_EVALUATIONS)
        return found

    def _members(self, pointer: str, key: str | int) -> Iterator[str]:
        """The subschemas that may look at one member. Whether a pattern matches is not asked: it is an upper bound."""
        schema = self.document.subschemas[pointer]
        for keyword, value in schema.items() if isinstance(schema, dict) else ():
            if keyword in IN_PLACE or keyword in ("$defs", "definitions", "contentSchema"):
                continue
            if keyword in ONE:
                yield step(pointer, keyword)
            elif keyword == "patternProperties":
                yield from (step(pointer, keyword, pattern) for pattern in value)
            elif keyword == "properties":
                yield from [step(pointer, keyword, key)] if key in value else []
            elif keyword == "prefixItems":
                yield from [step(pointer, keyword, key)] if isinstance(key, int) and key < len(value) else []

    def _expand(self, pointer: str) -> dict[str, int]:
        """How often each subschema looks at a value that the one at `pointer` looks at once."""
        if pointer not in self._expanded:
            schema = self.document.subschemas[pointer]
            again = isinstance(schema, dict) and {"unevaluatedItems", "unevaluatedProperties"} & schema.keys()
            found = {pointer: 1}
            for _, place in in_place(self.document, pointer):
                for inner, times in self._expand(place).items():
                    more = times * (RETRIED if again else 1)
                    found[inner] = min(found.get(inner, 0) + more, 2 * MAX_EVALUATIONS)
            self._expanded[pointer] = found
        return self._expanded[pointer]
