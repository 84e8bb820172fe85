"""Where the real data lies, for tests that read it."""

from __future__ import annotations

from pathlib import Path

import pytest

DATA = Path(__file__).parents[3] / "shared" / "data"
SEAL_TOOLS = DATA / "seal-tools" / "dev.jsonl"
TOOLRL = DATA / "toolrl" / "rlla_sft.json"

needs_data = pytest.mark.skipif(
    not (SEAL_TOOLS.is_file() and TOOLRL.is_file()), reason=f"Seal-Tools and ToolRL are not in {DATA}"
)
