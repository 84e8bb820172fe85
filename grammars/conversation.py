"""One request, whatever wire it came by: messages, tools, and the caller's choice among them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from grammars.errors import RequestError
from grammars.tools import Tool, ToolCall, is_tool_name, json_text

DEFAULT_MOST_CALLS = 16
"""The bound on the calls of one turn where the caller names none: finite, so that no model can repeat for ever."""

CALLS_LIMIT = 64
"""The most calls of one turn that a caller may ask for."""

TOOLS_LIMIT = 128
"""The most tools that one request may offer."""


@dataclass(frozen=True, kw_only=True)
class Message:
    """One message. Assistant messages may carry calls; a `tool` message answers the call named by `call_id`."""

    role: Literal["system", "user", "assistant", "tool"]
    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    call_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What the caller allows: whether to call, which tools, and how many calls.

    `auto` lets the model answer in text instead; `required` means at least `least` calls, and at least one; `none`
    forbids calls. `allowed` narrows the tools (`None`: all); `exact` lists the tools that must all be called, each as
    often as it stands there, and then fixes the number of calls.
    """

    mode: Literal["auto", "required", "none"] = "auto"
    allowed: frozenset[str] | None = None
    exact: tuple[str, ...] | None = None
    least: int = 0
    most: int = DEFAULT_MOST_CALLS


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """One request: what was said, what may be called, and what the caller allows. Build it with `read`."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    choice: Choice = field(default_factory=Choice)

    @classmethod
    def read(
        cls, messages: Sequence[Message], tools: Sequence[Tool] = (), choice: Choice | None = None
    ) -> Conversation:
        """A conversation that keeps every rule, or a `RequestError` that names the field which breaks one."""
        check_tools(tools)
        check_history(messages)
        if choice is None:
            choice = Choice(mode="auto" if tools else "none")
        return cls(messages=tuple(messages), tools=tuple(tools), choice=read_choice(choice, tools))

    @property
    def callable_tools(self) -> tuple[Tool, ...]:
        """The tools that this turn may call, in the order in which they were offered."""
        if self.choice.mode == "none":
            return ()
        allowed = self.choice.allowed
        return tuple(tool for tool in self.tools if allowed is None or tool.name in allowed)

    def continued(self, messages: Sequence[Message], choice: Choice | None = None) -> Conversation:
        """The same conversation with more said, for the next round of a turn."""
        return replace(self, messages=(*self.messages, *messages), choice=choice or self.choice)


def check_tools(tools: Sequence[Tool]) -> None:
    """Refuse too many tools, a name that is not a name, and a name given twice."""
    if len(tools) > TOOLS_LIMIT:
        raise RequestError(f"{len(tools)} tools are more than the limit of {TOOLS_LIMIT}", place="tools")
    seen: dict[str, int] = {}
    for index, tool in enumerate(tools):
        place = f"tools[{index}].function.name"
        if not is_tool_name(tool.name):
            raise RequestError(
                f"{tool.name!r} is not a tool name: a letter or underscore, then up to 127 letters, digits, or _ . -",
                place=place,
            )
        if tool.name in seen:
            raise RequestError(f"the tool {tool.name!r} is already defined as tools[{seen[tool.name]}]", place=place)
        seen[tool.name] = index


def check_history(messages: Sequence[Message]) -> None:
    """Refuse a history in which calls and results do not match (OpenAI's rule: all results before anyone speaks)."""
    if not messages:
        raise RequestError("a conversation needs at least one message", place="messages")
    open_calls: list[str] = []
    known: set[str] = set()
    for index, message in enumerate(messages):
        if message.role == "tool":
            check_result(message, index, open_calls, known)
            open_calls.remove(str(message.call_id))
            continue
        if open_calls:
            raise unanswered(open_calls, index)
        open_calls = [call.id for call in message.calls]
        for call_id, count in Counter(open_calls).items():
            if count > 1 or call_id in known:
                raise RequestError(
                    f"the tool call id {call_id!r} is used more than once", place=f"messages[{index}].tool_calls"
                )
        known.update(open_calls)
        for place, call in enumerate(message.calls):
            check_arguments(call, f"messages[{index}].tool_calls[{place}].function.arguments")
    if open_calls:
        raise unanswered(open_calls, len(messages))


def check_arguments(call: ToolCall, place: str) -> None:
    """Refuse arguments that cannot be written as JSON: numbers that it does not have, or that are too long to write."""
    try:
        json_text(call.arguments)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the arguments cannot be written: {error}", place=place) from None


def check_result(message: Message, index: int, open_calls: Sequence[str], known: set[str]) -> None:
    """Refuse a tool result that nobody asked for, and a second result for one call."""
    if message.call_id in open_calls:
        return
    place = f"messages[{index}].tool_call_id"
    if message.call_id in known:
        raise RequestError(f"the tool call {message.call_id!r} is already answered", place=place)
    raise RequestError(f"no preceding assistant message has a tool call with the id {message.call_id!r}", place=place)


def unanswered(open_calls: Sequence[str], index: int) -> RequestError:
    """The error for calls that have no result, in OpenAI's words."""
    return RequestError(
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. "
        f"The following tool_call_ids did not have response messages: {', '.join(open_calls)}",
        place=f"messages[{index}]" if index else "messages",
    )


def read_choice(choice: Choice, tools: Sequence[Tool]) -> Choice:
    """The choice with its bounds made consistent, or a `RequestError` naming what contradicts what."""
    names = {tool.name for tool in tools}
    if choice.mode != "none" and not tools:
        raise RequestError("'tool_choice' is only allowed when 'tools' are given", place="tool_choice")
    for name in (*sorted(choice.allowed or ()), *(choice.exact or ())):
        if name not in names:
            raise RequestError(f"the choice names {name!r}, which is not among the tools", place="tool_choice")
    if choice.allowed is not None and not choice.allowed:
        raise RequestError("an empty set of allowed tools allows nothing; use 'none'", place="tool_choice")
    if choice.mode == "none":
        if choice.exact is not None or choice.least > 0:
            place = "polycall.exact_tools" if choice.exact is not None else "polycall.min_calls"
            raise RequestError("'none' forbids the calls that are asked for", place=place)
        return replace(choice, least=0, most=0)
    if not 1 <= choice.most <= CALLS_LIMIT:
        raise RequestError(f"max_calls must be between 1 and {CALLS_LIMIT}", place="polycall.max_calls")
    if choice.least < 0:
        raise RequestError("min_calls cannot be negative", place="polycall.min_calls")
    if choice.exact is not None:
        for name in choice.exact:
            if choice.allowed is not None and name not in choice.allowed:
                raise RequestError(f"{name!r} is not among the allowed tools", place="polycall.exact_tools")
        count = len(choice.exact)
        if count == 0 or count > choice.most or count < choice.least:
            raise RequestError(
                f"exact_tools asks for {count} calls, outside the bounds {choice.least} to {choice.most}",
                place="polycall.exact_tools",
            )
        return replace(choice, mode="required", least=count, most=count, allowed=frozenset(choice.exact))
    least = max(choice.least, 1) if choice.mode == "required" else choice.least
    if least > choice.most:
        raise RequestError(f"at least {least} calls cannot be at most {choice.most}", place="polycall.min_calls")
    return replace(choice, least=least)
