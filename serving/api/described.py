"""What the endpoints read and write, for the OpenAPI document: the wires' own request models, the vendors' answers."""

from __future__ import annotations

from anthropic.types import Message, MessageTokensCount, RawMessageStreamEvent
from google.genai.types import CountTokensResponse, GenerateContentResponse, ListModelsResponse
from google.genai.types import Model as GeminiModel
from openai.pagination import SyncPage
from openai.types import Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from serving.api.anthropic_messages.wire import MessagesRequest, Prompt
from serving.api.document import Described
from serving.api.gemini.wire import CountTokensRequest, GenerateContentRequest
from serving.api.openai_chat.wire import ChatRequest

GEMINI = "/v1beta/models/{model}"

DESCRIBED = {
    "GET /v1/models": Described(name="ModelList", answer=SyncPage[Model], is_turn=False),
    "GET /v1/models/{name}": Described(name="Model", answer=Model, is_turn=False),
    "POST /v1/chat/completions": Described(
        name="Chat", body=ChatRequest, answer=ChatCompletion, event=ChatCompletionChunk
    ),
    "POST /v1/messages": Described(name="Messages", body=MessagesRequest, answer=Message, event=RawMessageStreamEvent),
    "POST /v1/messages/count_tokens": Described(
        name="MessagesCount", body=Prompt, answer=MessageTokensCount, is_turn=False
    ),
    "GET /v1beta/models": Described(name="GeminiModelList", answer=ListModelsResponse, is_turn=False),
    "GET /v1beta/models/{name}": Described(name="GeminiModel", answer=GeminiModel, is_turn=False),
    f"POST {GEMINI}:generateContent": Described(
        name="Gemini", body=GenerateContentRequest, answer=GenerateContentResponse
    ),
    f"POST {GEMINI}:streamGenerateContent": Described(
        name="Gemini",
        body=GenerateContentRequest,
        answer=GenerateContentResponse,
        event=GenerateContentResponse,
        is_listed=True,
    ),
    f"POST {GEMINI}:countTokens": Described(
        name="GeminiCount", body=CountTokensRequest, answer=CountTokensResponse, is_turn=False
    ),
}
"""By method and path, as the document has them."""
