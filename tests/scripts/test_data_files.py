"""What is left out of data is told: how much of it, and the reasons as they are."""

from __future__ import annotations

from io import StringIO

from data_files import SHOWN, tell_left_out
from rich.console import Console


def told(reasons: list[str], what: str = "examples") -> list[str]:
    console = Console(file=StringIO(), width=40)
    tell_left_out(reasons, console, what=what)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue().splitlines()


def test_reasons_stand_there_as_they_are_one_a_line_however_long() -> None:
    reasons = ["rows.json, line 7: /[names] (type): [red] is not of type [/array]", "x" * 100]
    assert told(reasons) == ["2 examples are left out", *(f"  {reason}" for reason in reasons)]


def test_all_are_counted_and_the_first_ones_shown() -> None:
    lines = told([f"reason {number}" for number in range(SHOWN + 3)], "rows")
    assert lines[0] == f"{SHOWN + 3} rows are left out"
    assert lines[-2:] == [f"  reason {SHOWN - 1}", "  and 3 more"]


def test_nothing_is_said_of_nothing() -> None:
    assert told([]) == []
