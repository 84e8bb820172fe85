"""Lessons: what one example teaches, stream by stream, as the same functions render it that serve.

An example is a conversation and the calls that are right for it. On one prefix stand a tally for each tool, the
outline, every call twice, known by its subject and by its number, and all calls in one stream; where they are asked
for, also every argument of a call that is known by its number. An answer in text stands on a prefix of its own. Tokens
that the grammar forces do not count: while serving no model is ever asked for them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from finetune.rows import Lesson
from finetune.subjects import subjects
from grammars.argument_heads import have_heads, heads, part_of, planned_head
from grammars.array import turn_constraint
from grammars.branch import Branch, Sampling, call_branch
from grammars.constraint import Constraint, compile_constraint
from grammars.conversation import Conversation
from grammars.dialects import Dialect
from grammars.errors import RequestError
from grammars.marked_forms import ORDINAL, marked_outline, marked_tally
from grammars.marks import Marks
from grammars.plan import Plan, PlannedCall, outline_text
from grammars.prompt import Prefix, branch_ending, calls_text, render, render_for_answer
from grammars.schema import read_schema
from grammars.tokenizer import Tokenizer
from grammars.tools import Tool, ToolCall


@dataclass(frozen=True, kw_only=True)
class Weights:
    """How much a token counts, by what its stream is for; 0 leaves those streams out.

    A tally is one token: it must weigh more than one of the many tokens of a call to be learned as fast. So must what
    tells a numbered call from its siblings, which its number alone decides: those tokens count `telling` times as much.
    The same goes for the heads of a call's arguments (`grammars.argument_heads`).
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
    """The prefix of an example, and the lessons that stand on it: which calls are made, and their arguments; where none
    is, also how the answer in `text` begins, if it is known, by which one stream says that it makes none.

    Raises `RequestError` where one of the calls is none that the conversation allows, and `ValueError` for a dialect
    without marks.
    """
    if dialect.marks is None:
        raise ValueError(f"the dialect {dialect.name!r} has no marks to train on")
    teaching = Teaching(conversation, calls, dialect, dialect.marks, tokenizer, weights or Weights())
    prefix = render(conversation, dialect, tokenizer)
    return prefix, [*teaching.tallies(), *teaching.outline(), *teaching.calls(), *teaching.sequential(text)]


def answer_lessons(
    conversation: Conversation, text: str, dialect: Dialect, tokenizer: Tokenizer, weights: Weights | None = None
) -> tuple[Prefix, list[Lesson]]:
    """What an answer in text teaches, and that it ends there: one lesson, on the prompt on which serving writes such
    an answer; none where there is no text.
    """
    weight = (weights or Weights()).text
    prefix = render_for_answer(conversation, dialect, tokenizer)
    if not text or not weight:
        return prefix, []
    written = (*tokenizer.encode(text), min(tokenizer.end_ids))
    return prefix, [Lesson(kind="text", written=written, weights=(weight,) * len(written))]


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
        """Every call by itself: by its subject, and by its number among those of its tool, whole and in its heads."""
        lessons = []
        for call, planned in zip(self._calls, self._plan.calls, strict=True):
            lessons += self._call("call", call, planned, self._tools[call.name], self._weights.call)
        for name in dict.fromkeys(call.name for call in self._calls):
            tool = self._tools[name]
            siblings = numbered([call for call in self._calls if call.name == name])
            are_split = all(have_heads(call, tool) for _, call in siblings)
            # What cannot be split is written whole even where nothing else is.
            weight = self._weights.numbered_call or (0.0 if are_split else self._weights.argument)
            lessons += self._siblings("numbered call", siblings, tool, weight)
            for head in heads(tool) if are_split else ():
                written = [(planned_head(planned, head), part_of(call, head)) for planned, call in siblings]
                lessons += self._siblings("argument", written, head, self._weights.argument)
        return lessons

    def _siblings(
        self, kind: str, siblings: Sequence[tuple[PlannedCall, ToolCall]], tool: Tool, weight: float
    ) -> list[Lesson]:
        """The calls of one tool, or of one of its heads; what tells one from the others counts the more."""
        lessons = [lesson for planned, call in siblings for lesson in self._call(kind, call, planned, tool, weight)]
        return [told_apart(lesson, lessons, self._weights.telling) for lesson in lessons]

    def sequential(self, answer: str) -> list[Lesson]:
        """All calls in one stream, as it is written without a plan, or that it begins a text."""
        weight = self._weights.sequential
        if not self._calls:
            begun = self._tokenizer.encode(answer)[:1]
            taught = bool(begun and self._tools and weight)
            return [Lesson(kind="sequential", written=begun, weights=(weight,))] if taught else []
        constraint = turn_constraint(self._conversation, self._dialect, self._tokenizer)
        text = calls_text(self._calls, self._dialect)
        return self._lesson("sequential", (), constraint, text, weight)

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


def numbered(calls: Sequence[ToolCall]) -> list[tuple[PlannedCall, ToolCall]]:
    """The calls of one tool with what they go by after a tally."""
    subjects_of_calls = [ORDINAL.format(number=number, count=len(calls)) for number in range(1, len(calls) + 1)]
    return [
        (PlannedCall(tool=call.name, subject=subject), call)
        for call, subject in zip(calls, subjects_of_calls, strict=True)
    ]


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
