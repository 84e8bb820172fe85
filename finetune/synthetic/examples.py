"""Synthetic examples: an endless stream, the same for the same seed, made from the catalogue by rule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from finetune.readers.example import Example
from finetune.synthetic.entries import Catalogue, Entry, catalogue
from finetune.synthetic.forms import FORMS, Asked, blocks, joint, mixed, numbered, single
from finetune.synthetic.naming import named
from grammars.conversation import Message

SOURCE = "synthetic"

ATTEMPTS = 1000
"""So often another form is drawn before the settings are held to allow none."""


@dataclass(frozen=True, kw_only=True)
class SyntheticSettings:
    """What the stream is made of. Weights need not add up to 1.

    `calls` weighs the number of calls where there are several to choose from, `forms` the ways of asking for calls of
    one tool or, for the last four, of several. `no_call` is the share of requests that no offered tool can answer, and
    `chat` the share of these that ask for no tool at all. `distractors` weighs how many tools are offered beside those
    that are called, from none on. `renamed` is the share of tools that have other names than their usual ones, and
    `opening` that of requests with a sentence before them that asks for nothing.
    """

    no_call: float = 0.25
    calls: Mapping[int, float] = field(
        default_factory=lambda: {2: 0.32, 3: 0.24, 4: 0.2, 5: 0.08, 6: 0.08, 7: 0.03, 8: 0.05}
    )
    forms: Mapping[str, float] = field(
        default_factory=lambda: {
            "single": 0.12,
            "listed": 0.2,
            "respectively": 0.08,
            "crossed": 0.05,
            "repeated": 0.14,
            "differing": 0.04,
            "afterthought": 0.05,
            "numbered": 0.02,
            "mixed": 0.2,
            "blocks": 0.1,
            "numbered_mixed": 0.03,
            "joint": 0.04,
        }
    )
    distractors: Sequence[float] = (0.3, 0.22, 0.2, 0.16, 0.08, 0.04)
    renamed: float = 0.6
    opening: float = 0.12
    chat: float = 0.15


def synthetic_examples(
    seed: int, count: int | None = None, settings: SyntheticSettings | None = None
) -> Iterator[Example]:
    """So many examples, or endlessly many: the one at an index depends on the seed, the settings and the index only."""
    chosen, index = settings or SyntheticSettings(), 0
    while count is None or index < count:
        yield synthetic_example(seed, index, chosen)
        index += 1


def synthetic_example(seed: int, index: int, settings: SyntheticSettings) -> Example:
    """The example at this index of a seed's stream."""
    random = Random(f"{seed}/{index}")
    tools = catalogue()
    if random.random() < settings.no_call:
        asked, offered = nothing_to_call(tools, settings, random)
    else:
        asked = something_to_call(tools, settings, random)
        called = list(dict.fromkeys(call.entry for call in asked.calls))
        offered = [*called, *distractors(tools, called, settings, random)]
    random.shuffle(offered)
    names = {
        entry: named(entry, tools.synonyms, random, renamed=random.random() < settings.renamed) for entry in offered
    }
    return Example.build(
        id=f"{seed}/{index}",
        source=SOURCE,
        messages=[Message(role="user", text=opened(asked, tools, settings, random))],
        tools=[names[entry].tool for entry in offered],
        calls=[
            (
                names[call.entry].tool.name,
                {names[call.entry].arguments[name]: value.json for name, value in call.values.items()},
            )
            for call in asked.calls
            if call.entry in names
        ],
    )


def something_to_call(tools: Catalogue, settings: SyntheticSettings, random: Random) -> Asked:
    """A request in one of the forms; another is drawn where a tool has no template for one.

    Raises `ValueError` where no form of these settings asks for as many calls as they want.
    """
    for _ in range(ATTEMPTS):
        form = random.choices(list(settings.forms), list(settings.forms.values()))[0]
        count = random.choices(list(settings.calls), list(settings.calls.values()))[0]
        asked = in_form(form, count, tools, random)
        if asked is not None:
            return asked
    raise ValueError(
        f"no request in the forms {', '.join(settings.forms)} has {' or '.join(map(str, settings.calls))} calls"
    )


def in_form(form: str, count: int, tools: Catalogue, random: Random) -> Asked | None:
    """A request for so many calls in a form, of tools drawn at random, or None if these have no template for it."""
    if form == "single":
        return single(random.choice(tools.entries), random)
    if form == "joint":
        return joint(random.choice(tools.joints), random)
    if form in FORMS:
        fewer = min(count, 5) if form in ("repeated", "numbered") and random.random() < 0.7 else count
        return FORMS[form](random.choice(tools.entries), fewer, random)
    parts = several(tools, count, random)
    if form == "blocks":
        return blocks(parts, random)
    return numbered(parts, random) if form == "numbered_mixed" else mixed(parts, random)


def several(tools: Catalogue, count: int, random: Random) -> list[tuple[Entry, int]]:
    """Two to four tools, more often than not of one topic, and how many calls of each: often one."""
    first = random.choice(tools.entries)
    near = [entry for entry in tools.entries if entry.topic == first.topic and entry is not first]
    pool = near if random.random() < 0.6 else [entry for entry in tools.entries if entry is not first]
    kinds = min(count, 4) if random.random() < 0.4 else min(count, random.choices([2, 3, 4], [0.6, 0.28, 0.12])[0])
    entries = [first, *random.sample(pool, kinds - 1)]
    counts = [1] * kinds
    for _ in range(count - kinds):
        counts[random.randrange(kinds)] += 1
    return list(zip(entries, counts, strict=True))


def distractors(tools: Catalogue, called: Sequence[Entry], settings: SyntheticSettings, random: Random) -> list[Entry]:
    """Other tools to offer, half of them of a topic that is asked about."""
    count = random.choices(range(len(settings.distractors)), settings.distractors)[0]
    return others(tools, called, count, random)


def others(tools: Catalogue, called: Sequence[Entry], count: int, random: Random) -> list[Entry]:
    topics = {entry.topic for entry in called}
    near = [entry for entry in tools.entries if entry.topic in topics and entry not in called]
    far = [entry for entry in tools.entries if entry.topic not in topics]
    close = sum(random.random() < 0.5 for _ in range(count))
    return [*random.sample(near, min(close, len(near))), *random.sample(far, count - min(close, len(near)))]


def nothing_to_call(tools: Catalogue, settings: SyntheticSettings, random: Random) -> tuple[Asked, list[Entry]]:
    """A request that none of the tools offered with it can answer: chat, or what other tools would be needed for."""
    count = random.choices([1, 2, 3, 4], [0.5, 0.25, 0.15, 0.1])[0]
    if random.random() < settings.chat:
        return Asked(text=random.choice(tools.chat), calls=()), random.sample(list(tools.entries), count)
    asked = single(random.choice(tools.entries), random)
    if random.random() < 0.4:
        asked = something_to_call(tools, settings, random)
    needed = list(dict.fromkeys(call.entry for call in asked.calls))
    return Asked(text=asked.text, calls=()), others(tools, needed, count, random)


def opened(asked: Asked, tools: Catalogue, settings: SyntheticSettings, random: Random) -> str:
    """The request, now and then with a sentence before it that asks for nothing."""
    topics = {call.entry.topic for call in asked.calls}
    openings = [opening for topic in sorted(topics) for opening in tools.openings[topic]]
    if openings and random.random() < settings.opening:
        return f"{random.choice(openings)} {asked.text}"
    return asked.text
