"""Two functions that the tools file makes tools of."""

from typing import Annotated, Literal

from pydantic import Field

CELSIUS_AT_ZERO_FAHRENHEIT = -160 / 9


def convert(degrees: float, to: Literal["celsius", "fahrenheit"]) -> float:
    """Convert a temperature to the other scale."""
    if to == "celsius":
        return degrees * 5 / 9 + CELSIUS_AT_ZERO_FAHRENHEIT
    return (degrees - CELSIUS_AT_ZERO_FAHRENHEIT) * 9 / 5


def count_primes(below: Annotated[int, Field(ge=0, le=1_000_000)]) -> int:
    """Count the prime numbers below a number."""
    sieve = bytearray([1]) * below
    sieve[:2] = bytes(min(below, 2))
    for number in range(2, int(below**0.5) + 1):
        if sieve[number]:
            sieve[number * number :: number] = bytes(len(range(number * number, below, number)))
    return sum(sieve)
