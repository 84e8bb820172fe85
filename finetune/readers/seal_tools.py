"""Seal-Tools (Apache-2.0): a question and its calls; the tools stand in `tool.jsonl` beside the file.

A row does not say which tools were offered, so some that it does not call are drawn, by the row's own id. A call gives
its results names (`API_call_0`), one for each result that its tool has, and another call may have one as a value.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from finetune.readers.data_rows import DataRow, Unreadable, field, read_rows
from finetune.readers.example import Example
from finetune.readers.informal import informal_tool, tool_name, typed
from grammars.conversation import Message
from grammars.errors import ConfigurationError
from grammars.references import MARK
from grammars.tools import Tool

OFFERED_BESIDE = 4
"""How many tools are offered that a row does not call."""

RESULT = re.compile(r"API_call_\d+")


def read_seal_tools(row: DataRow) -> list[Example]:
    calling = field(row.value, "calling", list)
    described = tools_beside(row.path.parent / "tool.jsonl")
    results: dict[str, str] = {}
    calls, called = [], []
    for number, call in enumerate(calling, start=1):
        name = field(call, "api", str)
        if name not in described:
            raise Unreadable(f"{name!r} is not in tool.jsonl")
        written = {key: with_reference(value, results) for key, value in field(call, "parameters", dict).items()}
        calls.append((tool_name(name), typed(written, seal_tool(described[name]).parameters)))
        called.append(name)
        produces = field(call, "responses", list)
        if len(produces) != len(described[name]["responses"]) or not all(isinstance(one, str) for one in produces):
            raise Unreadable(f"the results of {name!r} are not those that tool.jsonl has")
        for produced, key in zip(produces, described[name]["responses"], strict=True):
            results[produced] = f"{MARK}{number}#/{key.replace('~', '~0').replace('/', '~1')}"
    return [
        Example.build(
            id=row.id,
            source="seal-tools",
            messages=[Message(role="user", text=field(row.value, "query", str))],
            tools=offered(called, described, row.id),
            calls=calls,
        )
    ]


def offered(called: list[str], described: Mapping[str, Mapping[str, Any]], seed: str) -> list[Tool]:
    """The called tools and others, in an order that says nothing; the same for the same seed."""
    chance = random.Random(seed)
    others = [name for name in described if name not in called]
    names = [*dict.fromkeys(called), *chance.sample(others, min(OFFERED_BESIDE, len(others)))]
    chance.shuffle(names)
    return [seal_tool(described[name]) for name in names]


def with_reference(value: Any, results: Mapping[str, str]) -> Any:
    """The value, or the reference that its name of a result stands for."""
    if isinstance(value, str):
        if value in results:
            return results[value]
        if RESULT.search(value):
            raise Unreadable(f"{value!r} has the name of a result among other text")
    return value


def seal_tool(described: Mapping[str, Any]) -> Tool:
    return informal_tool(
        described["api_name"], described["api_description"], described["parameters"], list(described["required"])
    )


@lru_cache(maxsize=4)
def tools_beside(path: Path) -> dict[str, Mapping[str, Any]]:
    """The tools of `tool.jsonl` by name."""
    if not path.is_file():
        raise ConfigurationError(f"Seal-Tools needs its tools beside the questions: {path} is not there")
    tools: dict[str, Mapping[str, Any]] = {}
    for row in read_rows(path):
        if not isinstance(row, DataRow):
            raise row
        tools.setdefault(str(row.value.get("api_name")), row.value)
    return tools
