"""The questions of the benchmarks: so many calls of three arguments, over a prefix of about a thousand tokens.

The number of calls is fixed through the caller's bounds, so that weak weights do the same work as strong ones. A
tally's digit ends at nine, so for a model that plans by one more calls are of two tools.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from grammars.conversation import Choice, Conversation, Message
from grammars.counts import MOST_TALLIED
from grammars.dialects import dialect_of
from grammars.tools import Tool
from serving.engines.base import Engine

PREFIX_TOKENS = 1000

CITIES = (
    "Oslo",
    "Lisbon",
    "Rome",
    "Paris",
    "Berlin",
    "Madrid",
    "Vienna",
    "Prague",
    "Dublin",
    "Athens",
    "Warsaw",
    "Bern",
    "Riga",
    "Sofia",
    "Cairo",
    "Lima",
)

TOOL = Tool(
    name="get_weather",
    description="The weather forecast for a city.",
    parameters={
        "type": "object",
        "properties": {
            "city": {"type": "string", "maxLength": 24},
            "temperature_unit": {"enum": ["celsius", "fahrenheit"]},
            "forecast_days": {"type": "integer", "minimum": 1, "maximum": 14},
        },
        "required": ["city", "temperature_unit", "forecast_days"],
    },
)


HOTELS = Tool(
    name="find_hotels",
    description="Hotels in a city with rooms that are free.",
    parameters={
        "type": "object",
        "properties": {
            "city": {"type": "string", "maxLength": 24},
            "room": {"enum": ["single", "double"]},
            "nights": {"type": "integer", "minimum": 1, "maximum": 14},
        },
        "required": ["city", "room", "nights"],
    },
)

TOOLS = {tool.name: tool for tool in (TOOL, HOTELS)}

Question = Literal["lines", "prose"]
"""How the calls are asked for."""


def request_text(cities: Sequence[str], days: int, question: Question, hotels: Sequence[str] = ()) -> str:
    """The request for the weather in these cities, and for hotels in those. Asked in prose, SmolLM2-135M copies the
    worked example into its outline; asked in lines that have the outline's own form, it copies these, and its calls are
    the ones that were asked for.
    """
    if question == "prose":
        text = f"What is the weather in {', '.join(cities)}? In celsius, for the next {days} days."
        also = f" And which hotels in {', '.join(hotels)} have a single room for {days} nights?"
    else:
        text = "\n".join([f"Get the weather in celsius for the next {days} days.", *lines_of(TOOL, cities)])
        also = "\n".join([f"\nFind hotels with a single room for {days} nights.", *lines_of(HOTELS, hotels)])
    return text + also if hotels else text


def lines_of(tool: Tool, cities: Sequence[str]) -> list[str]:
    return [f"{tool.name}: {city}" for city in cities]


def weather_question(
    engine: Engine, count: int, question: Question = "lines", *, first: int = 0, days: int = 3
) -> Conversation:
    """A request for `count` calls, exactly, behind system text that makes the prefix about a thousand tokens long. The
    cities begin with the one of number `first`.
    """
    cities = [CITIES[(first + index) % len(CITIES)] for index in range(count)]
    tallied = dialect_of(engine.tokenizer).marks is not None
    weather = count if not tallied or count <= MOST_TALLIED else (count + 1) // 2
    text = request_text(cities[:weather], days, question, cities[weather:])
    tools = list(TOOLS.values())[: 1 if weather == count else 2]
    choice = Choice(mode="required", least=count, most=count)
    sentence = "You are a careful assistant of a travel agency. "
    needed = PREFIX_TOKENS - len(engine.tokenizer.encode(text)) - 350  # about what tools and instructions take
    system = sentence * max(1, needed // len(engine.tokenizer.encode(sentence)))
    messages = [Message(role="system", text=system), Message(role="user", text=text)]
    return Conversation.read(messages, tools, choice)
