"""Surface forms: how people ask for several calls at once. Each makes a request and the calls that it means.

A form takes tools of the catalogue, how many calls there are to be, and a source of randomness; it gives None where a
tool has no template for it, or too few different values. No two calls of a request are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from finetune.synthetic.drawing import (
    Meant,
    draw,
    draw_column,
    draw_rows,
    every_call,
    meant,
    said_in,
    texts,
)
from finetune.synthetic.entries import Entry, Joint
from finetune.synthetic.templates import capitalised, fill, joined, listing, lowered, sentence, slots
from finetune.synthetic.values import Value


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request in words, and the calls that it means, in its order."""

    text: str
    calls: tuple[Meant, ...]


def single(entry: Entry, random: Random) -> Asked:
    """One call, in a sentence."""
    template = random.choice(entry.asks + entry.does)
    values = draw(entry, said_in(template, random), random)
    return Asked(text=sentence(fill(template, texts(values)), random), calls=(meant(entry, values),))


def listed(entry: Entry, count: int, random: Random) -> Asked | None:
    """One sentence with a list: of values of one argument, the others said once for all, or of whole items."""
    if not entry.many:
        return None
    template = random.choice(entry.many)
    whole = "*" in slots(template)
    stars = {name.rstrip("*") for name in slots(template) if name.endswith("*")} - {""}
    varying = said_in(entry.item, random) if whole else stars
    shared = draw(entry, {name for name in said_in(template, random) if not name.endswith("*")} - varying, random)
    rows = draw_rows(entry, varying, count, random)
    if rows is None:
        return None
    items = [fill(entry.item, texts(row)) if whole else row[next(iter(stars))].text for row in rows]
    star = "*" if whole else f"{next(iter(stars))}*"
    text = fill(template, {**texts(shared), star: listing(items, random)})
    return Asked(text=sentence(text, random), calls=tuple(meant(entry, {**row, **shared}) for row in rows))


def respectively(entry: Entry, count: int, random: Random) -> Asked | None:
    """Two lists that go together one by one: "for lengths 2 and 3 and widths 5 and 7, respectively"."""
    if not entry.pairs or count < 2:
        return None
    template = random.choice(entry.pairs)
    stars = sorted(name[:-1] for name in slots(template) if name.endswith("*"))
    shared = draw(entry, {name for name in said_in(template, random) if not name.endswith("*")}, random)
    columns = {name: draw_column(entry, name, count, random) for name in stars}
    if any(column is None for column in columns.values()):
        return None
    full = {name: column for name, column in columns.items() if column is not None}
    lists = {f"{name}*": joined([value.text for value in column], random) for name, column in full.items()}
    text = fill(template, {**texts(shared), **lists})
    text = f"{text[:-1]}, respectively{text[-1]}" if text[-1] in ".?" else f"{text}, respectively"
    rows = [{name: column[index] for name, column in full.items()} for index in range(count)]
    return Asked(text=sentence(text, random), calls=tuple(meant(entry, {**row, **shared}) for row in rows))


def crossed(entry: Entry, count: int, random: Random) -> Asked | None:
    """Every pair of two lists: "in both A and B, for X, Y and Z". Lists of two are "both", so not "respectively"."""
    sizes = {4: [(2, 2)], 6: [(2, 3), (3, 2)], 8: [(2, 4), (4, 2)]}.get(count)
    if not entry.grid or sizes is None:
        return None
    template = random.choice(entry.grid)
    names = sorted((name[:-1] for name in slots(template) if name.endswith("*")), key=lambda n: template.index(n))
    shared = draw(entry, {name for name in said_in(template, random) if not name.endswith("*")}, random)
    columns = [draw_column(entry, name, size, random) for name, size in zip(names, random.choice(sizes), strict=True)]
    first, second = columns
    if first is None or second is None:
        return None
    said = [
        f"both {column[0].text} and {column[1].text}" if len(column) == 2 else joined([v.text for v in column], random)
        for column in (first, second)
    ]
    text = fill(template, {**texts(shared), **{f"{name}*": words for name, words in zip(names, said, strict=True)}})
    asked = sentence(text, random)
    asked += random.choice(["", "", " I want every combination."])
    rows = [{names[0]: one, names[1]: other} for one in first for other in second]
    return Asked(text=asked, calls=tuple(meant(entry, {**row, **shared}) for row in rows))


def repeated(entry: Entry, count: int, random: Random) -> Asked | None:
    """Every call said in full, with what people put between sentences."""
    return mixed([(entry, count)], random)


def differing(entry: Entry, count: int, random: Random) -> Asked | None:
    """One call in full, and others that differ from it in one place, which is named."""
    template = random.choice(entry.asks + entry.does)
    said = said_in(template, random)
    names = [name for name in said if entry.arguments[name].kind.schema.get("type") in ("integer", "number", "string")]
    if count < 2 or count > 4 or not names:
        return None
    values = draw(entry, said, random)
    name = random.choice(sorted(names))
    others = draw_column(entry, name, count, random, first=values[name])
    if others is None:
        return None
    label, told = entry.arguments[name].label, joined([value.text for value in others[1:]], random)
    each = "" if count == 2 else "each of " if random.random() < 0.5 else ""
    tail = random.choice(
        [
            f"Then do the same with the {label} changed to {each}{told}.",
            f"Also run it again with {each}{told} as the {label}.",
            f"And once more with everything the same except the {label}: {told}."
            if count == 2
            else f"And repeat it for the {label} being {each}{told}.",
        ]
    )
    text = f"{sentence(fill(template, texts(values)), random)} {tail}"
    return Asked(text=text, calls=tuple(meant(entry, {**values, name: other}) for other in others))


def afterthought(entry: Entry, count: int, random: Random) -> Asked | None:
    """Some calls, and as an afterthought the same for others."""
    if not entry.item or count < 2:
        return None
    varying = said_in(entry.item, random) | entry.required
    if not slots(entry.item) >= entry.required:
        return None
    rows = draw_rows(entry, varying, count, random)
    if rows is None:
        return None
    late = 1 if count == 2 else random.randint(1, min(2, count - 1))
    items = [fill(entry.item, texts(row)) for row in rows]
    wholes = [template for template in entry.many if slots(template) == {"*"}]
    if count - late > 1 and not wholes:
        return None
    if count - late == 1:
        spoken = [template for template in entry.asks + entry.does if slots(template) >= rows[0].keys()]
        if not spoken:
            return None
        first = fill(random.choice(spoken), texts(rows[0]))
    else:
        first = fill(random.choice(wholes), {"*": listing(items[:-late], random)})
    tail = random.choice(AFTERTHOUGHTS).format(joined(items[-late:], random))
    return Asked(text=f"{sentence(first, random)} {tail}", calls=tuple(meant(entry, row) for row in rows))


AFTERTHOUGHTS = (
    "Oh, and do the same for {}.",
    "Oh, and the same for {}, please.",
    "I almost forgot: {} too.",
    "And while you're at it, the same for {}.",
    "Also {}.",
    "And what about {}?",
)


def numbered(parts: Sequence[tuple[Entry, int]], random: Random) -> Asked | None:
    """A list with a number or a dash before each call, which are said in full."""
    calls = every_call(parts, random)
    if calls is None:
        return None
    random.shuffle(calls)
    mark = random.choice(["{}. ", "{}) ", "- ", "{}. "])
    lines = [
        f"{mark.format(number)}{capitalised(fill(random.choice(call.entry.does), texts(call.values)))}"
        for number, call in enumerate(calls, start=1)
    ]
    head = random.choice(["Please do the following:", "Here is what I need:", "Tasks:", "I have a few things to do:"])
    return Asked(text="\n".join([head, *lines]), calls=tuple(calls))


def mixed(parts: Sequence[tuple[Entry, int]], random: Random) -> Asked | None:
    """Calls of one or several tools, each said in full, tool by tool or in any order."""
    calls = every_call(parts, random)
    if calls is None:
        return None
    if random.random() < 0.4:
        random.shuffle(calls)
    style = random.choice(["sentences", "clauses", "steps", "questions"])
    if style == "clauses" and len(calls) <= 4:
        said = [fill(random.choice(call.entry.does), texts(call.values)) for call in calls]
        links = random.choice(LINKS[:3] if len(calls) == 2 else LINKS)
        middle = links[0].join(said[:-1])
        return Asked(text=sentence(f"{middle}{links[1]}{said[-1]}" if middle else said[-1], random), calls=tuple(calls))
    if style == "steps" and len(calls) >= 2:
        said = [fill(random.choice(call.entry.does), texts(call.values)) for call in calls]
        steps = [
            "First, ",
            *random.choices(["Then ", "Next, ", "After that, ", "Also "], k=len(calls) - 2),
            "Finally, ",
        ]
        return Asked(
            text=" ".join(f"{step}{does}." for step, does in zip(steps, said, strict=True)), calls=tuple(calls)
        )
    told = []
    for place, call in enumerate(calls):
        template = random.choice(call.entry.asks if style == "questions" else call.entry.asks + call.entry.does)
        before = "" if place == 0 else random.choice(["", "", "Also, ", "And ", "Then ", "Additionally, "])
        if before and template in call.entry.does:
            told.append(f"{before}{fill(template, texts(call.values))}.")
        elif before:
            told.append(f"{before}{fill(lowered(template), texts(call.values))}")
        else:
            told.append(sentence(fill(template, texts(call.values)), random))
    return Asked(text=" ".join(told), calls=tuple(calls))


LINKS = ((", ", ", and "), (", ", ", and also "), (", ", ", then "), ("; ", "; and "), (", then ", ", and finally "))


def blocks(parts: Sequence[tuple[Entry, int]], random: Random) -> Asked | None:
    """Several tools, each asked for once with a list, or in full where there is one call of it."""
    asked = [listed(entry, count, random) if count > 1 else single(entry, random) for entry, count in parts]
    whole = [part for part in asked if part is not None]
    if len(whole) < len(asked):
        return None
    return Asked(text=" ".join(part.text for part in whole), calls=tuple(call for part in whole for call in part.calls))


def joint(request: Joint, random: Random) -> Asked:
    """Several tools that take the same values, said once."""
    shared: dict[str, Value] = {}
    for entry in request.entries:
        missing = sorted(entry.required - shared.keys())
        shared |= {name: entry.arguments[name].kind.draw(random) for name in missing}
    text = sentence(fill(random.choice(request.asks), texts(shared)), random)
    calls = tuple(meant(entry, {name: shared[name] for name in entry.required}) for entry in request.entries)
    return Asked(text=text, calls=calls)


FORMS: Mapping[str, Callable[[Entry, int, Random], Asked | None]] = {
    "listed": listed,
    "respectively": respectively,
    "crossed": crossed,
    "repeated": repeated,
    "differing": differing,
    "afterthought": afterthought,
    "numbered": lambda entry, count, random: numbered([(entry, count)], random),
}
"""The forms that ask for calls of one tool."""
