"""Reads a request of OpenAI's Responses into a `TurnRequest`, or refuses it by the field at fault."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from grammars.answer import PLACE as ANSWER_SCHEMA
from grammars.branch import Sampling
from grammars.conversation import Message
from grammars.errors import RequestError
from grammars.tools import Tool
from serving.api.answer_format import answer_schema
from serving.api.choice import AskedChoice, read_choice
from serving.api.extension import Extension
from serving.api.mcp_tools import asked_servers, tool_places
from serving.api.openai_responses.history import History, PlacedItem, read_history
from serving.api.openai_responses.items import InputMessage, Item
from serving.api.openai_responses.wire import (
    LOGPROBS,
    AllowedToolsChoice,
    FunctionChoice,
    FunctionTool,
    JsonObjectFormat,
    JsonSchemaFormat,
    McpChoice,
    ResponsesRequest,
)
from serving.api.places import Places
from serving.api.wire import read_request
from serving.approvals import PLACE as APPROVALS
from serving.decode.request import Decoding
from serving.decode.round import RoundRequest
from serving.turn_request import TurnRequest

PREVIOUS = "previous_response_id"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the turn is asked, and where the request has what the turn speaks of."""

    turn: TurnRequest
    places: Places


def read_responses(body: bytes) -> ResponsesRequest:
    """The body as a request, or a `RequestError` that names the field at fault."""
    asked = read_request(body, ResponsesRequest)
    if asked.stream_options is not None and not asked.stream:
        raise RequestError("'stream_options' is only allowed when 'stream' is true", place="stream_options")
    if asked.top_logprobs and LOGPROBS not in (asked.include or ()):
        raise RequestError(f"'top_logprobs' is only allowed when {LOGPROBS!r} is included", place="top_logprobs")
    return asked


def turn_request(
    asked: ResponsesRequest, earlier: Sequence[Item], *, server_has_tools: bool, decoding: Decoding
) -> Asked:
    """What the turn is asked, after the `earlier` items of the response that it goes on with. `decoding` is what the
    server does where the request does not say.
    """
    history = read_history([*((PREVIOUS, item) for item in earlier), *placed_items(asked)])
    tools = tuple(read_tool(tool) for tool in asked.tools or () if isinstance(tool, FunctionTool))
    servers = asked_servers(asked.tools)
    extension = asked.polycall or Extension()
    choice, choice_servers = asked_choice(asked)
    any_tools = bool(tools) or bool(servers) or server_has_tools
    instructions = () if asked.instructions is None else (Message(role="system", text=asked.instructions),)
    turn = TurnRequest(
        messages=(*instructions, *history.messages),
        tools=tools,
        servers=servers,
        choice=read_choice(choice, extension, any_tools=any_tools),
        choice_servers=choice_servers,
        round=RoundRequest(
            sampling=read_sampling(asked),
            decoding=extension.decoding_or(decoding),
            max_tokens=asked.max_output_tokens,
            parallel_dependencies=bool(extension.parallel_dependencies),
            answer_schema=read_format(asked),
            logprobs=(asked.top_logprobs or 0) if LOGPROBS in (asked.include or ()) else None,
        ),
        required=extension.required,
        decisions=(*extension.decisions, *history.decisions),
        most_server_calls=asked.max_tool_calls,
    )
    return Asked(turn=turn, places=places(asked, history))


def placed_items(asked: ResponsesRequest) -> list[PlacedItem]:
    """The request's own items, each with its place."""
    if isinstance(asked.input, str):
        return [("input", InputMessage(type="message", role="user", content=asked.input))]
    return [(f"input[{index}]", item) for index, item in enumerate(asked.input)]


def places(asked: ResponsesRequest, history: History) -> Places:
    """Where the request has what the turn calls `messages[2]`, `tools[0].function` or `polycall.approvals[0]`."""
    names = {"messages": "input", ANSWER_SCHEMA: "text.format.schema", **tool_places(asked.tools, function="").names}
    before = 0
    if asked.instructions is not None:
        names["messages[0]"] = "instructions"
        before = 1
    for index, place in enumerate(history.places, start=before):
        ours = f"messages[{index}]"
        names[ours] = place
        names[f"{ours}.tool_calls"] = place
        names[f"{ours}.tool_call_id"] = f"{place}.call_id"
        for number, call in enumerate(history.messages[index - before].calls):
            names[f"{ours}.tool_calls[{number}].function.arguments"] = f"{history.call_places[call.id]}.arguments"
    approvals = asked.polycall.approvals if asked.polycall is not None else None
    if not approvals:
        names[APPROVALS] = "input"
    for index, place in enumerate(history.decision_places, start=len(approvals or ())):
        names[f"{APPROVALS}[{index}]"] = place
    return Places(names=names)


def read_sampling(asked: ResponsesRequest) -> Sampling:
    """The caller's sampling. Without a temperature decoding is greedy: calls are better exact than various."""
    default = Sampling()
    return Sampling(
        temperature=default.temperature if asked.temperature is None else asked.temperature,
        top_p=default.top_p if asked.top_p is None else asked.top_p,
    )


def read_tool(function: FunctionTool) -> Tool:
    """The tool; without `parameters` it takes none."""
    if function.parameters is None:
        return Tool(name=function.name, description=function.description or "")
    return Tool(name=function.name, description=function.description or "", parameters=function.parameters)


def read_format(asked: ResponsesRequest) -> Mapping[str, Any] | None:
    """The schema of the answer's text, if it is to be JSON."""
    match None if asked.text is None else asked.text.format:
        case JsonSchemaFormat(schema_=schema, description=description):
            return answer_schema(schema, description)
        case JsonObjectFormat():
            return answer_schema()
        case _:
            return None


def asked_choice(asked: ResponsesRequest) -> tuple[AskedChoice, frozenset[str]]:
    """`tool_choice` and `parallel_tool_calls`, of which only an explicit `false` counts; and the servers of which any
    tool may be chosen.
    """
    said = AskedChoice(place="tool_choice", single=asked.parallel_tool_calls is False)
    match asked.tool_choice:
        case FunctionChoice(name=name):
            return replace(said, named=name), frozenset()
        case McpChoice(server_label=label, name=None):
            return replace(said, mode="required"), frozenset({label})
        case McpChoice(server_label=label, name=name):
            return replace(said, named=name), frozenset({label})
        case AllowedToolsChoice(mode=mode, tools=tools):
            names = frozenset(tool.name for tool in tools if tool.name is not None)
            labels = frozenset(tool.server_label for tool in tools if isinstance(tool, McpChoice) and tool.name is None)
            return replace(said, mode=mode, allowed=names if names or not labels else None), labels
        case mode:
            return replace(said, mode=mode), frozenset()
