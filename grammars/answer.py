"""Answer: what a turn answers in place of calls, where the caller wants it as JSON and says by a schema which.

The schema governs the answer alone. It stands in no grammar of calls, so that asking for it never keeps a model from
calling.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from grammars.conversation import Conversation, Message
from grammars.errors import SchemaRefused
from grammars.parse import DECODER
from grammars.schema import Schema, read_schema
from grammars.tools import json_text

ANY_OBJECT: Mapping[str, Any] = {"type": "object"}
"""The schema of those who want some JSON object."""

PLACE = "response_format.json_schema.schema"
"""Where the schema stands in a request, in OpenAI's terms."""

INSTRUCTIONS = "Write your answer as JSON, and nothing else. It must be valid for this JSON Schema:\n{schema}"

MEND = "That answer is not valid: {problems}. Write the whole answer again, so that it is valid."
"""How a model is asked once more, after an answer that breaks what the grammar leaves out of a schema."""


def read_answer_schema(source: Mapping[str, Any]) -> Schema:
    """The schema, ready for use, or `SchemaRefused` at the request's field that has it. Its root may be of any type."""
    try:
        return read_schema(source, root="any")
    except SchemaRefused as refused:
        raise refused.at(PLACE) from None


def asking_for(conversation: Conversation, schema: Schema) -> Conversation:
    """The conversation with the schema at the end of its system message, or in a new one."""
    text = INSTRUCTIONS.format(schema=json_text(schema.source))
    first, *rest = conversation.messages
    if first.role == "system":
        return replace(conversation, messages=(replace(first, text=f"{first.text}\n\n{text}"), *rest))
    return replace(conversation, messages=(Message(role="system", text=text), first, *rest))


def asking_again(conversation: Conversation, text: str, problems: str) -> Conversation:
    """The conversation with an answer that is not valid, and what is wrong with it."""
    asked = Message(role="user", text=MEND.format(problems=problems))
    return replace(conversation, messages=(*conversation.messages, Message(role="assistant", text=text), asked))


def problems_of(text: str, schema: Schema) -> str:
    """What is wrong with a complete answer, judged by the whole schema; empty if nothing is."""
    try:
        value = DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        return f"it is not JSON: {error}"
    problems = schema.problems(value)
    return "; ".join(f"{problem.pointer or '/'} ({problem.keyword}): {problem.message}" for problem in problems)
