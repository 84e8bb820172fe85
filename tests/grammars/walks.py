"""Bounded random walks through a grammar over a vocabulary of single bytes, and whether a grammar takes a text."""

from __future__ import annotations

import random
from functools import lru_cache

import numpy
from llguidance import LLMatcher, LLTokenizer
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask

from grammars.constraint import LIMITS, Constraint

BYTES = LLTokenizer("byte")
END = BYTES.eos_token

PREFERRED = b'"}],: 0123456789truefalsn{[e'
"""What ends values soonest, first: a walk that is long enough takes the first of these that is allowed."""


@lru_cache(maxsize=64)
def prototype(lark: str) -> LLMatcher:
    """The compiled grammar. An error stays inside the matcher."""
    return LLMatcher(BYTES, LLMatcher.grammar_from_lark(lark), limits=LIMITS, log_level=0)


def accepts(constraint: Constraint, text: str) -> bool:
    """Whether the grammar takes the whole text and may end there."""
    matcher = prototype(constraint.lark).deep_copy()
    tokens = list(text.encode())
    return matcher.validate_tokens(tokens) == len(tokens) and _ends_after(matcher, tokens)


def refused_at(constraint: Constraint, text: str) -> int | None:
    """How many bytes of the text the grammar takes; None if it takes all of them and may end there."""
    matcher = prototype(constraint.lark).deep_copy()
    tokens = list(text.encode())
    taken = matcher.validate_tokens(tokens)
    return None if taken == len(tokens) and _ends_after(matcher, tokens) else taken


def _ends_after(matcher: LLMatcher, tokens: list[int]) -> bool:
    if tokens:
        matcher.consume_tokens(tokens)
    return matcher.is_accepting()


def walk(constraint: Constraint, seed: int, *, free_bytes: int = 24, limit_bytes: int = 1500) -> str | None:
    """A text that the grammar allows, chosen at random for `free_bytes` and then steered to its end.

    None if it has not ended after `limit_bytes`. Fails the test if the grammar leads into a dead end.
    """
    choose = random.Random(seed)
    matcher = prototype(constraint.lark).deep_copy()
    masks = allocate_token_bitmask(1, BYTES.vocab_size)
    written = bytearray()
    while len(written) < limit_bytes:
        if matcher.is_stopped():
            assert not matcher.is_error(), f"after {bytes(written)!r}: {matcher.get_error()}"
            break
        fill_next_token_bitmask(matcher, masks, 0)
        bits = numpy.unpackbits(masks[0].view(numpy.uint8), bitorder="little")
        allowed = [int(token) for token in numpy.flatnonzero(bits) if token < 256]
        if matcher.is_accepting() and (not allowed or len(written) >= free_bytes or choose.random() < 0.5):
            break
        assert allowed, f"dead end after {bytes(written)!r}: {matcher.get_error()}"
        token = _steered(allowed, choose) if len(written) >= free_bytes else _weighted(allowed, choose)
        assert matcher.consume_token(token), matcher.get_error()
        written.append(token)
    else:
        return None
    return written.decode()


def _steered(allowed: list[int], choose: random.Random) -> int:
    return next((byte for byte in PREFERRED if byte in allowed), choose.choice(allowed))


def _weighted(allowed: list[int], choose: random.Random) -> int:
    """Structure and ASCII more often than the many bytes that make up other letters."""
    return choose.choices(allowed, [8 if byte in PREFERRED else 2 if byte < 128 else 0.2 for byte in allowed])[0]
