"""Secret: a value from the environment that opens doors for tools, and that neither logs nor the model ever see.

A service may send back what it was sent, in an error page for instance. `Redactor` therefore reads everything that
comes from outside and puts `[secret NAME]` where a secret stood, also where it stood in one of its usual encodings.
"""

from __future__ import annotations

import json
import os
import re
from base64 import b64encode
from collections.abc import Iterable, Mapping
from functools import partial
from html import escape
from typing import Any
from urllib.parse import quote, quote_plus

from grammars.errors import ConfigurationError

SHORTEST = 8
"""Fewer characters than this stand in ordinary text by chance, and could not be taken out of it."""

SOUNDS_SECRET = re.compile(r"key|token|secret|passw|credential|auth", re.IGNORECASE)
"""Names of variables and headers whose values are most likely secrets."""


class Secret:
    """A secret by the name of its environment variable, with what stands before it where it is sent, such as `Bearer `.

    Its `repr` shows the name only.
    """

    def __init__(self, variable: str, value: str, *, prefix: str = "", base64: bool = False) -> None:
        self.variable = variable
        self._value = value
        self._prefix = prefix
        self._base64 = base64

    def reveal(self) -> str:
        """The text to send, prefix and all. For the moment of sending only: never keep, log or raise it."""
        return self._prefix + (base64_text(self._value) if self._base64 else self._value)

    def sent_as(self, prefix: str, *, base64: bool = False) -> Secret:
        """The same secret, to be sent after this prefix, where wanted in base64."""
        return Secret(self.variable, self._value, prefix=prefix, base64=base64)

    def forms(self) -> set[str]:
        """The secret in every form in which it may come back. The password of `user:password` is one by itself.

        A value that is too short to be one has none.
        """
        if len(self._value) < SHORTEST:
            return set()
        parts = {self._value, self._value.partition(":")[2]}
        plain = {part for part in parts if len(part) >= SHORTEST}
        encoded = base64_text(self._value).rstrip("=")
        return {
            *plain,
            *(form(text) for text in plain for form in ENCODINGS),
            encoded,
            encoded.translate(URL_SAFE),
        }

    def __repr__(self) -> str:
        return f"Secret({self.variable!r})"


URL_SAFE = str.maketrans("+/", "-_")


def base64_text(text: str) -> str:
    return b64encode(text.encode()).decode()


def percent(text: str) -> str:
    return quote(text, safe="")


def escaped(text: str) -> str:
    """As it stands inside a JSON string."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def escaped_ascii(text: str) -> str:
    return json.dumps(text)[1:-1]


def escaped_markup(text: str) -> str:
    """As some libraries write JSON that may come to stand in a page."""
    return escaped(text).translate({ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&"})


ENCODINGS = (percent, quote, quote_plus, escaped, escaped_ascii, escaped_markup, escape, partial(escape, quote=False))


def read_secret(variable: str, *, prefix: str = "") -> Secret:
    """The secret in an environment variable. Raises `ConfigurationError` if it is missing or short."""
    value = os.environ.get(variable, "").strip()
    if not value:
        raise ConfigurationError(f"the environment variable {variable} is not set")
    if len(value) < SHORTEST:
        raise ConfigurationError(
            f"the secret in {variable} has fewer than {SHORTEST} characters: it could not be kept out of results"
        )
    return Secret(variable, value, prefix=prefix)


class Redactor:
    """Takes secrets out of text, bytes and JSON values. Immutable; safe for many calls at once."""

    def __init__(self, secrets: Iterable[Secret] = ()) -> None:
        names = {form: secret.variable for secret in secrets for form in secret.forms()}
        longest_first = sorted(names, key=len, reverse=True)
        self._names = names
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if names else None
        self._names_bytes = {form.encode(): name for form, name in names.items()}
        self._pattern_bytes = re.compile(b"|".join(re.escape(form.encode()) for form in longest_first))

    def text(self, text: str) -> str:
        """The text without secrets."""
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda found: f"[secret {self._names[found.group()]}]", text)

    def value(self, value: Any) -> Any:
        """The JSON value without secrets, in its strings and in the names of its members."""
        if self._pattern is None:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(name): self.value(item) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(item) for item in value]
        return value

    def data(self, data: bytes) -> bytes:
        """The bytes of a text in UTF-8 without secrets."""
        if self._pattern is None:
            return data
        return self._pattern_bytes.sub(lambda found: f"[secret {self._names_bytes[found.group()]}]".encode(), data)

    def stream(self) -> RedactedStream:
        """For text that comes in pieces, which may cut a secret in two."""
        return RedactedStream(self, tuple(self._names_bytes))


class RedactedStream:
    """Redacts one stream of bytes. What could be the beginning of a secret is held back until it is known."""

    def __init__(self, redactor: Redactor, forms: tuple[bytes, ...]) -> None:
        self._redactor = redactor
        self._forms = forms
        self._held = b""

    def feed(self, piece: bytes) -> bytes:
        """What can be told so far."""
        if not self._forms:
            return piece
        text = self._redactor.data(self._held + piece)
        keep = self._open_end(text)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def end(self) -> bytes:
        """What was held back."""
        held, self._held = self._held, b""
        return held

    def _open_end(self, text: bytes) -> int:
        """How many bytes at the end could be the beginning of a secret."""
        longest = min(len(text), max(map(len, self._forms)) - 1)
        for size in range(longest, 0, -1):
            end = text[len(text) - size :]
            if any(form.startswith(end) for form in self._forms):
                return size
        return 0
