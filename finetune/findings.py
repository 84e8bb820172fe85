"""Findings: of an answer that follows several results, the sentences that say one of them each, as examples."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from finetune.readers.example import Example
from finetune.said_values import mentions, values_of
from grammars.conversation import Conversation
from grammars.findings import finding_conversations, known_texts
from grammars.said_numbers import text_of_known_numbers

SENTENCE_END = re.compile(r"(?<=[.!?])(?<!(?<!\d )\b[A-Z]\.)\s+(?=[A-Z\d])|\n+")
"""After 2.7 V. too, and not after an initial, as in H. Pryce."""

NAME = re.compile(r"(?<=[\w,;:] )[A-Z]\w+")
"""A capitalised word within a sentence."""

WORD = re.compile(r"[^\W_]+")

LIST_MARK = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s+")


def findings(example: Example) -> Iterator[Example]:
    """For each result that one sentence, or line, of the answer says, and no other, an example of that call alone.

    Which sentence says which result is told by the values that no other result, nor its call, has. What stands in a
    sentence with another result is left out, and so is a result whose values stand in several, and one that is said
    with a number or a name from elsewhere; the answer to one result is taken whole. Nothing for an example that is no
    answer after results.
    """
    alone = finding_conversations(example.conversation)
    if not alone or not example.text:
        return
    values = [values_with_call(conversation) for conversation in alone]
    sentences = [LIST_MARK.sub("", part) for part in SENTENCE_END.split(example.text) if part.strip()]
    for place, conversation in enumerate(alone):
        others = {value for index, its in enumerate(values) if index != place for value in its}
        own = [value for value in values[place] if value not in others]
        said = [sentence for sentence in sentences if mentions(sentence, own)]
        text = example.text if len(alone) == 1 else said[0] if len(said) == 1 else ""
        of_others = mentions(text, sorted(others.difference(values[place])))
        if text and not of_others and is_known(text, conversation):
            conversation = replace(conversation, tools=())  # nothing is to be learned of calls
            yield replace(example, id=f"{example.id}-finding-{place + 1}", conversation=conversation, text=text)


def values_with_call(conversation: Conversation) -> list[str]:
    """What the one call of a finding's conversation, and its result, say."""
    *_, called, result = conversation.messages
    return [value for text in (called.calls[0].arguments_text, result.text) for value in values_of(text)]


def is_known(text: str, conversation: Conversation) -> bool:
    """Whether all numbers of a finding are such as its grammar allows, and all capitalised words stand in its
    conversation.
    """
    known = known_texts(conversation)
    numbers = text_of_known_numbers(known)
    words = set(WORD.findall("\n".join(known).casefold()))
    names = (name.casefold() for name in NAME.findall(text))
    return (numbers is None or re.fullmatch(numbers, text) is not None) and all(name in words for name in names)
