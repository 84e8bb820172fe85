"""Example: one conversation, and the calls that answer it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from finetune.gold import call_meant
from finetune.readers.data_rows import Unreadable
from grammars.conversation import Conversation, Message
from grammars.errors import RequestError, SchemaRefused
from grammars.parse import check_call
from grammars.references import taking_references
from grammars.schema import read_schema
from grammars.tools import CallError, Tool, ToolCall


@dataclass(frozen=True, kw_only=True)
class Example:
    """One conversation with the calls that are right for it, in the order of the request. Build it with `build`.

    The ids of the calls are 1, 2, and so on. A call that needs another's result has `$ref:<id>`, with or without a JSON
    pointer, in place of the argument. Where no call is due, `text` is what was answered instead, if that is known.
    """

    id: str
    source: str
    conversation: Conversation
    calls: tuple[ToolCall, ...] = ()
    text: str = ""

    @classmethod
    def build(
        cls,
        *,
        id: str,
        source: str,
        messages: Sequence[Message],
        tools: Sequence[Tool],
        calls: Sequence[tuple[str, Any]] = (),
        text: str = "",
    ) -> Example:
        """An example of which every tool can be offered and every call be written, or `Unreadable` with the reason."""
        check_text(messages, tools, calls)
        for tool in tools:
            try:
                read_schema(tool.parameters)
            except SchemaRefused as refused:
                raise Unreadable(f"the tool {tool.name!r}: {refused}") from None
        try:
            conversation = Conversation.read(messages, tools)
        except RequestError as error:
            raise Unreadable(f"{error.place}: {error}" if error.place else str(error)) from None
        offered = {tool.name: tool for tool in tools}
        gold = tuple(
            gold_call(number, name, arguments, offered) for number, (name, arguments) in enumerate(calls, start=1)
        )
        return cls(id=id, source=source, conversation=conversation, calls=gold, text=text)

    @property
    def waves(self) -> tuple[tuple[ToolCall, ...], ...]:
        """The calls in the order in which they can run: each wave needs results of earlier ones only."""
        depths: dict[str, int] = {}
        for call in self.calls:
            needed = [depths[meant] for meant in map(call_meant, call.arguments.values()) if meant in depths]
            depths[call.id] = max(needed, default=-1) + 1
        return tuple(
            tuple(call for call in self.calls if depths[call.id] == depth)
            for depth in range(max(depths.values(), default=-1) + 1)
        )

    @property
    def request(self) -> str:
        """What the user said last."""
        return next((message.text for message in reversed(self.conversation.messages) if message.role == "user"), "")

    def offering(self, tools: Sequence[Tool]) -> Example:
        """The same example with other tools, among which are those that it calls."""
        return replace(self, conversation=Conversation.read(self.conversation.messages, tools))


def check_text(messages: Sequence[Message], tools: Sequence[Tool], calls: Sequence[tuple[str, Any]]) -> None:
    """Refuse texts that no tokenizer can take: half a character, as `"\\ud800"` is."""
    written = json.dumps([*map(asdict, messages), *map(asdict, tools), *calls], ensure_ascii=False)
    try:
        written.encode("utf-8")
    except UnicodeEncodeError as error:
        raise Unreadable(f"there is half a character in it, {error.object[error.start]!r}") from None


def gold_call(number: int, name: str, arguments: Any, offered: dict[str, Tool]) -> ToolCall:
    """The call with this number, valid for its tool, in which references to earlier calls may stand."""
    if name not in offered:
        raise Unreadable(f"call {number} is of {name!r}, which is not among the tools")
    tool = offered[name]
    if isinstance(arguments, Mapping) and any(map(call_meant, arguments.values())):
        tool = taking_references(tool, range(1, number))
    outcome = check_call(tool, arguments)
    if isinstance(outcome, CallError):
        raise Unreadable(f"call {number}: {outcome.message}")
    return replace(outcome, id=str(number))


def decisions(
    id: str, source: str, messages: Sequence[Message], tools: Sequence[Tool], *, left_out: Collection[int] = ()
) -> Iterator[Example]:
    """An example for everything that the assistant said in a dialogue, but for the messages that are `left_out`, with
    what came before as its conversation.
    """
    said = [index for index, message in enumerate(messages) if message.role == "assistant"]
    if not said:
        raise Unreadable("the assistant says nothing")
    for index in said:
        if index in left_out:
            continue
        if index == 0 or messages[index - 1].role not in ("user", "tool"):
            raise Unreadable(f"message {index + 1} of the assistant answers nobody")
        message = messages[index]
        yield Example.build(
            id=f"{id}/{index}" if len(said) > 1 else id,
            source=source,
            messages=messages[:index],
            tools=tools,
            calls=[(call.name, call.arguments) for call in message.calls],
            text=message.text,
        )
