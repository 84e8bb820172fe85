"""Stop strings: the text ends before the one that is complete first, in whatever pieces it comes."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.decode.stop import StopFilter

SMALL = st.text(alphabet="ab\n", max_size=12)
STOPS = st.lists(st.text(alphabet="ab\n", min_size=1, max_size=4), max_size=3).map(tuple)


def expected(text: str, stops: tuple[str, ...]) -> tuple[str, str | None]:
    """Character by character, without any holding back."""
    for end in range(1, len(text) + 1):
        found = [stop for stop in stops if text[:end].endswith(stop)]
        if found:
            longest = max(found, key=len)
            return text[: end - len(longest)], longest
    return text, None


@pytest.mark.parametrize("pieces", [["abb"], ["ab"], ["a", "b"], ["", "ab"]])
def test_stop_string_that_is_complete_first_ends_the_text(pieces: list[str]) -> None:
    stop = StopFilter(("abb", "b"))
    assert "".join([stop.push(piece) for piece in pieces]) == "a"
    assert stop.found == "b"


@given(SMALL, STOPS, st.data())
def test_text_is_the_same_however_it_is_cut(text: str, stops: tuple[str, ...], data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    stop = StopFilter(stops)
    out = ""
    for start, end in pairwise([0, *cuts, len(text)]):
        out += stop.push(text[start:end])
        if stop.reached:
            break
    assert (out + stop.flush(), stop.found) == expected(text, stops)
    assert stop.reached is (stop.found is not None)


@given(SMALL, STOPS)
def test_no_more_is_held_back_than_may_begin_a_stop_string(text: str, stops: tuple[str, ...]) -> None:
    stop = StopFilter(stops)
    out = stop.push(text)
    if not stop.reached:
        held = text.removeprefix(out)
        assert out + held == text
        assert not held or any(one.startswith(held) for one in stops)


@pytest.mark.parametrize(
    ("pieces", "given_out"),
    [
        (["Hello", " END", " more"], ["Hello", " "]),
        (["Hello E", "N", "D more"], ["Hello ", "", ""]),
        (["Hello E", "N", "T"], ["Hello ", "", "ENT"]),
        (["E", "E", "ND"], ["", "E", ""]),
        (["END"], [""]),
    ],
)
def test_what_may_begin_a_stop_string_waits(pieces: list[str], given_out: list[str]) -> None:
    stop = StopFilter(("END",))
    out = []
    for piece in pieces:
        out.append(stop.push(piece))
        if stop.reached:
            break
    assert out == given_out[: len(out)]
    assert stop.flush() == ""


def test_end_of_the_text_gives_out_what_waited_once() -> None:
    stop = StopFilter(("END",))
    assert stop.push("the E") == "the "
    assert (stop.flush(), stop.flush(), stop.found) == ("E", "", None)
