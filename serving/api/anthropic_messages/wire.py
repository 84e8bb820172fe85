"""The requests of Anthropic's Messages, field by field: honoured, or refused by name.

A field whose type leaves one value or none (`top_k`, `container`, ...) may be left out, or be given what asks for
nothing. Fields that only label a request (`metadata`), or say how it is billed or cached, have no influence on the
answer: what can be cached of a prompt always is.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from serving.api.extension import Extension
from serving.api.wire import Wire

STOP_SEQUENCES_LIMIT = 128
"""The most stop sequences of one request."""


class CacheControl(Wire):
    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] | None = None


class TextBlock(Wire):
    type: Literal["text"]
    text: str
    cache_control: CacheControl | None = None
    citations: Annotated[list[Any], Field(max_length=0)] | None = None


class DirectCaller(Wire):
    type: Literal["direct"]


class ToolUseBlock(Wire):
    type: Literal["tool_use"]
    id: str = Field(min_length=1)
    name: str
    input: dict[str, Any]
    cache_control: CacheControl | None = None
    caller: DirectCaller | None = None
    toolset_name: None = None


class ToolResultBlock(Wire):
    type: Literal["tool_result"]
    tool_use_id: str = Field(min_length=1)
    content: str | list[TextBlock] | None = None
    is_error: bool | None = None
    cache_control: CacheControl | None = None
    toolset_name: None = None


class UserMessage(Wire):
    role: Literal["user"]
    content: str | list[Annotated[TextBlock | ToolResultBlock, Field(discriminator="type")]]


class AssistantMessage(Wire):
    """Takes back what clients got as an answer."""

    role: Literal["assistant"]
    content: str | list[Annotated[TextBlock | ToolUseBlock, Field(discriminator="type")]]


class SystemMessage(Wire):
    """Instructions in the midst of a conversation."""

    role: Literal["system"]
    content: str | list[TextBlock]
    clear_at: Literal["never"] | None = None
    output_config: None = None


AnyMessage = Annotated[UserMessage | AssistantMessage | SystemMessage, Field(discriminator="role")]


class Tool(Wire):
    """A tool that the client runs. Those that Anthropic's own servers run are refused by their type."""

    type: Literal["custom"] | None = None
    name: str
    input_schema: dict[str, Any]
    description: str | None = None
    input_examples: list[dict[str, Any]] | None = None
    strict: bool | None = None
    """Accepted either way: every call is constrained by its schema."""
    eager_input_streaming: bool | None = None
    """Accepted either way: calls are decoded beside each other and streamed whole, each as soon as it is complete."""
    cache_control: CacheControl | None = None
    allowed_callers: list[Literal["direct"]] | None = None
    defer_loading: Literal[False] | None = None


class AutoChoice(Wire):
    type: Literal["auto"]
    disable_parallel_tool_use: bool | None = None


class AnyChoice(Wire):
    type: Literal["any"]
    disable_parallel_tool_use: bool | None = None


class ToolChoice(Wire):
    type: Literal["tool"]
    name: str
    disable_parallel_tool_use: bool | None = None


class NoneChoice(Wire):
    type: Literal["none"]


class Thinking(Wire):
    type: Literal["disabled"]


class JsonFormat(Wire):
    type: Literal["json_schema"]
    schema_: dict[str, Any] = Field(alias="schema")


class OutputConfig(Wire):
    format: JsonFormat | None = None
    effort: None = None


class Metadata(Wire):
    user_id: str | None = None


class ThreadCreate(Wire):
    type: Literal["create"]


class ThreadContinue(Wire):
    type: Literal["continue"]
    previous_message_id: str


class Prompt(Wire):
    """What a request has the model read: all that `count_tokens` takes."""

    model: str
    messages: list[AnyMessage]
    system: str | list[TextBlock] | None = None
    tools: list[Tool] | None = None
    tool_choice: Annotated[AutoChoice | AnyChoice | ToolChoice | NoneChoice, Field(discriminator="type")] | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    polycall: Extension | None = None

    cache_control: CacheControl | None = None
    speed: Literal["standard"] | None = None

    context_management: None = None
    mcp_servers: Annotated[list[Any], Field(max_length=0)] | None = None
    output_format: JsonFormat | None = None
    """The name of `output_config.format` in older clients."""
    user_profile_id: None = None


class MessagesRequest(Prompt):
    max_tokens: Annotated[int, Field(ge=1)]
    stream: bool | None = None
    temperature: Annotated[float, Field(ge=0, le=1)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    stop_sequences: (
        Annotated[list[Annotated[str, Field(min_length=1)]], Field(max_length=STOP_SEQUENCES_LIMIT)] | None
    ) = None
    thread: Annotated[ThreadCreate | ThreadContinue, Field(discriminator="type")] | None = None

    metadata: Metadata | None = None
    service_tier: Literal["auto", "standard_only"] | None = None

    billing_policy: None = None
    compaction: None = None
    container: None = None
    diagnostics: None = None
    fallback_credit_token: None = None
    fallbacks: None = None
    inference_geo: None = None
    top_k: None = None
