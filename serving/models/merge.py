"""Merge: an adapter's low-rank matrices added to the weights that they were learned on.

Each adapted matrix W becomes W + scale * B @ A (arXiv:2106.09685), computed in float32 and stored in W's own type. No
library of adapters is needed for it; what a plain adapter does not have is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from grammars.errors import ConfigurationError
from serving.models.adapter import ADAPTER_WEIGHTS, adapter_scale

BEFORE = "base_model.model."
"""What peft puts before the name of a module of the base."""

STORED = (torch.bfloat16, torch.float16, torch.float32)
"""The types of weights that can be added to. Others are codes of a quantiser."""


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """For each weight of the base by its name the factors A and B, and the scale of their product."""

    scale: float
    factors: Mapping[str, tuple[torch.Tensor, torch.Tensor]]


def read_adapter(folder: Path) -> Adapter:
    """The adapter in a folder. Raises `ConfigurationError` for one that is not plain low-rank."""
    scale = adapter_scale(folder)
    left = load_file(folder / ADAPTER_WEIGHTS)
    factors = {}
    for name in [name for name in left if name.endswith(".lora_A.weight")]:
        module = name.removesuffix(".lora_A.weight")
        if f"{module}.lora_B.weight" in left:
            pair = (left.pop(name), left.pop(f"{module}.lora_B.weight"))
            factors[f"{module.removeprefix(BEFORE)}.weight"] = pair
    if left:
        raise ConfigurationError(f"the adapter in {str(folder)!r} is not a plain one: it has {min(left)!r}")
    return Adapter(scale=scale, factors=factors)


def merge_adapter(base: Path, adapter_folder: Path, folder: Path) -> None:
    """Write the base's weights with the adapter's added to them into `folder`, one file for each that the base has.

    Raises `ConfigurationError` where the adapter was learned on a base of another shape.
    """
    adapter = read_adapter(adapter_folder)
    left = set(adapter.factors)
    for path in sorted(base.glob("*.safetensors")):
        weights = load_file(path)
        for name in left & weights.keys():
            weights[name] = merged(name, weights[name], adapter)
        left -= weights.keys()
        save_file(weights, folder / path.name, metadata={"format": "pt"})
    if left:
        raise other_base(f"{min(left)!r} is not there")


def merged(name: str, weight: torch.Tensor, adapter: Adapter) -> torch.Tensor:
    """One weight with its part of the adapter added."""
    a, b = adapter.factors[name]
    if weight.dtype not in STORED:
        raise ConfigurationError(f"an adapter cannot be merged into quantised weights, and {name!r} is {weight.dtype}")
    if weight.shape != (b.shape[0], a.shape[1]):
        raise other_base(f"{name!r} is {' x '.join(map(str, weight.shape))}, not {b.shape[0]} x {a.shape[1]}")
    return (weight.float() + (b.float() @ a.float()) * adapter.scale).to(weight.dtype)


def other_base(reason: str) -> ConfigurationError:
    return ConfigurationError(f"the adapter was learned on another base model than the one given, in which {reason}")
