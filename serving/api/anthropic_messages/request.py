"""Reads a request of Anthropic's Messages into a `TurnRequest`, or refuses it by the field at fault."""

from __future__ import annotations

from grammars.answer import PLACE
from grammars.branch import Sampling
from grammars.errors import RequestError
from grammars.tools import Tool, json_text
from serving.api.anthropic_messages import wire
from serving.api.anthropic_messages.history import message_place, read_history
from serving.api.anthropic_messages.wire import MessagesRequest, Prompt
from serving.api.choice import AskedChoice, read_choice
from serving.api.extension import Extension
from serving.api.places import Places
from serving.api.wire import read_request
from serving.decode.request import Decoding
from serving.decode.round import RoundRequest
from serving.turn_request import TurnRequest


def read_messages_request(body: bytes) -> MessagesRequest:
    """The body of POST /v1/messages, or a `RequestError` that names the field at fault."""
    return read_request(body, MessagesRequest)


def read_prompt(body: bytes) -> Prompt:
    """The body of POST /v1/messages/count_tokens, or a `RequestError` that names the field at fault."""
    return read_request(body, Prompt)


def turn_request(
    asked: Prompt, *, server_has_tools: bool, decoding: Decoding, earlier: int = 0
) -> tuple[TurnRequest, Places]:
    """What the turn is asked, and the client's names of its places. `decoding` is what the server does where the
    request does not say; `earlier` messages came with requests before this one.
    """
    history = read_history(asked.messages, asked.system, earlier=earlier)
    tools = tuple(map(read_tool, asked.tools or ()))
    extension = asked.polycall or Extension()
    if history.messages[-1].role == "assistant" and not extension.decisions:
        raise RequestError(
            "This model does not support assistant message prefill. The conversation must end with a user message.",
            place=message_place(len(asked.messages) - 1, earlier),
        )
    answer_format = read_format(asked)
    more = asked if isinstance(asked, MessagesRequest) else None
    request = TurnRequest(
        messages=tuple(history.messages),
        tools=tools,
        choice=read_choice(asked_choice(asked), extension, any_tools=bool(tools) or server_has_tools),
        round=RoundRequest(
            sampling=Sampling() if more is None else read_sampling(more),
            decoding=extension.decoding_or(decoding),
            max_tokens=None if more is None else more.max_tokens,
            stop=() if more is None else tuple(more.stop_sequences or ()),
            parallel_dependencies=bool(extension.parallel_dependencies),
            answer_schema=None if answer_format is None else answer_format.schema_,
        ),
        required=extension.required,
        decisions=extension.decisions,
    )
    return request, Places(names={**history.names, **other_names(len(tools))})


def read_format(asked: Prompt) -> wire.JsonFormat | None:
    """The form of an answer in text, by either of its names."""
    named = None if asked.output_config is None else asked.output_config.format
    if named is not None and asked.output_format is not None:
        raise RequestError("'output_format' is an older name of 'output_config.format'", place="output_format")
    return named or asked.output_format


def read_sampling(asked: MessagesRequest) -> Sampling:
    """The caller's sampling. Without a temperature decoding is greedy: calls are better exact than various."""
    default = Sampling()
    return Sampling(
        temperature=default.temperature if asked.temperature is None else asked.temperature,
        top_p=default.top_p if asked.top_p is None else asked.top_p,
    )


def read_tool(tool: wire.Tool) -> Tool:
    """The tool. Examples of its input join its description: the model reads them there."""
    examples = "\n".join(f"Example of arguments: {json_text(example)}" for example in tool.input_examples or ())
    description = "\n".join(text for text in (tool.description, examples) if text)
    return Tool(name=tool.name, description=description, parameters=tool.input_schema)


def other_names(tools: int) -> dict[str, str]:
    """Anthropic's names of the places in so many tools, and of the schema of an answer."""
    names = {PLACE: "output_config.format.schema"}
    for index in range(tools):
        names[f"tools[{index}].function.name"] = f"tools[{index}].name"
        names[f"tools[{index}].function.parameters"] = f"tools[{index}].input_schema"
    return names


def asked_choice(asked: Prompt) -> AskedChoice:
    """`tool_choice`. A choice of one tool still lets it be called several times at once, unless that is disabled."""
    match asked.tool_choice:
        case wire.AutoChoice(disable_parallel_tool_use=single):
            return AskedChoice(place="tool_choice", mode="auto", single=bool(single))
        case wire.AnyChoice(disable_parallel_tool_use=single):
            return AskedChoice(place="tool_choice", mode="required", single=bool(single))
        case wire.ToolChoice(name=name, disable_parallel_tool_use=single):
            return AskedChoice(place="tool_choice", mode="required", allowed=frozenset({name}), single=bool(single))
        case wire.NoneChoice():
            return AskedChoice(place="tool_choice", mode="none")
    return AskedChoice(place="tool_choice")
