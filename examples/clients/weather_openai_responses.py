"""Three cities' weather with OpenAI's client, over the Responses API: the server keeps the conversation."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from openai import OpenAI

URL = os.environ.get("POLYCALL_URL", "http://127.0.0.1:8000")
MODEL = os.environ.get("POLYCALL_MODEL", "qwen2.5-coder-1.5b")
CELSIUS = {"San Francisco": 17, "Tokyo": 21, "Paris": 12}

TOOLS: Any = [
    {
        "type": "function",
        "name": "get_weather",
        "description": "Current weather in one city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
        "strict": True,
    }
]


def get_weather(city: str) -> dict[str, Any]:
    return {"city": city, "celsius": CELSIUS.get(city)}


def run(call: Any) -> Any:
    result = get_weather(**json.loads(call.arguments))
    return {"type": "function_call_output", "call_id": call.call_id, "output": json.dumps(result)}


with OpenAI(base_url=f"{URL}/v1", api_key=os.environ.get("POLYCALL_KEY", "none")) as client:
    asked = client.responses.create(
        model=MODEL, input="What is the weather in San Francisco, Tokyo and Paris?", tools=TOOLS
    )
    calls = [item for item in asked.output if item.type == "function_call"]
    for call in calls:
        print(call.name, call.arguments)
    with ThreadPoolExecutor() as pool:
        results = list(pool.map(run, calls))
    if results:
        asked = client.responses.create(model=MODEL, previous_response_id=asked.id, input=results, tools=TOOLS)
    print(asked.output_text)
