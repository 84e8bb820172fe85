"""Requests that each wire honours, and which together use nearly all that it knows. They are decoded fast."""

from __future__ import annotations

from typing import Any

WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 12},
        "days": {"type": "integer", "minimum": 0, "maximum": 9},
        "unit": {"enum": ["C", "F"]},
    },
    "required": ["city"],
    "additionalProperties": False,
}
MAP = {"type": "object", "properties": {"place": {"$ref": "#/$defs/place"}}, "$defs": {"place": {"type": "string"}}}
EXTENSION = {"min_calls": 1, "max_calls": 2, "decoding": "parallel"}


def chat_bodies() -> list[dict[str, Any]]:
    tools = [
        {"type": "function", "function": {"name": "weather", "description": "Of a city.", "parameters": WEATHER}},
        {"type": "function", "function": {"name": "map", "parameters": MAP, "strict": True}},
        {"type": "function", "function": {"name": "now"}},
    ]
    user = {"role": "user", "content": "Oslo?"}
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
    history = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Oslo"}, {"type": "text", "text": "?"}]},
        {"role": "assistant", "content": None, "tool_calls": [call, {**call, "id": "call_2"}]},
        {"role": "tool", "tool_call_id": "call_2", "content": "3 C"},
        {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "2 C"}], "name": "weather"},
    ]
    plain = {"model": "scripted", "messages": [user], "max_tokens": 24}
    return [
        {**plain, "temperature": 0.7, "top_p": 0.9, "seed": 5, "stop": ["x", "y"], "user": "ada", "n": 1},
        {**plain, "stream": True, "stream_options": {"include_usage": True}, "metadata": {"team": "a"}},
        {**plain, "tools": tools, "polycall": EXTENSION},
        {**plain, "tools": tools, "tool_choice": "required", "parallel_tool_calls": False, "stream": True},
        {**plain, "tools": tools, "tool_choice": {"type": "function", "function": {"name": "map"}}},
        {
            **plain,
            "tools": tools,
            "tool_choice": {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "now"}}]},
            },
        },
        {**plain, "messages": history, "tools": tools[:1], "tool_choice": "none"},
        {
            **plain,
            "max_tokens": 200,
            "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": MAP}},
        },
        {**plain, "logprobs": True, "top_logprobs": 2, "n": 2, "response_format": {"type": "json_object"}},
        {**plain, "tools": [{"type": "mcp", "server_label": "own", "server_url": "polycall", "allowed_tools": []}]},
        {**plain, "tools": tools[2:], "polycall": {"exact_tools": ["now", "now"], "require_approval": "never"}},
    ]


def responses_bodies() -> list[dict[str, Any]]:
    tools = [
        {"type": "function", "name": "weather", "description": "Of a city.", "parameters": WEATHER, "strict": True},
        {"type": "function", "name": "map", "parameters": MAP},
        {"type": "function", "name": "now", "strict": None},
    ]
    call = {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": '{"city": "Oslo"}'}
    history = [
        {"role": "developer", "content": "Be brief."},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Oslo?"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
        {**call, "id": "fc_1", "status": "completed"},
        {**call, "call_id": "call_2"},
        {"type": "function_call_output", "call_id": "call_2", "output": "3 C"},
        {"type": "function_call_output", "call_id": "call_1", "output": [{"type": "input_text", "text": "2 C"}]},
        {
            "type": "mcp_call",
            "id": "mcp_9",
            "server_label": "polycall",
            "name": "clock",
            "arguments": "{}",
            "output": "noon",
            "error": None,
            "status": "completed",
        },
    ]
    plain = {"model": "scripted", "input": "Oslo?", "max_output_tokens": 24}
    answer = {"format": {"type": "json_schema", "name": "place", "schema": MAP, "strict": True}}
    return [
        {**plain, "instructions": "Be brief.", "temperature": 0.7, "top_p": 0.9, "user": "ada", "store": False},
        {**plain, "stream": True, "metadata": {"team": "a"}, "text": {"format": {"type": "text"}}},
        {**plain, "tools": tools, "polycall": EXTENSION, "max_tool_calls": 3, "truncation": "disabled"},
        {**plain, "tools": tools, "tool_choice": "required", "parallel_tool_calls": False, "stream": True},
        {**plain, "tools": tools, "tool_choice": {"type": "function", "name": "map"}},
        {
            **plain,
            "tools": tools,
            "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "now"}]},
        },
        {**plain, "input": history, "tools": tools[:1], "tool_choice": "none"},
        {**plain, "max_output_tokens": 200, "text": answer, "include": ["message.output_text.logprobs"]},
    ]  # fmt: skip


def messages_bodies() -> list[dict[str, Any]]:
    tools = [
        {"name": "weather", "description": "Of a city.", "input_schema": WEATHER, "strict": True},
        {"name": "map", "input_schema": MAP, "cache_control": {"type": "ephemeral"}},
    ]
    user = {"role": "user", "content": "Oslo?"}
    history = [
        {"role": "user", "content": [{"type": "text", "text": "Oslo?"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Oslo"}},
                {"type": "tool_use", "id": "toolu_2", "name": "map", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_2", "content": "no map", "is_error": True},
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "2 C"}]},
                {"type": "text", "text": "And?"},
            ],
        },
    ]
    plain = {"model": "scripted", "messages": [user], "max_tokens": 24}
    return [
        {**plain, "system": "Be brief.", "temperature": 0.7, "top_p": 0.9, "stop_sequences": ["x", "y"]},
        {**plain, "system": [{"type": "text", "text": "Be brief."}], "stream": True, "metadata": {"user_id": "a"}},
        {**plain, "tools": tools, "polycall": EXTENSION, "thinking": {"type": "disabled"}},
        {**plain, "tools": tools, "tool_choice": {"type": "any", "disable_parallel_tool_use": True}, "stream": True},
        {**plain, "tools": tools, "tool_choice": {"type": "tool", "name": "map"}, "thread": {"type": "create"}},
        {**plain, "tools": tools, "tool_choice": {"type": "auto"}},
        {**plain, "messages": history, "tools": tools[:1], "tool_choice": {"type": "none"}},
    ]


def gemini_bodies() -> list[dict[str, Any]]:
    capitals = {
        "type": "OBJECT",
        "properties": {"city": {"type": "STRING", "maxLength": "12"}, "days": {"type": "INTEGER", "nullable": True}},
        "required": ["city"],
    }
    tools = [
        {
            "functionDeclarations": [
                {"name": "weather", "description": "Of a city.", "parameters": capitals},
                {"name": "map", "parametersJsonSchema": MAP},
            ]
        },
        {"functionDeclarations": [{"name": "now"}]},
    ]
    user = {"role": "user", "parts": [{"text": "Oslo?"}]}
    history = [
        user,
        {
            "role": "model",
            "parts": [
                {"functionCall": {"id": "1", "name": "weather", "args": {"city": "Oslo"}}, "thoughtSignature": "eA=="},
                {"functionCall": {"id": "2", "name": "map"}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"id": "1", "name": "weather", "response": {"result": 2}}},
                {"functionResponse": {"id": "2", "name": "map", "response": {"error": "no map"}}},
            ],
        },
    ]
    config = {"maxOutputTokens": 24}
    plain = {"contents": [user], "generationConfig": config}

    def calling(mode: str, *names: str) -> dict[str, Any]:
        chosen = {"mode": mode, **({"allowedFunctionNames": list(names)} if names else {})}
        return {**plain, "tools": tools, "toolConfig": {"functionCallingConfig": chosen}}

    return [
        {**plain, "systemInstruction": {"parts": [{"text": "Be brief."}]}, "labels": {"team": "a"}},
        {
            **plain,
            "generationConfig": {
                **config, "temperature": 0.7, "topP": 0.9, "seed": 5, "stopSequences": ["x"], "candidateCount": 1
            },
        },
        {**plain, "tools": tools, "polycall": EXTENSION},
        calling("AUTO"),
        calling("ANY", "map"),
        calling("VALIDATED", "map", "now"),
        {**calling("NONE"), "contents": history},
        {"contents": history, "tools": tools, "generation_config": {"max_output_tokens": 24}},
    ]  # fmt: skip
