"""Several choices of one request: as many turns, which run together, each with a seed of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from openai.types.chat import ChatCompletionChunk
from sse_starlette import ServerSentEvent

from serving.api.openai_chat.answer import ChatAnswer, completion_id, usage
from serving.turn_events import TurnBegan, TurnEnded, TurnEvent
from serving.turn_request import TurnRequest
from serving.turn_runner import TurnRunner

SEED_STEP = 0x9E37_79B9_7F4A_7C15
"""Odd and large: the seeds of one request's choices are far from each other, and from those that a client counts up."""


@dataclass(frozen=True, kw_only=True)
class ChoiceEvent:
    """What happens in the turn of choice number `index`."""

    index: int
    event: TurnEvent


async def run_choices(runner: TurnRunner, asked: TurnRequest, count: int) -> AsyncGenerator[ChoiceEvent, None]:
    """The events of all turns, those of one turn in order. Closing it closes them all.

    None is told before every turn has begun, for what refuses one turn refuses the request. First come the turns'
    beginnings, in the order of the choices. Raises what `TurnRunner.run` does, of whichever turn fails first; the
    others end with it.
    """
    queue: asyncio.Queue[ChoiceEvent | Exception] = asyncio.Queue()
    turns = [asyncio.create_task(follow(runner, seeded(asked, index), index, queue)) for index in range(count)]
    held: list[ChoiceEvent] = []
    begun: set[int] = set()
    running = set(range(count))
    try:
        while running:
            told = await queue.get()
            if isinstance(told, Exception):
                raise told
            if isinstance(told.event, TurnEnded):
                running.remove(told.index)
            begun.add(told.index)
            held.append(told)
            if len(begun) == count:
                for each in sorted(held, key=beginnings_first):
                    yield each
                held.clear()
    finally:
        for turn in turns:
            turn.cancel()
        await asyncio.gather(*turns, return_exceptions=True)


def beginnings_first(told: ChoiceEvent) -> tuple[bool, int]:
    """Sorts what was held back."""
    return not isinstance(told.event, TurnBegan), told.index


async def follow(
    runner: TurnRunner, asked: TurnRequest, index: int, queue: asyncio.Queue[ChoiceEvent | Exception]
) -> None:
    """One turn to its end, or to what breaks it off."""
    try:
        async with aclosing(runner.run(asked)) as events:
            async for event in events:
                queue.put_nowait(ChoiceEvent(index=index, event=event))
    except Exception as error:
        queue.put_nowait(error)


def seeded(asked: TurnRequest, index: int) -> TurnRequest:
    """The request of one choice. The first one draws as a request for a single choice would."""
    sampling = asked.round.sampling
    if sampling.seed is None or index == 0:
        return asked
    seed = (sampling.seed + index * SEED_STEP) % 2**63
    return replace(asked, round=replace(asked.round, sampling=replace(sampling, seed=seed)))


class ChoicesAnswer:
    """Writes several turns as one answer, each as `ChatAnswer` writes it, under the id of the first."""

    def __init__(self, count: int, *, model: str, named: bool, include_usage: bool) -> None:
        self._answers = [
            ChatAnswer(model=model, named=named, include_usage=False, index=index) for index in range(count)
        ]
        self._include_usage = include_usage
        self._model = model
        self._began: TurnBegan | None = None
        self._ended: dict[int, TurnEnded] = {}

    def whole(self, events: Sequence[ChoiceEvent]) -> str:
        """All choices, each with its own turn's report; the usage is that of all."""
        completions = [
            answer.completion([told.event for told in events if told.index == index])
            for index, answer in enumerate(self._answers)
        ]
        ended = {told.index: told.event for told in events if isinstance(told.event, TurnEnded)}
        for completion in completions:
            completion.choices[0].polycall = completion.polycall  # type: ignore[attr-defined]
        first = completions[0]
        del first.polycall  # type: ignore[attr-defined]
        first.choices = [completion.choices[0] for completion in completions]
        first.usage = usage(*(ended[index] for index in sorted(ended)))
        return first.model_dump_json(exclude_unset=True)

    def streamed(self, event: ChoiceEvent) -> Iterator[ServerSentEvent]:
        """The chunks of one choice; the last one of each has its turn's report.

        Each choice is opened as its turn begins, and so in order: clients (OpenAI's own is one) put a choice of which
        they hear for the first time behind those that they know, whatever its index.
        """
        answer = self._answers[event.index]
        chunks = [*answer.chunks(event.event)]
        if isinstance(event.event, TurnBegan):
            self._began = self._began or event.event
            chunks.append(answer.opening())
        if isinstance(event.event, TurnEnded):
            self._ended[event.index] = event.event
        for chunk in chunks:
            assert self._began is not None  # the turns' contract
            chunk.id, chunk.created = completion_id(self._began), int(self._began.created_s)
            if self._include_usage:
                chunk.usage = None
            yield ServerSentEvent(chunk.model_dump_json(exclude_unset=True))

    def closing(self) -> Iterator[ServerSentEvent]:
        if self._include_usage:
            assert self._began is not None  # the turns' contract
            chunk = ChatCompletionChunk(
                id=completion_id(self._began),
                object="chat.completion.chunk",
                created=int(self._began.created_s),
                model=self._model,
                choices=[],
                usage=usage(*(self._ended[index] for index in sorted(self._ended))),
            )
            yield ServerSentEvent(chunk.model_dump_json(exclude_unset=True))
        yield from self._answers[0].closing()

    def broken(self, error: Exception) -> Iterator[ServerSentEvent]:
        yield from self._answers[0].broken(error)
