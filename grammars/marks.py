"""Marks: reserved tokens that a vocabulary already has, which open the streams of a model that was trained for them.

A mark is one token that no text can spell, so a stream says what it is for in a single token, and no matrix of the
model has to grow. Which tokens of a family are free for it is this table.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Marks:
    """What opens a tally, an outline and a call, and what stands between a call's subject and its arguments."""

    tally: str
    outline: str
    call: str
    arguments: str

    @property
    def tokens(self) -> frozenset[str]:
        """All of them."""
        return frozenset({self.tally, self.outline, self.call, self.arguments})

    def fit(self, special_tokens: Set[str]) -> bool:
        """Whether a vocabulary with these special tokens has them all."""
        return self.tokens <= special_tokens


SMOLLM2 = Marks(tally="<jupyter_start>", outline="<jupyter_text>", call="<jupyter_code>", arguments="<jupyter_output>")

QWEN2 = Marks(tally="<|object_ref_start|>", outline="<|object_ref_end|>", call="<|box_start|>", arguments="<|box_end|>")

MISTRAL_V3 = Marks(tally="[control_12]", outline="[control_13]", call="[control_14]", arguments="[control_15]")

FAMILIES = {"smollm2": SMOLLM2, "qwen2": QWEN2, "mistral-v3": MISTRAL_V3}
"""The marks by the family of the vocabulary: SmolLM2's notebooks, Qwen's picture references, Mistral's controls."""
