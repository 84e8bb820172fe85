"""What a caller allows among the tools: a wire's own choice and the extension, read into one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from grammars.conversation import DEFAULT_MOST_CALLS, Choice
from grammars.errors import RequestError
from serving.api.extension import Extension


@dataclass(frozen=True, kw_only=True)
class AskedChoice:
    """What a request says in its wire's own words, at `place`. `mode` None: nothing.

    `named` is the one tool that must be called; `allowed` narrows the tools; `single` allows one call at most.
    """

    place: str
    mode: Literal["auto", "required", "none"] | None = None
    named: str | None = None
    allowed: frozenset[str] | None = None
    single: bool = False

    @property
    def is_said(self) -> bool:
        return self.mode is not None or self.named is not None


def read_choice(asked: AskedChoice, extension: Extension, *, any_tools: bool) -> Choice | None:
    """The choice, or None where there are no tools to choose from; contradictions are refused by name."""
    least, exact = extension.min_calls, extension.exact_tools
    bounds = [f"polycall.{name}" for name in ("min_calls", "max_calls", "exact_tools") if getattr(extension, name)]
    if not any_tools:
        place = asked.place if asked.is_said else next(iter(bounds), None)
        if place is None:
            return None
        raise RequestError(f"{place!r} is only allowed when 'tools' are given", place=place)
    if exact and (asked.named is not None or asked.allowed is not None):
        raise RequestError(
            f"'exact_tools' and a {asked.place!r} of tools exclude each other", place="polycall.exact_tools"
        )
    if asked.mode == "none":
        if bounds:
            raise RequestError(f"{bounds[0]!r} contradicts the {asked.place} 'none'", place=bounds[0])
        return Choice(mode="none")
    most = 1 if asked.single else extension.max_calls or max(DEFAULT_MOST_CALLS, least or 0, len(exact or ()))
    if asked.named is not None:
        if least is not None and least > 1:
            raise RequestError("a named tool is called exactly once", place="polycall.min_calls")
        return Choice(exact=(asked.named,), most=most)
    return Choice(
        mode=asked.mode or "auto",
        exact=tuple(exact) if exact else None,
        allowed=asked.allowed,
        least=least or 0,
        most=most,
    )
