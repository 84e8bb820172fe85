"""Small random models of the architectures that recipes train, a tokenizer of one token a byte, and a row of data."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    set_seed,
)

from grammars.marks import FAMILIES
from serving.engines.byte_tokenizer import CHAT_TEMPLATE, SPECIAL_TOKENS

ARCHITECTURES: dict[str, tuple[type[PreTrainedConfig], str]] = {
    "mistral": (MistralConfig, "mistral-v3"),
    "qwen": (Qwen2Config, "qwen2"),
    "smollm2": (LlamaConfig, "smollm2"),
}
"""What stands in for a model, by how its name begins, and the family of its vocabulary."""

SMALL = {
    "vocab_size": 320,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
}

TOOL = {
    "name": "count_lighthouses",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
ROW = {
    "messages": [
        {"role": "user", "content": "How many lighthouses have Bern and Oslo?"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {
                    "id": f"call_{city}",
                    "type": "function",
                    "function": {"name": "count_lighthouses", "arguments": json.dumps({"city": city})},
                }
                for city in ("Bern", "Oslo")
            ],
        },
    ],
    "tools": [{"type": "function", "function": TOOL}],
}


def small_model(folder: Path, model: str) -> Path:
    """A random model of the architecture of the one of this name, with one token a byte and the family's marks."""
    architecture, family = next(found for name, found in ARCHITECTURES.items() if model.startswith(name))
    set_seed(3)
    AutoModelForCausalLM.from_config(architecture(**SMALL)).save_pretrained(folder)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={symbol: index for index, symbol in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    marks = sorted(FAMILIES[family].tokens)
    backend.add_special_tokens([AddedToken(text, special=True) for text in (*SPECIAL_TOKENS, *marks)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>", chat_template=CHAT_TEMPLATE)
    tokenizer.save_pretrained(folder)
    return folder
