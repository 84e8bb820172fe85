"""Tools of the benchmark that other processes import."""

from __future__ import annotations


def burn(rounds: int) -> int:
    """Compute, holding a processor and, in Python, the interpreter's lock."""
    total = 0
    for number in range(rounds):
        total = (total * 31 + number) % 1_000_003
    return total
