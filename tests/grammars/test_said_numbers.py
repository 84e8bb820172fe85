"""Text in which every number is a known one: what is taken and refused, and at which character."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grammars.constraint import FREE, Constraint
from grammars.said_numbers import text_of_known_numbers
from tests.grammars.test_constraint import accepts, refused_at


def said(*known: str) -> Constraint:
    return Constraint.text(like=text_of_known_numbers(known))


@pytest.mark.parametrize(
    ("known", "taken"),
    [
        ("", "No number, however long.\nNot one — 😀"),
        ('{"celsius": -3}', "Oslo: -3 °C"),
        ("-3", "It is \N{MINUS SIGN}3, or minus 3."),
        ("[7, 12]", "12, 7, 7km and x12"),
        ("92.50", "92.50 or 92.5."),
        ("170.0", "170.0, that is 170"),
        ("1250", "1,250 or 1250"),
        ("[1234567, 100]", "1,234,567 and 100"),
        ("1,250.75", "1250.75"),
        ("0.07", "0.07"),
        ("13:05", "at 13:05, sharp"),
        ('"2026-08-01"', "2026-08-01, so 1 August 2026"),
        ('"2026-08-01T13:05"', "13:05 on 2026-08-01T13:05"),
        ("FL-12 and 5/7", "FL-12, 5/7, 5 and 7"),
        ("3-5 days", "3-5 days, from 3 to 5"),
        ("x\N{MINUS SIGN}7", "x\N{MINUS SIGN}7"),
    ],
)
def test_known_numbers_are_taken_in_their_forms(known: str, taken: str) -> None:
    assert refused_at(said(known), taken) is None


@pytest.mark.parametrize(
    ("known", "refused", "place"),
    [
        ("", "It is 3.", 6),
        ("-3", "Oslo: 3 °C", 6),
        ("3", "It is 30.", 7),
        ("30", "It is 3.", 7),
        ("92.5", "92 m", 2),
        ("92.5", "92.6", 3),
        ("92", "92.5", 3),
        ("2.5", "2,5", 1),
        ("1250", "125", 3),
        ("1250", "12,50", 2),
        ("13:05", "13 h", 2),
        ("13:05", "13:50", 3),
        ("2026-08-01", "2026-08-10", 8),
        ("2026-08-01", "in 2025", 6),
        ("FL-12", "FL-13", 4),
    ],
)
def test_another_number_is_refused_where_it_becomes_another(known: str, refused: str, place: int) -> None:
    assert refused_at(said(known), refused) == place


FIGURES = st.one_of(st.integers(-99_999, 99_999), st.decimals(-999, 999, places=2).map(float))
WORDS = st.text(st.characters(exclude_characters="0123456789.,:/-", exclude_categories=["Cs"]), min_size=1, max_size=5)


@given(st.lists(FIGURES, min_size=1, max_size=6), st.data())
def test_whatever_says_known_figures_alone_is_taken(figures: list[float], data: st.DataObject) -> None:
    known = json.dumps(figures)
    parts = data.draw(st.lists(st.tuples(WORDS, st.sampled_from(figures)), max_size=5))
    text = "".join(f"{words} {json.dumps(figure)}" for words, figure in parts)
    assert accepts(said(known), text + data.draw(st.sampled_from(["", ".", ", and on."])))


@given(st.lists(st.integers(0, 99_999), max_size=6), st.integers(0, 99_999))
def test_a_whole_number_is_taken_if_and_only_if_it_is_known(known: list[int], figure: int) -> None:
    assert accepts(said(json.dumps(known)), f"It is {figure} now.") == (figure in known)


def test_numbers_of_all_known_texts_may_be_said() -> None:
    assert accepts(said("7 days", "8 m", "none"), "8 m in 7 days")


def test_where_a_text_has_more_numbers_than_a_grammar_may_hold_all_may_be_said() -> None:
    assert accepts(said(json.dumps([figure + 0.125 for figure in range(1000)])), "999.125 and 0.125")
    many = json.dumps([figure + 0.125 for figure in range(10_000)])
    assert text_of_known_numbers([many]) == FREE
    assert text_of_known_numbers(["1" * 100_000]) == FREE
