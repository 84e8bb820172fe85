"""Reads a request of OpenAI's Chat Completions into a `TurnRequest`, or refuses it by the field at fault."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError
from pydantic_core import from_json

from grammars.branch import Sampling
from grammars.conversation import DEFAULT_MOST_CALLS, Choice, Message
from grammars.errors import RequestError
from grammars.tools import Tool, ToolCall
from serving.api.errors import refusal
from serving.api.openai_chat_wire import (
    AllowedToolsChoice,
    ApprovalFilter,
    AssistantMessage,
    ChatRequest,
    Extension,
    Function,
    NamedTool,
    RefusalPart,
    SystemMessage,
    TextPart,
    ToolMessage,
    UserMessage,
    WrittenCall,
)
from serving.approvals import Decision, Required
from serving.decode.request import Decoding
from serving.decode.round import RoundRequest
from serving.turn_request import TurnRequest


def read_chat(body: bytes) -> ChatRequest:
    """The body as a request, or a `RequestError` that names the field at fault."""
    try:
        value = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise RequestError(f"the body is not JSON: {error}") from None
    try:
        chat = ChatRequest.model_validate(value)
    except ValidationError as error:
        raise refusal(error, value) from None
    if chat.stream_options is not None and not chat.stream:
        raise RequestError("'stream_options' is only allowed when 'stream' is true", place="stream_options")
    if chat.max_tokens is not None and chat.max_completion_tokens not in (None, chat.max_tokens):
        raise RequestError("'max_tokens' contradicts 'max_completion_tokens'", place="max_tokens")
    return chat


def turn_request(chat: ChatRequest, *, server_has_tools: bool, decoding: Decoding) -> TurnRequest:
    """What the turn is asked. `decoding` is what the server does where the request does not say."""
    tools = tuple(read_tool(tool.function) for tool in chat.tools or ())
    extension = chat.polycall or Extension()
    decoding = extension.decoding or decoding
    if extension.parallel_dependencies and decoding != "parallel":
        place = "polycall.parallel_dependencies"
        raise RequestError("'parallel_dependencies' is only allowed where decoding is parallel", place=place)
    return TurnRequest(
        messages=read_messages(chat),
        tools=tools,
        choice=read_choice(chat, extension, any_tools=bool(tools) or server_has_tools),
        round=RoundRequest(
            sampling=read_sampling(chat),
            decoding=decoding,
            max_tokens=chat.max_completion_tokens or chat.max_tokens,
            stop=(chat.stop,) if isinstance(chat.stop, str) else tuple(chat.stop or ()),
            parallel_dependencies=bool(extension.parallel_dependencies),
        ),
        required=read_required(extension),
        decisions=tuple(
            Decision(call_id=said.approval_request_id, approve=said.approve, reason=said.reason)
            for said in extension.approvals or ()
        ),
    )


def read_required(extension: Extension) -> Required:
    """Which tools the caller wants to approve."""
    match extension.require_approval:
        case "always":
            return Required(tools=None)
        case ApprovalFilter(always=always, never=never):
            asked = frozenset(always.tool_names if always else ())
            both = sorted(asked & frozenset(never.tool_names if never else ()))
            if both:
                raise RequestError(
                    f"{', '.join(map(repr, both))} cannot want approval always and never",
                    place="polycall.require_approval",
                )
            return Required(tools=asked)
        case _:
            return Required()


def read_sampling(chat: ChatRequest) -> Sampling:
    """The caller's sampling. Without a temperature decoding is greedy: calls are better exact than various."""
    default = Sampling()
    return Sampling(
        temperature=default.temperature if chat.temperature is None else chat.temperature,
        top_p=default.top_p if chat.top_p is None else chat.top_p,
        seed=chat.seed,
    )


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
    try:
        arguments = from_json(call.function.arguments, allow_inf_nan=False)
    except ValueError as error:
        raise RequestError(f"the arguments are not JSON: {error}", place=f"{place}.function.arguments") from None
    if not isinstance(arguments, Mapping):
        raise RequestError("the arguments are not a JSON object", place=f"{place}.function.arguments")
    return ToolCall(id=call.id, name=call.function.name, arguments=arguments)


def names_one_tool(chat: ChatRequest) -> bool:
    """Whether the choice is one named tool, for which OpenAI reports the finish reason `stop`."""
    return isinstance(chat.tool_choice, NamedTool)


def read_choice(chat: ChatRequest, extension: Extension, *, any_tools: bool) -> Choice | None:
    """`tool_choice`, `parallel_tool_calls` and the extension as one choice; contradictions are refused by name."""
    least, exact = extension.min_calls, extension.exact_tools
    asked = [f"polycall.{name}" for name in ("min_calls", "max_calls", "exact_tools") if getattr(extension, name)]
    if not any_tools:
        place = "tool_choice" if chat.tool_choice is not None else next(iter(asked), None)
        if place is None:
            return None
        raise RequestError(f"{place!r} is only allowed when 'tools' are given", place=place)
    if exact and not isinstance(chat.tool_choice, str | None):
        raise RequestError(
            "'exact_tools' and a 'tool_choice' of tools exclude each other", place="polycall.exact_tools"
        )
    if chat.tool_choice == "none":
        if asked:
            raise RequestError(f"{asked[0]!r} contradicts the tool_choice 'none'", place=asked[0])
        return Choice(mode="none")
    most = extension.max_calls or max(DEFAULT_MOST_CALLS, least or 0, len(exact or ()))
    if chat.parallel_tool_calls is False:
        most = 1
    match chat.tool_choice:
        case NamedTool(function=function):
            if least is not None and least > 1:
                raise RequestError("a named tool is called exactly once", place="polycall.min_calls")
            return Choice(exact=(function.name,), most=most)
        case AllowedToolsChoice(allowed_tools=allowed):
            names = frozenset(tool.function.name for tool in allowed.tools)
            return Choice(mode=allowed.mode, allowed=names, least=least or 0, most=most)
        case mode:
            return Choice(mode=mode or "auto", exact=tuple(exact) if exact else None, least=least or 0, most=most)
