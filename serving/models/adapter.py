"""An adapter as a folder of two files, in peft's own format: what it is, and what stands for its content."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

from grammars.errors import ConfigurationError

ADAPTER_SETTINGS = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"

MOST_BYTES = 20_000_000
"""The most that the weights of an adapter in this package may take."""

NOT_PLAIN = (
    "alora_invocation_tokens",
    "alpha_pattern",
    "arrow_config",
    "fan_in_fan_out",
    "layer_replication",
    "rank_pattern",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_dora",
    "use_qalora",
    "use_rslora",
)
"""Settings under which an adapter is more than one product of matrices with one scale."""


def adapter_scale(folder: Path) -> float:
    """How much the product of an adapter's matrices counts. Raises `ConfigurationError` for one that is not plain."""
    settings = json.loads((folder / ADAPTER_SETTINGS).read_text(encoding="utf-8"))
    if settings["peft_type"] != "LORA":
        raise ConfigurationError(f"the adapter in {str(folder)!r} is {settings['peft_type']}, not LORA")
    if odd := [name for name in NOT_PLAIN if settings.get(name)]:
        raise ConfigurationError(f"the adapter in {str(folder)!r} is not a plain one: it has {', '.join(odd)}")
    scale: float = settings["lora_alpha"] / settings["r"]
    return scale


def adapter_fingerprint(folder: Path) -> str:
    """What stands for all that merging reads of an adapter."""
    return ":".join(sha256((folder / name).read_bytes()).hexdigest() for name in (ADAPTER_SETTINGS, ADAPTER_WEIGHTS))
