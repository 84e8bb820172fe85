"""Requests for one call, and tools, to compose from."""

from __future__ import annotations

from random import Random

from finetune.composed.composer import Composer
from finetune.composed.spoken import Spoken, spoken
from finetune.composed.values import Values
from finetune.readers.example import Example
from grammars.conversation import Message
from grammars.tools import Tool

WEATHER = Tool(
    name="weather",
    description="The forecast for a city",
    parameters={
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "The city (e.g., Rome, Oslo, Lima, Quito, Bern, Kyiv, Accra)"},
            "days": {"type": "integer"},
        },
        "required": ["city", "days"],
    },
)
TAX = Tool(
    name="incomeTax",
    description="Compute what is owed on an income",
    parameters={"type": "object", "properties": {"income": {"type": "number"}}, "required": ["income"]},
)
PARCEL = Tool(
    name="trackParcel",
    description="Locate a shipment",
    parameters={"type": "object", "properties": {"parcel_id": {"type": "string"}}, "required": ["parcel_id"]},
)
RHYMES = Tool(
    name="rhymes",
    description="Find words that sound alike",
    parameters={
        "type": "object",
        "properties": {"word": {"type": "string", "description": "e.g. moon, tree, stone, rain"}},
        "required": ["word"],
    },
)
TOOLS = [WEATHER, TAX, PARCEL, RHYMES]


def example(text: str, tool: Tool, **arguments: object) -> Example:
    return Example.build(
        id=text[:12],
        source="test",
        messages=[Message(role="user", text=text)],
        tools=[tool],
        calls=[(tool.name, arguments)],
    )


EXAMPLES = [
    example("What is the weather in Rome over the next 3 days?", WEATHER, city="Rome", days=3),
    example("Work out the tax on an income of $412.5.", TAX, income=412.5),
    example('Where is the parcel "KX7Q22"?', PARCEL, parcel_id="KX7Q22"),
]

PARTY = example(
    "Invite 12 guests to a party of 3 hours with 40 drinks, 25 cakes and 7 songs.",
    Tool(
        name="party",
        description="Prepare an evening at home",
        parameters={
            "type": "object",
            "properties": {name: {"type": "integer"} for name in ("guests", "hours", "drinks", "cakes", "songs")},
        },
    ),
    guests=12,
    hours=3,
    drinks=40,
    cakes=25,
    songs=7,
)
"""A request with many values."""


def first(place: int = 0) -> Spoken:
    found = spoken(EXAMPLES[place])
    assert found is not None
    return found


def known_values() -> Values:
    return Values(TOOLS, [call for one in EXAMPLES for call in one.calls])


def composer() -> Composer:
    return Composer(EXAMPLES, TOOLS)


def chances(count: int) -> list[Random]:
    return [Random(seed) for seed in range(count)]
