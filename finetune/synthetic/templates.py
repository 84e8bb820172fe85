"""Templates: sentences with slots, filled with the words of values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from random import Random

SLOT = re.compile(r"\{([a-z_0-9]*\*?)\}")
OPTIONAL = re.compile(r"\[([^\]]*)\]")


def slots(template: str) -> set[str]:
    """The names in braces, those of lists with their star."""
    return set(SLOT.findall(template))


def fill(template: str, texts: Mapping[str, str]) -> str:
    """The template with these words in its slots. A part in square brackets is left out if it has a slot without words.

    Raises `KeyError` for any other slot without words.
    """
    kept = OPTIONAL.sub(lambda part: part[1] if slots(part[1]) <= texts.keys() else "", template)
    return SLOT.sub(lambda slot: texts[slot[1]], kept)


def joined(texts: Sequence[str], random: Random) -> str:
    """A list as it is said: with semicolons if there are commas in it."""
    if len(texts) == 1:
        return texts[0]
    comma = ";" if any("," in text for text in texts) else ","
    last = " and" if len(texts) == 2 else random.choice([" and", f"{comma} and"])
    return f"{f'{comma} '.join(texts[:-1])}{last} {texts[-1]}"


def listing(items: Sequence[str], random: Random) -> str:
    """A list of whole items, now and then with words or numbers that tell one from the next."""
    style = random.random()
    if style < 0.08 and len(items) > 1:
        marked = [f"({number}) {item}" for number, item in enumerate(items, start=1)]
        return f"{', '.join(marked[:-1])} and {marked[-1]}"
    if len(items) == 2 and style > 0.8:
        return f"{items[0]} as well as {items[1]}"
    return joined(items, random)


def sentence(clause: str, random: Random) -> str:
    """A sentence that asks for what the clause says; what is a sentence already stays as it is."""
    if clause[-1] in ".?!":
        return clause
    frame = random.choice(FRAMES if ":" in clause or clause.endswith(", respectively") else FRAMES + FRAMES_AROUND)
    return frame.format(capitalised(clause) if frame.startswith("{}") else clause)


FRAMES = (
    *("{}.",) * 6,
    *("Please {}.",) * 3,
    "Can you {}?",
    "Could you {}?",
    "Could you please {}?",
    "I need you to {}.",
    "I'd like you to {}.",
    "I want you to {}.",
    "Go ahead and {}.",
)
FRAMES_AROUND = ("{}, please.", "Would you {} for me?")
"""Frames for clauses that more words can follow."""


def capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def lowered(text: str) -> str:
    """The text to go on with in the middle of a sentence; "I" and names of more than one capital stay."""
    head = text.split(" ", 1)[0]
    return text if head in ("I", "I'd", "I'm", "I've") or head[1:].lower() != head[1:] else text[:1].lower() + text[1:]
