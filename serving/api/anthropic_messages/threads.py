"""Threads: conversations that the server holds, so that each request brings only what is new.

Every message of a thread is kept in the journal under its turn: what the request brought, beside the turn's own answer.
A request that continues a message reads all that was said until then. A thread is its caller's alone, is kept as long
as its turns, and any of its messages may be continued, also more than once. Anthropic's runner of tools asks for one;
where the thread is not there any more, it sends the whole conversation again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from grammars.errors import NotFound, RequestError
from serving.api.anthropic_messages.answer import MESSAGE, TURN, MessagesAnswer
from serving.api.anthropic_messages.wire import AnyMessage, MessagesRequest, ThreadContinue
from serving.execute.journal import Journal
from serving.turn_book import read_answer
from serving.turn_events import TurnBegan

WIRE = "anthropic messages"
HELD = ("system", "tools")
"""What a thread has from its first request on."""

MESSAGE_ID = re.compile(rf"{MESSAGE}[0-9a-f]{{1,64}}")
MESSAGES: TypeAdapter[list[AnyMessage]] = TypeAdapter(list[AnyMessage])


class ThreadNotFound(NotFound):
    """The message that is to be continued is in no thread of the caller's, or is kept no longer."""

    code = "thread_not_found"


@dataclass(frozen=True, kw_only=True)
class Continued:
    """A request with all that its thread holds. `earlier` of its messages are the thread's; `to_keep` is what the turn
    keeps for those that will continue it, None where the request wants no thread.
    """

    asked: MessagesRequest
    earlier: int = 0
    to_keep: str | None = None


class Threads:
    """The threads of one caller in the journal."""

    def __init__(self, journal: Journal, caller: str) -> None:
        self._journal = journal
        self._caller = caller

    async def continued(self, asked: MessagesRequest) -> Continued:
        """The request with what was said before. Raises `ThreadNotFound`, `RequestError` for what the thread has."""
        if asked.thread is None:
            return Continued(asked=asked)
        if not isinstance(asked.thread, ThreadContinue):
            return Continued(asked=asked, to_keep=written(asked, ()))
        for name in HELD:
            if getattr(asked, name) is not None:
                raise RequestError(f"the thread has {name!r} from its first request on", place=name)
        turns = await self._turns(asked.thread)
        requests = await self._requests(turns)
        answers = await self._journal.answers(self._caller, turns)
        if not all(turn in requests and turn in answers for turn in turns):
            raise not_found(asked.thread)
        before: list[dict[str, Any]] = []
        for turn in turns:
            began = TurnBegan(turn_id=turn, created_s=0.0)
            message = MessagesAnswer(model="").message([began, *read_answer(answers[turn])])
            before += requests[turn]["messages"]
            before.append({"role": "assistant", "content": [block.to_dict() for block in message.content]})
        messages = MESSAGES.validate_python(before)
        held = MessagesRequest.model_validate(
            {"model": asked.model, "max_tokens": asked.max_tokens, "messages": [], **requests[turns[0]]["held"]}
        )
        whole = asked.model_copy(
            update={"messages": [*messages, *asked.messages], "system": held.system, "tools": held.tools}
        )
        return Continued(asked=whole, earlier=len(messages), to_keep=written(asked, turns))

    async def _turns(self, thread: ThreadContinue) -> tuple[str, ...]:
        """The turns of the thread until this message, and that of it, oldest first."""
        last = TURN + thread.previous_message_id.removeprefix(MESSAGE)
        if MESSAGE_ID.fullmatch(thread.previous_message_id):
            requests = await self._requests([last])
            if last in requests:
                return (*requests[last]["earlier"], last)
        raise not_found(thread)

    async def _requests(self, turns: Sequence[str]) -> dict[str, dict[str, Any]]:
        kept = await self._journal.kept(self._caller, turns)
        found = {turn: json.loads(text) for turn, text in kept.items()}
        return {turn: request for turn, request in found.items() if request.get("wire") == WIRE}


def written(asked: MessagesRequest, earlier: Sequence[str]) -> str:
    """What is kept of a request that begins or continues a thread, as JSON in ASCII; `earlier` are the turns before."""
    said = asked.model_dump(mode="json", exclude_unset=True, by_alias=True, include={"messages", *HELD})
    messages = said.pop("messages")
    return json.dumps({"wire": WIRE, "earlier": list(earlier), "messages": messages, "held": said})


def not_found(thread: ThreadContinue) -> ThreadNotFound:
    words = f"the message {thread.previous_message_id!r} is in no thread that is kept here"
    return ThreadNotFound(words, place="thread.previous_message_id")
