"""Said numbers: free text in which every number is one of those that are known, to the last digit.

A small model that reads `{"celsius": -3}` may say 3 degrees, or 30. A grammar can rule that out: what is written is
text without digits, and between it numbers, each a form of a known one. What is meant are numbers in the digits 0 to 9;
those in words, or in other scripts' digits, are free.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator

MINUS = "\N{MINUS SIGN}"
"""A sign as typography has it."""

NUMBER = re.compile(
    rf"""(?:(?<![A-Za-z0-9)])[{MINUS}-])?               # a sign, and not the hyphen of FL-12
    (?:[0-9]+(?:\.[0-9]+)?[eE][-+]?[0-9]+              # 1e-9
    |(?:(?<![A-Za-z0-9])\.)?[0-9]+(?:[.,:/-][0-9]+)*)  # 7, .5, 1,250.5, 13:05, 2026-08-01, 10:00-12:00""",
    re.VERBOSE,
)
GROUPED = re.compile(r"([0-9]{1,3}(?:,[0-9]{3})+)(\.[0-9]+)?")
DECIMAL = re.compile(r"([0-9]+)(?:\.([0-9]+))?")
SECONDS = re.compile(r"([0-9]{1,2}:[0-9]{2}):[0-9]{2}(?:\.[0-9]+)?")

MOST_FORM_CHARACTERS = 40
MOST_CHARACTERS = 20_000
"""How long one form, and all forms together, may be, some hundreds of numbers: a grammar of more may cost too much."""


def text_of_known_numbers(known: Iterable[str]) -> str | None:
    """A regular expression, of the syntax that Rust's and Python's have in common, for text whose numbers are all among
    those of the known texts, in one of their forms. None where they have more of them, or longer ones, than a grammar
    may hold. A known text that is JSON is known value by value.

    Neither a sign nor a point stands before a number that has none, so that 3 becomes neither -3 nor .3, and nothing
    joins it to another digit.
    """
    values = (value for text in known for value in scalar_texts(text))
    forms = sorted({form for value in values for form in number_forms(value)}, key=len, reverse=True)
    if any(len(form) > MOST_FORM_CHARACTERS for form in forms) or sum(map(len, forms)) > MOST_CHARACTERS:
        return None
    dashes = f"[.{MINUS}-]*"
    plain = f"{dashes}[^0-9.{MINUS}-]"
    if not forms:
        return f"(?:{plain})*{dashes}"
    number = "|".join(re.sub(r"([.+])", r"\\\1", form) for form in forms)
    joins = f".,:/{MINUS}-"
    return f"(?:(?:{number})(?:[^0-9{joins}]|[{joins}]{plain})|{plain})*(?:(?:{number})[,:/]?)?{dashes}"


def scalar_texts(text: str) -> Iterator[str]:
    """What a text says: if it is JSON, each name and value apart, as [1,2] has two numbers and no pair; else itself."""
    try:
        pending = [json.loads(text, parse_int=str, parse_float=str)]  # as they are written: 92.50 is not 92.5
    except (ValueError, RecursionError):
        yield text
        return
    while pending:
        one = pending.pop()
        if isinstance(one, dict):
            pending += [*one.keys(), *one.values()]
        elif isinstance(one, list):
            pending += one
        elif isinstance(one, str):
            yield one


def number_forms(text: str) -> Iterator[str]:
    """All ways to write the numbers of a text. A negative one keeps its sign; one that a hyphen joins to letters may
    keep that.
    """
    for match in NUMBER.finditer(text):
        number = match.group()
        if number[0] in f"-{MINUS}":
            for form in unsigned_forms(number[1:]):
                yield from (f"-{form}", f"{MINUS}{form}", f"minus {form}")
            continue
        before = text[: match.start()][-1:]
        for form in unsigned_forms(number):
            yield from (form, f"{before}{form}") if before and before in f".-{MINUS}" else (form,)


def unsigned_forms(number: str) -> Iterator[str]:
    """As it is; with or without commas between thousands, zeros at the end of a fraction, a zero before the point or an
    hour, and seconds; and the parts of a date, of a range and of a list.
    """
    yield number
    if "e" in number or "E" in number:
        return
    if number[0] == ".":
        yield f"0{number}"
    if grouped := GROUPED.fullmatch(number):
        yield number.replace(",", "")
        yield from decimal_forms(grouped.group(1).replace(",", ""), (grouped.group(2) or "")[1:])
        return
    if decimal := DECIMAL.fullmatch(number):
        yield from decimal_forms(decimal.group(1), decimal.group(2) or "")
    if number[0] == "0" and number[1:2].isdigit() and ":" in number[:3]:
        yield number[1:]
    if seconds := SECONDS.fullmatch(number):
        yield from unsigned_forms(seconds.group(1))
    for joins in ("-", "/", ",", "." if number.count(".") > 1 else ""):
        if joins and joins in number[1:]:
            for part in filter(None, number.split(joins)):
                yield from unsigned_forms(part)
                if len(part) == 2 and part.isdigit() and part[0] == "0":
                    yield part[1]
            break


def decimal_forms(whole: str, fraction: str) -> Iterator[str]:
    first = len(whole) % 3 or 3
    grouped = ",".join([whole[:first], *(whole[place : place + 3] for place in range(first, len(whole), 3))])
    short = fraction.rstrip("0")
    for head in (whole, grouped):
        yield from {f"{head}.{fraction}" if fraction else head, f"{head}.{short}" if short else head}
