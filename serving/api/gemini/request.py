"""Reads a request of Gemini's generateContent into a `TurnRequest`, or refuses it by the field at fault."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from grammars.answer import PLACE as ANSWER_SCHEMA
from grammars.branch import Sampling
from grammars.conversation import Message
from grammars.errors import RequestError
from grammars.tools import Tool
from serving.api.choice import AskedChoice, read_choice
from serving.api.extension import Extension
from serving.api.gemini.history import History, read_contents
from serving.api.gemini.schema import json_schema
from serving.api.gemini.wire import (
    CountTokensRequest,
    FunctionDeclaration,
    GenerateContentRequest,
    GenerationConfig,
    ToolGroup,
)
from serving.api.places import Places
from serving.api.wire import read_request
from serving.decode.request import Decoding
from serving.decode.round import RoundRequest
from serving.turn_request import TurnRequest

CHOICE = "toolConfig.functionCallingConfig"

ANY_JSON: Mapping[str, Any] = {"type": ["object", "array"]}
"""The schema of those who want JSON, and do not say which."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the turn is asked, and where in the client's body it says so."""

    turn: TurnRequest
    places: Places


@dataclass(frozen=True, kw_only=True)
class Counted:
    """What is counted, and where in the client's body it stands."""

    request: GenerateContentRequest
    places: Places


def read_generate(body: bytes, model: str) -> GenerateContentRequest:
    """The body as a request of the model that the path names, or a `RequestError` that names the field at fault."""
    return of_model(read_request(body, GenerateContentRequest), model)


def of_model(request: GenerateContentRequest, model: str) -> GenerateContentRequest:
    """The request with the model that the path names, which it may name too."""
    if request.model is not None and request.model.removeprefix("models/") != model:
        raise RequestError(f"the path names the model {model!r}, the body {request.model!r}", place="model")
    return request.model_copy(update={"model": model})


def read_count(body: bytes, model: str) -> Counted:
    """What countTokens is asked to count: contents alone, or a whole request."""
    asked = read_request(body, CountTokensRequest)
    if (asked.contents is None) == (asked.generate_content_request is None):
        raise RequestError("just one of 'contents' and 'generateContentRequest' is needed", place="contents")
    if asked.contents is not None:
        request = GenerateContentRequest(contents=asked.contents, model=model)
        return Counted(request=request, places=Places())
    assert asked.generate_content_request is not None
    fields = (str(field.alias) for field in GenerateContentRequest.model_fields.values())
    places = Places(names={field: f"generateContentRequest.{field}" for field in fields})
    try:
        return Counted(request=of_model(asked.generate_content_request, model), places=places)
    except RequestError as error:
        raise places.moved(error) from None


def read_asked(request: GenerateContentRequest, *, server_has_tools: bool, decoding: Decoding) -> Asked:
    """What the turn is asked. `decoding` is what the server does where the request does not say."""
    extension = request.polycall or Extension()
    config = request.generation_config or GenerationConfig()
    tools, places = read_tools(request.tools or ())
    history = read_history(request)
    turn = TurnRequest(
        messages=tuple(history.messages),
        tools=tools,
        choice=read_choice(asked_choice(request), extension, any_tools=bool(tools) or server_has_tools),
        round=RoundRequest(
            sampling=read_sampling(config),
            decoding=extension.decoding_or(decoding),
            max_tokens=config.max_output_tokens,
            stop=tuple(config.stop_sequences or ()),
            parallel_dependencies=bool(extension.parallel_dependencies),
            answer_schema=read_answer_schema(config),
            logprobs=read_logprobs(config),
        ),
        required=extension.required,
        decisions=extension.decisions,
    )
    return Asked(turn=turn, places=Places(names={**places, **history.places}))


def read_history(request: GenerateContentRequest) -> History:
    """The system's word and the contents, as messages."""
    config = request.generation_config
    json_form = config is not None and config.response_json_schema is not None
    schema = f"generationConfig.{'responseJsonSchema' if json_form else 'responseSchema'}"
    history = History(places={"messages": "contents", "tool_choice": CHOICE, ANSWER_SCHEMA: schema})
    if request.system_instruction is not None:
        for index, part in enumerate(request.system_instruction.parts):
            if part.text is None:
                raise RequestError("the system speaks in text only", place=f"systemInstruction.parts[{index}]")
        text = "".join(part.text or "" for part in request.system_instruction.parts)
        history.say(Message(role="system", text=text), "systemInstruction")
    read_contents(request.contents, history)
    return history


def read_sampling(config: GenerationConfig) -> Sampling:
    """The caller's sampling. Without a temperature decoding is greedy: calls are better exact than various."""
    default = Sampling()
    return Sampling(
        temperature=default.temperature if config.temperature is None else config.temperature,
        top_p=default.top_p if config.top_p is None else config.top_p,
        seed=config.seed,
    )


def read_answer_schema(config: GenerationConfig) -> Mapping[str, Any] | None:
    """The schema of the answer's text, which has no part in calls; None for plain text."""
    google, standard = config.response_schema, config.response_json_schema
    place = f"generationConfig.{'responseSchema' if standard is None else 'responseJsonSchema'}"
    if google is not None and standard is not None:
        raise RequestError("'responseSchema' and 'responseJsonSchema' exclude each other", place=place)
    if config.response_mime_type != "application/json":
        if google is not None or standard is not None:
            raise RequestError("a schema is only allowed where 'responseMimeType' is 'application/json'", place=place)
        return None
    if google is not None:
        return json_schema(google, place)
    return ANY_JSON if standard is None else standard


def read_logprobs(config: GenerationConfig) -> int | None:
    """How many of the likeliest tokens are told beside each that was written; None where nothing is asked."""
    if config.response_logprobs:
        return config.logprobs or 0
    if config.logprobs is not None:
        words = "'logprobs' is only allowed where 'responseLogprobs' is true"
        raise RequestError(words, place="generationConfig.logprobs")
    return None


def read_tools(groups: Sequence[ToolGroup]) -> tuple[tuple[Tool, ...], dict[str, str]]:
    """The functions of all groups in one row, and where each of them is declared."""
    tools: list[Tool] = []
    places: dict[str, str] = {}
    for index, group in enumerate(groups):
        for number, function in enumerate(group.function_declarations or ()):
            place = f"tools[{index}].functionDeclarations[{number}]"
            ours = f"tools[{len(tools)}]"
            json_form = function.parameters_json_schema is not None
            places[f"{ours}.function.parameters"] = f"{place}.{'parametersJsonSchema' if json_form else 'parameters'}"
            places[f"{ours}.function"] = place
            tools.append(read_tool(function, place))
    return tuple(tools), places


def read_tool(function: FunctionDeclaration, place: str) -> Tool:
    """The tool; without parameters it takes none."""
    description = function.description or ""
    if function.parameters_json_schema is not None:
        if function.parameters is not None:
            raise RequestError(
                "'parameters' and 'parametersJsonSchema' exclude each other", place=f"{place}.parameters"
            )
        return Tool(name=function.name, description=description, parameters=function.parameters_json_schema)
    if function.parameters is None:
        return Tool(name=function.name, description=description)
    parameters = json_schema(function.parameters, f"{place}.parameters")
    return Tool(name=function.name, description=description, parameters=parameters)


def asked_choice(request: GenerateContentRequest) -> AskedChoice:
    """The function-calling mode. Calls are always valid here, so that `VALIDATED` says no more than `AUTO`."""
    asked = AskedChoice(place=CHOICE)
    config = request.tool_config and request.tool_config.function_calling_config
    if not config:
        return asked
    allowed = None if config.allowed_function_names is None else frozenset(config.allowed_function_names)
    match config.mode:
        case "ANY":
            return replace(asked, mode="required", allowed=allowed)
        case "VALIDATED":
            return replace(asked, mode="auto", allowed=allowed)
    if allowed:
        words = "'allowedFunctionNames' are only allowed in the modes 'ANY' and 'VALIDATED'"
        raise RequestError(words, place=f"{CHOICE}.allowedFunctionNames")
    return replace(asked, mode="none" if config.mode == "NONE" else "auto")
