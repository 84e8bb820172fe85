"""Constraint: what one stream may write. Compiled once per tokenizer, cached, immutable; a Matcher walks it.

A constraint is a grammar in llguidance's Lark dialect (its `docs/syntax.md`), which embeds JSON Schemas (`%json`) and
regular expressions. The helpers below build the three kinds that polycall writes: a JSON Schema, a choice, free text.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy
from llguidance import LLMatcher, LLParserLimits, LLTokenizer, regex_to_lark
from llguidance.numpy import fill_next_token_bitmask

from grammars.errors import RequestError
from grammars.tokenizer import Tokenizer

STRING_END = '"'
"""The pause of JSON: where a string ends, mostly forced text follows."""

FREE = "(?s:.*)"
"""Any text."""

CACHE_SIZE = 1024
"""How many compiled constraints are kept; the least recently used goes first."""

LIMITS = LLParserLimits(
    initial_lexer_fuel=2_000_000,  # about 40 ms of building regular expressions
    step_lexer_fuel=200_000,  # about 15 ms a token
    step_max_items=50_000,
    max_grammar_size=200_000,
    verbose_errors=False,  # error texts reach callers: no parser state in them
)
"""What one grammar may cost. Work is counted, not timed, so that the same grammar always gives the same verdict."""


@dataclass(frozen=True)
class Constraint:
    """What one stream may write, as the text of a Lark grammar whose first rule is `start`.

    `pauses` are the characters after which forced text may follow free text, such as the quote that ends a string. It
    changes nothing of what may be written: engines that decode in runs use it to end a run where a new one would begin.

    `portable` says the same, but for forced text at its end, in terms that servers of other grammars know: ("json", the
    text of a schema), ("regex", a pattern) or ("choice", a JSON array). None where there are no such terms.

    `is_kept` says whether it is worth a place among the compiled ones that are kept.
    """

    lark: str
    pauses: str = ""
    portable: tuple[str, str] | None = field(default=None, compare=False)
    is_kept: bool = field(default=True, compare=False)

    @classmethod
    def choice(cls, options: Sequence[str]) -> Constraint:
        """Exactly one of these texts."""
        lark = "start: " + " | ".join(quoted(option) for option in options)
        return cls(lark, portable=("choice", json.dumps(list(options))))

    @classmethod
    def regex(cls, pattern: str, *, pauses: str = "") -> Constraint:
        """Text that a regular expression (Rust syntax, no anchors) matches whole."""
        return cls(f"start: /{regex_to_lark(pattern)}/", pauses=pauses, portable=("regex", pattern))

    @classmethod
    def schema(cls, grammar_schema: str) -> Constraint:
        """JSON text for a schema that `grammars.schema` has lowered."""
        return cls(f"start: %json {grammar_schema}", pauses=STRING_END, portable=("json", grammar_schema))

    @classmethod
    def text(cls, *, without: Sequence[str] = (), like: str | None = None) -> Constraint:
        """Free text up to the model's end token, in which no special token and none of `without` occurs, and which the
        regular expression `like`, if there is one, matches whole. One that is `like` something is made for one stream,
        and not kept once that is over.
        """
        if like is None:
            return cls("start: TEXT\n" + text_rule("TEXT", without=without))
        rule = text_rule("TEXT", without=without, like=regex_to_lark(like))
        return cls(f"start: TEXT\n{rule}", portable=("regex", like), is_kept=False)


def text_rule(name: str, *, without: Sequence[str], like: str = FREE) -> str:
    """A grammar rule for text like this in which none of `without` occurs."""
    barred = "".join(f" & ~/{FREE}{regex_escaped(marker)}{FREE}/" for marker in without)
    return f"{name}: /{like}/{barred}"


def quoted(text: str) -> str:
    """`text` as a literal of the grammar language."""
    # DEL, which JSON leaves as it is, the grammar language takes only as an escape.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def regex_escaped(text: str) -> str:
    """`text` as a regular expression between slashes that matches exactly it."""
    return "".join(char if char.isalnum() else f"\\x{{{ord(char):x}}}" for char in text)


class Matcher:
    """The state of one stream inside its constraint. Not shared; methods are cheap enough for every token.

    A matcher never raises for what the grammar or a token does: it fails, says why in `error`, and stays failed.
    """

    def __init__(self, matcher: LLMatcher, tokenizer: LLTokenizer, end_ids: frozenset[int]) -> None:
        self._matcher = matcher
        self._end_ids = end_ids
        self._ended = False
        self._mask: numpy.ndarray | None = None
        self._mask_words = (tokenizer.vocab_size + 31) // 32

    @property
    def error(self) -> str:
        """Why the matcher failed; empty while it has not."""
        return self._matcher.get_error()

    @property
    def ended(self) -> bool:
        """Whether an end token closed the text. It is no part of the text."""
        return self._ended

    @property
    def finished(self) -> bool:
        """Whether the text is complete: an end token came, or the grammar allows nothing more."""
        return self._ended or self._matcher.is_stopped()

    def forced(self) -> list[int]:
        """Consume and return the tokens that the grammar leaves no choice about, often none.

        They end on a canonical token boundary: where the forced text could be the beginning of a longer token, that
        last piece is left for the model to choose. If nothing but the end may follow, the matcher is then `finished`.
        """
        tokens: list[int] = []
        while not self.finished:
            found = [token for token in self._matcher.compute_ff_tokens() if token not in self._end_ids]
            found = found or self.only_choice()
            if not found:
                break
            for token in found:
                self.consume(token)
            tokens.extend(token for token in found if token not in self._end_ids)
        return tokens

    def only_choice(self) -> list[int]:
        """The next token if there is just one, else nothing. Consumes nothing."""
        mask = self.mask()
        if int(numpy.bitwise_count(mask).sum()) != 1:
            return []
        word = int(mask.nonzero()[0][0])
        return [word * 32 + int(mask[word]).bit_length() - 1]

    def mask(self) -> numpy.ndarray:
        """The tokens allowed next: uint32 words, one bit a token, lowest bit first. Not to be written to."""
        if self._mask is None:
            mask = numpy.zeros((1, self._mask_words), dtype=numpy.int32)
            fill_next_token_bitmask(self._matcher, mask, 0)
            self._mask = mask[0].view(numpy.uint32)
        return self._mask

    def allows(self, token: int) -> bool:
        """Whether the token may come next."""
        return bool(self.mask()[token // 32] >> (token % 32) & 1)

    def allowed(self, most: int | None = None) -> tuple[int, ...] | None:
        """The tokens that may come next, or None if they are more than `most`."""
        mask = self.mask()
        if most is not None and int(numpy.bitwise_count(mask).sum()) > most:
            return None
        bits = numpy.unpackbits(mask.view(numpy.uint8), bitorder="little")
        return tuple(int(token) for token in bits.nonzero()[0])

    def consume(self, token: int) -> None:
        """Take the token that was chosen under the mask."""
        self._mask = None
        if token in self._end_ids and self._matcher.is_accepting():
            self._ended = True
        else:
            self._matcher.consume_token(token)

    def accepts(self, tokens: Sequence[int]) -> int:
        """How many of these tokens the grammar would take, one after another, from here. Changes nothing."""
        return self._matcher.validate_tokens(list(tokens))


@dataclass(frozen=True)
class CompiledConstraint:
    """A constraint made ready for one tokenizer. Immutable: every stream walks a copy of its own."""

    _prototype: LLMatcher
    _tokenizer: LLTokenizer
    _end_ids: frozenset[int]

    def matcher(self) -> Matcher:
        """A fresh matcher at the beginning of the text."""
        return Matcher(self._prototype.deep_copy(), self._tokenizer, self._end_ids)


def compile_constraint(constraint: Constraint, tokenizer: Tokenizer) -> CompiledConstraint:
    """The constraint ready for use, from the cache where it is known. May take tens of milliseconds; drops the GIL.

    Raises `RequestError` if the grammar is invalid or exceeds `LIMITS`.
    """
    known = tokenizer.grammar_tokenizer
    compiled = _compile_once if constraint.is_kept else _compile
    return CompiledConstraint(compiled(constraint.lark, known), known, tokenizer.end_ids)


def _compile(lark: str, tokenizer: LLTokenizer) -> LLMatcher:
    # Failures are told by `Matcher.error`; the library would also print them.
    matcher = LLMatcher(tokenizer, LLMatcher.grammar_from_lark(lark), limits=LIMITS, log_level=0)
    if matcher.is_error():
        raise RequestError(f"the grammar cannot be compiled: {matcher.get_error()}")
    return matcher


_compile_once = lru_cache(maxsize=CACHE_SIZE)(_compile)
