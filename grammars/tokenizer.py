"""What the grammars need of a tokenizer. Adapters for real tokenizers live in `serving/engines`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from llguidance import LLTokenizer


class Tokenizer(Protocol):
    """Text to token ids and back for one model. Immutable, and safe to share between threads."""

    @property
    def grammar_tokenizer(self) -> LLTokenizer:
        """The same vocabulary as the grammar library sees it."""
        ...

    @property
    def end_ids(self) -> frozenset[int]:
        """The tokens with which the model ends its answer."""
        ...

    @property
    def special_tokens(self) -> frozenset[str]:
        """The texts of the tokens that steer the model, such as those between messages."""
        ...

    def encode(self, text: str) -> tuple[int, ...]:
        """The ids of `text`. Special tokens written in the text become those tokens; none are added."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`, special tokens included. A character cut in the middle becomes U+FFFD."""
        ...

    def render_chat(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None) -> str:
        """The model's own chat template over these messages, ending where the assistant begins to write.

        `messages` and `tools` have the shape of the OpenAI API. Raises `RequestError` if the template refuses them.
        """
        ...

    @property
    def chat_template(self) -> str:
        """The source of the model's chat template (Jinja); empty if it has none."""
        ...

    @property
    def renders_tools(self) -> bool:
        """Whether the model's chat template writes tools, calls and results by itself."""
        ...
