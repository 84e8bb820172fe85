"""BFCL, the Berkeley Function Calling Leaderboard: its cases as conversations, scored by its official checker.

For measuring only: nothing here may be trained on. The package `bfcl-eval` is installed without its dependencies,
which pin an old numpy; the checker needs none of them but one module, for which a stand-in is put in place.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib.resources import files
from importlib.resources.abc import Traversable
from itertools import islice
from types import ModuleType, SimpleNamespace
from typing import Any

from finetune.gold import Gold, GoldArgument, GoldCall
from grammars.conversation import Message
from grammars.errors import ConfigurationError
from grammars.tools import Tool, ToolCall

CATEGORIES = (
    "parallel",
    "parallel_multiple",
    "live_parallel",
    "live_parallel_multiple",
    "simple_python",
    "simple_java",
    "simple_javascript",
    "multiple",
    "live_simple",
    "live_multiple",
    "irrelevance",
    "live_irrelevance",
    "live_relevance",
)
"""The categories of one turn, which are those that can be scored here."""

LANGUAGES = {"simple_java": "Java", "simple_javascript": "JavaScript"}
"""The language of a category's functions, where it is not Python."""

LISTS_IDS = "BFCL_v4_format_sensitivity.json"
"""The one file that has no questions, but the ids of those of other categories."""

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
    if has_answers(category):
        truths = {row["id"]: row["ground_truth"] for row in read_rows(f"possible_answer/BFCL_v4_{category}.json")}
    rows = islice(read_rows(f"BFCL_v4_{category}.json"), limit)
    return [read_case(row, category, truths.get(row["id"], [])) for row in rows]


def score(case: Case, calls: Sequence[ToolCall]) -> Verdict:
    """BFCL's verdict on these calls; their order does not matter. Values are compared as the official checker does."""
    if not expects_calls(case.category):
        return Verdict(valid=not calls, error_type="irrelevance_error:decoder_success" if calls else None)
    if not has_answers(case.category):
        return Verdict(valid=bool(calls), error_type=None if calls else "relevance_error:decoder_failed")
    written = [{call.name: dict(call.arguments)} for call in calls]
    verdict = official_checker()(case.functions, written, case.ground_truth, case.category)
    if verdict["valid"]:
        return Verdict(valid=True)
    return Verdict(valid=False, error_type=verdict["error_type"], error=json.dumps(verdict["error"], default=str))


def expects_calls(category: str) -> bool:
    """Whether a call is right in this category at all."""
    return "irrelevance" not in category


def has_answers(category: str) -> bool:
    """Whether BFCL says which calls are right: not where none is, nor where any is."""
    return "relevance" not in category


def gold_of(case: Case) -> Gold:
    """What the case's answer accepts, argument by argument, by the official checker's own comparison of values."""
    if not has_answers(case.category):
        return Gold(any_call=expects_calls(case.category))
    functions = {function["name"]: function for function in case.functions}
    return Gold(
        calls=tuple(
            GoldCall(id=str(number), tool=name, arguments=gold_arguments(functions[name], arguments, case.category))
            for number, truth in enumerate(case.ground_truth, start=1)
            for name, arguments in truth.items()
        )
    )


def gold_arguments(
    function: Mapping[str, Any], arguments: Mapping[str, Sequence[Any]], category: str
) -> dict[str, GoldArgument]:
    required = function["parameters"].get("required", [])
    return {
        name: GoldArgument(
            accepts=partial(accepts, function, name, accepted, category),
            optional="" in accepted and name not in required,
        )
        for name, accepted in arguments.items()
    }


def accepts(function: Mapping[str, Any], name: str, accepted: Sequence[Any], category: str, value: Any) -> bool:
    """Whether the official checker takes `value` for this one argument."""
    properties = {key: own for key, own in function["parameters"]["properties"].items() if key == name}
    alone = {**function, "parameters": {"type": "dict", "properties": properties, "required": []}}
    language = category if category in LANGUAGES else "simple_python"
    answer = {function["name"]: {name: accepted}}
    verdict = official_checker()([alone], [{function["name"]: {name: value}}], [answer], language)
    return bool(verdict["valid"])


def function_names() -> Iterator[str]:
    """The name of every function that a category of one turn offers."""
    for category in CATEGORIES:
        for row in read_rows(f"BFCL_v4_{category}.json"):
            yield from (function["name"] for function in row["function"])


def questions() -> Iterator[str]:
    """Everything that a user says in BFCL, in all of its categories, those that it does not use any more included."""
    for folder in ("", "unused_datasets/question/"):
        for file in (data_folder() / folder).iterdir():
            if file.name.endswith(".json") and file.name != LISTS_IDS:
                for row in read_rows(folder + file.name):
                    yield from user_texts(row.get("question", []))


def user_texts(question: Any) -> Iterator[str]:
    """What the user says: a text, a message, or a list of these, however deep."""
    if isinstance(question, str):
        yield question
    elif isinstance(question, Mapping):
        if question.get("role") == "user":
            yield question["content"]
    else:
        for part in question:
            yield from user_texts(part)


def read_rows(name: str) -> list[dict[str, Any]]:
    text = (data_folder() / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def data_folder() -> Traversable:
    try:
        return files("bfcl_eval") / "data"
    except ModuleNotFoundError as error:
        raise ConfigurationError("BFCL is not installed: pip install --no-deps bfcl-eval==2026.3.23") from error


def read_case(row: Mapping[str, Any], category: str, ground_truth: Sequence[Mapping[str, Any]]) -> Case:
    (messages,) = row["question"]  # one turn
    return Case(
        id=row["id"],
        category=category,
        messages=tuple(Message(role=message["role"], text=message["content"]) for message in messages),
        tools=tuple(read_tool(function, LANGUAGES.get(category)) for function in row["function"]),
        functions=tuple(row["function"]),
        ground_truth=tuple(ground_truth),
    )


def read_tool(function: Mapping[str, Any], language: str | None) -> Tool:
    parameters = function["parameters"]
    schema = json_schema(parameters) if language is None else schema_of_literals(parameters, language)
    return Tool(name=function["name"], description=function["description"], parameters=schema)


def schema_of_literals(informal: Mapping[str, Any], language: str) -> dict[str, Any]:
    """A JSON Schema for the arguments of a Java or JavaScript function: literals of that language, as strings.

    The checker reads them so, whatever their type; the type and what is inside it become part of the description.
    """
    properties = {}
    for name, own in informal["properties"].items():
        inside = {key: own[key] for key in ("items", "properties", "enum") if key in own}
        told = f" Its elements: {json.dumps(inside)}." if inside else ""
        description = f"{own.get('description', '')} A literal of {language}, of the type {own['type']}.{told}"
        properties[name] = {"type": "string", "description": description.strip()}
    return {"type": "object", "properties": properties, "required": list(informal.get("required", []))}


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

    languages = {"Java": Language.JAVA, "JavaScript": Language.JAVASCRIPT}

    def check(functions: Any, calls: Any, ground_truth: Any, category: str) -> dict[str, Any]:
        language = languages.get(LANGUAGES.get(category, ""), Language.PYTHON)
        verdict: dict[str, Any] = ast_checker(list(functions), calls, list(ground_truth), language, category, "")
        return verdict

    return check
