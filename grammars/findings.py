"""Findings: what each result says, asked for by itself, so that an answer can be written result by result.

A small model that reads six results at once leaves values out and puts them beside the wrong things; one that reads a
single call with its result does so less (docs/finetuning.md). The prompts of one answer differ from the call on only:
they are one prefix and a suffix for each.
"""

from __future__ import annotations

from collections.abc import Sequence

from grammars.conversation import Choice, Conversation, Message
from grammars.dialects import Dialect
from grammars.prompt import Prefix, render_for_answer
from grammars.tokenizer import Tokenizer

QUESTION = "What did you find out?"
"""What is asked in place of the request, which speaks of the other calls, too. The tool's description stands before it:
a result often does not say what its numbers are.
"""


def finding_conversations(conversation: Conversation) -> list[Conversation]:
    """For each result since the user spoke last, in the order of the calls: the system's messages, the one call, and
    its result; nothing where the conversation does not end in results.
    """
    messages = conversation.messages
    if messages[-1].role != "tool":
        return []
    asked = max((place for place, message in enumerate(messages) if message.role == "user"), default=-1)
    since = messages[asked + 1 :]
    results = {message.call_id: message for message in since if message.role == "tool"}
    calls = [call for message in since for call in message.calls if call.id in results]
    head = tuple(message for message in messages if message.role == "system")
    described = {tool.name: tool.description for tool in conversation.tools}
    return [
        Conversation.read(
            (
                *head,
                finding_question(described.get(call.name, "")),
                Message(role="assistant", calls=(call,)),
                results[call.id],
            ),
            conversation.tools,
            Choice(mode="none"),
        )
        for call in calls
    ]


def finding_question(description: str) -> Message:
    """What is asked about one result, of a tool that is described so."""
    return Message(role="user", text=" ".join([*description.split(), QUESTION]))


def known_texts(conversation: Conversation) -> list[str]:
    """All that a conversation says, its calls with their arguments: what an answer can take a number from."""
    messages = conversation.messages
    return [*(message.text for message in messages), *(call.arguments_text for m in messages for call in m.calls)]


def finding_prompts(
    conversations: Sequence[Conversation], dialect: Dialect, tokenizer: Tokenizer
) -> tuple[Prefix, list[Prefix]]:
    """The prompts of findings, at least one: the tokens that all begin with, and what follows for each."""
    prompts = [render_for_answer(conversation, dialect, tokenizer) for conversation in conversations]
    together = enumerate(zip(*prompts, strict=False))
    length = next((place for place, tokens in together if len(set(tokens)) > 1), min(map(len, prompts)))
    return prompts[0][:length], [prompt[length:] for prompt in prompts]
