"""The request of OpenAI's Chat Completions, field by field: honoured, or refused by name.

A field whose type leaves one value (`store`, `verbosity`, ...) may be given that value, which asks for nothing, or be
left out. Fields that only label a request (`user`, `prompt_cache_key`, ...) have no influence on the answer.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from serving.api.extension import Extension
from serving.api.mcp_tools import McpTool
from serving.api.wire import Wire

CHOICES_LIMIT = 16
"""The most answers that one request may ask for."""

TOP_LOGPROBS_LIMIT = 20
"""OpenAI's, and what vLLM gives."""


class TextPart(Wire):
    type: Literal["text"]
    text: str
    prompt_cache_breakpoint: None = None


class RefusalPart(Wire):
    type: Literal["refusal"]
    refusal: str


class Function(Wire):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    """Accepted either way: every call is constrained by its schema."""


class FunctionTool(Wire):
    type: Literal["function"]
    function: Function


class FunctionName(Wire):
    name: str


class NamedTool(Wire):
    type: Literal["function"]
    function: FunctionName


class AllowedTools(Wire):
    mode: Literal["auto", "required"]
    tools: list[NamedTool]


class AllowedToolsChoice(Wire):
    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


class WrittenFunction(Wire):
    name: str
    arguments: str
    parsed_arguments: Any = None
    """What OpenAI's client adds to the calls that its helpers give: it repeats the arguments, and is not read."""


class WrittenCall(Wire):
    id: str = Field(min_length=1)
    type: Literal["function"]
    function: WrittenFunction
    index: int | None = None
    """What OpenAI's stream helper leaves in its calls; their order is that of the list."""


class SystemMessage(Wire):
    role: Literal["system", "developer"]
    content: str | list[TextPart]
    name: None = None


class UserMessage(Wire):
    role: Literal["user"]
    content: str | list[TextPart]
    name: None = None


class AssistantMessage(Wire):
    """Takes back what clients got as an answer, `null` fields included."""

    role: Literal["assistant"]
    content: str | list[Annotated[TextPart | RefusalPart, Field(discriminator="type")]] | None = None
    tool_calls: list[WrittenCall] | None = None
    refusal: str | None = None
    annotations: Annotated[list[Any], Field(max_length=0)] | None = None
    parsed: Any = None
    """What OpenAI's client adds to the answers that its helpers give: it repeats the content, and is not read."""
    provider_specific_fields: dict[str, Any] | None = None
    """What servers of tools did for an earlier answer, which is not read again: what was said stands in `content`."""
    audio: None = None
    function_call: None = None
    name: None = None


class ToolMessage(Wire):
    role: Literal["tool"]
    content: str | list[TextPart]
    tool_call_id: str
    name: str | None = None
    """Not OpenAI's, but widely sent: the name of the tool, which must be the call's."""


class StreamOptions(Wire):
    include_usage: bool | None = None
    include_obfuscation: Literal[False] | None = None


class TextFormat(Wire):
    type: Literal["text"]


class ObjectFormat(Wire):
    type: Literal["json_object"]


class AnswerSchema(Wire):
    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    description: str | None = None
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: bool | None = None
    """Accepted either way: every answer is constrained by its schema."""


class SchemaFormat(Wire):
    type: Literal["json_schema"]
    json_schema: AnswerSchema


StopList = Annotated[list[Annotated[str, Field(min_length=1)]], Field(max_length=4)]


class ChatRequest(Wire):
    model: str
    messages: list[Annotated[SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")]]
    tools: list[Annotated[FunctionTool | McpTool, Field(discriminator="type")]] | None = None
    tool_choice: (
        Literal["none", "auto", "required"]
        | Annotated[NamedTool | AllowedToolsChoice, Field(discriminator="type")]
        | None
    ) = None
    parallel_tool_calls: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: Annotated[str, Field(min_length=1)] | StopList | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    n: Annotated[int, Field(ge=1, le=CHOICES_LIMIT)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=TOP_LOGPROBS_LIMIT)] | None = None
    response_format: Annotated[TextFormat | ObjectFormat | SchemaFormat, Field(discriminator="type")] | None = None
    polycall: Extension | None = None

    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    metadata: dict[str, str] | None = None

    logit_bias: Annotated[dict[str, float], Field(max_length=0)] | None = None
    frequency_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    presence_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    modalities: list[Literal["text"]] | None = None
    store: Literal[False] | None = None
    service_tier: Literal["auto", "default"] | None = None
    reasoning_effort: Literal["none"] | None = None
    verbosity: Literal["medium"] | None = None
    prompt_cache_retention: Literal["in_memory"] | None = None
    prompt_cache_options: None = None
    audio: None = None
    function_call: None = None
    functions: None = None
    moderation: None = None
    prediction: None = None
    web_search_options: None = None
