"""Stock vLLM, asked as its users ask it: what the benchmark compares with."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from bench_decode import Run, are_due
from openai import AsyncOpenAI

from grammars import array
from grammars.conversation import Conversation
from grammars.dialects import dialect_of
from grammars.prompt import render
from grammars.tools import Tool, ToolCall
from serving.engines.base import Engine


class StockVllm:
    """Stock vLLM, asked as its users ask it."""

    def __init__(self, base_url: str, engine: Engine) -> None:
        self._client = AsyncOpenAI(base_url=base_url, api_key="none", timeout=300, max_retries=0)
        self._tokenizer = engine.tokenizer
        self._dialect = dialect_of(engine.tokenizer)

    async def array(self, conversation: Conversation) -> Run:
        """The array of exactly N calls, over the prompt that polycall's own sequential decoding has."""
        calls = conversation.choice.least
        instructions = array.instructions(self._dialect)
        prompt = render(conversation, self._dialect, self._tokenizer, instructions=instructions)
        asked_for = array_schema(calls, conversation.tools)
        start_s = time.perf_counter()
        answer = await self._client.completions.create(
            model="there",
            prompt=list(prompt),
            max_tokens=2048,
            temperature=0,
            extra_body={"structured_outputs": {"json": asked_for}, "add_special_tokens": False},
        )
        seconds = time.perf_counter() - start_s
        usage = answer.usage
        valid = are_due(read_calls(answer.choices[0].text), conversation)
        return Run(seconds=seconds, steps=usage.completion_tokens if usage else 0, plan_steps=0, valid=valid)

    async def tools(self, conversation: Conversation) -> tuple[float, int]:
        """Its own tool calling: seconds, and how many calls the model makes of its own accord."""
        messages: Any = [{"role": message.role, "content": message.text} for message in conversation.messages]
        tools: Any = [
            {"type": "function", "function": {"name": tool.name, "parameters": closed(tool)}}
            for tool in conversation.tools
        ]
        start_s = time.perf_counter()
        answer = await self._client.chat.completions.create(
            model="there",
            messages=messages,
            tools=tools,
            tool_choice="required",
            temperature=0,
            max_tokens=2048,
        )
        return time.perf_counter() - start_s, len(answer.choices[0].message.tool_calls or [])

    async def close(self) -> None:
        await self._client.close()


def read_calls(text: str) -> list[ToolCall]:
    """The calls of an array; none where the text is no JSON, because it was cut."""
    try:
        written = json.loads(text)
    except ValueError:
        return []
    return [ToolCall(id="", name=call["name"], arguments=call["arguments"]) for call in written]


def array_schema(calls: int, tools: Sequence[Tool]) -> Mapping[str, Any]:
    """A JSON array of exactly so many calls."""
    each = [
        {
            "type": "object",
            "properties": {"name": {"const": tool.name}, "arguments": closed(tool)},
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for tool in tools
    ]
    items = each[0] if len(each) == 1 else {"anyOf": each}
    return {"type": "array", "items": items, "minItems": calls, "maxItems": calls}


def closed(tool: Tool) -> dict[str, Any]:
    """The tool's schema as polycall itself reads it: else a weak model invents arguments without end."""
    return {**tool.parameters, "additionalProperties": False}
