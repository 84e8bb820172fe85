"""Travel tools for the demo, which the server runs itself. Their data are made up and always the same; the time they
take is simulated by really waiting, as a web service would make one wait.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from serving.execute.registry import Registry

registry = Registry()

NOON_UTC = 12
"""The hour that all clocks of this world stand at, in UTC."""


@dataclass(frozen=True)
class City:
    """What is known of a place: hours ahead of UTC, weather, and hotels as (name, euros a night)."""

    hours_ahead: int
    celsius: int
    sky: str
    hotels: tuple[tuple[str, int], ...]


CITIES = {
    "amsterdam": City(1, 11, "light rain", (("Canal House", 142), ("Hotel Tulp", 96))),
    "berlin": City(1, 9, "overcast", (("Spree Hof", 88), ("Linden Palais", 174))),
    "lisbon": City(0, 19, "sunny", (("Casa do Tejo", 92), ("Alfama View", 118), ("Grande Avenida", 205))),
    "london": City(0, 10, "fog", (("Paddington Rooms", 109), ("The Wharf", 231))),
    "madrid": City(1, 16, "clear", (("Hostal Sol", 71), ("Retiro Suites", 149))),
    "new york": City(-5, 8, "windy", (("Hudson Lodge", 164), ("Midtown Tower", 289))),
    "oslo": City(1, -3, "snow", (("Fjord Inn", 127), ("Karl Johan Hotel", 188))),
    "paris": City(1, 12, "cloudy", (("Petit Marais", 134), ("Hotel du Nord", 99))),
    "rome": City(1, 17, "sunny", (("Trastevere 9", 84), ("Via Veneto", 210))),
    "tokyo": City(9, 14, "clear", (("Asakusa Stay", 78), ("Ginza Garden", 243))),
}

EUROS = {"EUR": 1.0, "USD": 0.92, "GBP": 1.17, "NOK": 0.085, "JPY": 0.0061, "CHF": 1.04, "SEK": 0.088}
"""What one unit of each currency is worth in euros."""

CityName = Annotated[str, Field(description="Name of a city, such as Oslo")]
Currency = Annotated[str, Field(description="Currency code of three letters, such as EUR")]


def find_city(name: str) -> City:
    city = CITIES.get(name.partition(",")[0].strip().lower())
    if city is None:
        raise LookupError(f"no city {name!r} here; there are {', '.join(sorted(CITIES))}")
    return city


def euros(currency: str) -> float:
    if currency.upper() not in EUROS:
        raise LookupError(f"no currency {currency!r} here; there are {', '.join(EUROS)}")
    return EUROS[currency.upper()]


@registry.tool()
async def get_weather(city: CityName) -> dict[str, Any]:
    """Current weather in one city."""
    await asyncio.sleep(0.6)
    found = find_city(city)
    return {"city": city, "celsius": found.celsius, "sky": found.sky}


@registry.tool()
async def get_local_time(city: CityName) -> dict[str, Any]:
    """Current local time in one city."""
    await asyncio.sleep(0.3)
    return {"city": city, "local_time": f"{(NOON_UTC + find_city(city).hours_ahead) % 24:02}:00"}


@registry.tool()
async def convert_currency(
    amount: Annotated[float, Field(description="How much to convert")], from_currency: Currency, to_currency: Currency
) -> dict[str, Any]:
    """Convert an amount of money from one currency to another at today's rate."""
    await asyncio.sleep(0.4)
    converted = round(amount * euros(from_currency) / euros(to_currency), 2)
    return {"amount": converted, "currency": to_currency}


@registry.tool()
async def search_hotels(
    city: CityName, max_price: Annotated[int, Field(description="Most euros a night")] = 1000
) -> dict[str, Any]:
    """Hotels in one city, up to a price a night in euros."""
    await asyncio.sleep(1.0)
    hotels = [{"name": name, "euros": price} for name, price in find_city(city).hotels if price <= max_price]
    return {"city": city, "hotels": hotels}
