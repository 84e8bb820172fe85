"""Answered examples: what follows the calls, so that a model learns to stop calling and to say what came of it.

The results are made up, of a few plain forms, and so is the answer: one sentence a call, in call order, which says what
the call was about and every value of its result, or that it failed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

from finetune.readers.example import Example
from finetune.subjects import subjects
from grammars.conversation import Conversation, Message
from grammars.tools import CallError, ErrorKind, ToolResult, json_text

NUMBERS = (
    "amount",
    "average",
    "count",
    "distance_km",
    "height_m",
    "minutes",
    "price",
    "rate",
    "score",
    "total",
    "value",
)
WORDS = {
    "status": ("open", "closed", "done", "pending", "active", "delayed"),
    "conditions": ("sunny", "cloudy", "light rain", "windy", "clear"),
    "category": ("basic", "advanced", "standard", "premium"),
    "summary": ("nothing unusual", "better than last year", "as expected", "two changes since May"),
    "name": ("Orion", "Meridian", "Blue Lake", "Northgate", "Sparrow"),
    "unit": ("metres", "dollars", "hours", "points"),
}
FAILURES: dict[ErrorKind, str] = {
    "timeout": "it took too long",
    "tool_error": "the tool failed",
    "denied": "it was not allowed",
}
OPENINGS = ("", "", "", "Here is what I found.", "Here are the results.", "Done.")


def answered(example: Example, random: Random) -> Example:
    """The example one round later: its calls were made, each has a result, and no more are due.

    Raises `ValueError` for one without calls, or with calls that wait for others.
    """
    results = [made_up(call.id, random) for call in example.calls]
    sentences = [said(subject, result) for subject, result in zip(subjects(example.calls), results, strict=True)]
    opening = random.choice(OPENINGS) if len(sentences) > 1 else ""
    return with_results(example, results, " ".join([opening, *sentences]).strip())


def with_results(example: Example, results: Sequence[ToolResult], answer: str) -> Example:
    """The example one round later: its calls were made and had these results, and this is answered.

    Raises `ValueError` for one without calls, with calls that wait for others, or with more or fewer results.
    """
    if len(example.waves) != 1:
        raise ValueError(f"{example.id} has not just one wave of calls")
    if len(results) != len(example.calls):
        raise ValueError(f"there are {len(example.calls)} calls with {len(results)} results")
    messages = (
        *example.conversation.messages,
        Message(role="assistant", calls=example.calls),
        *(Message(role="tool", text=result.text, call_id=result.call_id) for result in results),
    )
    conversation = Conversation.read(messages, example.conversation.tools)
    return replace(example, id=f"{example.id}-answered", conversation=conversation, calls=(), text=answer)


def made_up(call_id: str, random: Random) -> ToolResult:
    """A result of one of the forms that tools have: a number, a word, an object of some fields, or a failure."""
    if random.random() < 0.1:
        kind = random.choice(list(FAILURES))
        return ToolResult(call_id=call_id, error=CallError(kind=kind, message=FAILURES[kind]))
    if random.random() < 0.25:
        return ToolResult(call_id=call_id, value=some_number(random))
    if random.random() < 0.2:
        return ToolResult(call_id=call_id, value=random.choice(WORDS[random.choice(list(WORDS))]))
    names = random.sample([*NUMBERS, *WORDS], random.choice([1, 1, 2, 2, 3]))
    fields = {name: random.choice(WORDS[name]) if name in WORDS else some_number(random) for name in names}
    return ToolResult(call_id=call_id, value=fields)


def some_number(random: Random) -> int | float:
    return random.choice([random.randint(1, 500), round(random.uniform(0, 100), 1), round(random.uniform(0, 5000), 2)])


def said(subject: str, result: ToolResult) -> str:
    """One sentence: what the call was about, and what came of it."""
    if result.error is not None:
        return f"{subject}: no result, since {result.error.message}."
    return f"{subject}: {in_words(result.value)}."


def in_words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name.replace('_', ' ')} {in_words(its)}" for name, its in value.items())
    return value if isinstance(value, str) else json_text(value)
