"""The frame of a response: all but its output, which repeats what was asked."""

from __future__ import annotations

from openai.types.responses import FunctionTool as EchoedFunction
from openai.types.responses import (
    Response,
    ResponseFormatTextJSONSchemaConfig,
    ResponseTextConfig,
    ResponseUsage,
    Tool,
    ToolChoiceAllowed,
    ToolChoiceFunction,
    ToolChoiceMcp,
)
from openai.types.responses.response import IncompleteDetails, ToolChoice
from openai.types.responses.response_usage import InputTokensDetails, OutputTokensDetails
from openai.types.shared import Reasoning, ResponseFormatJSONObject, ResponseFormatText

from serving.api.mcp_tools import McpTool
from serving.api.openai_responses.ids import response_id
from serving.api.openai_responses.request import read_sampling
from serving.api.openai_responses.wire import (
    AllowedToolsChoice,
    FunctionChoice,
    FunctionTool,
    JsonObjectFormat,
    JsonSchemaFormat,
    McpChoice,
    ResponsesRequest,
)
from serving.api.turn_report import report
from serving.turn_events import TurnBegan, TurnEnded


def begun(asked: ResponsesRequest, began: TurnBegan) -> Response:
    """The response of a turn that is under way."""
    sampling = read_sampling(asked)
    response = Response.construct(
        id=response_id(began.turn_id),
        object="response",
        created_at=int(began.created_s),
        status="in_progress",
        background=False,
        completed_at=None,
        error=None,
        incomplete_details=None,
        instructions=asked.instructions,
        max_output_tokens=asked.max_output_tokens,
        max_tool_calls=asked.max_tool_calls,
        metadata=asked.metadata or {},
        model=asked.model,
        output=[],
        parallel_tool_calls=asked.parallel_tool_calls is not False,
        previous_response_id=asked.previous_response_id,
        prompt_cache_key=asked.prompt_cache_key,
        reasoning=Reasoning(effort=None, summary=None),
        safety_identifier=asked.safety_identifier,
        service_tier="default",
        temperature=sampling.temperature,
        text=text_config(asked),
        tool_choice=tool_choice(asked),
        tools=[echoed(tool) for tool in asked.tools or ()],
        top_logprobs=asked.top_logprobs or 0,
        top_p=sampling.top_p,
        truncation="disabled",
        usage=None,
        user=asked.user,
    )
    response.store = asked.store is not False  # type: ignore[attr-defined]  # the API has it, its type has not
    return response


def end(response: Response, ended: TurnEnded) -> None:
    """Enter how the turn ended."""
    cut = ended.reason == "length"
    response.status = "incomplete" if cut else "completed"
    response.incomplete_details = IncompleteDetails(reason="max_output_tokens") if cut else None
    response.completed_at = None if cut else int(response.created_at + ended.figures.total_s)
    response.usage = usage(ended)
    response.polycall = report(ended).model_dump(mode="json")  # type: ignore[attr-defined]


def usage(ended: TurnEnded) -> ResponseUsage:
    """The tokens of all rounds: what each read, and what all streams wrote."""
    read, written = ended.figures.prompt_tokens, ended.figures.completion_tokens
    return ResponseUsage(
        input_tokens=read,
        input_tokens_details=InputTokensDetails(cached_tokens=ended.figures.cached_tokens or 0, cache_write_tokens=0),
        output_tokens=written,
        output_tokens_details=OutputTokensDetails(reasoning_tokens=0),
        total_tokens=read + written,
    )


def echoed(tool: FunctionTool | McpTool) -> Tool:
    """A tool as an answer repeats it, without credentials."""
    if isinstance(tool, McpTool):
        return tool.echoed()
    return EchoedFunction(
        type="function",
        name=tool.name,
        description=tool.description,
        parameters=tool.parameters,
        strict=tool.strict,
    )


def tool_choice(asked: ResponsesRequest) -> ToolChoice:
    match asked.tool_choice:
        case None:
            return "auto"
        case FunctionChoice(name=name):
            return ToolChoiceFunction(type="function", name=name)
        case McpChoice(server_label=label, name=name):
            return ToolChoiceMcp(type="mcp", server_label=label, name=name)
        case AllowedToolsChoice(mode=mode, tools=tools):
            named = [tool.model_dump(exclude_unset=True) for tool in tools]
            return ToolChoiceAllowed(type="allowed_tools", mode=mode, tools=named)
        case mode:
            return mode


def text_config(asked: ResponsesRequest) -> ResponseTextConfig:
    match None if asked.text is None else asked.text.format:
        case JsonSchemaFormat() as form:
            found = ResponseFormatTextJSONSchemaConfig(**form.model_dump(by_alias=True, exclude_none=True))
            return ResponseTextConfig(format=found, verbosity="medium")
        case JsonObjectFormat():
            return ResponseTextConfig(format=ResponseFormatJSONObject(type="json_object"), verbosity="medium")
        case _:
            return ResponseTextConfig(format=ResponseFormatText(type="text"), verbosity="medium")
