"""Contents as messages: Google's turns, in which calls and their results are parts, checked in Google's words.

Contents of one side in a row are one turn: a client that streamed sends its chunks back as they came. The turn after
one with calls holds a response for each of them, matched by `id`, and where a response has none by name and order. What
else the user says in it comes after the results.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from grammars.conversation import Message
from grammars.errors import RequestError
from grammars.tools import CallError, ToolCall, ToolResult, json_text
from serving.api.gemini.wire import Content, FunctionCall, FunctionResponse, Part

UNEQUAL = (
    "Please ensure that the number of function response parts is equal to the number of function call parts of the "
    "function call turn."
)
UNASKED = "Please ensure that function response turn comes immediately after a function call turn."

OUTPUTS = ("output", "result")
"""Where a response has its value: Google's name for it, and what its own client writes."""


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A part of the request, and where it stands."""

    part: Part
    place: str


@dataclass(kw_only=True)
class History:
    """The messages, and where in the client's body each stands."""

    messages: list[Message] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict)

    def say(self, message: Message, place: str) -> None:
        self.places[f"messages[{len(self.messages)}]"] = place
        self.messages.append(message)


def read_contents(contents: Sequence[Content], history: History) -> None:
    """Add the contents to the history, or raise a `RequestError` that names the part at fault."""
    open_calls: list[ToolCall] = []
    turns = groupby(enumerate(contents), key=lambda content: content[1].role == "model")
    for by_model, turn in turns:
        placed = [(f"contents[{index}]", content) for index, content in turn]
        if by_model:
            open_calls = read_model_turn(placed, history)
        else:
            read_user_turn(placed, open_calls, history)
            open_calls = []
    if open_calls:
        raise RequestError(UNEQUAL, place=f"contents[{len(contents) - 1}].parts")


def read_model_turn(contents: Sequence[tuple[str, Content]], history: History) -> list[ToolCall]:
    """One message of the assistant's, and the calls in it."""
    texts: list[str] = []
    calls: list[ToolCall] = []
    first, _ = contents[0]
    message = f"messages[{len(history.messages)}]"
    for place, content in contents:
        for placed in parts_of(place, content):
            if placed.part.function_response is not None:
                raise RequestError(UNASKED, place=f"{placed.place}.functionResponse")
            if placed.part.function_call is not None:
                place_of_call = f"{placed.place}.functionCall"
                history.places[f"{message}.tool_calls[{len(calls)}].function.arguments"] = f"{place_of_call}.args"
                calls.append(read_call(placed.part.function_call, f"{message}_{len(calls)}"))
            texts.append(placed.part.text or "")
    history.say(Message(role="assistant", text="".join(texts), calls=tuple(calls)), first)
    return calls


def read_call(call: FunctionCall, unnamed: str) -> ToolCall:
    """A call of the history; its tool need not be offered any more. Without an id it gets this one."""
    return ToolCall(id=call.id or unnamed, name=call.name, arguments=call.args or {})


def read_user_turn(contents: Sequence[tuple[str, Content]], calls: Sequence[ToolCall], history: History) -> None:
    """The results of the calls, in call order, and one message for what is said in each content beside them."""
    responses: list[tuple[str, FunctionResponse]] = []
    said: list[tuple[str, str]] = []
    for place, content in contents:
        texts = []
        for placed in parts_of(place, content):
            if placed.part.function_call is not None:
                raise RequestError("only the model calls functions", place=f"{placed.place}.functionCall")
            if placed.part.function_response is not None:
                responses.append((f"{placed.place}.functionResponse", placed.part.function_response))
            else:
                texts.append(placed.part.text or "")
        if texts:
            said.append((place, "".join(texts)))
        elif not content.parts:
            raise RequestError("a content of the user's needs at least one part", place=f"{place}.parts")
    for call, (place, response) in matched(calls, responses, contents[0][0]):
        try:
            text = result_text(call, response)
        except (ValueError, RecursionError) as error:  # numbers that JSON does not have, or that are too long to write
            raise RequestError(f"the response cannot be written: {error}", place=f"{place}.response") from None
        history.say(Message(role="tool", text=text, call_id=call.id), place)
    for place, text in said:
        history.say(Message(role="user", text=text), place)


def parts_of(place: str, content: Content) -> Iterator[Placed]:
    """The content's parts, each of which must say just one thing."""
    for index, part in enumerate(content.parts or ()):
        here = f"{place}.parts[{index}]"
        given = [thing for thing in (part.text, part.function_call, part.function_response) if thing is not None]
        if len(given) != 1:
            words = "a part has just one of 'text', 'functionCall' and 'functionResponse'"
            raise RequestError(words, place=here)
        yield Placed(part=part, place=here)


def matched(
    calls: Sequence[ToolCall], responses: Sequence[tuple[str, FunctionResponse]], turn: str
) -> list[tuple[ToolCall, tuple[str, FunctionResponse]]]:
    """Every call with its response: by id where there is one, and then by name and order.

    Raises `RequestError` where one is missing, doubled, or for no call of the turn before.
    """
    if responses and not calls:
        raise RequestError(UNASKED, place=responses[0][0])
    found: dict[str, tuple[str, FunctionResponse]] = {}
    for place, response in (*with_id(responses), *without_id(responses)):
        call = call_for(response, [call for call in calls if call.id not in found], place)
        found[call.id] = (place, response)
    if len(found) < len(calls):
        missing = ", ".join(repr(call.name) for call in calls if call.id not in found)
        raise RequestError(f"{UNEQUAL} There is none for {missing}.", place=f"{turn}.parts")
    return [(call, found[call.id]) for call in calls]


def with_id(responses: Sequence[tuple[str, FunctionResponse]]) -> list[tuple[str, FunctionResponse]]:
    return [(place, response) for place, response in responses if response.id]


def without_id(responses: Sequence[tuple[str, FunctionResponse]]) -> list[tuple[str, FunctionResponse]]:
    return [(place, response) for place, response in responses if not response.id]


def call_for(response: FunctionResponse, unanswered: Sequence[ToolCall], place: str) -> ToolCall:
    """The call that the response is for, of those that have none yet."""
    if not response.id and not response.name:
        raise RequestError("a function response needs an 'id' or a 'name'", place=f"{place}.name")
    if response.id:
        call = next((call for call in unanswered if call.id == response.id), None)
        if call is None:
            words = f"{UNEQUAL} No call without a response has the id {response.id!r}."
            raise RequestError(words, place=f"{place}.id")
        if response.name and response.name != call.name:
            words = f"the call {call.id!r} is of the function {call.name!r}, not {response.name!r}"
            raise RequestError(words, place=f"{place}.name")
        return call
    call = next((call for call in unanswered if call.name == response.name), None)
    if call is None:
        words = f"{UNEQUAL} No call without a response is of the function {response.name!r}."
        raise RequestError(words, place=f"{place}.name")
    return call


def result_text(call: ToolCall, response: FunctionResponse) -> str:
    """What the model reads: the value that stands for the output, an error as such, or the whole response."""
    value: Any = response.response or {}
    if len(value) == 1:
        [(name, inner)] = value.items()
        if name in OUTPUTS:
            return ToolResult(call_id=call.id, value=inner).text
        if name == "error":
            message = inner if isinstance(inner, str) else json_text(inner)
            return ToolResult(call_id=call.id, error=CallError(kind="tool_error", message=message)).text
    return ToolResult(call_id=call.id, value=value).text
