"""Three cities' weather with OpenAI's client, over Chat Completions: all calls in one answer, run side by side."""

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
        "function": {
            "name": "get_weather",
            "description": "Current weather in one city.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]


def get_weather(city: str) -> dict[str, Any]:
    return {"city": city, "celsius": CELSIUS.get(city)}


def run(call: Any) -> dict[str, str]:
    result = get_weather(**json.loads(call.function.arguments))
    return {"role": "tool", "tool_call_id": call.id, "content": json.dumps(result)}


messages: list[Any] = [{"role": "user", "content": "What is the weather in San Francisco, Tokyo and Paris?"}]
with OpenAI(base_url=f"{URL}/v1", api_key=os.environ.get("POLYCALL_KEY", "none")) as client:
    asked = client.chat.completions.create(model=MODEL, messages=messages, tools=TOOLS).choices[0].message
    calls = [call for call in asked.tool_calls or [] if call.type == "function"]
    for call in calls:
        print(call.function.name, call.function.arguments)
    with ThreadPoolExecutor() as pool:
        messages += [asked, *pool.map(run, calls)]
    answer = client.chat.completions.create(model=MODEL, messages=messages, tools=TOOLS)
    print(answer.choices[0].message.content)
