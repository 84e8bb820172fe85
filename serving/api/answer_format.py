"""What every wire asks the decoder where a client wants its answer as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from grammars.answer import ANY_OBJECT


def answer_schema(schema: Mapping[str, Any] | None = None, description: str | None = None) -> Mapping[str, Any]:
    """The schema of the answer, any JSON object where there is none, with what is said about it for the model."""
    source = ANY_OBJECT if schema is None else schema
    own = source.get("description")
    said = "\n".join(text for text in (description, own) if isinstance(text, str) and text)
    return {**source, "description": said} if said and said != own else source
