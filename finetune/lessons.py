"""Lessons: what one example teaches, stream by stream, as the same functions render it that serve.

An example is a conversation and the calls that are right for it. On its one prefix stand a tally for each tool, the
outline, every call twice, known by its subject and by its number, and all calls in one stream; where they are asked
for, also every argument of a call, known likewise. Tokens that the grammar forces do not count: while serving no model
is ever asked for them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from finetune.argument_heads import heads, part, planned_head, refuse_without_head
from finetune.rows import Lesson
from finetune.subjects import subjects
from grammars.array import turn_constraint
from grammars.branch import Branch, Sampling, call_branch
from grammars.constraint import Constraint, compile_constraint
from grammars.conversation import Conversation
from grammars.dialects import Dialect
from grammars.errors import RequestError
from grammars.marked_forms import ORDINAL, marked_outline, marked_tally
from grammars.marks import Marks
from grammars.plan import Plan, PlannedCall, outline_text
from grammars.prompt import Prefix, branch_ending, calls_text, render
from grammars.schema import read_schema
from grammars.tokenizer import Tokenizer
from grammars.tools import Tool, ToolCall


@dataclass(frozen=True, kw_only=True)
class Weights:
    """How much a token counts, by what its stream is for; 0 leaves those streams out.

    A tally is one token: it must weigh more than one of the many tokens of a call to be learned as fast. So must what
    tells a numbered call from its siblings, which its number alone decides: those tokens count `telling` times as much.
    Nothing serves argument heads (`finetune.argument_heads`); they are to be compared with calls.
    """

    tally: float = 4.0
    tally_of_none: float = 1.0
    outline: float = 1.0
    call: float = 1.0
    numbered_call: float = 1.0
    telling: float = 1.0
    argument: float = 0.0
    sequential: float = 1.0
    text: float = 1.0


def example_lessons(
    conversation: Conversation,
    calls: Sequence[ToolCall],
    dialect: Dialect,
    tokenizer: Tokenizer,
    weights: Weights | None = None,
    *,
    text: str = "",
) -> tuple[Prefix, list[Lesson]]:
    """The prefix of an example, and the lessons that stand on it. `text` is the answer where no call is due, if it is
    to be learned.

    Raises `RequestError` where one of the calls is none that the conversation allows, and `ValueError` for a dialect
    without marks.
    """
    if dialect.marks is None:
        raise ValueError(f"the dialect {dialect.name!r} has no marks to train on")
    teaching = Teaching(conversation, calls, dialect, dialect.marks, tokenizer, weights or Weights())
    prefix = render(conversation, dialect, tokenizer)
    lessons = [*teaching.tallies(), *teaching.outline(), *teaching.calls(), *teaching.sequential()]
    return prefix, [*lessons, *teaching.text(text)]


class Teaching:
    """One example while its lessons are made."""

    def __init__(
        self,
        conversation: Conversation,
        calls: Sequence[ToolCall],
        dialect: Dialect,
        marks: Marks,
        tokenizer: Tokenizer,
        weights: Weights,
    ) -> None:
        self._conversation = conversation
        self._dialect = dialect
        self._marks = marks
        self._tokenizer = tokenizer
        self._weights = weights
        self._tools = {tool.name: tool for tool in conversation.callable_tools}
        unknown = sorted({call.name for call in calls} - self._tools.keys())
        if unknown:
            raise RequestError(f"the calls are of tools that are not offered: {', '.join(unknown)}", place="calls")
        self._calls = tuple(as_written(call, self._tools[call.name]) for call in calls)
        self._plan = Plan(
            calls=tuple(
                PlannedCall(tool=call.name, subject=subject, place=place)
                for place, (call, subject) in enumerate(zip(self._calls, subjects(self._calls), strict=True))
            )
        )

    def tallies(self) -> list[Lesson]:
        """How many calls each tool gets."""
        made = [call.name for call in self._calls]
        lessons = []
        for name, stream in zip(self._tools, marked_tally(self._marks).streams(self._conversation), strict=True):
            weight = self._weights.tally if name in made else self._weights.tally_of_none
            suffix = self._tokenizer.encode(stream.opening)
            lessons += self._lesson("tally", suffix, stream.constraint, str(made.count(name)), weight)
        return lessons

    def outline(self) -> list[Lesson]:
        """Which calls, in the order of the request; of no calls, too, where there are tools."""
        if not self._tools:
            return []
        [stream] = marked_outline(self._marks).streams(self._conversation)
        suffix = self._tokenizer.encode(stream.opening)
        return self._lesson("outline", suffix, stream.constraint, outline_text(self._plan), self._weights.outline)

    def calls(self) -> list[Lesson]:
        """Every call by itself: by its subject, and by its number among those of its tool."""
        lessons = []
        for call, planned, numbered in zip(self._calls, self._plan.calls, self._numbered_calls(), strict=True):
            tool = self._tools[call.name]
            lessons += self._call("call", call, planned, tool, self._weights.call)
            lessons += numbered
            lessons += self._arguments(call, planned, tool)
            lessons += self._arguments(call, self._by_number(call), tool)
        return lessons

    def _numbered_calls(self) -> list[list[Lesson]]:
        """For each call, what teaches it by its number; what tells it from its siblings counts the more."""
        weight = self._weights.numbered_call
        found = [
            self._call("numbered call", call, self._by_number(call), self._tools[call.name], weight)
            for call in self._calls
        ]
        of_tool: dict[str, list[Lesson]] = {}
        for call, lessons in zip(self._calls, found, strict=True):
            of_tool.setdefault(call.name, []).extend(lessons)
        return [
            [told_apart(lesson, of_tool[call.name], self._weights.telling) for lesson in lessons]
            for call, lessons in zip(self._calls, found, strict=True)
        ]

    def _by_number(self, call: ToolCall) -> PlannedCall:
        siblings = [other for other in self._calls if other.name == call.name]
        number = next(place for place, other in enumerate(siblings, start=1) if other is call)
        return PlannedCall(tool=call.name, subject=ORDINAL.format(number=number, count=len(siblings)))

    def _arguments(self, call: ToolCall, planned: PlannedCall, tool: Tool) -> list[Lesson]:
        """Every argument of a call by itself, those that it lacks included."""
        if not self._weights.argument:
            return []
        refuse_without_head(call, tool)
        lessons = []
        for head in heads(tool):
            written = part(call, head)
            lessons += self._call("argument", written, planned_head(planned, head), head, self._weights.argument)
        return lessons

    def sequential(self) -> list[Lesson]:
        """All calls in one stream, as it is written without a plan."""
        if not self._calls:
            return []
        constraint = turn_constraint(self._conversation, self._dialect, self._tokenizer)
        text = calls_text(self._calls, self._dialect)
        return self._lesson("sequential", (), constraint, text, self._weights.sequential)

    def text(self, answer: str) -> list[Lesson]:
        """An answer in text, and that it ends there."""
        if not answer or not self._weights.text:
            return []
        written = (*self._tokenizer.encode(answer), min(self._tokenizer.end_ids))
        return [Lesson(kind="text", written=written, weights=(self._weights.text,) * len(written))]

    def _call(self, kind: str, call: ToolCall, planned: PlannedCall, tool: Tool, weight: float) -> list[Lesson]:
        branch: Branch = call_branch(
            planned, tool, self._dialect, self._tokenizer, max_new_tokens=1, sampling=Sampling()
        )
        text = call.arguments_text + branch_ending(self._dialect)
        return self._lesson(kind, branch.suffix, branch.constraint, text, weight)

    def _lesson(
        self, kind: str, suffix: tuple[int, ...], constraint: Constraint, text: str, weight: float
    ) -> list[Lesson]:
        if not weight:
            return []
        written, is_free = walked(constraint, text, self._tokenizer)
        if not any(is_free):
            return []
        return [Lesson(kind=kind, suffix=suffix, written=written, weights=tuple(weight * free for free in is_free))]


def told_apart(lesson: Lesson, siblings: Sequence[Lesson], factor: float) -> Lesson:
    """The lesson, in which a token counts `factor` times as much if it is the first to differ from some sibling's."""
    telling = {first_difference(lesson.written, sibling.written) for sibling in siblings}
    weights = (weight * factor if place in telling else weight for place, weight in enumerate(lesson.weights))
    return replace(lesson, weights=tuple(weights))


def first_difference(tokens: Sequence[int], others: Sequence[int]) -> int:
    """The first place at which both do not have the same token: of equal ones, the place after the last."""
    pairs = enumerate(zip(tokens, others, strict=False))
    return next((place for place, (one, other) in pairs if one != other), min(len(tokens), len(others)))


def as_written(call: ToolCall, tool: Tool) -> ToolCall:
    """The call with its arguments in the order in which the grammar writes them."""
    return replace(call, arguments=json.loads(read_schema(tool.parameters).text(call.arguments)))


def walked(constraint: Constraint, text: str, tokenizer: Tokenizer) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """The tokens in which a stream under this constraint writes the text, and which of them the model chooses.

    Forced tokens are those that serving appends; in between stand the tokens of the text as it is written alone. Raises
    `RequestError` where the constraint does not allow the text, or not all of it.
    """
    known = tokenizer.grammar_tokenizer
    matcher = compile_constraint(constraint, tokenizer).matcher()
    rest = text.encode()
    tokens: list[int] = []
    free: list[bool] = []
    ahead: list[int] = []
    while True:
        forced = matcher.forced()
        if forced:
            size = len(known.decode_bytes(forced))
            if known.decode_bytes(forced) != rest[:size]:
                break
            rest = rest[size:]
            ahead = ahead[len(forced) :] if ahead[: len(forced)] == forced else []
            tokens += forced
            free += [False] * len(forced)
        if matcher.finished or not rest:
            break
        ahead = ahead or list(tokenizer.encode(rest.decode()))
        token = ahead.pop(0)
        if not matcher.allows(token):
            break
        matcher.consume(token)
        rest = rest[len(known.decode_bytes([token])) :]
        tokens.append(token)
        free.append(True)
    if rest or matcher.error:
        raise RequestError(f"the grammar does not allow {rest.decode(errors='replace')[:80]!r} of {text[:200]!r}")
    return tuple(tokens), tuple(free)
