"""A Hugging Face tokenizer, as the grammars see it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import jinja2
from llguidance import LLTokenizer
from tokenizers import Tokenizer as Backend
from transformers import AutoConfig, AutoTokenizer, GenerationConfig, PreTrainedTokenizerFast

from grammars.errors import ConfigurationError, RequestError


class HuggingFaceTokenizer:
    """Adapts a fast tokenizer to `grammars.tokenizer.Tokenizer`. Immutable; safe to share between threads."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, end_ids: frozenset[int], vocabulary_size: int) -> None:
        self._tokenizer = tokenizer
        self._end_ids = end_ids
        self._vocabulary_size = vocabulary_size

    @classmethod
    def load(cls, folder: Path, *, vocabulary_size: int) -> HuggingFaceTokenizer:
        """The tokenizer of a model folder. `vocabulary_size` is the width of the model's logits, padding included."""
        # Mistral's own format knows no templates and no grammars; its models have the common one beside it.
        tokenizer = AutoTokenizer.from_pretrained(folder, mistral_format=False)
        if not isinstance(tokenizer, PreTrainedTokenizerFast):
            raise ConfigurationError(f"{folder} has no fast tokenizer (tokenizer.json), which the grammars need")
        add_no_spaces(tokenizer.backend_tokenizer)
        return cls(tokenizer, end_ids_of(folder, tokenizer), vocabulary_size)

    @property
    def end_ids(self) -> frozenset[int]:
        return self._end_ids

    @cached_property
    def grammar_tokenizer(self) -> LLTokenizer:
        backend = self._tokenizer.backend_tokenizer
        return LLTokenizer(backend.to_str(), n_vocab=self._vocabulary_size, eos_token=sorted(self._end_ids))

    @cached_property
    def special_tokens(self) -> frozenset[str]:
        added = self._tokenizer.added_tokens_decoder
        return frozenset(str(added[token]) for token in added if self.grammar_tokenizer.is_special_token(token))

    @property
    def chat_template(self) -> str:
        template = self._tokenizer.chat_template or ""
        return template if isinstance(template, str) else json.dumps(template)

    @property
    def renders_tools(self) -> bool:
        return "tools" in self.chat_template

    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer.encode(text, add_special_tokens=False))

    def decode(self, ids: Sequence[int]) -> str:
        text = self._tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        assert isinstance(text, str)  # one list of ids gives one text
        return text

    def render_chat(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None) -> str:
        if not self._tokenizer.chat_template:
            raise ConfigurationError("the model has no chat template; serve an instruction-tuned model")
        try:
            text = self._tokenizer.apply_chat_template(
                [dict(message) for message in messages],
                tools=[dict(tool) for tool in tools] if tools else None,
                add_generation_prompt=True,
                tokenize=False,
            )
        except jinja2.TemplateError as error:
            raise RequestError(f"the model's chat template refuses this conversation: {error}", place="messages") from (
                error
            )
        assert isinstance(text, str)  # tokenize=False
        return text


def add_no_spaces(tokenizer: Backend) -> None:
    """Make a tokenizer that puts a space before every text encode texts as they are.

    Texts are encoded in pieces here, and templates write the spaces that a model expects.
    """
    described = json.loads(tokenizer.to_str())
    spaceless = {**described, "normalizer": spaceless_part(described["normalizer"])}
    spaceless["pre_tokenizer"] = spaceless_part(described["pre_tokenizer"])
    if spaceless == described:
        return
    made = Backend.from_str(json.dumps(spaceless))
    tokenizer.normalizer, tokenizer.pre_tokenizer = made.normalizer, made.pre_tokenizer


def spaceless_part(part: Any) -> Any:
    """A normalizer or pre-tokenizer, as `tokenizers` describes it, without what puts a space before the text."""
    if part is None or part["type"] == "Prepend":
        return None
    if part["type"] == "Metaspace":
        return {**part, "prepend_scheme": "never"}
    for members in {"normalizers", "pretokenizers"} & part.keys():
        part = {**part, members: [kept for member in part[members] if (kept := spaceless_part(member)) is not None]}
    return part


def load_tokenizer(folder: Path) -> tuple[HuggingFaceTokenizer, int]:
    """The tokenizer of a model folder, and the model's context in tokens; the weights are not looked at."""
    config = AutoConfig.from_pretrained(folder).get_text_config()
    tokenizer = HuggingFaceTokenizer.load(folder, vocabulary_size=config.vocab_size)
    return tokenizer, config.max_position_embeddings


def end_ids_of(folder: Path, tokenizer: PreTrainedTokenizerFast) -> frozenset[int]:
    """The tokens that end an answer: those of the generation settings, and the tokenizer's own end token."""
    ids = {tokenizer.eos_token_id} if tokenizer.eos_token_id is not None else set()
    if (folder / "generation_config.json").exists():
        configured = GenerationConfig.from_pretrained(folder).eos_token_id
        ids |= set(configured) if isinstance(configured, list) else {configured}
    ids.discard(None)
    if not ids:
        raise ConfigurationError(f"{folder} names no end token (eos_token_id)")
    return frozenset(ids)
