"""The request of OpenAI's Responses, field by field: honoured, or refused by name.

A field whose type leaves one value (`background`, `truncation`, ...) may be given that value, which asks for nothing,
or be left out. Fields that only label a request (`user`, `metadata`, ...) have no influence on what is answered; the
answer repeats them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from serving.api.extension import Extension
from serving.api.mcp_tools import McpTool
from serving.api.openai_responses.items import Item
from serving.api.wire import Wire

MOST_LOGPROBS = 20


class FunctionTool(Wire):
    type: Literal["function"]
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    """Accepted either way: every call is constrained by its schema."""
    defer_loading: Literal[False] | None = None
    allowed_callers: list[Literal["direct"]] | None = None
    output_schema: None = None
    asynchronous: Literal[False] | None = Field(default=None, alias="async")


class FunctionChoice(Wire):
    type: Literal["function"]
    name: str


class McpChoice(Wire):
    type: Literal["mcp"]
    server_label: str
    name: str | None = None


OneTool = Annotated[FunctionChoice | McpChoice, Field(discriminator="type")]


class AllowedToolsChoice(Wire):
    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: list[OneTool]


class TextFormat(Wire):
    type: Literal["text"]


class JsonObjectFormat(Wire):
    type: Literal["json_object"]


class JsonSchemaFormat(Wire):
    type: Literal["json_schema"]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    schema_: dict[str, Any] = Field(alias="schema")
    description: str | None = None
    strict: bool | None = None
    """Accepted either way: the answer is constrained by its schema."""


class TextConfig(Wire):
    format: Annotated[TextFormat | JsonObjectFormat | JsonSchemaFormat, Field(discriminator="type")] | None = None
    verbosity: Literal["medium"] | None = None


class StreamOptions(Wire):
    include_obfuscation: Literal[False] | None = None


class Reasoning(Wire):
    effort: Literal["none"] | None = None
    summary: None = None
    generate_summary: None = None


LOGPROBS = "message.output_text.logprobs"

Include = Literal[
    "message.output_text.logprobs",
    "reasoning.encrypted_content",
    "web_search_call.results",
    "web_search_call.action.sources",
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
    "file_search_call.results",
    "message.input_image.image_url",
]
"""Of what may be included, answers here have the first only; nothing is left out that they have."""

Label = Annotated[str, Field(max_length=512)]


class ResponsesRequest(Wire):
    model: str
    input: str | list[Item]
    instructions: str | None = None
    previous_response_id: str | None = None
    store: bool | None = None
    tools: list[Annotated[FunctionTool | McpTool, Field(discriminator="type")]] | None = None
    tool_choice: (
        Literal["none", "auto", "required"]
        | Annotated[FunctionChoice | McpChoice | AllowedToolsChoice, Field(discriminator="type")]
        | None
    ) = None
    parallel_tool_calls: bool | None = None
    max_tool_calls: Annotated[int, Field(ge=1)] | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    text: TextConfig | None = None
    include: list[Include] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MOST_LOGPROBS)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    polycall: Extension | None = None

    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    metadata: Annotated[dict[Annotated[str, Field(max_length=64)], Label], Field(max_length=16)] | None = None

    background: Literal[False] | None = None
    truncation: Literal["disabled"] | None = None
    service_tier: Literal["auto", "default"] | None = None
    reasoning: Reasoning | None = None
    prompt_cache_retention: Literal["in_memory"] | None = None
    access_programs: None = None
    context_management: None = None
    conversation: None = None
    image: None = None
    moderation: None = None
    prompt: None = None
    prompt_cache_options: None = None
