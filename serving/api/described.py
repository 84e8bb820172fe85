"""What the endpoints read and write, for the OpenAPI document: the wires' own request models, the vendors' answers."""

from __future__ import annotations

from anthropic.types import Message, MessageTokensCount, RawMessageStreamEvent
from google.genai.types import CountTokensResponse, GenerateContentResponse
from openai.pagination import SyncPage
from openai.types import Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseItemList, ResponseStreamEvent

from serving.api.anthropic_messages.wire import MessagesRequest, Prompt
from serving.api.document import Described
from serving.api.gemini.models import ModelPage, ServedModel
from serving.api.gemini.wire import CountTokensRequest, GenerateContentRequest
from serving.api.openai_chat.wire import ChatRequest
from serving.api.openai_responses.input_items import LIMITS
from serving.api.openai_responses.wire import ResponsesRequest

GEMINI = "/v1beta/models/{model}"

DESCRIBED = {
    "GET /v1/models": Described(name="ModelList", answer=SyncPage[Model], is_turn=False),
    "GET /v1/models/{name}": Described(name="Model", answer=Model, is_turn=False),
    "POST /v1/chat/completions": Described(
        name="Chat", body=ChatRequest, answer=ChatCompletion, event=ChatCompletionChunk
    ),
    "POST /v1/responses": Described(
        name="Responses", body=ResponsesRequest, answer=Response, event=ResponseStreamEvent
    ),
    "GET /v1/responses/{response_id}": Described(name="Responses", answer=Response, is_turn=False),
    "GET /v1/responses/{response_id}/input_items": Described(
        name="InputItems",
        answer=ResponseItemList,
        is_turn=False,
        queries={
            "limit": {"type": "integer", "minimum": LIMITS[0], "maximum": LIMITS[-1]},
            "order": {"enum": ["asc", "desc"]},
            "after": {"type": "string"},
        },
    ),
    "POST /v1/messages": Described(name="Messages", body=MessagesRequest, answer=Message, event=RawMessageStreamEvent),
    "POST /v1/messages/count_tokens": Described(
        name="MessagesCount", body=Prompt, answer=MessageTokensCount, is_turn=False
    ),
    "GET /v1beta/models": Described(
        name="GeminiModelList",
        answer=ModelPage,
        is_turn=False,
        queries={
            "pageSize": {"type": "integer", "minimum": 0},
            "pageToken": {"type": "string", "pattern": "^[0-9]{0,9}$"},
        },
    ),
    "GET /v1beta/models/{name}": Described(name="GeminiModel", answer=ServedModel, is_turn=False),
    f"POST {GEMINI}:generateContent": Described(
        name="Gemini", body=GenerateContentRequest, answer=GenerateContentResponse
    ),
    f"POST {GEMINI}:streamGenerateContent": Described(
        name="Gemini",
        body=GenerateContentRequest,
        answer=GenerateContentResponse,
        event=GenerateContentResponse,
        is_listed=True,
        queries={"alt": {"enum": ["sse", "json"]}},
    ),
    f"POST {GEMINI}:countTokens": Described(
        name="GeminiCount", body=CountTokensRequest, answer=CountTokensResponse, is_turn=False
    ),
}
"""By method and path, as the document has them."""
