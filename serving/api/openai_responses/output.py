"""Output: the items of one response while they come to be, and the events by which a stream tells of them.

An item has its place from the moment at which it begins. Items of calls that the server runs stay open until the tool
has answered, so several of them may be open at once; a text ends when anything else begins.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from openai.types.responses import (
    ResponseContentPartAddedEvent,
    ResponseContentPartDoneEvent,
    ResponseFunctionCallArgumentsDeltaEvent,
    ResponseFunctionCallArgumentsDoneEvent,
    ResponseFunctionToolCall,
    ResponseMcpCallArgumentsDeltaEvent,
    ResponseMcpCallArgumentsDoneEvent,
    ResponseMcpCallCompletedEvent,
    ResponseMcpCallFailedEvent,
    ResponseMcpCallInProgressEvent,
    ResponseMcpListToolsCompletedEvent,
    ResponseMcpListToolsInProgressEvent,
    ResponseOutputItem,
    ResponseOutputItemAddedEvent,
    ResponseOutputItemDoneEvent,
    ResponseOutputMessage,
    ResponseOutputText,
    ResponseStreamEvent,
    ResponseTextDeltaEvent,
    ResponseTextDoneEvent,
)
from openai.types.responses.response_output_item import (
    McpApprovalRequest,
    McpCall,
    McpListTools,
    McpListToolsTool,
)

from grammars.tools import ToolCall, ToolResult
from serving.api.openai_responses import logprobs
from serving.api.openai_responses.call_error import call_error
from serving.api.openai_responses.ids import FUNCTION_CALL, MCP_CALL, item_id
from serving.decode.events import TextWritten
from serving.engines.base import TokenLogprob
from serving.turn_events import ListedServer

Events = Iterator[ResponseStreamEvent]


@dataclass(kw_only=True)
class OpenText:
    """A message that is being written."""

    index: int
    item: ResponseOutputMessage
    part: ResponseOutputText
    tokens: list[TokenLogprob] = field(default_factory=list)


class Output:
    """The items of the response of a turn. `approved` are the calls that the request lets go ahead."""

    def __init__(self, turn_id: str, approved: frozenset[str]) -> None:
        self.items: list[ResponseOutputItem] = []
        self._turn = turn_id.removeprefix("turn_")
        self._approved = approved
        self._text: OpenText | None = None
        self._running: dict[str, tuple[int, McpCall]] = {}
        self._sequence_number = 0

    def next_number(self) -> int:
        """The number of the stream's next event."""
        self._sequence_number += 1
        return self._sequence_number - 1

    @property
    def ends_in_text(self) -> bool:
        """Whether the last that happened is text."""
        return self._text is not None

    def listed(self, server: ListedServer) -> Events:
        """What a server that the request names was found to offer."""
        item = McpListTools(id=self._new_id("mcpl"), server_label=server.label, tools=[], type="mcp_list_tools")
        index, added = self._add(item)
        yield added
        yield ResponseMcpListToolsInProgressEvent(
            type="response.mcp_list_tools.in_progress",
            item_id=item.id,
            output_index=index,
            sequence_number=self.next_number(),
        )
        item.tools = [
            McpListToolsTool(name=tool.name, description=tool.description, input_schema=tool.parameters)
            for tool in server.tools
        ]
        yield ResponseMcpListToolsCompletedEvent(
            type="response.mcp_list_tools.completed",
            item_id=item.id,
            output_index=index,
            sequence_number=self.next_number(),
        )
        yield self._done(index, item)

    def write(self, written: TextWritten) -> Events:
        """The next piece of a text, of a new one if none is open."""
        if self._text is None:
            item = ResponseOutputMessage(
                id=self._new_id("msg"), content=[], role="assistant", status="in_progress", type="message"
            )
            index, added = self._add(item)
            part = ResponseOutputText(annotations=[], text="", type="output_text", logprobs=[])
            self._text = OpenText(index=index, item=item, part=part)
            yield added
            yield ResponseContentPartAddedEvent(
                type="response.content_part.added",
                item_id=item.id,
                output_index=index,
                content_index=0,
                part=part,
                sequence_number=self.next_number(),
            )
        text = self._text
        text.part.text += written.text
        text.tokens += written.logprobs
        if written.text or written.logprobs:
            yield ResponseTextDeltaEvent(
                type="response.output_text.delta",
                item_id=text.item.id,
                output_index=text.index,
                content_index=0,
                delta=written.text,
                logprobs=list(map(logprobs.delta, written.logprobs)),
                sequence_number=self.next_number(),
            )

    def end_text(self, *, cut: bool = False) -> Events:
        """The text that is open, if one is, is over."""
        text, self._text = self._text, None
        if text is None:
            return
        text.part.logprobs = list(map(logprobs.whole, text.tokens))
        yield ResponseTextDoneEvent(
            type="response.output_text.done",
            item_id=text.item.id,
            output_index=text.index,
            content_index=0,
            text=text.part.text,
            logprobs=list(map(logprobs.done, text.tokens)),
            sequence_number=self.next_number(),
        )
        yield ResponseContentPartDoneEvent(
            type="response.content_part.done",
            item_id=text.item.id,
            output_index=text.index,
            content_index=0,
            part=text.part,
            sequence_number=self.next_number(),
        )
        text.item.content = [text.part]
        text.item.status = "incomplete" if cut else "completed"
        yield self._done(text.index, text.item)

    def hand_back(self, call: ToolCall) -> Events:
        """A call that is the client's to run."""
        yield from self.end_text()
        item = ResponseFunctionToolCall(
            id=item_id(FUNCTION_CALL, call.id),
            call_id=call.id,
            name=call.name,
            arguments="",
            status="in_progress",
            type="function_call",
        )
        assert item.id is not None
        index, added = self._add(item)
        yield added
        yield ResponseFunctionCallArgumentsDeltaEvent(
            type="response.function_call_arguments.delta",
            item_id=item.id,
            output_index=index,
            delta=call.arguments_text,
            sequence_number=self.next_number(),
        )
        item.arguments = call.arguments_text
        yield ResponseFunctionCallArgumentsDoneEvent(
            type="response.function_call_arguments.done",
            item_id=item.id,
            output_index=index,
            arguments=item.arguments,
            sequence_number=self.next_number(),
        )
        item.status = "completed"
        yield self._done(index, item)

    def start(self, call: ToolCall, label: str) -> Events:
        """A call that the server runs begins."""
        yield from self.end_text()
        item = McpCall(
            id=item_id(MCP_CALL, call.id),
            server_label=label,
            name=call.name,
            arguments="",
            approval_request_id=call.id if call.id in self._approved else None,
            error=None,
            output=None,
            status="in_progress",
            type="mcp_call",
        )
        index, added = self._add(item)
        self._running[call.id] = (index, item)
        yield added
        yield ResponseMcpCallInProgressEvent(
            type="response.mcp_call.in_progress",
            item_id=item.id,
            output_index=index,
            sequence_number=self.next_number(),
        )
        yield ResponseMcpCallArgumentsDeltaEvent(
            type="response.mcp_call_arguments.delta",
            item_id=item.id,
            output_index=index,
            delta=call.arguments_text,
            sequence_number=self.next_number(),
        )
        item.arguments = call.arguments_text
        yield ResponseMcpCallArgumentsDoneEvent(
            type="response.mcp_call_arguments.done",
            item_id=item.id,
            output_index=index,
            arguments=item.arguments,
            sequence_number=self.next_number(),
        )

    def finish(self, call: ToolCall, result: ToolResult, label: str) -> Events:
        """A call that the server runs has its result. One that was denied was no call, and shows in no item."""
        if call.id not in self._running:
            if result.error is not None and result.error.kind == "denied":
                return
            yield from self.start(call, label)
        index, item = self._running.pop(call.id)
        if result.error is None:
            item.output, item.status = result.text, "completed"
            yield ResponseMcpCallCompletedEvent(
                type="response.mcp_call.completed",
                item_id=item.id,
                output_index=index,
                sequence_number=self.next_number(),
            )
        else:
            item.error, item.status = call_error(result), "failed"
            yield ResponseMcpCallFailedEvent(
                type="response.mcp_call.failed",
                item_id=item.id,
                output_index=index,
                sequence_number=self.next_number(),
            )
        yield self._done(index, item)

    def ask(self, call: ToolCall, label: str) -> Events:
        """A call waits for the caller's word, which names it by its id."""
        item = McpApprovalRequest(
            id=call.id, server_label=label, name=call.name, arguments=call.arguments_text, type="mcp_approval_request"
        )
        index, added = self._add(item)
        yield added
        yield self._done(index, item)

    def break_off(self) -> Events:
        """Nothing more comes: what is open stays incomplete."""
        yield from self.end_text(cut=True)
        for index, item in self._running.values():
            item.status = "incomplete"
            yield self._done(index, item)

    def _new_id(self, kind: str) -> str:
        return f"{kind}_{self._turn}_{len(self.items)}"

    def _add(self, item: ResponseOutputItem) -> tuple[int, ResponseOutputItemAddedEvent]:
        self.items.append(item)
        index = len(self.items) - 1
        added = ResponseOutputItemAddedEvent.construct(
            type="response.output_item.added", item=item, output_index=index, sequence_number=self.next_number()
        )
        return index, added

    def _done(self, index: int, item: ResponseOutputItem) -> ResponseOutputItemDoneEvent:
        return ResponseOutputItemDoneEvent.construct(
            type="response.output_item.done", item=item, output_index=index, sequence_number=self.next_number()
        )
