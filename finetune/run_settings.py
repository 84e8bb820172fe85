"""The settings of a run, kept in its folder, so that it goes on with the settings with which it began."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from finetune.training_config import TrainingConfig
from grammars.errors import ConfigurationError

SETTINGS = "settings.json"
"""The file of a run that says with which settings it was last started."""

MAY_CHANGE = frozenset({"checkpoint_steps", "recompute"})
"""What has no part in what is learned. Besides, steps may become more."""


def write_settings(folder: Path, config: TrainingConfig) -> None:
    """Raises `ConfigurationError` where the file cannot be written."""
    path = folder / SETTINGS
    unfinished = path.with_suffix(".unfinished")
    try:
        unfinished.write_text(config.model_dump_json(indent=1) + "\n")
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise ConfigurationError(f"{path} cannot be written: {error}") from error


def refuse_other_settings(folder: Path, config: TrainingConfig) -> None:
    """Raises `ConfigurationError` that names each setting in which a run that has begun there differs.

    A folder without settings is of a run that was begun before they were kept: it goes on as it is told.
    """
    path = folder / SETTINGS
    if not path.exists():
        return
    try:
        begun = TrainingConfig.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = "they are not of this version" if isinstance(error, ValidationError) else str(error)
        raise ConfigurationError(f"the settings of the run cannot be read from {path}: {reason}") from error
    was, told = flat(begun.model_dump()), flat(config.model_dump())
    names = [
        name
        for name in dict.fromkeys([*was, *told])
        if was.get(name) != told.get(name) and name not in MAY_CHANGE and not (name == "steps" and is_more(told, was))
    ]
    if names:
        changed = "; ".join(
            f"{name} was {json.dumps(was.get(name))}, not {json.dumps(told.get(name))}" for name in names
        )
        raise ConfigurationError(
            f"the run in {folder} has begun with other settings, and others need a folder of their own: {changed}"
        )


def is_more(told: Mapping[str, Any], was: Mapping[str, Any]) -> bool:
    return bool(told["steps"] > was["steps"])


def flat(settings: Mapping[str, Any], part: str = "") -> dict[str, Any]:
    """The settings with the names of their parts, such as `lora.rank`."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{part}{name}.")
        else:
            found[f"{part}{name}"] = value
    return found
