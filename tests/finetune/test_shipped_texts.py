"""No text that is shipped for training has words of a question of BFCL or When2Call, which has BFCL's."""

from __future__ import annotations

import ast
import json
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from finetune.bfcl import load_cases
from finetune.held_out import held_out_questions, plain, texts

pytestmark = pytest.mark.skipif(find_spec("bfcl_eval") is None, reason="bfcl-eval is not installed: scripts/setup")

SHIPPED = Path(__file__).parents[2] / "finetune"

WORDS = 8
"""So many words in a row are not the same by chance."""

EVERYBODY_S = ("the quick brown fox jumps over the lazy dog",)
"""What stands in BFCL without being its own."""


def runs(text: str) -> set[str]:
    """Every `WORDS` words in a row."""
    words = plain(text).split()
    return {" ".join(words[start : start + WORDS]) for start in range(len(words) - WORDS + 1)}


@cache
def held_out_runs() -> frozenset[str]:
    found = {run for question in held_out_questions() for run in runs(question)}
    return frozenset(found.difference(*map(runs, EVERYBODY_S)))


def shipped_texts(path: Path) -> Iterator[str]:
    """Every text in a file: its strings, if it is TOML, JSON lines or Python."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".toml":
        yield from texts(tomllib.loads(source))
    elif path.suffix == ".jsonl":
        for line in source.splitlines():
            yield from texts(json.loads(line))
    elif path.suffix == ".py":
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
    else:
        yield source


SOURCES = sorted(
    path for path in SHIPPED.rglob("*") if path.is_file() and path.suffix not in (".pyc", ".safetensors", ".typed")
)


def test_texts_that_templates_are_made_of_are_among_those_looked_at() -> None:
    assert sum(len(list(shipped_texts(path))) for path in SOURCES) > 3000
    assert {".py", ".toml", ".jsonl"} <= {path.suffix for path in SOURCES}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(SHIPPED)))
def test_no_shipped_text_has_words_of_a_held_out_question(path: Path) -> None:
    assert {run for text in shipped_texts(path) for run in runs(text)} & held_out_runs() == set()


@pytest.mark.parametrize("category", ["parallel", "live_multiple", "irrelevance"])
def test_part_of_a_question_would_be_found_in_any_kind_of_file(tmp_path: Path, category: str) -> None:
    question = max((case.messages[-1].text for case in load_cases(category, 20)), key=len)
    part = " ".join(plain(question).split()[1:])
    lines = json.dumps({"requests": [{"text": "x"}, {"text": part}]})
    for name, source in (
        ("a.toml", f'asks = [["x", "{part}"]]'),
        ("a.py", f'X = ("{part}",)'),
        ("a.txt", part),
        ("a.jsonl", lines),
    ):
        path = tmp_path / name
        path.write_text(source)
        assert any(runs(text) & held_out_runs() for text in shipped_texts(path))
