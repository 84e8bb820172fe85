"""Whatever stands in a row, it is read, or refused with file, line and reason; nothing else happens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetune.examples import read_row
from finetune.readers.data_rows import DataRow, RowRefused
from tests.finetune.readers.test_forms import GROUPED, HERMES, RESULTS, TOOLACE, XLAM, openai_row
from tests.finetune.readers.test_seal_tools import TOOLS, call
from tests.finetune.readers.test_toolrl import INSTRUCTION

VALID: dict[str, dict[str, Any]] = {
    "openai": openai_row(*RESULTS, {"role": "assistant", "content": "Sunny twice."}),
    "hermes": HERMES,
    "toolace": TOOLACE,
    "xlam": {**XLAM, "tools": json.loads(XLAM["tools"]), "answers": json.loads(XLAM["answers"])},
    "grouped": GROUPED,
    "seal-tools": {"query": "do", "calling": [call("one", 0, x="a", n=1), call("two", 2, x="API_call_0")]},
    "toolrl": {
        "instruction": INSTRUCTION,
        "input": "<user> Job 3? </user>",
        "output": '<tool_call>\n{"name": "Job Details", "parameters": {"id": 3}}\n</tool_call>',
    },
}

ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(allow_nan=False),
    st.text(max_size=8),
    st.sampled_from(["<tool_call>{</tool_call>", "[f(", "$ref:1", "[{", "<user>", "List[", "API_call_0", "\ud800"]),
    st.just([]),
    st.just({}),
    st.just([None]),
    st.just({"type": "object", "properties": 3}),
)


def places(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value inside a value."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [way, *(place for key, member in members for place in places(member, (*way, key)))]


def changed(value: Any, way: tuple[Any, ...], new: Any) -> Any:
    """The value with something else at the end of the way."""
    if not way:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[way[0]] = changed(value[way[0]], way[1:], new)
    return copy


def is_read_or_refused(row: DataRow) -> None:
    try:
        read_row(row)
    except RowRefused as error:
        refused = error
    else:
        return
    assert (refused.line, refused.path, bool(refused.reason)) == (row.line, row.path, True)


@pytest.mark.parametrize("form", VALID)
@given(data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_row_with_anything_in_any_place_is_read_or_refused(tmp_path: Path, form: str, data: st.DataObject) -> None:
    (tmp_path / "tool.jsonl").write_text("".join(f"{json.dumps(tool)}\n" for tool in TOOLS))
    valid = VALID[form]
    assert read_row(DataRow(path=tmp_path / "rows.jsonl", line=7, value=valid))
    way = data.draw(st.sampled_from(places(valid)[1:]))
    row = DataRow(path=tmp_path / "rows.jsonl", line=7, value=changed(valid, way, data.draw(ANYTHING)))
    is_read_or_refused(row)


@pytest.mark.parametrize("form", VALID)
@given(data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_row_with_any_text_cut_short_is_read_or_refused(tmp_path: Path, form: str, data: st.DataObject) -> None:
    (tmp_path / "tool.jsonl").write_text("".join(f"{json.dumps(tool)}\n" for tool in TOOLS))
    valid = VALID[form]

    def at(way: tuple[Any, ...]) -> Any:
        value: Any = valid
        for key in way:
            value = value[key]
        return value

    way = data.draw(st.sampled_from([way for way in places(valid) if isinstance(at(way), str) and at(way)]))
    cut = at(way)[: data.draw(st.integers(0, len(at(way)) - 1))]
    is_read_or_refused(DataRow(path=tmp_path / "rows.jsonl", line=7, value=changed(valid, way, cut)))
