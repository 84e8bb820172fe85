"""The model: one forward pass over tokens of many rows, each attending inside its own row only.

The weights see one packed sequence of tokens, whoever they belong to; only attention is taken row by row. It replaces
the model's own attention through transformers' registry (its "Attention Interface" page), so any architecture that
supports the registry works unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AutoConfig, AutoModelForCausalLM, PreTrainedModel

from grammars.errors import ConfigurationError
from serving.engines.transformers.row import Row, Shape

ATTENTION = "polycall_tree"


@dataclass(frozen=True, kw_only=True)
class Span:
    """Consecutive tokens of one branch of one row, to be read in a forward pass."""

    row: Row
    branch: int
    tokens: Sequence[int]
    first_position: int
    wants_logits: bool


@dataclass(kw_only=True)
class RowPart:
    """The tokens of a forward pass that belong to one row: where they stand, and what they may see."""

    row: Row
    begin: int
    end: int
    slots: torch.Tensor
    branch: torch.Tensor
    position: torch.Tensor
    masks: dict[int | None, torch.Tensor] = field(default_factory=dict)

    def mask(self, window: int | None, group: int) -> torch.Tensor:
        """The additive mask `[group * queries, keys]`, computed once for all layers with the same window."""
        if window not in self.masks:
            self.masks[window] = self.row.mask(self.branch, self.position, window).repeat(group, 1)
        return self.masks[window]


def tree_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    parts: Sequence[RowPart],
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of packed tokens, row by row: store their keys and values, then look at the whole row.

    Shapes: query `[1, heads, tokens, width]`, key and value `[1, key_heads, tokens, width]`. Query heads that share a
    key head are laid end to end as more queries, so keys are never repeated.
    """
    assert attention_mask is None  # the row's own mask governs
    if softcap is not None:
        raise ConfigurationError("models with soft-capped attention scores are not supported by this engine")
    layer = module.layer_idx
    assert isinstance(layer, int)
    key_heads = key.shape[1]
    group = query.shape[1] // key_heads
    outputs = []
    for part in parts:
        row, count = part.row, part.end - part.begin
        row.keys[layer, :, part.slots] = key[0, :, part.begin : part.end]
        row.values[layer, :, part.slots] = value[0, :, part.begin : part.end]
        output = scaled_dot_product_attention(
            query[:, :, part.begin : part.end].reshape(1, key_heads, group * count, -1),
            row.keys[layer, None, :, : row.used],
            row.values[layer, None, :, : row.used],
            attn_mask=part.mask(sliding_window, group)[None, None],
            scale=scaling,
        )
        outputs.append(output.reshape(1, key_heads * group, count, -1))
    joined = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=2)
    return joined.transpose(1, 2).contiguous(), None


AttentionInterface.register(ATTENTION, tree_attention)


class TreeModel:
    """A causal language model that reads spans of many rows in one pass. Used from one thread."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._model.train(False)
        config = model.config.get_text_config()
        heads = config.num_attention_heads
        width = getattr(config, "head_dim", None) or config.hidden_size // heads
        self.context_length: int = config.max_position_embeddings
        self.vocabulary_size: int = config.vocab_size
        self.device: torch.device = model.device
        self.shape = Shape(
            layers=config.num_hidden_layers,
            heads=getattr(config, "num_key_value_heads", None) or heads,
            key_width=width,
            value_width=width,
            dtype=model.dtype,
            device=model.device,
        )

    @classmethod
    def load(cls, folder: Path, *, device: str, dtype: str) -> TreeModel:
        """Load the weights. `dtype` is a torch type's name, or `auto` for the one they are stored in."""
        config = AutoConfig.from_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=dtype if dtype == "auto" else getattr(torch, dtype),
            attn_implementation=ATTENTION,
        )
        placed: PreTrainedModel = torch.nn.Module.to(model, torch.device(device))
        return cls(placed)

    @torch.inference_mode()
    def read(self, spans: Sequence[Span]) -> torch.Tensor:
        """Read the spans' tokens into their rows; logits `[wanted, vocabulary]` after each span that wants them.

        Spans of one row must stand together. A span sees its row's prefix and its own branch, tokens of this very
        pass included, so a prefix and the branches over it may be read in one pass.
        """
        parts, ends, begin = [], [], 0
        tokens: list[int] = []
        group: list[Span] = []
        for index, span in enumerate(spans):
            group.append(span)
            tokens.extend(span.tokens)
            if span.wants_logits:
                ends.append(len(tokens) - 1)
            if index + 1 == len(spans) or spans[index + 1].row is not span.row:
                parts.append(self._part(group, begin))
                begin, group = len(tokens), []
        positions = torch.cat([part.position for part in parts])
        forward: Any = self._model  # its signature names only what every model takes
        output = forward(
            input_ids=torch.tensor([tokens], device=self.device),
            position_ids=positions[None].long(),
            use_cache=False,
            logits_to_keep=torch.tensor(ends or [len(tokens) - 1], device=self.device),
            parts=parts,
        )
        logits: torch.Tensor = output.logits[0]
        return logits[: len(ends)].float()

    def _part(self, spans: Sequence[Span], begin: int) -> RowPart:
        row = spans[0].row
        slots = [slot for span in spans for slot in row.take(span.branch, span.first_position, len(span.tokens))]
        where = torch.tensor(slots, device=self.device)
        return RowPart(
            row=row,
            begin=begin,
            end=begin + len(slots),
            slots=where,
            branch=row.branch[where],
            position=row.position[where],
        )
