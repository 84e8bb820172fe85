"""BFCL, the Berkeley Function Calling Leaderboard: its cases as conversations, scored by its official checker.

For measuring only: nothing here may be trained on. The package `bfcl-eval` is installed without its dependencies,
which pin an old numpy; the checker needs none of them but one module, for which a stand-in is put in place.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import islice
from types import ModuleType, SimpleNamespace
from typing import Any

from grammars.conversation import Message
from grammars.errors import ConfigurationError
from grammars.tools import Tool, ToolCall

CATEGORIES = (
    "parallel",
    "parallel_multiple",
    "live_parallel",
    "live_parallel_multiple",
    "simple_python",
    "multiple",
    "live_simple",
    "live_multiple",
    "irrelevance",
    "live_irrelevance",
)
"""The categories that can be scored here: one turn, functions of Python."""

JSON_TYPES = {
    "array": "array",
    "boolean": "boolean",
    "dict": "object",
    "float": "number",
    "integer": "integer",
    "string": "string",
    "tuple": "array",
}
"""BFCL's informal types. `any` is left out: such an argument takes every JSON value."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One question. `functions` is what the checker reads, `tools` the same with real JSON Schemas for a model.

    `ground_truth` has one `{function: {argument: [accepted values]}}` a call; it is empty where no call is due.
    """

    id: str
    category: str
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...]
    functions: tuple[Mapping[str, Any], ...]
    ground_truth: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the checker says of one case's calls. `error_type` is the checker's own, such as `...:wrong_count`."""

    valid: bool
    error_type: str | None = None
    error: str = ""


def load_cases(category: str, limit: int | None = None) -> list[Case]:
    """The first `limit` cases of a category, in BFCL's order. Raises `ConfigurationError` if it cannot be had."""
    if category not in CATEGORIES:
        raise ConfigurationError(f"{category!r} is no category that can be scored; choose of {', '.join(CATEGORIES)}")
    truths: dict[str, Any] = {}
    if expects_calls(category):
        truths = {row["id"]: row["ground_truth"] for row in read_rows(f"possible_answer/BFCL_v4_{category}.json")}
    rows = islice(read_rows(f"BFCL_v4_{category}.json"), limit)
    return [read_case(row, category, truths.get(row["id"], [])) for row in rows]


def score(case: Case, calls: Sequence[ToolCall]) -> Verdict:
    """BFCL's verdict on these calls; their order does not matter. Values are compared as the official checker does."""
    if not expects_calls(case.category):
        return Verdict(valid=not calls, error_type="irrelevance_error:decoder_success" if calls else None)
    written = [{call.name: dict(call.arguments)} for call in calls]
    verdict = official_checker()(case.functions, written, case.ground_truth, case.category)
    if verdict["valid"]:
        return Verdict(valid=True)
    return Verdict(valid=False, error_type=verdict["error_type"], error=json.dumps(verdict["error"], default=str))


def expects_calls(category: str) -> bool:
    return "irrelevance" not in category


def read_rows(name: str) -> list[dict[str, Any]]:
    try:
        text = (files("bfcl_eval") / "data" / name).read_text(encoding="utf-8")
    except ModuleNotFoundError as error:
        raise ConfigurationError("BFCL is not installed: pip install --no-deps bfcl-eval==2026.3.23") from error
    return [json.loads(line) for line in text.splitlines()]


def read_case(row: Mapping[str, Any], category: str, ground_truth: Sequence[Mapping[str, Any]]) -> Case:
    (messages,) = row["question"]  # one turn
    return Case(
        id=row["id"],
        category=category,
        messages=tuple(Message(role=message["role"], text=message["content"]) for message in messages),
        tools=tuple(read_tool(function) for function in row["function"]),
        functions=tuple(row["function"]),
        ground_truth=tuple(ground_truth),
    )


def read_tool(function: Mapping[str, Any]) -> Tool:
    return Tool(
        name=function["name"], description=function["description"], parameters=json_schema(function["parameters"])
    )


def json_schema(informal: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON Schema for an argument as BFCL describes it.

    `optional` goes (what is not `required` is optional in JSON Schema anyway), and an `enum` is made to agree with
    the type beside it. Everything else is JSON Schema already.
    """
    schema = {key: value for key, value in informal.items() if key not in ("type", "optional")}
    if informal["type"] in JSON_TYPES:
        schema = {"type": JSON_TYPES[informal["type"]], **schema}
    if "properties" in schema:
        schema["properties"] = {name: json_schema(value) for name, value in schema["properties"].items()}
    if "items" in schema:
        schema["items"] = json_schema(schema["items"])
    return agreeing_enum(schema) if "enum" in schema else schema


def agreeing_enum(schema: dict[str, Any]) -> dict[str, Any]:
    """The same schema, its `enum` listing values that its `type` allows.

    BFCL writes the options of an array's elements beside the array, numbers and truth values as strings, and adds a
    string such as "dontcare" to options of another type, which then is a type of its own.
    """
    if schema["type"] == "array":
        options = schema.pop("enum")
        return {**schema, "items": {**schema["items"], "enum": options}}
    if schema["type"] in ("integer", "number", "boolean"):
        options = [as_literal(option) for option in schema["enum"]]
        types = [schema["type"], *(["string"] if any(isinstance(option, str) for option in options) else [])]
        return {**schema, "type": types if len(types) > 1 else types[0], "enum": options}
    return schema


def as_literal(option: Any) -> Any:
    """The number or truth value that a string spells; anything else as it is."""
    try:
        literal = json.loads(option.lower()) if isinstance(option, str) else option
    except json.JSONDecodeError:
        return option
    return literal if isinstance(literal, (bool, int, float)) else option


@cache
def official_checker() -> Callable[..., dict[str, Any]]:
    """BFCL's own AST checker, of functions, calls, ground truth and category."""
    config = ModuleType("bfcl_eval.constants.model_config")
    # All that the checker reads there is whether a model's server turned "." in names into "_"; polycall keeps it.
    config.__dict__["MODEL_CONFIG_MAPPING"] = defaultdict(lambda: SimpleNamespace(underscore_to_dot=False))
    sys.modules[config.__name__] = config
    from bfcl_eval.constants.enums import Language
    from bfcl_eval.eval_checker.ast_eval.ast_checker import ast_checker

    def check(functions: Any, calls: Any, ground_truth: Any, category: str) -> dict[str, Any]:
        verdict: dict[str, Any] = ast_checker(list(functions), calls, list(ground_truth), Language.PYTHON, category, "")
        return verdict

    return check
