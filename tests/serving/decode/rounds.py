"""Rounds on the scripted engine: what each stream writes, by its place in the round, and what the engine was asked."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from grammars.array import turn_constraint
from grammars.branch import Branch
from grammars.constraint import Constraint
from grammars.conversation import Choice, Conversation, Message
from grammars.dialects import JSON, Dialect
from grammars.plan import Plan, PlannedCall, outline_constraint, outline_text
from grammars.prompt import Prefix
from grammars.tools import Tool
from serving.decode.events import CallFailed, CallWritten, DecodeEvent, RoundEnded, TextWritten
from serving.decode.round import DecodeOptions, Decoder, RoundRequest
from serving.engines.base import SHARED, BranchEnded, BranchEvent, Scope
from serving.engines.byte_tokenizer import ByteTokenizer
from serving.engines.scripted import Answer, ScriptedEngine

BYTES = ByteTokenizer()

NOTE = Tool(
    name="note",
    parameters={
        "type": "object",
        "properties": {"text": {"type": "string", "maxLength": 200}},
        "required": ["text"],
        "additionalProperties": False,
    },
)
BAG = Tool(
    name="pack.bag",
    parameters={
        "type": "object",
        "properties": {
            "things": {
                "type": "array",
                "items": {"type": "string", "maxLength": 20},
                "maxItems": 5,
                "uniqueItems": True,
            }
        },
        "required": ["things"],
        "additionalProperties": False,
    },
)
"""The grammar does not enforce `uniqueItems`: the finished call is checked."""
NOW = Tool(name="now", parameters={"type": "object", "properties": {}, "additionalProperties": False})
TOOLS = (NOTE, BAG, NOW)


def conversation(choice: Choice | None = None, tools: Sequence[Tool] = TOOLS, text: str = "hi") -> Conversation:
    return Conversation.read([Message(role="user", text=text)], tools, choice)


def note(text: str) -> str:
    return f'{{"text": "{text}"}}'


def bag(*things: str) -> str:
    return '{"things": [' + ", ".join(f'"{thing}"' for thing in things) + "]}"


def outline(*tools: str) -> str:
    """An outline with these tools, each call with a subject of its own."""
    return outline_text(
        Plan(calls=tuple(PlannedCall(tool=tool, subject=f"part {place}") for place, tool in enumerate(tools)))
    )


class Round:
    """A round whose streams write what is given: the outline, its calls in their order, the retries in theirs.

    `stream` is what a whole turn writes in one stream, `text` an answer in text; of these and of plans there may be
    several. `kinds` lists the streams as they were asked for, `prefixes` and `branches` what each stood on, `ends` how
    it ended.
    """

    def __init__(
        self,
        conversation: Conversation,
        *,
        plan: Answer | list[Answer] = None,
        calls: Sequence[Answer] = (),
        retries: Sequence[Answer] = (),
        stream: Answer | list[Answer] = None,
        text: Answer | list[Answer] = None,
        dialect: Dialect = JSON,
        options: DecodeOptions | None = None,
        engine_class: type[RecordingEngine] | None = None,
        **engine: Any,
    ) -> None:
        self.conversation = conversation
        self.kinds: list[str] = []
        self._answers = {
            "plan": several(plan),
            "call": [*calls],
            "retry": [*retries],
            "stream": several(stream),
            "text": several(text),
        }
        self._dialect = dialect
        self.engine = (engine_class or RecordingEngine)(self._script, **engine)
        self.decoder = Decoder(self.engine, dialect, options)

    def _script(self, text: str, constraint: Constraint) -> Answer:
        kind = self._kind(text, constraint)
        self.kinds.append(kind)
        if kind == "call":
            part = re.search(r'part (\d+)"[^"]*"arguments": $', text)
            return self._answers[kind][int(part.group(1)) if part else self.kinds.count("call") - 1]
        return self._answers[kind].pop(0)

    def _kind(self, text: str, constraint: Constraint) -> str:
        if constraint.lark.startswith(("start: TEXT", "start: %json")):
            return "text"
        if constraint == outline_constraint(self.conversation):
            return "plan"
        if constraint == turn_constraint(self.conversation, self._dialect, BYTES):
            return "stream"
        return "call" if text.endswith('"arguments": ') and '"request": ' in text.rpartition('"name": ')[2] else "retry"

    def events(self, **request: Any) -> AsyncGenerator[DecodeEvent, None]:
        return self.decoder.decode_round(self.conversation, RoundRequest(**request))

    async def run(self, **request: Any) -> list[DecodeEvent]:
        """All events; the engine is free again, and the last of them, alone, ends the round."""
        async with aclosing(self.events(**request)) as events:
            found = [event async for event in events]
        assert self.engine.live_branches == 0
        assert [isinstance(event, RoundEnded) for event in found] == [False] * (len(found) - 1) + [True]
        return found


def several(answers: Answer | list[Answer]) -> list[Answer]:
    return list(answers) if isinstance(answers, list) else [answers]


class RecordingEngine(ScriptedEngine):
    """The scripted engine; it remembers what it was asked, and how the streams ended."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.prefixes: list[Prefix] = []
        self.branches: list[Branch] = []
        self.groups: list[list[BranchEnded]] = []

    async def decode(
        self, prefix: Sequence[int], branches: Sequence[Branch], scope: Scope = SHARED
    ) -> AsyncGenerator[BranchEvent, None]:
        self.prefixes.append(tuple(prefix))
        self.branches += branches
        group: list[BranchEnded] = []
        self.groups.append(group)
        async with aclosing(super().decode(prefix, branches, scope)) as events:
            async for event in events:
                if isinstance(event, BranchEnded):
                    group.append(event)
                yield event


SPELLED = "QQ"
"""What a script writes where a model would spell `<|im_end|>` in letters, for which the scripted engine has no way."""


class SpellingEngine(RecordingEngine):
    """An engine whose streams spell a special token, and tell what they wrote at their end only."""

    async def decode(
        self, prefix: Sequence[int], branches: Sequence[Branch], scope: Scope = SHARED
    ) -> AsyncGenerator[BranchEvent, None]:
        async with aclosing(super().decode(prefix, branches, scope)) as events:
            async for event in events:
                if isinstance(event, BranchEnded):
                    yield replace(event, text=event.text.replace(SPELLED, "<|im_end|>"))


def calls_of(events: Sequence[DecodeEvent]) -> list[tuple[int, str, str]]:
    """Place, tool and arguments of each call, as they came."""
    return [
        (event.index, event.call.name, event.call.arguments_text) for event in events if isinstance(event, CallWritten)
    ]


def failures_of(events: Sequence[DecodeEvent]) -> list[tuple[int, str, str]]:
    """Place, tool and kind of error of each call that failed."""
    return [(event.index, event.tool, event.error.kind) for event in events if isinstance(event, CallFailed)]


def text_of(events: Sequence[DecodeEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextWritten))


def ended(events: Sequence[DecodeEvent]) -> RoundEnded:
    last = events[-1]
    assert isinstance(last, RoundEnded)
    return last
