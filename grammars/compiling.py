"""Whether a lowered schema makes a grammar: tried with a vocabulary of bytes, under the limits that serving has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from llguidance import LLMatcher, LLTokenizer

from grammars.constraint import LIMITS, Constraint

BYTES = LLTokenizer("byte")
ESCAPES = 'nrbtf\\"u'
"""What may follow a backslash in a string. The library writes control characters with `u`, and nothing else."""

UNWRITABLE = re.compile(r"\\u00|\x7f")
GUIDANCE = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": ", "coerce_one_of": True}


def grammar_of(lowered: bool | dict[str, Any], escapes: str = ESCAPES) -> str:
    """The text to stand after `%json`. `escapes` are the characters that may follow a backslash in strings."""
    schema = lowered if isinstance(lowered, dict) else {} if lowered else {"enum": []}
    guidance = GUIDANCE if "u" in escapes else {**GUIDANCE, "json_allowed_escapes": escapes}
    return json.dumps({**schema, "x-guidance": guidance}, ensure_ascii=False)


def compile_error(grammar: str) -> str:
    """Why the library cannot make a grammar of this; empty if it can."""
    lark = LLMatcher.grammar_from_lark(Constraint.schema(grammar).lark)
    error = str(LLMatcher(BYTES, lark, limits=LIMITS, log_level=0).get_error())
    return error.removeprefix("at 1(8): failed to compile JSON schema: ").split("\n")[0][:300]


def is_unsatisfiable(error: str) -> bool:
    """Whether the library found that no value satisfies the schema, rather than that it cannot tell."""
    return error.startswith("Unsatisfiable schema")


def compiles(lowered: dict[str, Any]) -> bool:
    """Whether the library takes this, or finds that nothing satisfies it, which is an answer as well."""
    return _compiles(grammar_of(lowered))


@lru_cache(maxsize=4096)
def _compiles(grammar: str) -> bool:
    error = compile_error(grammar)
    return not error or is_unsatisfiable(error)


def writable(lowered: bool | dict[str, Any]) -> tuple[bool | dict[str, Any], str]:
    """The schema with the escapes that its strings may have, and without the constants that these cannot write.

    Beside listed names the library takes any other, and tells them apart before it decodes escapes: `"\\u0061"` would
    pass for another name than `"a"`. Schemas with such objects do without `\\u`, hence without most control characters.
    """
    if not any(_mixes_names(schema) for schema in _subschemas(lowered)):
        return lowered, ESCAPES
    return _without_unwritable(lowered), ESCAPES.replace("u", "")


def _mixes_names(schema: dict[str, Any]) -> bool:
    named = {"properties", "required", "patternProperties"} & schema.keys()
    return bool(named) and schema.get("additionalProperties", True) is not False


def _subschemas(lowered: Any) -> Iterator[dict[str, Any]]:
    """All dictionaries of a lowered schema but those in constants. Maps of schemas are among them; names are free."""
    waiting = [(lowered, True)]
    while waiting:
        value, is_schema = waiting.pop()
        if isinstance(value, list):
            waiting.extend((item, True) for item in value)
        elif isinstance(value, dict):
            if is_schema:
                yield value
            for key, item in value.items():
                if not (is_schema and key in ("enum", "required")):
                    waiting.append((item, not (is_schema and key in ("properties", "patternProperties", "$defs"))))


def _without_unwritable(lowered: Any, *, is_schema: bool = True) -> Any:
    if isinstance(lowered, list):
        return [_without_unwritable(item) for item in lowered]
    if not isinstance(lowered, dict):
        return lowered
    kept = {}
    for key, item in lowered.items():
        if is_schema and key == "enum":
            kept[key] = [value for value in item if not UNWRITABLE.search(json.dumps(value, ensure_ascii=False))]
        elif is_schema and key == "required":
            kept[key] = item
        else:
            kept[key] = _without_unwritable(
                item, is_schema=not (is_schema and key in ("properties", "patternProperties", "$defs"))
            )
    return kept
