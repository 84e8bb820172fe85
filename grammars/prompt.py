"""Conversation to Prefix: the token ids that all streams of a turn share. Training renders with the same functions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from grammars.conversation import Choice, Conversation, Message
from grammars.dialects import Dialect
from grammars.errors import RequestError
from grammars.signature import signature
from grammars.text_guard import TextGuard
from grammars.tokenizer import Tokenizer
from grammars.tools import Tool, ToolCall, json_text

Prefix = tuple[int, ...]
"""The token ids that all streams of a turn share."""


def render(conversation: Conversation, dialect: Dialect, tokenizer: Tokenizer, *, instructions: str = "") -> Prefix:
    """The conversation in the model's dialect, up to where the assistant begins to write.

    `instructions` join the system message, or begin one. Special tokens that messages or tools spell are text like any
    other. Raises `RequestError` if the model's template refuses the conversation.
    """
    text = render_text(conversation, dialect, tokenizer, instructions=instructions)
    guard = TextGuard(tokenizer, text)
    guarded = guarded_conversation(conversation, guard)
    if guarded == conversation:
        return tokenizer.encode(text)
    cut = render_text(guarded, dialect, tokenizer, instructions=instructions)
    if guard.whole(cut) != text:
        raise RequestError("the model's chat template rewrites special tokens that messages spell", place="messages")
    return guard.encode(cut)


ANSWER_INSTRUCTIONS = (
    "Answer the user's request in plain words, with what the tools have found out for it: their results stand in the "
    "conversation."
)
"""What the system message says where an answer in text follows results: small models thank for them otherwise."""


def render_for_answer(conversation: Conversation, dialect: Dialect, tokenizer: Tokenizer) -> Prefix:
    """The prompt of an answer in text. It has neither outline nor tools: a small model that sees them writes calls as
    text in place of an answer.
    """
    instructions = ANSWER_INSTRUCTIONS if conversation.messages[-1].role == "tool" else ""
    asked = replace(conversation, choice=Choice(mode="none"))
    return render(asked, dialect, tokenizer, instructions=instructions)


def guarded_conversation(conversation: Conversation, guard: TextGuard) -> Conversation:
    """The conversation with everything guarded that others wrote in it."""
    return replace(
        conversation,
        messages=tuple(
            replace(
                message,
                text=guard.text(message.text),
                calls=tuple(
                    replace(
                        call, id=guard.text(call.id), name=guard.text(call.name), arguments=guard.json(call.arguments)
                    )
                    for call in message.calls
                ),
                call_id=None if message.call_id is None else guard.text(message.call_id),
            )
            for message in conversation.messages
        ),
        tools=tuple(
            replace(tool, description=guard.text(tool.description), parameters=guard.json(tool.parameters))
            for tool in conversation.tools
        ),
    )


def render_text(conversation: Conversation, dialect: Dialect, tokenizer: Tokenizer, *, instructions: str = "") -> str:
    """`render` before tokenization."""
    tools = conversation.callable_tools
    if tokenizer.renders_tools and dialect.marks is None:
        messages = [native_message(message, dialect) for message in conversation.messages]
        return native_text(with_system_text(messages, instructions), tools, dialect, tokenizer)
    written = "\n".join(offered_text(tool, dialect) for tool in tools)
    offered = dialect.instructions.format(tools=written) if tools else ""
    messages = folded_messages(conversation.messages, dialect)
    system = "\n\n".join(text for text in (offered, instructions) if text)
    return tokenizer.render_chat(with_system_text(messages, system), None)


def offered_text(tool: Tool, dialect: Dialect) -> str:
    """A tool as the dialect shows it where the template does not."""
    return json_text(native_tool(tool)["function"]) if dialect.marks is None else signature(tool)


def native_text(messages: list[dict[str, Any]], tools: Sequence[Tool], dialect: Dialect, tokenizer: Tokenizer) -> str:
    """The messages through a template that knows tools, which is made up for where it loses or breaks something.

    Some templates paste results and descriptions into JSON; then they become JSON before. Some drop the system message
    once results stand at the end; then it joins the last user message, which is where they put it otherwise.
    """
    offered = [native_tool(tool) for tool in tools]
    if dialect.pastes:
        offered = with_json_descriptions(messages, offered, tokenizer)
        messages = with_json_results(messages, offered, tokenizer)
    text = tokenizer.render_chat(messages, offered)
    if messages[0]["role"] == "system" and len(messages) > 1:
        with suppress(RequestError):  # a template that insists on a system message does not drop it
            if tokenizer.render_chat(messages[1:], offered) == text:
                return tokenizer.render_chat(with_system_text_in_question(messages), offered)
    return text


PROBE = 'no "JSON"'
"""A text that looks different when it is made JSON."""


def with_json_results(
    messages: list[dict[str, Any]], offered: list[dict[str, Any]], tokenizer: Tokenizer
) -> list[dict[str, Any]]:
    """The messages; where the template writes results into JSON as they are, with results that are JSON."""

    def with_results(text: Callable[[str], str]) -> list[dict[str, Any]]:
        return [
            {**message, "content": text(message["content"])} if message["role"] == "tool" else message
            for message in messages
        ]

    mended = with_results(result_json)
    if mended == messages:
        return messages
    pastes = f'"content": {PROBE}' in tokenizer.render_chat(with_results(lambda _: PROBE), offered)
    return mended if pastes else messages


def with_json_descriptions(
    messages: list[dict[str, Any]], offered: list[dict[str, Any]], tokenizer: Tokenizer
) -> list[dict[str, Any]]:
    """The tools; where the template writes descriptions between quotes as they are, with what must be escaped there."""

    def with_descriptions(text: Callable[[str], str]) -> list[dict[str, Any]]:
        functions = [tool["function"] for tool in offered]
        return [
            {**tool, "function": {**function, "description": text(function["description"])}}
            for tool, function in zip(offered, functions, strict=True)
        ]

    mended = with_descriptions(lambda description: json_text(description)[1:-1])
    if mended == offered:
        return offered
    pastes = f'"{PROBE}"' in tokenizer.render_chat(messages, with_descriptions(lambda _: PROBE))
    return mended if pastes else offered


def with_system_text_in_question(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages with the system message at the beginning of the last one of the user."""
    asked = [index for index, message in enumerate(messages) if message["role"] == "user"]
    if not asked:
        return messages
    question = messages[asked[-1]]
    joined = {**question, "content": f"{messages[0]['content']}\n\n{question['content']}"}
    return [*messages[1 : asked[-1]], joined, *messages[asked[-1] + 1 :]]


def native_tool(tool: Tool) -> dict[str, Any]:
    """The tool as chat templates expect it."""
    function = {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
    return {"type": "function", "function": function}


def native_message(message: Message, dialect: Dialect) -> dict[str, Any]:
    """The message as a template with tools expects it, calls and results included."""
    rendered: dict[str, Any] = {"role": message.role, "content": message.text}
    if message.calls:
        rendered["tool_calls"] = [
            {
                "id": short_id(call.id, dialect),
                "type": "function",
                "function": {"name": call.name, "arguments": dict(call.arguments)},
            }
            for call in message.calls
        ]
    if message.call_id is not None:
        rendered["tool_call_id"] = short_id(message.call_id, dialect)
    return rendered


def folded_messages(messages: Sequence[Message], dialect: Dialect) -> list[dict[str, Any]]:
    """The messages for a template that knows no tools: calls become assistant text, results one user message."""
    calls = {call.id: call for message in messages for call in message.calls}
    folded: list[dict[str, Any]] = []
    results: list[str] = []
    for message in messages:
        if message.role == "tool":
            results.append(result_text(message.text, calls[str(message.call_id)], dialect))
            continue
        if results:
            folded.append({"role": "user", "content": "\n".join(results)})
            results = []
        text = "\n".join(part for part in (message.text, calls_text(message.calls, dialect)) if part)
        folded.append({"role": message.role, "content": text})
    if results:
        folded.append({"role": "user", "content": "\n".join(results)})
    return folded


def result_text(text: str, call: ToolCall, dialect: Dialect) -> str:
    """A call's result, as it stands among others."""
    return dialect.result.format(name=call.name, arguments=call.arguments_text, text=text, json=result_json(text))


def result_json(text: str) -> str:
    """A tool's result as JSON: kept where it is JSON, otherwise a string."""
    try:
        json.loads(text, parse_constant=no_json)
    except (ValueError, RecursionError):
        return json_text(text)
    return text


def no_json(constant: str) -> None:
    """Refuse the constants that Python reads and JSON does not have."""
    raise ValueError(constant)


def with_system_text(messages: list[dict[str, Any]], text: str) -> list[dict[str, Any]]:
    """The messages with `text` at the end of their system message, or as a new one."""
    if not text:
        return messages
    if messages and messages[0]["role"] == "system":
        first = {**messages[0], "content": f"{messages[0]['content']}\n\n{text}"}
        return [first, *messages[1:]]
    return [{"role": "system", "content": text}, *messages]


def calls_text(calls: Sequence[ToolCall], dialect: Dialect) -> str:
    """The text with which the model makes these calls; empty for none."""
    if not calls:
        return ""
    written = [call_text(call.name, call.arguments, dialect) for call in calls]
    return dialect.calls_open + dialect.separator.join(written) + dialect.calls_close


def call_text(name: str, arguments: Mapping[str, Any], dialect: Dialect) -> str:
    """One call, as it stands among others."""
    return call_opening(name, dialect) + json_text(dict(arguments)) + call_ending(dialect)


def call_opening(name: str, dialect: Dialect, *, request: str = "") -> str:
    """Everything of a call before its arguments. `request` says in words what the call is about."""
    about = f'"request": {json_text(request)}, ' if request else ""
    return f'{dialect.call_open}{{"name": {json_text(name)}, {about}"arguments": '


def branch_opening(name: str, dialect: Dialect, *, request: str) -> str:
    """Likewise for a call that is written alone, in a branch: behind its marks where the model knows them."""
    if dialect.marks is None:
        return dialect.branch_open + call_opening(name, dialect, request=request)
    return f"{dialect.marks.call}{name}: {request}{dialect.marks.arguments}"


def branch_ending(dialect: Dialect) -> str:
    """Everything of such a call after its arguments."""
    return call_ending(dialect) if dialect.marks is None else ""


def call_ending(dialect: Dialect) -> str:
    """Everything of a call after its arguments."""
    return "}" + dialect.call_close


def short_id(call_id: str, dialect: Dialect) -> str:
    """The call id as the template takes it: kept, or mapped to a stable short one (Mistral: nine letters or digits)."""
    if dialect.call_id_length is None:
        return call_id
    return hashlib.sha256(call_id.encode()).hexdigest()[: dialect.call_id_length]
