"""GeminiWire: part of a Gemini request, whose fields may be written in camel case or in snake case."""

from __future__ import annotations

from pydantic import ConfigDict
from pydantic.alias_generators import to_camel

from serving.api.wire import Wire


class GeminiWire(Wire):
    """Google's JSON takes `generationConfig` and `generation_config` alike, and its own client sends both."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)
