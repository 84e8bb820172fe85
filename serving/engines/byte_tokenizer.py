"""ByteTokenizer: one token a byte and a few special ones. A real tokenizer that needs no file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from llguidance import LLTokenizer, TokenizerWrapper

SPECIAL_TOKENS = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
FIRST_SPECIAL = 256
SPECIAL_PATTERN = re.compile("(" + "|".join(map(re.escape, SPECIAL_TOKENS)) + ")")
END_ID = FIRST_SPECIAL + SPECIAL_TOKENS.index("<|im_end|>")

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n"
)


class ByteTokenizer:
    """One token a byte, and ChatML's special tokens."""

    def __init__(self) -> None:
        self._known = LLTokenizer(TokenizerWrapper(ByteVocabulary()), eos_token=sorted(self.end_ids))

    @property
    def grammar_tokenizer(self) -> LLTokenizer:
        return self._known

    @property
    def end_ids(self) -> frozenset[int]:
        return frozenset({END_ID})

    @property
    def special_tokens(self) -> frozenset[str]:
        return frozenset(SPECIAL_TOKENS)

    @property
    def chat_template(self) -> str:
        return CHAT_TEMPLATE

    @property
    def renders_tools(self) -> bool:
        return False

    def encode(self, text: str) -> tuple[int, ...]:
        ids: list[int] = []
        for piece in SPECIAL_PATTERN.split(text):
            special = piece in SPECIAL_TOKENS
            ids += [FIRST_SPECIAL + SPECIAL_TOKENS.index(piece)] if special else piece.encode()
        return tuple(ids)

    def decode(self, ids: Sequence[int]) -> str:
        pieces: list[bytes] = [
            bytes([token]) if token < FIRST_SPECIAL else SPECIAL_TOKENS[token - FIRST_SPECIAL].encode() for token in ids
        ]
        return b"".join(pieces).decode(errors="replace")

    def render_chat(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None) -> str:
        assert not tools  # it renders none, and says so
        said = "".join(f"<|im_start|>{message['role']}\n{message['content']}<|im_end|>\n" for message in messages)
        return f"{said}<|im_start|>assistant\n"


class ByteVocabulary:
    """The vocabulary in the form that `TokenizerWrapper` reads."""

    def __init__(self) -> None:
        self.eos_token_id = END_ID
        self.bos_token_id = None
        bytes_alone = [bytes([byte]) for byte in range(FIRST_SPECIAL)]
        self.tokens = [*bytes_alone, *(token.encode() for token in SPECIAL_TOKENS)]
        self.special_token_ids = list(range(FIRST_SPECIAL, len(self.tokens)))

    def __call__(self, text: bytes) -> list[int]:
        return list(text)
