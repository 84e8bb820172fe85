"""Said numbers: free text in which every number is one of those that are known, to the last digit.

A small model that reads `{"celsius": -3}` may say 3 degrees, or 30. A grammar can rule that out: what is written is a
text between numbers, and each number one form of a known one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from grammars.constraint import FREE, regex_escaped

MOST_CHARACTERS = 50_000
"""How long all forms of the numbers may be together, some thousand numbers: within what a grammar may cost."""

JOINS = ".,:/-"
"""What joins digits to one number, date or time, where digits follow: 2.5, 1,250, 13:05, 2026-08-01."""

NUMBER = re.compile(rf"(?:(?<![\w{JOINS}])[-\N{{MINUS SIGN}}])?\d+(?:[{JOINS}]\d+)*")
"""As it stands in a text, with its sign; the hyphen of FL-12 is none."""

DECIMAL = re.compile(r"(\d+)\.(\d+)")
DATE = re.compile(r"\d+(?:[-/]\d+)+")
GROUPED = re.compile(r"\d{1,3}(?:,\d{3})+")


def forms(number: str) -> Iterator[str]:
    """The ways to write this number, as `NUMBER` finds it: as it is, with or without the commas between thousands and
    the zeros at the end of a fraction, and of a date also its parts. The sign stays, as either dash or as a word.
    """
    sign, digits = ("-", number[1:]) if number[0] in "-\N{MINUS SIGN}" else ("", number)
    for written in unsigned_forms(digits):
        yield from (f"-{written}", f"\N{MINUS SIGN}{written}", f"minus {written}") if sign else (written,)


def unsigned_forms(digits: str) -> Iterator[str]:
    yield digits
    if DATE.fullmatch(digits):
        for part in re.split("[-/]", digits):
            yield from (part, part.lstrip("0") or "0")
        return
    plain = digits.replace(",", "") if GROUPED.fullmatch(digits.partition(".")[0]) else digits
    yield plain
    decimal = DECIMAL.fullmatch(plain)
    whole, fraction = decimal.groups() if decimal else (plain, "")
    if not whole.isdigit():
        return
    short = fraction.rstrip("0")
    for head in (whole, grouped(whole)):
        yield from (f"{head}.{fraction}", *([f"{head}.{short}"] if short else [head])) if fraction else (head,)


def grouped(whole: str) -> str:
    """Digits with commas between thousands."""
    first = len(whole) % 3 or 3
    return ",".join([whole[:first], *(whole[place : place + 3] for place in range(first, len(whole), 3))])


def text_of_known_numbers(known: Iterable[str]) -> str:
    """A regular expression of the grammar language for text whose numbers are all among those of the known texts, in
    one of their forms; for any text, where they have more of them than a grammar may hold.
    """
    written = sorted({form for text in known for number in NUMBER.findall(text) for form in forms(number)})
    other = "(?s:[^0-9])"
    if not written:
        return f"{other}*"
    joins = "".join(regex_escaped(join) for join in JOINS)
    number = f"(?:{'|'.join(map(regex_escaped, written))})"
    if len(number) > MOST_CHARACTERS:
        return FREE
    return f"(?:{number}(?:[^0-9{joins}]|[{joins}]{other})|{other})*(?:{number}[{joins}]?)?"
