"""Findings: of an answer that follows several results, the sentences that say one of them each, as examples."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from finetune.readers.example import Example
from finetune.said_values import mentions, values_of
from grammars.findings import finding_conversations

SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z\d])|\n+")
LIST_MARK = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s+")


def findings(example: Example) -> Iterator[Example]:
    """For each result that one sentence, or line, of the answer says, and no other, an example of that call alone.

    Which sentence says which result is told by the values that no other result has. What stands in a sentence with
    another result is left out, and so is a result whose values stand in several; the answer to one result is taken
    whole. Nothing for an example that is no answer after results.
    """
    alone = finding_conversations(example.conversation)
    if not alone or not example.text:
        return
    values = [values_of(conversation.messages[-1].text) for conversation in alone]
    sentences = [LIST_MARK.sub("", part) for part in SENTENCE_END.split(example.text) if part.strip()]
    for place, conversation in enumerate(alone):
        others = {value for index, its in enumerate(values) if index != place for value in its}
        own = [value for value in values[place] if value not in others]
        said = [sentence for sentence in sentences if mentions(sentence, own)]
        text = example.text if len(alone) == 1 else said[0] if len(said) == 1 else ""
        if text and not mentions(text, sorted(others.difference(values[place]))):
            [call] = conversation.messages[-2].calls
            tools = tuple(tool for tool in conversation.tools if tool.name == call.name)
            conversation = replace(conversation, tools=tools)
            yield replace(example, id=f"{example.id}-finding-{place + 1}", conversation=conversation, text=text)
