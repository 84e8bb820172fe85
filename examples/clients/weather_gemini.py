"""Three cities' weather with Google's client, which runs Python functions by itself and asks again until text."""

from __future__ import annotations

import json
import os
from typing import Any

from google import genai
from google.genai import types

URL = os.environ.get("POLYCALL_URL", "http://127.0.0.1:8000")
MODEL = os.environ.get("POLYCALL_MODEL", "qwen2.5-coder-1.5b")
CELSIUS = {"San Francisco": 17, "Tokyo": 21, "Paris": 12}


def get_weather(city: str) -> dict[str, Any]:
    """Current weather in one city."""
    return {"city": city, "celsius": CELSIUS.get(city)}


with genai.Client(
    api_key=os.environ.get("POLYCALL_KEY", "none"), http_options=types.HttpOptions(base_url=URL)
) as client:
    answer = client.models.generate_content(
        model=MODEL,
        contents="What is the weather in San Francisco, Tokyo and Paris?",
        config=types.GenerateContentConfig(tools=[get_weather]),
    )
    for content in answer.automatic_function_calling_history or []:
        for part in content.parts or []:
            if part.function_call:
                print(part.function_call.name, json.dumps(part.function_call.args))
    print(answer.text)
