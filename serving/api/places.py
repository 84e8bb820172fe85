"""Places: where in a client's body stands what the conversation calls `messages[2]` or `tools[0].function.name`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from grammars.errors import RequestError


@dataclass(frozen=True, kw_only=True)
class Places:
    """The client's names of places, by ours; a name holds for everything under it. What has none keeps ours."""

    names: Mapping[str, str] = field(default_factory=dict)

    def of(self, place: str) -> str:
        """The client's name of the place."""
        known = [name for name in self.names if place == name or place.startswith((f"{name}.", f"{name}["))]
        if not known:
            return place
        longest = max(known, key=len)
        return self.names[longest] + place.removeprefix(longest)

    def moved(self, error: RequestError) -> RequestError:
        """The same refusal, at the client's name of its place."""
        if error.place is not None:
            error.place = self.of(error.place)
        return error
