"""The request of Gemini's generateContent, field by field: honoured, or refused by name.

Fields that only label a request (`labels`, `partMetadata`), or describe a tool's result (`response`), have no influence
on the answer. A thought signature, which this server never sends, is taken back untouched and says nothing.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from serving.api.extension import Extension
from serving.api.gemini.base import GeminiWire
from serving.api.gemini.schema import Schema


class FunctionCall(GeminiWire):
    id: str | None = None
    name: Annotated[str, Field(min_length=1)]
    args: dict[str, Any] | None = None
    partial_args: None = None
    will_continue: Literal[False] | None = None


class FunctionResponse(GeminiWire):
    id: str | None = None
    name: str | None = None
    response: dict[str, Any] | None = None
    parts: None = None
    scheduling: None = None
    will_continue: Literal[False] | None = None


class Part(GeminiWire):
    """Just one of `text`, `functionCall` and `functionResponse`."""

    text: str | None = None
    function_call: FunctionCall | None = None
    function_response: FunctionResponse | None = None
    thought_signature: str | None = None
    part_metadata: dict[str, Any] | None = None
    thought: Literal[False] | None = None
    audio_metadata: None = None
    audio_transcription: None = None
    code_execution_result: None = None
    document_metadata: None = None
    executable_code: None = None
    file_data: None = None
    inline_data: None = None
    media_processing: None = None
    media_resolution: None = None
    speech_metadata: None = None
    spreadsheet_metadata: None = None
    tool_call: None = None
    tool_response: None = None
    video_metadata: None = None


class Content(GeminiWire):
    parts: list[Part] | None = None
    role: Literal["user", "model", "function"] | None = None
    """`user` where it is missing. `function`, from before results came from the user, is the same."""


class SystemInstruction(GeminiWire):
    parts: list[Part]
    role: str | None = None
    """Of no meaning to Google: what stands here is the system's word."""


class FunctionDeclaration(GeminiWire):
    name: str
    description: str | None = None
    parameters: Schema | None = None
    parameters_json_schema: dict[str, Any] | None = None
    response: dict[str, Any] | None = None
    response_json_schema: Any = None
    behavior: Literal["UNSPECIFIED", "BLOCKING"] | None = None


class ToolGroup(GeminiWire):
    """Google's `Tool`: a group of functions, or one of its own services, of which there are none here."""

    function_declarations: list[FunctionDeclaration] | None = None
    code_execution: None = None
    computer_use: None = None
    file_search: None = None
    google_maps: None = None
    google_search: None = None
    google_search_retrieval: None = None
    mcp_servers: None = None
    url_context: None = None


Mode = Literal["MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED"]


class FunctionCallingConfig(GeminiWire):
    mode: Mode | None = None
    allowed_function_names: list[str] | None = None
    stream_function_call_arguments: Literal[False] | None = None


class ToolConfig(GeminiWire):
    function_calling_config: FunctionCallingConfig | None = None
    include_server_side_tool_invocations: Literal[False] | None = None
    retrieval_config: None = None


class ThinkingConfig(GeminiWire):
    """The model does not think aloud; asking it not to is fine."""

    include_thoughts: Literal[False] | None = None
    thinking_budget: Literal[0] | None = None
    thinking_level: None = None


class GenerationConfig(GeminiWire):
    candidate_count: Literal[1] | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    stop_sequences: Annotated[list[Annotated[str, Field(min_length=1)]], Field(max_length=5)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    response_mime_type: Literal["text/plain", "application/json"] | None = None
    response_schema: Schema | None = None
    response_json_schema: dict[str, Any] | None = None
    response_logprobs: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    thinking_config: ThinkingConfig | None = None
    response_modalities: list[Literal["TEXT"]] | None = None
    frequency_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    presence_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    enable_enhanced_civic_answers: Literal[False] | None = None
    enable_affective_dialog: Literal[False] | None = None
    audio_timestamp: Literal[False] | None = None
    audio_transcription_config: None = None
    image_config: None = None
    media_resolution: None = None
    model_selection_config: None = None
    response_format: None = None
    routing_config: None = None
    speech_config: None = None
    top_k: None = None
    translation_config: None = None


class SafetySetting(GeminiWire):
    """Nothing is blocked here, which is all that can be asked for."""

    category: str
    threshold: Literal["OFF", "BLOCK_NONE"]
    method: None = None


class GenerateContentRequest(GeminiWire):
    """`model` stands in the path too, and need not stand here."""

    contents: list[Content]
    model: str | None = None
    system_instruction: SystemInstruction | None = None
    tools: list[ToolGroup] | None = None
    tool_config: ToolConfig | None = None
    generation_config: GenerationConfig | None = None
    polycall: Extension | None = None

    labels: dict[str, str] | None = None
    safety_settings: list[SafetySetting] | None = None
    cached_content: None = None
    continuation_token: None = None
    service_tier: Literal["unspecified", "standard"] | None = None
    store: Literal[False] | None = None


class CountTokensRequest(GeminiWire):
    """`contents` alone, or all of a request as generateContent takes it."""

    contents: list[Content] | None = None
    generate_content_request: GenerateContentRequest | None = None
