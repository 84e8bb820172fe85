"""Whether a lowered schema makes a grammar: tried with a vocabulary of bytes, under the limits that serving has."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from llguidance import LLMatcher, LLTokenizer

from grammars.constraint import LIMITS, Constraint

BYTES = LLTokenizer("byte")
GUIDANCE = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": ", "coerce_one_of": True}


def grammar_of(lowered: bool | dict[str, Any], escapes: str = 'nrbtf\\"u') -> str:
    """The text to stand after `%json`. `escapes` are the characters that may follow a backslash in strings."""
    schema = lowered if isinstance(lowered, dict) else {} if lowered else {"enum": []}
    guidance = GUIDANCE if "u" in escapes else {**GUIDANCE, "json_allowed_escapes": escapes}
    return json.dumps({**schema, "x-guidance": guidance}, ensure_ascii=False)


def compile_error(grammar: str) -> str:
    """Why the library cannot make a grammar of this; empty if it can."""
    lark = LLMatcher.grammar_from_lark(Constraint.schema(grammar).lark)
    return str(LLMatcher(BYTES, lark, limits=LIMITS, log_level=0).get_error())


def compiles(lowered: dict[str, Any]) -> bool:
    """Whether the library takes this, or finds that nothing satisfies it, which is an answer as well."""
    return _compiles(grammar_of(lowered))


@lru_cache(maxsize=4096)
def _compiles(grammar: str) -> bool:
    error = compile_error(grammar)
    return not error or "Unsatisfiable schema" in error
