"""Three cities' weather with Anthropic's client: its runner of tools runs the calls and sends the results back."""

from __future__ import annotations

import json
import os

from anthropic import Anthropic, beta_tool

URL = os.environ.get("POLYCALL_URL", "http://127.0.0.1:8000")
MODEL = os.environ.get("POLYCALL_MODEL", "qwen2.5-coder-1.5b")
CELSIUS = {"San Francisco": 17, "Tokyo": 21, "Paris": 12}


@beta_tool
def get_weather(city: str) -> str:
    """Current weather in one city."""
    return json.dumps({"city": city, "celsius": CELSIUS.get(city)})


with Anthropic(base_url=URL, api_key=os.environ.get("POLYCALL_KEY", "none")) as client:
    runner = client.beta.messages.tool_runner(
        model=MODEL,
        max_tokens=1024,
        messages=[{"role": "user", "content": "What is the weather in San Francisco, Tokyo and Paris?"}],
        tools=[get_weather],
    )
    for message in runner:
        for block in message.content:
            if block.type == "tool_use":
                print(block.name, json.dumps(block.input))
            elif block.type == "text":
                print(block.text)
