"""Caller: who asks. Each API key is one, with a name that people may read and rules for the tools that the server runs.

What one caller's turns left behind, answers under idempotency keys and calls that wait for approval, is for it alone.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase


@dataclass(frozen=True, kw_only=True)
class Caller:
    """One API key. `allow` and `deny` are names of tools, in which `*` stands for anything; a tool that is denied, or
    not allowed where there is an `allow`, is not offered to the model, as if the server did not have it.
    """

    name: str = ""
    allow: tuple[str, ...] | None = None
    deny: tuple[str, ...] = ()

    def may_use(self, tool: str) -> bool:
        """Whether the server runs this tool for the caller."""
        if any(fnmatchcase(tool, pattern) for pattern in self.deny):
            return False
        return self.allow is None or any(fnmatchcase(tool, pattern) for pattern in self.allow)


ANYONE = Caller()
"""Who asks a server that has no keys, or has the one key only: every tool is theirs."""


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """A key, and whose it is."""

    key: str = field(repr=False)
    caller: Caller = ANYONE


def caller_with(given: str, keys: Sequence[ApiKey]) -> Caller | None:
    """Whose key was given, found in a time that does not depend on how much of it is right."""
    matches = [key.caller for key in keys if hmac.compare_digest(given.encode(), key.key.encode())]
    return matches[0] if matches else None
