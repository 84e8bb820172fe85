"""The items of OpenAI's Responses that a request brings: what was said, called and found out before.

What an answer's `output` holds can come back as it is. Fields that only tell of an item (`id`, `status`, `phase`) have
no influence on how it is read; those whose type leaves one value may be given it or be left out.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, TypeAdapter

from serving.api.wire import Wire

ItemStatus = Literal["in_progress", "completed", "incomplete"]
Phase = Literal["commentary", "final_answer"]
Id = Annotated[str, Field(min_length=1)]


class InputText(Wire):
    type: Literal["input_text"]
    text: str
    prompt_cache_breakpoint: None = None


class OutputText(Wire):
    """Text of an answer; what was said of its tokens has no influence."""

    type: Literal["output_text"]
    text: str
    annotations: Annotated[list[Any], Field(max_length=0)] | None = None
    logprobs: list[Any] | None = None


class OutputRefusal(Wire):
    type: Literal["refusal"]
    refusal: str


AssistantPart = Annotated[OutputText | OutputRefusal | InputText, Field(discriminator="type")]


class InputMessage(Wire):
    type: Literal["message"]
    role: Literal["user", "system", "developer"]
    content: str | list[InputText]
    id: str | None = None
    status: ItemStatus | None = None
    phase: Phase | None = None


class AssistantMessage(Wire):
    type: Literal["message"]
    role: Literal["assistant"]
    content: str | list[AssistantPart]
    id: str | None = None
    status: ItemStatus | None = None
    phase: Phase | None = None


class FunctionCall(Wire):
    type: Literal["function_call"]
    call_id: Id
    name: str
    arguments: str
    id: str | None = None
    status: ItemStatus | None = None
    caller: None = None
    namespace: None = None
    asynchronous: Literal[False] | None = Field(default=None, alias="async")


class FunctionCallOutput(Wire):
    type: Literal["function_call_output"]
    call_id: Id
    output: str | list[InputText]
    id: str | None = None
    status: ItemStatus | None = None
    name: str | None = None
    """The name of the function, which must be the call's."""
    caller: None = None
    namespace: None = None


class McpCall(Wire):
    """A call that the server ran, with what came of it."""

    type: Literal["mcp_call"]
    id: Id
    server_label: str
    name: str
    arguments: str
    output: str | None = None
    error: str | dict[str, Any] | None = None
    status: ItemStatus | Literal["calling", "failed"] | None = None
    approval_request_id: str | None = None


class McpListTools(Wire):
    """What a server was found to offer. It has no influence: a turn lists the tools anew."""

    type: Literal["mcp_list_tools"]
    id: str | None = None
    server_label: str
    tools: list[dict[str, Any]]
    error: Any = None


class McpApprovalRequest(Wire):
    type: Literal["mcp_approval_request"]
    id: Id
    server_label: str
    name: str
    arguments: str


class McpApprovalResponse(Wire):
    type: Literal["mcp_approval_response"]
    approval_request_id: Id
    approve: bool
    reason: str | None = None
    id: str | None = None


def with_type(item: Any) -> Any:
    """The item; one without a `type` that has a `role` is a message."""
    return {"type": "message", **item} if isinstance(item, dict) and "type" not in item and "role" in item else item


Message = Annotated[InputMessage | AssistantMessage, Field(discriminator="role")]
Item = Annotated[
    Message | FunctionCall | FunctionCallOutput | McpCall | McpListTools | McpApprovalRequest | McpApprovalResponse,
    Field(discriminator="type"),
    BeforeValidator(with_type),
]

ITEMS: TypeAdapter[list[Item]] = TypeAdapter(list[Item])
