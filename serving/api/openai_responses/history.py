"""From items to messages: the conversation that a request brings, and its decisions on calls that wait for approval.

Items are flat, messages are not: what the model answered at once, a text and calls one after another, is one answer
here, with the results of its calls behind it. The calls that the server ran come first in it, as messages of their own:
they are shown to the client, and the journal knows better where they stood.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from grammars.conversation import Message
from grammars.errors import RequestError
from grammars.tools import ToolCall
from serving.api.openai_responses import items as wire
from serving.api.openai_responses.ids import call_id
from serving.api.openai_responses.items import Item
from serving.api.wire import read_arguments
from serving.approvals import Decision, denied

PlacedItem = tuple[str, Item]
"""An item, and where the client's request has it."""


@dataclass(frozen=True, kw_only=True)
class History:
    """What was said before, and what is decided now. `places` are the client's for each of the messages,
    `decision_places` for each of the decisions, and `call_places` for the calls by their ids.
    """

    messages: tuple[Message, ...]
    places: tuple[str, ...]
    call_places: Mapping[str, str]
    decisions: tuple[Decision, ...] = ()
    decision_places: tuple[str, ...] = ()


def read_history(items: Iterable[PlacedItem]) -> History:
    """The items as a history. Raises `RequestError` for a call without a result, and a result without its call."""
    reader = HistoryReader()
    for place, item in items:
        reader.take(place, item)
    return reader.read()


@dataclass(kw_only=True)
class Answered:
    """One answer of the model's while its items are read. Each call, result and text comes with its place."""

    texts: list[tuple[str, str]] = field(default_factory=list)
    shown: list[tuple[str, ToolCall, str]] = field(default_factory=list)
    calls: dict[str, tuple[str, ToolCall]] = field(default_factory=dict)
    results: dict[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return "".join(text for _, text in self.texts)

    @property
    def open_calls(self) -> list[str]:
        return [call for call in self.calls if call not in self.results]


class HistoryReader:
    """Reads items in their order."""

    def __init__(self) -> None:
        self._messages: list[tuple[str, Message]] = []
        self._answer = Answered()
        self._called: dict[str, str] = {}
        self._call_places: dict[str, str] = {}
        self._asked: dict[str, ToolCall] = {}
        self._decisions: list[tuple[str, Decision]] = []

    def take(self, place: str, item: Item) -> None:
        """The next item."""
        match item:
            case wire.InputMessage(role=role):
                self._end_answer()
                said = Message(role="user" if role == "user" else "system", text=joined(item.content))
                self._messages.append((place, said))
            case wire.AssistantMessage():
                self._settle_decisions()
                if not self._answer.open_calls and (self._answer.calls or self._answer.shown or self._answer.texts):
                    self._end_answer()
                self._answer.texts.append((place, joined(item.content)))
            case wire.FunctionCall():
                self._begin_call()
                call = read_call(item.call_id, item.name, item.arguments, place)
                if call.id in self._called:
                    raise RequestError(f"the call id {call.id!r} is used more than once", place=f"{place}.call_id")
                self._called[call.id] = call.name
                self._answer.calls[call.id] = (place, call)
            case wire.McpCall():
                self._begin_call()
                call = read_call(call_id(item.id), item.name, item.arguments, place)
                self._answer.shown.append((place, call, shown_result(item)))
            case wire.FunctionCallOutput():
                self._take_output(place, item)
            case wire.McpApprovalRequest():
                self._settle_decisions()
                self._asked[item.id] = read_call(item.id, item.name, item.arguments, place)
            case wire.McpApprovalResponse():
                decision = Decision(call_id=item.approval_request_id, approve=item.approve, reason=item.reason)
                self._decisions.append((place, decision))
            case wire.McpListTools():
                pass

    def read(self) -> History:
        """All that was taken."""
        self._end_answer()
        return History(
            messages=tuple(message for _, message in self._messages),
            places=tuple(place for place, _ in self._messages),
            call_places=self._call_places,
            decisions=tuple(decision for _, decision in self._decisions),
            decision_places=tuple(place for place, _ in self._decisions),
        )

    def _begin_call(self) -> None:
        """A call comes. After the first result it is one of the next answer."""
        self._settle_decisions()
        if self._answer.results:
            self._end_answer()

    def _take_output(self, place: str, item: wire.FunctionCallOutput) -> None:
        known = self._called.get(item.call_id)
        if known is None:
            words = f"No tool call found for function call output with call_id {item.call_id}."
            raise RequestError(words, place=f"{place}.call_id")
        if item.call_id not in self._answer.open_calls:
            raise RequestError(f"the function call {item.call_id} is already answered", place=f"{place}.call_id")
        if item.name not in (None, known):
            words = f"the call {item.call_id!r} is of the function {known!r}, not {item.name!r}"
            raise RequestError(words, place=f"{place}.name")
        self._answer.results[item.call_id] = (place, joined(item.output))

    def _settle_decisions(self) -> None:
        """The model answered after these decisions: they were acted on. It read of what was denied."""
        if self._decisions and self._answer.calls:
            self._end_answer()
        for place, decision in self._decisions:
            call = self._asked.get(decision.call_id)
            if call is not None and not decision.approve:
                self._answer.shown.append((place, call, denied(decision).text))
        self._decisions.clear()

    def _end_answer(self) -> None:
        """The answer is complete."""
        answer, self._answer = self._answer, Answered()
        self._call_places.update({call.id: place for place, call, _ in answer.shown})
        self._call_places.update({call: place for call, (place, _) in answer.calls.items()})
        if answer.open_calls:
            raise RequestError(f"No tool output found for function call {answer.open_calls[0]}.", place="input")
        text = answer.text
        if answer.shown:
            calls = tuple(call for _, call, _ in answer.shown)
            first = answer.texts[0][0] if answer.texts else answer.shown[0][0]
            self._messages.append((first, Message(role="assistant", text=text, calls=calls)))
            self._messages += [
                (place, Message(role="tool", text=result, call_id=call.id)) for place, call, result in answer.shown
            ]
            text = ""
        if answer.calls:
            calls = tuple(call for _, call in answer.calls.values())
            first = next(iter(answer.calls.values()))[0]
            self._messages.append((first, Message(role="assistant", text=text, calls=calls)))
            self._messages += [
                (place, Message(role="tool", text=result, call_id=call))
                for call, (place, result) in answer.results.items()
            ]
        elif answer.texts and not answer.shown:
            self._messages.append((answer.texts[0][0], Message(role="assistant", text=text)))


def read_call(call_id: str, name: str, arguments: str, place: str) -> ToolCall:
    """A call of the history. Its tool need not be offered any more."""
    return ToolCall(id=call_id, name=name, arguments=read_arguments(arguments, f"{place}.arguments"))


def shown_result(item: wire.McpCall) -> str:
    """What the model read of a call that the server ran."""
    match item.error:
        case None:
            return item.output or ""
        case str(words) | {"message": str(words)} | {"content": [{"text": str(words)}]}:
            return words
        case error:
            return str(error)


def joined(content: str | list[wire.InputText] | list[wire.AssistantPart]) -> str:
    """The text of a message or a result, whether it came as one string or in parts."""
    if isinstance(content, str):
        return content
    return "".join(part.refusal if isinstance(part, wire.OutputRefusal) else part.text for part in content)
