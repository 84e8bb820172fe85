"""Programs of Node with OpenAI's package, which npm installs once into the cache, outside the repository."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

PACKAGE = "openai@7.55.0"
PROGRAMS = Path(__file__).parent / "node"
NO_REGISTRY = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ENETUNREACH", "ETIMEDOUT", "ENOTCACHED")
"""What npm says where it finds no registry."""


def installed() -> Path:
    """The folder of modules with the package in it. Skips the test where there is no npm, or no registry for it."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not here")
    cache = Path(os.environ.get("POLYCALL_CACHE") or "~/.cache/polycall").expanduser() / "node"
    folder = cache / PACKAGE
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / f"{PACKAGE}.lock"):
        if not folder.is_dir():
            install(cache / f"{PACKAGE}.partial")
            (cache / f"{PACKAGE}.partial").rename(folder)
    return folder / "node_modules"


def install(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)  # what an installation that was killed left behind
    folder.mkdir()
    patience = ["--fetch-retries=1", "--fetch-timeout=30000"]
    command = [
        "npm",
        "install",
        "--no-audit",
        "--no-fund",
        "--ignore-scripts",
        *patience,
        "--prefix",
        str(folder),
        PACKAGE,
    ]
    npm = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240, check=False)
    if npm.returncode:
        missing = [line for line in npm.stderr.splitlines() if any(reason in line for reason in NO_REGISTRY)]
        assert missing, npm.stderr
        pytest.skip(f"npm finds no registry: {missing[0]}")


def run(program: str, *arguments: str) -> dict[str, Any]:
    """What the program printed, as JSON."""
    node = subprocess.run(
        ["node", str(PROGRAMS / program), *arguments],
        env={**os.environ, "NODE_PATH": str(installed()), "NODE_OPTIONS": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert node.returncode == 0, node.stderr
    printed: dict[str, Any] = json.loads(node.stdout)
    return printed
