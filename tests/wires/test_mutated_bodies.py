"""Ten thousand bodies a wire, each nearly right: every one is answered, or refused by the field at fault."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_core import from_json

from serving.api.anthropic_messages.wire import MessagesRequest
from serving.api.gemini.wire import GenerateContentRequest
from serving.api.openai_chat.wire import ChatRequest
from serving.api.openai_responses.wire import ResponsesRequest
from tests.wires.in_process import Response, application, post
from tests.wires.mutations import mutated_bodies
from tests.wires.valid_bodies import chat_bodies, gemini_bodies, messages_bodies, responses_bodies

BODIES = 10_000
A_FEW = 300
"""Enough to notice at once what breaks much."""

GEMINI = "/v1beta/models/scripted"


@dataclass(frozen=True)
class Wire:
    """`place` reads the field at fault from an error of this wire; `paths` take turns."""

    paths: Sequence[str]
    valid: Callable[[], list[dict[str, Any]]]
    model: type[BaseModel]
    place: Callable[[Any], str | None]

    @cached_property
    def fields(self) -> set[str]:
        """The names of all fields that the wire has anywhere."""
        return {
            name for by_alias in (True, False) for name in names_in(self.model.model_json_schema(by_alias=by_alias))
        }


def openai_place(error: Any) -> str | None:
    assert set(error) == {"error"}
    assert set(error["error"]) == {"message", "type", "param", "code"}
    return error["error"]["param"]


def anthropic_place(error: Any) -> str | None:
    assert error["type"] == "error"
    assert error["error"]["message"]
    return error["error"]["details"].get("param")


def gemini_place(error: Any) -> str | None:
    assert set(error["error"]) == {"code", "message", "status", "details"}
    fields = [field for detail in error["error"]["details"] for field in detail.get("fieldViolations", [])]
    return fields[0]["field"] if fields else None


WIRES = {
    "chat": Wire(["/v1/chat/completions"], chat_bodies, ChatRequest, openai_place),
    "responses": Wire(["/v1/responses"], responses_bodies, ResponsesRequest, openai_place),
    "messages": Wire(["/v1/messages", "/v1/messages/count_tokens"], messages_bodies, MessagesRequest, anthropic_place),
    "gemini": Wire(
        [f"{GEMINI}:generateContent", f"{GEMINI}:streamGenerateContent?alt=sse", f"{GEMINI}:streamGenerateContent"],
        gemini_bodies,
        GenerateContentRequest,
        gemini_place,
    ),
}


def names_in(value: Any) -> Iterator[str]:
    """All names of members in the value, in parts where they have dots."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from re.sub(r"\[\d+\]", "", name).split(".")
            yield from names_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from names_in(inner)


def is_object(body: bytes) -> bool:
    try:
        return isinstance(from_json(body, allow_inf_nan=False), dict)
    except ValueError:
        return False


def answers(response: Response) -> list[Any]:
    """What the response says: one value, or that of every event."""
    if response.media_type == "application/json":
        return [response.json()]
    lines = response.body.decode().splitlines()
    data = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    return [json.loads(text) for text in data if text != "[DONE]"]


def is_error(said: Any) -> bool:
    return isinstance(said, dict) and (
        said.get("error") is not None or said.get("type") in ("error", "response.failed")
    )


def fault(wire: Wire, body: bytes, response: Response) -> str | None:
    """What is wrong with this answer to this body, in words."""
    if response.status >= 500:
        return f"status {response.status}"
    if response.status == 200:
        return "an error in the answer" if any(is_error(said) for said in answers(response)) else None
    place = wire.place(response.json())
    if place is None:
        return "names no field" if is_object(body) else None
    names = {name for name in re.sub(r"\[\d+\]", "", place).split(".") if name}
    return None if names <= {*wire.fields, *names_in(from_json(body))} else f"names {place!r}"


async def tried(wire: Wire, count: int, seed: int) -> tuple[Counter[int], list[tuple[str, bytes, bytes]]]:
    """How many answers of each status there were, and which were wrong."""
    found: Counter[int] = Counter()
    wrong = []
    async with application() as app:
        for number, body in enumerate(mutated_bodies(wire.valid(), count, seed)):
            try:
                response = await post(app, wire.paths[number % len(wire.paths)], body)
            except Exception as error:
                wrong.append((repr(error), body, b""))
                continue
            found[response.status] += 1
            why = fault(wire, body, response)
            if why is not None:
                wrong.append((why, body, response.body))
    return found, wrong


@pytest.mark.parametrize("name", WIRES)
async def test_the_bodies_that_are_mutated_are_valid(name: str) -> None:
    wire = WIRES[name]
    async with application() as app:
        for body in wire.valid():
            response = await post(app, wire.paths[0], json.dumps(body).encode())
            assert response.status == 200, (body, response.body)


@pytest.mark.parametrize(("count", "seed"), [(A_FEW, 1), pytest.param(BODIES, 2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", WIRES)
def test_every_mutated_body_is_answered_or_refused_by_the_field_at_fault(name: str, count: int, seed: int) -> None:
    found, wrong = asyncio.run(tried(WIRES[name], count, seed))
    assert wrong == []
    assert found[200] > count / 25, "mutations that are all refused early try little"
    assert found[400] > count / 2
