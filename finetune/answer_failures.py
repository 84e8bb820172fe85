"""Failure modes of answers: in which ways a text that follows the results of calls differs from the right one.

What an answer must say is read off its gold answer: the values of the results that are said there, in the order in
which they are. So nothing has to be right word for word, and a value beside the wrong thing shows as one out of order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from finetune.readers.example import Example
from finetune.said_values import mentions, numbers_of, values_of
from grammars.findings import known_texts

AnswerMode = Literal[
    "call_in_place_of_an_answer",
    "value_missing",
    "value_out_of_order",
    "value_repeated",
    "number_invented",
    "truncation",
]

ANSWER_MODES: tuple[AnswerMode, ...] = get_args(AnswerMode)

ANSWER_DEFINITIONS: dict[AnswerMode, str] = {
    "call_in_place_of_an_answer": "A call was made, where all results that gold's answer says were there",
    "value_missing": "A value of the results that gold's answer says is not said",
    "value_out_of_order": "Every such value is said, and they do not follow one another as in gold's answer",
    "value_repeated": "Such a value is said more often than in gold's answer",
    "number_invented": "A number is said that stands neither in the request nor in calls, results or gold's answer",
    "truncation": "A limit ended the text",
}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a model answered. `calls`: how many it made. `is_cut`: a limit ended the text."""

    text: str
    calls: int = 0
    is_cut: bool = False


def find_answer_failures(example: Example, answer: Answer) -> frozenset[AnswerMode]:
    """Which modes the answer shows to an example whose text is gold. Empty: the answer is right."""
    if answer.calls:
        return frozenset({"call_in_place_of_an_answer"})
    values = due_values(example)
    due, said = mentions(example.text, values), mentions(answer.text, values)
    found: set[AnswerMode] = set()
    if answer.is_cut:
        found.add("truncation")
    if any(due.count(value) > said.count(value) for value in due):
        found.add("value_missing")
    elif common_length(due, said) < len(due):
        found.add("value_out_of_order")
    if any(said.count(value) > due.count(value) for value in said):
        found.add("value_repeated")
    if numbers_of(answer.text) - numbers_of("\n".join([*known_texts(example.conversation), example.text])):
        found.add("number_invented")
    return frozenset(found)


def due_values(example: Example) -> tuple[str, ...]:
    """The values of the results that the gold answer says, each once, as they are looked for in a text."""
    values = [value for text in result_texts(example) for value in values_of(text)]
    return tuple(value for value in dict.fromkeys(values) if mentions(example.text, [value]))


def result_texts(example: Example) -> list[str]:
    return [message.text for message in example.conversation.messages if message.role == "tool"]


def common_length(one: Sequence[str], other: Sequence[str]) -> int:
    """The length of the longest run of values, with gaps, that both have in the same order."""
    lengths = [0] * (len(other) + 1)
    for value in one:
        before = 0
        for place, its in enumerate(other, start=1):
            longer = before + 1 if value == its else max(lengths[place], lengths[place - 1])
            before, lengths[place] = lengths[place], longer
    return lengths[-1]
