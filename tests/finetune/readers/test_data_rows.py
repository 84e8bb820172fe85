from __future__ import annotations

import json
from pathlib import Path

import pytest

from finetune.readers.data_rows import DataRow, RowRefused, read_rows
from grammars.errors import ConfigurationError


def read(tmp_path: Path, text: str) -> list[DataRow | RowRefused]:
    path = tmp_path / "data.json"
    path.write_text(text, encoding="utf-8")
    return list(read_rows(path))


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ('{"a": 1}\n{"a": 2}\n', [1, 2]),
        ('{"a": 1}\n\n  \n{"a": 2}', [1, 4]),
        ('{"a": "x\u2028y"}\n{"a": 2}', [1, 2]),  # a line separator inside a string ends no line
        ('[{"a": 1}, {"a": 2}]', [1, 1]),
        ('[\n {"a":\n 1},\n {"a": 2}\n]\n', [2, 4]),
        ("[]", []),
        ("", []),
    ],
)
def test_rows_of_lines_and_arrays_know_the_line_they_begin_in(tmp_path: Path, text: str, lines: list[int]) -> None:
    rows = read(tmp_path, text)
    assert [row.line for row in rows] == lines
    assert all(isinstance(row, DataRow) and "a" in row.value for row in rows)


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ('{"a": 1}\n{"a": \n', 2, "no JSON"),
        ('{"a": 1}\n[1]\n', 2, "a row is a JSON object"),
        ('{"a": 1}\n' + "[" * 100_000, 2, "no JSON"),
        ('[{"a": 1},\n {"a": }, {"a": 3}]', 2, "nothing after it can be read"),
        ('[{"a": 1},\n 5]', 2, "a row is a JSON object"),
        ('[{"a": 1}\n', 2, "the array has no end"),
    ],
)
def test_corrupt_row_is_reported_with_its_line(tmp_path: Path, text: str, line: int, reason: str) -> None:
    (refused,) = (row for row in read(tmp_path, text) if isinstance(row, RowRefused))
    assert (refused.line, reason in refused.reason) == (line, True)
    assert str(refused).startswith(f"{tmp_path / 'data.json'}, line {line}: ")


def test_corrupt_line_costs_no_other_line(tmp_path: Path) -> None:
    rows = read(tmp_path, '{"a": 1}\nnonsense\n{"a": 3}\n')
    assert [row.value["a"] if isinstance(row, DataRow) else None for row in rows] == [1, None, 3]


def test_row_is_named_by_its_id_or_its_line(tmp_path: Path) -> None:
    ids = [row.id for row in read(tmp_path, '{"id": 7}\n{"id": "x"}\n{"b": 1}') if isinstance(row, DataRow)]
    assert ids == ["data.json:7", "data.json:x", "data.json:3"]


def test_file_that_is_not_there_or_not_text_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.jsonl cannot be read: No such file"):
        list(read_rows(tmp_path / "none.jsonl"))
    (tmp_path / "bytes.jsonl").write_bytes(json.dumps({"a": 1}).encode("utf-16"))
    with pytest.raises(ConfigurationError, match="is not UTF-8 text"):
        list(read_rows(tmp_path / "bytes.jsonl"))
