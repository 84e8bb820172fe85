"""The same question one call at a time: with `parallel_tool_calls=False` each answer has one call at most."""

from __future__ import annotations

import json
import os
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
MOST_ANSWERS = 8

messages: list[Any] = [{"role": "user", "content": "What is the weather in San Francisco, Tokyo and Paris?"}]
with OpenAI(base_url=f"{URL}/v1", api_key=os.environ.get("POLYCALL_KEY", "none")) as client:
    for _ in range(MOST_ANSWERS):
        completion = client.chat.completions.create(
            model=MODEL, messages=messages, tools=TOOLS, parallel_tool_calls=False
        )
        message = completion.choices[0].message
        if not message.tool_calls:
            print(message.content)
            break
        [call] = message.tool_calls
        assert call.type == "function"
        print(call.function.name, call.function.arguments)
        city = json.loads(call.function.arguments)["city"]
        result = {"city": city, "celsius": CELSIUS.get(city)}
        messages += [message, {"role": "tool", "tool_call_id": call.id, "content": json.dumps(result)}]
