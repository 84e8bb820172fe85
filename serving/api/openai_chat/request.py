"""Reads a request of OpenAI's Chat Completions into a `TurnRequest`, or refuses it by the field at fault."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from grammars.branch import Sampling
from grammars.conversation import Message
from grammars.errors import RequestError
from grammars.tools import Tool, ToolCall
from serving.api.answer_format import answer_schema
from serving.api.choice import AskedChoice, read_choice
from serving.api.extension import Extension
from serving.api.mcp_tools import asked_servers
from serving.api.openai_chat.wire import (
    AllowedToolsChoice,
    AssistantMessage,
    ChatRequest,
    Function,
    FunctionTool,
    NamedTool,
    ObjectFormat,
    RefusalPart,
    SchemaFormat,
    SystemMessage,
    TextPart,
    ToolMessage,
    UserMessage,
    WrittenCall,
)
from serving.api.wire import read_arguments, read_request
from serving.decode.request import Decoding
from serving.decode.round import RoundRequest
from serving.turn_request import TurnRequest


def read_chat(body: bytes) -> ChatRequest:
    """The body as a request, or a `RequestError` that names the field at fault."""
    chat = read_request(body, ChatRequest)
    if chat.stream_options is not None and not chat.stream:
        raise RequestError("'stream_options' is only allowed when 'stream' is true", place="stream_options")
    if chat.max_tokens is not None and chat.max_completion_tokens not in (None, chat.max_tokens):
        raise RequestError("'max_tokens' contradicts 'max_completion_tokens'", place="max_tokens")
    if chat.top_logprobs and not chat.logprobs:
        raise RequestError("'top_logprobs' is only allowed when 'logprobs' is true", place="top_logprobs")
    return chat


def turn_request(chat: ChatRequest, *, server_has_tools: bool, decoding: Decoding) -> TurnRequest:
    """What the turn is asked. `decoding` is what the server does where the request does not say."""
    tools = tuple(read_tool(tool.function) for tool in chat.tools or () if isinstance(tool, FunctionTool))
    servers = asked_servers(chat.tools)
    extension = chat.polycall or Extension()
    return TurnRequest(
        messages=read_messages(chat),
        tools=tools,
        servers=servers,
        choice=read_choice(asked_choice(chat), extension, any_tools=bool(tools or servers) or server_has_tools),
        round=RoundRequest(
            sampling=read_sampling(chat),
            decoding=extension.decoding_or(decoding),
            max_tokens=chat.max_completion_tokens or chat.max_tokens,
            stop=(chat.stop,) if isinstance(chat.stop, str) else tuple(chat.stop or ()),
            parallel_dependencies=bool(extension.parallel_dependencies),
            answer_schema=read_format(chat),
            logprobs=(chat.top_logprobs or 0) if chat.logprobs else None,
        ),
        required=extension.required,
        decisions=extension.decisions,
    )


def read_sampling(chat: ChatRequest) -> Sampling:
    """The caller's sampling. Without a temperature decoding is greedy: calls are better exact than various. Who
    asks for several choices wants them to differ.
    """
    default = Sampling(temperature=1.0) if (chat.n or 1) > 1 else Sampling()
    return Sampling(
        temperature=default.temperature if chat.temperature is None else chat.temperature,
        top_p=default.top_p if chat.top_p is None else chat.top_p,
        seed=chat.seed,
    )


def check_choices(asked: TurnRequest, *, server_has_tools: bool) -> None:
    """Refuse several choices where each of them would do again what is to be done once."""
    server_runs = server_has_tools or bool(asked.servers)
    if server_runs and not (asked.choice is not None and asked.choice.mode == "none"):
        raise RequestError("'n' must be 1 where the server runs tools: each choice would run them again", place="n")
    if asked.decisions:
        raise RequestError("'n' must be 1 where calls are approved: each choice would run them", place="n")
    if asked.idempotency is not None:
        raise RequestError("'n' must be 1 with an idempotency key: it stands for one turn", place="n")


def read_format(chat: ChatRequest) -> Mapping[str, Any] | None:
    """The schema of an answer in text, if it is to be JSON."""
    match chat.response_format:
        case ObjectFormat():
            return answer_schema()
        case SchemaFormat(json_schema=asked):
            return answer_schema(asked.schema_, asked.description)
        case _:
            return None


def read_tool(function: Function) -> Tool:
    """The tool; without `parameters` it takes none."""
    if function.parameters is None:
        return Tool(name=function.name, description=function.description or "")
    return Tool(name=function.name, description=function.description or "", parameters=function.parameters)


def read_messages(chat: ChatRequest) -> tuple[Message, ...]:
    """The history, each call's arguments parsed."""
    names: dict[str, str] = {}
    messages = []
    for index, message in enumerate(chat.messages):
        match message:
            case AssistantMessage():
                calls = tuple(
                    read_call(call, f"messages[{index}].tool_calls[{place}]")
                    for place, call in enumerate(message.tool_calls or ())
                )
                names.update({call.id: call.name for call in calls})
                text = joined(message.content) or message.refusal or ""
                messages.append(Message(role="assistant", text=text, calls=calls))
            case ToolMessage():
                known = names.get(message.tool_call_id)
                if message.name is not None and known is not None and message.name != known:
                    raise RequestError(
                        f"the call {message.tool_call_id!r} is of the tool {known!r}, not {message.name!r}",
                        place=f"messages[{index}].name",
                    )
                messages.append(Message(role="tool", text=joined(message.content), call_id=message.tool_call_id))
            case UserMessage():
                messages.append(Message(role="user", text=joined(message.content)))
            case SystemMessage():
                messages.append(Message(role="system", text=joined(message.content)))
    return tuple(messages)


def joined(content: str | list[TextPart] | list[TextPart | RefusalPart] | None) -> str:
    """The text of a message, whether it came as one string or in parts."""
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part.text if isinstance(part, TextPart) else part.refusal for part in content)


def read_call(call: WrittenCall, place: str) -> ToolCall:
    """A call of the history. Its tool need not be offered any more."""
    arguments = read_arguments(call.function.arguments, f"{place}.function.arguments")
    return ToolCall(id=call.id, name=call.function.name, arguments=arguments)


def names_one_tool(chat: ChatRequest) -> bool:
    """Whether the choice is one named tool, for which OpenAI reports the finish reason `stop`."""
    return isinstance(chat.tool_choice, NamedTool)


def asked_choice(chat: ChatRequest) -> AskedChoice:
    """`tool_choice` and `parallel_tool_calls`, of which only an explicit `false` counts."""
    asked = AskedChoice(place="tool_choice", single=chat.parallel_tool_calls is False)
    match chat.tool_choice:
        case NamedTool(function=function):
            return replace(asked, named=function.name)
        case AllowedToolsChoice(allowed_tools=allowed):
            names = frozenset(tool.function.name for tool in allowed.tools)
            return replace(asked, mode=allowed.mode, allowed=names)
        case mode:
            return replace(asked, mode=mode)
