"""Stored responses: what was asked is kept in the journal under the turn's id, beside the turn's own answer.

A request that names a previous response goes on with all that was said until then: the items of that request and of
those before it, and what each of them was answered. A response is its caller's alone, and is kept as long as its turn.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from openai.types.responses import Response

from grammars.errors import NotFound, PreviousNotFound
from serving.api.mcp_tools import McpTool
from serving.api.openai_responses.answer import ResponsesAnswer
from serving.api.openai_responses.ids import response_id, turn_id
from serving.api.openai_responses.items import ITEMS, Item
from serving.api.openai_responses.request import placed_items
from serving.api.openai_responses.wire import ResponsesRequest
from serving.execute.journal import Journal
from serving.turn_book import read_answer
from serving.turn_events import TurnBegan, TurnEvent

WIRE = "responses"


@dataclass(frozen=True, kw_only=True)
class StoredRequest:
    """A request as it is kept: its body without credentials, the turns that it goes on with, oldest first, and the
    calls that it lets go ahead.
    """

    body: ResponsesRequest
    earlier: tuple[str, ...] = ()
    approved: frozenset[str] = frozenset()

    def written(self) -> str:
        """As JSON in ASCII."""
        said = self.body.model_dump(mode="json", exclude_unset=True, by_alias=True, exclude={"tools"})
        if self.body.tools is not None:
            said["tools"] = [
                tool.echoed().to_dict()
                if isinstance(tool, McpTool)
                else tool.model_dump(exclude_unset=True, by_alias=True)
                for tool in self.body.tools
            ]
        return json.dumps({"wire": WIRE, "body": said, "earlier": self.earlier, "approved": sorted(self.approved)})

    @property
    def items(self) -> list[Item]:
        """What the request itself brought."""
        return [item for _, item in placed_items(self.body)]

    def response(self, turn: str, created_s: float, events: Sequence[TurnEvent]) -> Response:
        """The response to it, written again."""
        answer = ResponsesAnswer(self.body, self.approved)
        return answer.response([TurnBegan(turn_id=turn, created_s=created_s), *events])


def read_stored(text: str) -> StoredRequest | None:
    """The request that was written; None for what another wire keeps."""
    kept: Any = json.loads(text)
    if not isinstance(kept, dict) or kept.get("wire") != WIRE:
        return None
    return StoredRequest(
        body=ResponsesRequest.model_validate(kept["body"]),
        earlier=tuple(kept["earlier"]),
        approved=frozenset(kept["approved"]),
    )


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """What a request goes on with: the turns, oldest first, and all their items."""

    turns: tuple[str, ...] = ()
    items: tuple[Item, ...] = ()


class StoredResponses:
    """The responses of one caller in the journal."""

    def __init__(self, journal: Journal, caller: str) -> None:
        self._journal = journal
        self._caller = caller

    async def before(self, previous: str | None) -> Earlier:
        """What was said until the previous response, and in it. Raises `PreviousNotFound`."""
        if previous is None:
            return Earlier()
        last = turn_id(previous)
        requests = await self._requests([last])
        if last not in requests:
            raise not_found(previous)
        turns = (*requests[last].earlier, last)
        requests |= await self._requests(turns[:-1])
        answers = await self._journal.answers(self._caller, turns)
        gone = [turn for turn in turns if turn not in requests or turn not in answers]
        if gone:
            raise not_found(response_id(gone[0]))
        # Many turns are much to read: not on the event loop.
        return await asyncio.to_thread(read_earlier, turns, requests, answers)

    async def response(self, response: str) -> Response:
        """The response again. Raises `NotFound`."""
        turn = turn_id(response)
        requests = await self._requests([turn])
        found = await self._journal.turn(turn, self._caller)
        if turn not in requests or found is None or found.answer is None:
            raise NotFound(f"Response with id '{response}' not found.", place="response_id")
        return requests[turn].response(turn, found.created_s, read_answer(found.answer))

    async def request(self, response: str) -> StoredRequest:
        """What was asked. Raises `NotFound`."""
        turn = turn_id(response)
        requests = await self._requests([turn])
        if turn not in requests:
            raise NotFound(f"Response with id '{response}' not found.", place="response_id")
        return requests[turn]

    async def forget(self, response: str) -> None:
        """Keep the response no longer. Raises `NotFound`."""
        await self.request(response)
        await self._journal.forget(self._caller, turn_id(response))

    async def _requests(self, turns: Sequence[str]) -> dict[str, StoredRequest]:
        kept = await self._journal.kept(self._caller, turns)
        found = await asyncio.to_thread(lambda: {turn: read_stored(text) for turn, text in kept.items()})
        return {turn: request for turn, request in found.items() if request is not None}


def read_earlier(turns: tuple[str, ...], requests: Mapping[str, StoredRequest], answers: Mapping[str, str]) -> Earlier:
    """All items of these turns: what each brought, and what it was answered."""
    items: list[Item] = []
    for turn in turns:
        output = requests[turn].response(turn, 0.0, read_answer(answers[turn])).output
        items += requests[turn].items
        items += ITEMS.validate_python([item.to_dict(mode="json") for item in output])
    return Earlier(turns=turns, items=tuple(items))


def not_found(previous: str) -> PreviousNotFound:
    return PreviousNotFound(f"Previous response with id '{previous}' not found.", place="previous_response_id")
