"""Reads the messages of Anthropic's API into those of a conversation, and keeps its rules for calls and results.

Consecutive messages of one role are one turn. The turn after calls is the user's and begins with the result of every
call, in any order; what else it says comes after them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from grammars.conversation import Message
from grammars.errors import RequestError
from grammars.tools import CallError, ToolCall, ToolResult
from serving.api.anthropic_messages.tool_use_ids import call_id
from serving.api.anthropic_messages.wire import AnyMessage, TextBlock, ToolResultBlock, ToolUseBlock


@dataclass(frozen=True, kw_only=True)
class Part:
    """One block, and its place in the client's body."""

    block: TextBlock | ToolUseBlock | ToolResultBlock
    place: str


@dataclass(frozen=True, kw_only=True)
class Spoken:
    """What one side says until the other does. `place` is its last message's."""

    role: Literal["user", "assistant", "system"]
    parts: tuple[Part, ...]
    place: str

    @property
    def texts(self) -> list[str]:
        return [part.block.text for part in self.parts if isinstance(part.block, TextBlock)]


@dataclass(kw_only=True)
class History:
    """The messages so far, the client's name of each place in them, and the calls that have no result yet."""

    messages: list[Message] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    called: dict[str, str] = field(default_factory=dict)
    called_at: str = "messages"
    used: set[str] = field(default_factory=set)

    def add(self, message: Message, place: str) -> str:
        """Append the message. Returns our name of its place."""
        name = f"messages[{len(self.messages)}]"
        self.messages.append(message)
        self.names[name] = place
        return name

    def check_answered(self, answered: Sequence[str] = ()) -> None:
        """Raise `RequestError`, in Anthropic's words, unless each call that is open is among the answered."""
        missing = [use_id for use_id in self.called if use_id not in answered]
        if missing:
            raise RequestError(
                f"`tool_use` ids were found without `tool_result` blocks immediately after: {', '.join(missing)}. Each "
                "`tool_use` block must have a corresponding `tool_result` block in the next message.",
                place=self.called_at,
            )
        self.called = {}


def read_history(messages: Sequence[AnyMessage], system: str | list[TextBlock] | None, *, earlier: int = 0) -> History:
    """The whole history, of which `earlier` messages came with requests before. Raises `RequestError`, in Anthropic's
    words, where calls and results do not match.
    """
    history = History()
    if system is not None:
        history.add(Message(role="system", text=joined(system)), "system")
    if not messages:
        raise RequestError("at least one message is required", place="messages")
    for spoken in turns(messages, earlier):
        match spoken.role:
            case "assistant":
                read_assistant(spoken, history)
            case "user":
                read_user(spoken, history)
            case "system":
                history.check_answered()
                history.add(Message(role="system", text="\n".join(spoken.texts)), spoken.place)
    history.check_answered()
    return history


def message_place(index: int, earlier: int) -> str:
    """Where the message stands in the client's body; those that came earlier are the thread's."""
    return "thread" if index < earlier else f"messages[{index - earlier}]"


def turns(messages: Sequence[AnyMessage], earlier: int) -> Iterator[Spoken]:
    """The messages, those of one role that follow each other joined."""
    spoken: Spoken | None = None
    for index, message in enumerate(messages):
        place = message_place(index, earlier)
        parts = parts_of(message.content, f"{place}.content")
        if spoken is not None and spoken.role == message.role:
            parts = (*spoken.parts, *parts)
        elif spoken is not None:
            yield spoken
        spoken = Spoken(role=message.role, parts=parts, place=place)
    if spoken is not None:
        yield spoken


def parts_of(content: str | Sequence[TextBlock | ToolUseBlock | ToolResultBlock], place: str) -> tuple[Part, ...]:
    if isinstance(content, str):
        return (Part(block=TextBlock(type="text", text=content), place=place),)
    return tuple(Part(block=block, place=f"{place}[{index}]") for index, block in enumerate(content))


def read_assistant(spoken: Spoken, history: History) -> None:
    """A turn of the model: its text in one piece, and its calls."""
    history.check_answered()
    calls: list[ToolCall] = []
    places: list[str] = []
    for part in spoken.parts:
        if not isinstance(part.block, ToolUseBlock):
            continue
        call = ToolCall(id=call_id(part.block.id), name=part.block.name, arguments=part.block.input)
        if call.id in history.used:
            raise RequestError(f"`tool_use` ids must be unique: {part.block.id}", place=f"{part.place}.id")
        history.used.add(call.id)
        history.called[part.block.id] = call.id
        calls.append(call)
        places.append(part.place)
    history.called_at = spoken.place
    text = "".join(spoken.texts)
    name = history.add(Message(role="assistant", text=text, calls=tuple(calls)), spoken.place)
    for index, place in enumerate(places):
        history.names[f"{name}.tool_calls[{index}].function.arguments"] = f"{place}.input"


def read_user(spoken: Spoken, history: History) -> None:
    """A turn of the user: the results that it begins with, and what it says after them."""
    results = [(part, part.block) for part in spoken.parts if isinstance(part.block, ToolResultBlock)]
    counts = Counter(block.tool_use_id for _, block in results)
    for part, block in results:
        place = f"{part.place}.tool_use_id"
        if block.tool_use_id not in history.called:
            raise RequestError(
                f"unexpected `tool_use_id` found in `tool_result` blocks: {block.tool_use_id}. Each `tool_result` "
                "block must have a corresponding `tool_use` block in the previous message.",
                place=place,
            )
        if counts[block.tool_use_id] > 1:
            raise RequestError(
                "each tool_use must have a single result. Found multiple `tool_result` blocks with id: "
                f"{block.tool_use_id}",
                place=place,
            )
    first_text = next((index for index, part in enumerate(spoken.parts) if isinstance(part.block, TextBlock)), None)
    leading = results if first_text is None else results[:first_text]
    called = history.called
    history.check_answered([block.tool_use_id for _, block in leading])
    for part, block in leading:
        answered = called[block.tool_use_id]
        history.add(Message(role="tool", text=result_text(block, answered), call_id=answered), part.place)
    if first_text is not None or not results:
        history.add(Message(role="user", text="\n".join(spoken.texts)), spoken.place)


def result_text(block: ToolResultBlock, answered: str) -> str:
    """What the model reads of a result: of one that failed, the same as of a call that failed on the server."""
    text = "" if block.content is None else joined(block.content)
    if not block.is_error:
        return text
    return ToolResult(call_id=answered, error=CallError(kind="tool_error", message=text)).text


def joined(content: str | Sequence[TextBlock]) -> str:
    """The text of blocks, each of which is a text of its own."""
    return content if isinstance(content, str) else "\n".join(block.text for block in content)
