"""Text in which every number is a known one: what is taken and refused, and at which character."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grammars.constraint import Constraint, compile_constraint
from grammars.said_numbers import text_of_known_numbers
from tests.grammars.test_constraint import TOKENIZER, accepts, refused_at


def said(*known: str) -> Constraint:
    return Constraint.text(like=text_of_known_numbers(known))


@pytest.mark.parametrize(
    ("known", "taken"),
    [
        ("", "No number, however long.\nNot one — 😀 - ..."),
        ('{"celsius": -3}', "Oslo: -3 °C"),
        ('{"celsius":-3}', "Oslo:-3 °C"),
        ("-3", "It is \N{MINUS SIGN}3, or minus 3."),
        ("48.85,-2.35", "48.85 and -2.35"),
        ("[7,12]", "12, 7, 7km and x12"),
        ("[-1,-2.5]", "-1, -2.5."),
        ("[100,200]", "100, 200"),
        ('{"2025": true}', "in 2025"),
        ("92.50", "92.50 or 92.5."),
        ("170.0", "170.0, that is 170"),
        ("1250", "1,250 or 1250"),
        ("1234567.80", "1,234,567.8"),
        ("from 1,250.75", "1250.75"),
        ("0.07", "0.07"),
        ("is .5", "0.5 or .5"),
        ("1e-9", "1e-9"),
        ("13:05", "at 13:05, sharp"),
        ("09:30", "09:30, that is 9:30"),
        ("13:05:00", "13:05"),
        ("10:00-12:00", "10:00-12:00, from 10:00 to 12:00"),
        ("2026-08-01", "2026-08-01, so 1 August 2026"),
        ("2026-08-01T13:05:00Z", "13:05, 2026-08-01T13:05:00Z"),
        ("01.02.2025", "01.02.2025: 1 February 2025"),
        ("v1.2.3", "v1.2.3"),
        ("call 555-0100", "555-0100"),
        ('"\\u00a3100 at \\u22125"', "£100 at \N{MINUS SIGN}5"),
        ("FL-12 and 5/7", "FL-12, 12, 5/7, 5 and 7"),
        ("B.12", "B.12"),
        ("3-5 days", "3-5 days, from 3 to 5"),
        ("5", "x²+٤: 5"),
    ],
)
def test_known_numbers_are_taken_in_their_forms(known: str, taken: str) -> None:
    assert refused_at(said(known), taken) is None


@pytest.mark.parametrize(
    ("known", "refused", "place"),
    [
        ("", "It is 3.", 6),
        ("-3", "Oslo: 3 °C", 6),
        ('{"c":-3}', "It is 3.", 6),
        ("3", "It is -3.", 7),
        ("3", "It is \N{MINUS SIGN}3.", 9),
        ("3", "It is .3", 7),
        ("3", "It is 30.", 7),
        ("30", "It is 3.", 7),
        ("92.5", "92 m", 2),
        ("92.5", "92.6", 3),
        ("92", "92.5", 3),
        ("2.5", "2,5", 1),
        ("[2, 5]", "2,5", 2),
        ("[2,5]", "25", 1),
        ("1250", "125", 3),
        ("1250", "12,50", 2),
        ("in 1,250 s", "250", 0),
        ("13:05", "13 h", 2),
        ("13:05", "13:50", 3),
        ("09:30", "9:3", 3),
        ("2026-08-01", "2026-08-10", 8),
        ("2026-08-01", "in 2025", 6),
        ("FL-12", "FL-13", 4),
        ("1e-9", "9", 0),
        ("\\u00a3100", "100", 0),
    ],
)
def test_another_number_is_refused_where_it_becomes_another(known: str, refused: str, place: int) -> None:
    assert refused_at(said(known), refused) == place


FIGURES = st.one_of(st.integers(-99_999, 99_999), st.decimals(-999, 999, places=2).map(float))
WORDS = st.text(
    st.characters(exclude_characters="0123456789.,:/-\N{MINUS SIGN}", exclude_categories=["Cs"]), min_size=1, max_size=5
)


@given(st.lists(FIGURES, min_size=1, max_size=6), st.booleans(), st.data())
def test_whatever_says_known_figures_alone_is_taken(
    figures: list[float], is_compact: bool, data: st.DataObject
) -> None:
    known = json.dumps(figures, separators=(",", ":") if is_compact else None)
    parts = data.draw(st.lists(st.tuples(WORDS, st.sampled_from(figures)), max_size=5))
    text = "".join(f"{words} {json.dumps(figure)}" for words, figure in parts)
    text += data.draw(st.sampled_from(["", ".", "...", ", and on."]))
    assert accepts(said(known), text)


@given(st.lists(st.integers(-99_999, 99_999), max_size=6), st.integers(-99_999, 99_999))
def test_a_whole_number_is_taken_if_and_only_if_it_is_known(known: list[int], figure: int) -> None:
    assert accepts(said(json.dumps(known)), f"It is {figure} now.") == (figure in known)


@given(
    st.text("0123456789.,:/-\N{MINUS SIGN}ex ", max_size=12), st.text("0123456789.,:/-\N{MINUS SIGN}ex ", max_size=12)
)
def test_the_expression_means_the_same_in_python_and_in_the_grammar(known: str, text: str) -> None:
    pattern = text_of_known_numbers([known])
    assert pattern is not None
    assert accepts(said(known), text) == bool(re.fullmatch(pattern, text))


@given(st.text("0123456789.,:/-\N{MINUS SIGN}ex ", max_size=24))
def test_what_is_known_can_be_said_number_by_number(known: str) -> None:
    for number in re.findall(r"(?<![^ ])[0-9]+(?:[.,:/-][0-9]+)*(?![^ ])", known):
        assert accepts(said(known), f"So: {number}.")


def test_numbers_of_all_known_texts_may_be_said() -> None:
    assert accepts(said("7 days", "8 m", "none"), "8 m in 7 days")


@pytest.mark.parametrize(
    "figures",
    [
        [7 * figure for figure in range(1500)],
        [figure + 0.125 for figure in range(700)],
        [-figure for figure in range(10**9, 10**9 + 200)],
        [f"{figure:030}" for figure in range(150)],
    ],
)
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_many_numbers_can_be_said_at_any_place(figures: list[object], separators: tuple[str, str]) -> None:
    known = json.dumps(figures, separators=separators)
    constraint = said(known)
    assert constraint.portable is not None
    text = f"So {figures[-1]}, {figures[0]} and {figures[len(figures) // 2]}: no more. "
    matcher = compile_constraint(constraint, TOKENIZER).matcher()
    for token in TOKENIZER.encode(text * 4):
        assert matcher.allows(token)
        matcher.consume(token)
    assert matcher.error == ""


@pytest.mark.parametrize("known", [json.dumps([figure + 0.125 for figure in range(10_000)]), "1" * 100_000, "7." * 30])
def test_where_a_text_has_more_or_longer_numbers_than_a_grammar_may_hold_all_may_be_said(known: str) -> None:
    assert text_of_known_numbers([known]) is None
    assert said(known) == Constraint.text()
