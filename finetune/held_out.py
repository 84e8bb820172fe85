"""Held out: what is for measuring only, BFCL and When2Call, told apart from what may be trained on.

Files of the two are known by the fields of their rows, and polycall's own `measuring.jsonl` by its name. What was
written from the two into another form is known by BFCL's questions, which When2Call has too, and by the names of its
functions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from finetune.bfcl import function_names, questions
from finetune.readers.data_rows import DataRow, read_rows
from finetune.readers.example import Example
from grammars.errors import ConfigurationError

BFCL_ID = re.compile(
    r"(live_)?(simple|multiple|parallel|parallel_multiple|irrelevance|relevance)(_python|_java|_javascript)?_\d+(-\d+)*"
    r"|(multi_turn|memory|web_search|exec|rest|sql|chatable|format_sensitivity)_[\w-]+"
)

TELLING_WORDS = 6
"""A shorter question says too little to tell a whole file by it."""


@dataclass(frozen=True, kw_only=True)
class Removed:
    """An example that must not be trained on, and why."""

    example: Example
    reason: str


def is_held_out(row: Mapping[str, Any]) -> bool:
    """Whether a row has the fields of BFCL or of When2Call."""
    if {"question", "function"} <= row.keys() or {"id", "ground_truth"} <= row.keys():
        return True
    if {"question", "orig_tools"} <= row.keys() or {"question", "correct_answer", "target_tool"} <= row.keys():
        return True
    return BFCL_ID.fullmatch(str(row.get("source_id", ""))) is not None


def refuse_held_out(path: Path) -> None:
    """Raise `ConfigurationError` if a file is BFCL's or When2Call's, by its name, its rows, or a question in them; or
    polycall's own for measuring, by its name.
    """
    if re.search(r"bfcl|when2call|^measuring\b", path.name, re.IGNORECASE):
        raise ConfigurationError(f"{path} is for measuring only, by its name: it must not be trained on")
    telling = {question for question in held_out_questions() if len(question.split()) >= TELLING_WORDS}
    for row in read_rows(path):
        if not isinstance(row, DataRow):
            continue
        place = f"{path}, line {row.line}"
        if is_held_out(row.value):
            raise ConfigurationError(f"{place}: a row of BFCL or When2Call, which must not be trained on")
        for text in texts(row.value):
            if plain(text) in telling:
                raise ConfigurationError(f"{place}: BFCL's question {text[:80]!r}, which must not be trained on")


def without_held_out(examples: Iterable[Example], removed: list[Removed]) -> Iterator[Example]:
    """The examples that may be trained on; the others are entered in `removed`, with the reason.

    Nothing is left of an example with a question of BFCL's, or with a call, now or in its history, of a tool with the
    name of a BFCL function. A tool of such a name that is only offered is offered no more.
    """
    names = held_out_names()
    for example in examples:
        reason = why_held_out(example)
        if reason is not None:
            removed.append(Removed(example=example, reason=reason))
            continue
        tools = example.conversation.tools
        kept = [tool for tool in tools if bare_name(tool.name) not in names]
        yield example if len(kept) == len(tools) else example.offering(kept)


def why_held_out(example: Example) -> str | None:
    """Why an example must not be trained on; None if it may."""
    history = [call for message in example.conversation.messages for call in message.calls]
    for call in (*example.calls, *history):
        if bare_name(call.name) in held_out_names():
            return f"it calls {call.name!r}, a name of BFCL's"
    for message in example.conversation.messages:
        if message.role == "user" and plain(message.text) in held_out_questions():
            return "its question is BFCL's"
    return None


@cache
def held_out_names() -> frozenset[str]:
    return frozenset(map(bare_name, function_names()))


@cache
def held_out_questions() -> frozenset[str]:
    return frozenset(map(plain, questions()))


def bare_name(name: str) -> str:
    """The last dotted part of a name, lower-cased, letters and digits only."""
    return re.sub(r"[^a-z0-9]", "", name.rpartition(".")[2].lower())


def plain(text: str) -> str:
    """The words of a text, lower-cased, without what stands between them."""
    return " ".join(re.findall(r"[a-z0-9]+", text.lower()))


def texts(value: Any) -> Iterator[str]:
    """Every text in a row, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for member in value.values():
            yield from texts(member)
    elif isinstance(value, list):
        for member in value:
            yield from texts(member)
