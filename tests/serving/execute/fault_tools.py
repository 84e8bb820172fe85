"""What the processes of the fault plans run."""

# ruff: noqa: ARG001 - tools that fail take what good ones take
from __future__ import annotations

import os
import time
from typing import Any


def give(value: Any) -> Any:
    return {"got": value, "text": "$ref:c0", "list": ["$ref:c1#/got"]}


def dies(value: Any) -> None:
    os._exit(9)


def hangs(value: Any) -> None:
    time.sleep(60)
