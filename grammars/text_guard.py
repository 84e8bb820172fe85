"""TextGuard: what others wrote stays text, even where it spells a token that steers the model.

A user, a tool's result or a description may contain `<|im_end|>`. Encoded as it stands it would end the message that
quotes it. The guard cuts such words in two with a character that Unicode keeps for internal use; the text then goes
through chat templates like any other, and is taken apart at the cuts when it is encoded, so that no token spans one.
Text without such words is not touched, and its ids are those of the whole text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from grammars.errors import RequestError
from grammars.tokenizer import Tokenizer

NONCHARACTERS = tuple(chr(code) for code in range(0xFDD0, 0xFDF0))
"""Unicode reserves these for use inside programs; a text may contain them all the same."""


class TextGuard:
    """Cuts special tokens in texts apart. `cut` occurs nowhere in the text that the guard was made for.

    Raises `RequestError` for a text in which all that could serve as a cut occurs.
    """

    def __init__(self, tokenizer: Tokenizer, text: str) -> None:
        cut = next((char for char in NONCHARACTERS if char not in text), None)
        if cut is None:
            raise RequestError("the text has all of the characters U+FDD0 to U+FDEF", place="messages")
        self.cut = cut
        self._tokenizer = tokenizer
        # A token of one character has no middle; vocabularies have none that steers.
        self._special = frozenset(token for token in tokenizer.special_tokens if len(token) > 1)

    def text(self, text: str) -> str:
        """The text with every special token in it cut after its first character."""
        if not any(token in text for token in self._special):
            return text
        return beginnings(self._special).sub(lambda found: f"{found[0]}{self.cut}", text)

    def json(self, value: Any) -> Any:
        """A JSON value with all its strings and names so guarded."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(name): self.json(member) for name, member in value.items()}
        return [self.json(item) for item in value] if isinstance(value, list | tuple) else value

    def whole(self, text: str) -> str:
        """A guarded text as it was."""
        return text.replace(self.cut, "")

    def encode(self, text: str) -> tuple[int, ...]:
        """The ids of a guarded text: special tokens outside of what was guarded become those tokens, no others."""
        return tuple(token for piece in text.split(self.cut) for token in self._tokenizer.encode(piece))


@lru_cache(maxsize=16)
def beginnings(special: frozenset[str]) -> re.Pattern[str]:
    """Matches the first character of each special token, also of those that overlap."""
    options = "|".join(re.escape(token) for token in sorted(special))
    return re.compile(f"(?=(?:{options})).", re.DOTALL)
