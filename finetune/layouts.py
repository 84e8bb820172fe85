"""Layouts: the rows that an example becomes in training, packed as here or a row a head as SimpleTool has it.

SimpleTool (arXiv:2603.00030) makes one call at a time, by heads that do not see each other: one writes the name, six
the arguments by their places in the schema, each value as plain text, and a head with nothing to say writes one token
for that. In training every head is a row of its own, with the whole prompt before it. This is for comparison: nothing
serves it.
"""

from __future__ import annotations

from collections.abc import Sequence

from finetune.rows import Lesson, Row, packed_row, separate_rows
from grammars.conversation import Conversation
from grammars.marks import Marks
from grammars.tokenizer import Tokenizer
from grammars.tools import Tool, ToolCall, json_text

ARGUMENT_HEADS = 6


def rows_in_layout(prefix: Sequence[int], lessons: Sequence[Lesson], *, packed: bool) -> list[Row]:
    """The lessons of one prefix, all in one row or each in one of its own; no row without lessons."""
    if not lessons:
        return []
    return [packed_row(prefix, lessons)] if packed else separate_rows(prefix, lessons)


def simpletool_lessons(
    conversation: Conversation, calls: Sequence[ToolCall], marks: Marks, tokenizer: Tokenizer
) -> list[Lesson]:
    """SimpleTool's heads for each call, on the same prefix as any other lessons, the calls before it as history.

    A tag is one token there, so one of the marks stands for each. In training a call has all its heads, whether the
    tool has as many arguments or not; those beyond the sixth stand in the last head. Without calls there is one call of
    nothing. The head for an answer in text, which it has in one of its two modes, is left out.
    """
    [tag] = tokenizer.encode(marks.call)
    [end] = tokenizer.encode(marks.arguments)
    tools = {tool.name: tool for tool in conversation.callable_tools}
    lessons = []
    history: tuple[int, ...] = ()
    for call in calls or (None,):
        texts = [""] * (1 + ARGUMENT_HEADS) if call is None else [call.name, *argument_texts(call, tools[call.name])]
        for number, text in enumerate(texts):
            written = (*tokenizer.encode(text), end)
            lessons.append(
                Lesson(
                    kind="argument head" if number else "name head",
                    suffix=(*history, tag),
                    written=written,
                    weights=(1.0,) * len(written),
                )
            )
        if call is not None:
            history += tokenizer.encode(json_text({"name": call.name, "arguments": call.arguments}) + "\n")
    return lessons


def argument_texts(call: ToolCall, tool: Tool) -> list[str]:
    """What each argument head writes; nothing is an argument that the call lacks."""
    names = list(tool.parameters.get("properties", {}))
    values = [plain(call.arguments[name]) if name in call.arguments else "" for name in names]
    values += [""] * (ARGUMENT_HEADS - len(values))
    last = ARGUMENT_HEADS - 1
    return [*values[:last], "\n".join(values[last:])]


def plain(value: object) -> str:
    return value if isinstance(value, str) else json_text(value)
