"""Subjects: the few words of an outline that tell a call from its siblings, taken from what it is called with."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from grammars.marked_forms import ORDINAL
from grammars.plan import SUBJECT_CHARACTERS
from grammars.tools import ToolCall, json_text, same_json

BARRED = re.compile(r'[\s:{}\[\]"]+')
"""What no subject may contain, or begin with; whitespace becomes one space."""


def subjects(calls: Sequence[ToolCall]) -> list[str]:
    """A subject for each call, of the values in which it differs from the other calls of its tool.

    A call whose values are those of another gets its number in place of words, so that all subjects of a tool differ.
    """
    found = [words(call, [other for other in calls if other is not call and other.name == call.name]) for call in calls]
    names = [(call.name, subject) for call, subject in zip(calls, found, strict=True)]
    numbered = []
    for index, (call, subject) in enumerate(zip(calls, found, strict=True)):
        siblings = [place for place, other in enumerate(calls) if other.name == call.name]
        alike = names.count((call.name, subject)) > 1 or not subject
        number = ORDINAL.format(number=siblings.index(index) + 1, count=len(siblings))
        numbered.append(number if alike else subject)
    return numbered


def words(call: ToolCall, siblings: Sequence[ToolCall]) -> str:
    """The values of the arguments in which the call differs from its siblings, or of all, as far as there is room."""
    telling = [
        value
        for name, value in call.arguments.items()
        if any(not same_json(value, sibling.arguments.get(name)) for sibling in siblings)
    ]
    said = ""
    for value in telling or call.arguments.values():
        longer = f"{said}, {plain(value)}" if said else plain(value)
        if len(longer) > SUBJECT_CHARACTERS:
            break
        said = longer
        if not siblings:
            break
    return said or shortened(plain(next(iter(telling or call.arguments.values()), "")))


def plain(value: Any) -> str:
    """A value in words: without what JSON has around it."""
    return BARRED.sub(" ", value if isinstance(value, str) else json_text(value)).strip()


def shortened(text: str) -> str:
    """The beginning of a text, whole words of it, within the length of a subject."""
    if len(text) <= SUBJECT_CHARACTERS:
        return text
    head, _, _ = text[:SUBJECT_CHARACTERS].rpartition(" ")
    return head or text[:SUBJECT_CHARACTERS]
