"""One conversation on every wire, whole and streamed: the model reads the same, and the client gets the same.

The engine's calls are random walks that are seeded by all that it has read, and its texts digests of that, so one byte
that a wire renders in another way would give other calls, and another answer to their results.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import pytest
from anthropic import Anthropic
from google import genai
from google.genai import types

from grammars.constraint import Constraint
from grammars.tools import json_text
from serving.engines.scripted import Answer
from serving.execute.registry import Registry
from tests.serving.api.api_server import Call, Server, is_text, serving

SYSTEM = "You are brief."
QUESTION = "What is the weather, and what the time, wherever you like?"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 12}, "days": {"type": "integer", "minimum": 1}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOLS = {"weather": "The weather in a city.", "local_time": "The time in a city."}
RESULT = {"value": "12 — mild"}
RESULT_TEXT = json_text(RESULT)


@dataclass(frozen=True, kw_only=True)
class Said:
    """What a client got: the calls, and the text after their results, or the text in their place."""

    calls: list[Call]
    text: str


@dataclass
class Asked:
    """A server whose model remembers what it reads, and the clients of it."""

    server: Server
    anthropic: Anthropic
    google: genai.Client
    read: list[str]

    @property
    def model(self) -> str:
        return self.server.engine.model


def registry() -> Registry:
    tools = Registry()

    @tools.tool()
    def lookup(word: str) -> str:
        """What a word means."""
        return f"it means {word}"

    return tools


@pytest.fixture(scope="module")
def asked() -> Iterator[Asked]:
    read: list[str] = []

    def script(text: str, constraint: Constraint) -> Answer:
        read.append(text)
        if is_text(constraint):
            return f"I have read {sha256(text.encode()).hexdigest()}."
        return "end" if "it means " in text else None  # what the server looked up is enough

    with ExitStack() as stack:
        for serve in serving():
            server = serve(script, registry=registry())
            anthropic = stack.enter_context(Anthropic(base_url=server.url, api_key="none", max_retries=0))
            options = types.HttpOptions(base_url=server.url)
            google = stack.enter_context(genai.Client(api_key="none", http_options=options))
            yield Asked(server, anthropic, google, read)


def over_chat(asked: Asked, extension: dict[str, Any], *, streamed: bool) -> Said:
    client = asked.server.client.chat.completions
    tools = [
        {"type": "function", "function": {"name": name, "description": description, "parameters": SCHEMA}}
        for name, description in TOOLS.items()
    ]

    def say(messages: list[Any], choice: str) -> Any:
        request: Any = {"model": asked.model, "messages": messages, "tools": tools, "tool_choice": choice}
        request["extra_body"] = {"polycall": extension} if choice == "auto" and extension else {}
        if not streamed:
            return client.create(**request).choices[0].message
        with client.stream(**request) as events:
            return events.get_final_completion().choices[0].message

    messages: list[Any] = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": QUESTION}]
    message = say(messages, "auto" if extension else "none")
    calls = message.tool_calls or []
    if not calls:
        return Said(calls=[], text=message.content)
    results = [{"role": "tool", "tool_call_id": call.id, "content": RESULT_TEXT} for call in calls]
    return Said(
        calls=[(call.function.name, json.loads(call.function.arguments)) for call in calls],
        text=say([*messages, message, *results], "none").content,
    )


def over_responses(asked: Asked, extension: dict[str, Any], *, streamed: bool) -> Said:
    client = asked.server.client.responses
    tools = [
        {"type": "function", "name": name, "description": description, "parameters": SCHEMA, "strict": True}
        for name, description in TOOLS.items()
    ]

    def say(choice: str, **more: Any) -> Any:
        request: Any = {"model": asked.model, "instructions": SYSTEM, "tools": tools, "tool_choice": choice, **more}
        request["extra_body"] = {"polycall": extension} if choice == "auto" and extension else {}
        if not streamed:
            return client.create(**request)
        with client.stream(**request) as events:
            return events.get_final_response()

    first = say("auto" if extension else "none", input=QUESTION)
    calls = [item for item in first.output if item.type == "function_call"]
    if not calls:
        return Said(calls=[], text=first.output_text)
    results = [{"type": "function_call_output", "call_id": call.call_id, "output": RESULT_TEXT} for call in calls]
    return Said(
        calls=[(call.name, json.loads(call.arguments)) for call in calls],
        text=say("none", input=results, previous_response_id=first.id).output_text,
    )


def over_messages(asked: Asked, extension: dict[str, Any], *, streamed: bool) -> Said:
    client = asked.anthropic.messages
    tools = [{"name": name, "description": description, "input_schema": SCHEMA} for name, description in TOOLS.items()]

    def say(messages: list[Any], choice: str) -> Any:
        request: Any = {"model": asked.model, "system": SYSTEM, "messages": messages, "tools": tools}
        request |= {"tool_choice": {"type": choice}, "max_tokens": 30_000, "timeout": 20}
        request["extra_body"] = {"polycall": extension} if choice == "auto" and extension else {}
        if not streamed:
            return client.create(**request)
        with client.stream(**request) as events:
            return events.get_final_message()

    messages: list[Any] = [{"role": "user", "content": QUESTION}]
    message = say(messages, "auto" if extension else "none")
    calls = [block for block in message.content if block.type == "tool_use"]
    if not calls:
        return Said(calls=[], text=written(message))
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": RESULT_TEXT} for call in calls]
    history = [*messages, {"role": "assistant", "content": message.content}, {"role": "user", "content": results}]
    return Said(calls=[(call.name, call.input) for call in calls], text=written(say(history, "none")))


def written(message: Any) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def over_gemini(asked: Asked, extension: dict[str, Any], *, streamed: bool) -> Said:
    functions = [
        types.FunctionDeclaration(name=name, description=description, parameters_json_schema=SCHEMA)
        for name, description in TOOLS.items()
    ]

    def say(contents: list[Any], mode: types.FunctionCallingConfigMode) -> list[types.Part]:
        body = {"polycall": extension} if mode == "AUTO" and extension else None
        config = types.GenerateContentConfig(
            system_instruction=SYSTEM,
            tools=[types.Tool(function_declarations=functions)],
            tool_config=types.ToolConfig(function_calling_config=types.FunctionCallingConfig(mode=mode)),
            automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
            http_options=types.HttpOptions(extra_body=body, timeout=20_000),
        )
        request: Any = {"model": asked.model, "contents": contents, "config": config}
        if streamed:
            chunks = list(asked.google.models.generate_content_stream(**request))
        else:
            chunks = [asked.google.models.generate_content(**request)]
        contents_of = [chunk.candidates[0].content for chunk in chunks if chunk.candidates]
        return [part for content in contents_of if content for part in content.parts or []]

    auto, none = types.FunctionCallingConfigMode.AUTO, types.FunctionCallingConfigMode.NONE
    question = types.Content(role="user", parts=[types.Part(text=QUESTION)])
    parts = say([question], auto if extension else none)
    calls = [part.function_call for part in parts if part.function_call]
    if not calls:
        return Said(calls=[], text="".join(part.text or "" for part in parts))
    results = [
        types.Part(function_response=types.FunctionResponse(id=call.id, name=call.name, response=RESULT))
        for call in calls
    ]
    history = [question, types.Content(role="model", parts=parts), types.Content(role="user", parts=results)]
    return Said(
        calls=[(str(call.name), call.args or {}) for call in calls],
        text="".join(part.text or "" for part in say(history, none)),
    )


WIRES: dict[str, Callable[..., Said]] = {
    "chat": over_chat,
    "responses": over_responses,
    "messages": over_messages,
    "gemini": over_gemini,
}


def everywhere(asked: Asked, extension: dict[str, Any]) -> tuple[dict[str, Said], dict[str, list[str]]]:
    """What every client got, and what the model read for it, in both forms."""
    got: dict[str, Said] = {}
    read: dict[str, list[str]] = {}
    for wire, converse in WIRES.items():
        for streamed in (False, True):
            asked.read.clear()
            form = f"{wire}, {'streamed' if streamed else 'whole'}"
            got[form] = converse(asked, extension, streamed=streamed)
            read[form] = sorted(asked.read)
    return got, read


@pytest.mark.parametrize(
    ("count", "decoding"),
    [(0, "parallel"), (1, "parallel"), (2, "parallel"), (8, "parallel"), (32, "parallel"), (8, "sequential")],
)
def test_the_same_conversation_gives_the_same_calls_and_the_same_text_on_every_wire(
    asked: Asked, count: int, decoding: str
) -> None:
    exact = [list(TOOLS)[number % 2] for number in range(count)]
    got, read = everywhere(asked, {"exact_tools": exact, "decoding": decoding} if exact else {})
    expected = got["chat, whole"]
    assert sorted(name for name, _ in expected.calls) == sorted(exact)
    assert expected.text
    assert QUESTION in read["chat, whole"][0]
    assert read == dict.fromkeys(read, read["chat, whole"])
    assert got == dict.fromkeys(got, expected)


@pytest.mark.parametrize(
    "exact", [["lookup", "lookup"], ["lookup", "weather", "lookup", "local_time"]], ids=["alone", "beside_the_clients"]
)
def test_calls_that_the_server_runs_change_nothing_of_that(asked: Asked, exact: list[str]) -> None:
    got, read = everywhere(asked, {"exact_tools": exact})
    expected = got["chat, whole"]
    assert sorted(name for name, _ in expected.calls) == sorted(name for name in exact if name in TOOLS)
    assert expected.text
    assert max(text.count("it means ") for text in read["chat, whole"]) == 2
    assert read == dict.fromkeys(read, read["chat, whole"])
    assert got == dict.fromkeys(got, expected)
