"""Stock vLLM, asked as its users ask it: what the benchmark compares with."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from bench_decode import TOOL, Run
from openai import AsyncOpenAI

from grammars import array
from grammars.conversation import Conversation
from grammars.dialects import dialect_of
from grammars.prompt import render
from grammars.schema import read_schema
from serving.engines.base import Engine

CLOSED: dict[str, Any] = {**TOOL.parameters, "additionalProperties": False}
"""The tool's schema as polycall itself reads it: else a weak model invents arguments without end."""


class StockVllm:
    """Stock vLLM, asked as its users ask it."""

    def __init__(self, base_url: str, engine: Engine) -> None:
        self._client = AsyncOpenAI(base_url=base_url, api_key="none", timeout=300, max_retries=0)
        self._tokenizer = engine.tokenizer
        self._dialect = dialect_of(engine.tokenizer)

    async def array(self, conversation: Conversation) -> Run:
        """The array of exactly N calls, over the prompt that polycall's own sequential decoding has."""
        calls = conversation.choice.least
        asked = array.instructions(self._dialect)
        prompt = render(conversation, self._dialect, self._tokenizer, instructions=asked)
        start_s = time.perf_counter()
        answer = await self._client.completions.create(
            model="there",
            prompt=list(prompt),
            max_tokens=2048,
            temperature=0,
            extra_body={"structured_outputs": {"json": array_schema(calls)}, "add_special_tokens": False},
        )
        seconds = time.perf_counter() - start_s
        usage = answer.usage
        valid = are_valid(answer.choices[0].text, calls)
        return Run(seconds=seconds, steps=usage.completion_tokens if usage else 0, plan_steps=0, valid=valid)

    async def tools(self, conversation: Conversation) -> tuple[float, int]:
        """Its own tool calling: seconds, and how many calls the model makes of its own accord."""
        messages: Any = [{"role": message.role, "content": message.text} for message in conversation.messages]
        tool: Any = {"type": "function", "function": {"name": TOOL.name, "parameters": CLOSED}}
        start_s = time.perf_counter()
        answer = await self._client.chat.completions.create(
            model="there",
            messages=messages,
            tools=[tool],
            tool_choice="required",
            temperature=0,
            max_tokens=2048,
        )
        return time.perf_counter() - start_s, len(answer.choices[0].message.tool_calls or [])

    async def close(self) -> None:
        await self._client.close()


def are_valid(text: str, calls: int) -> bool:
    """Whether the text is exactly so many calls, each with arguments as the tool wants them."""
    try:
        written = json.loads(text)
    except ValueError:
        return False
    schema = read_schema(TOOL.parameters)
    return len(written) == calls and not any(schema.problems(call["arguments"]) for call in written)


def array_schema(calls: int) -> Mapping[str, Any]:
    """A JSON array of exactly so many calls."""
    call = {
        "type": "object",
        "properties": {"name": {"const": TOOL.name}, "arguments": CLOSED},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }
    return {"type": "array", "items": call, "minItems": calls, "maxItems": calls}
