"""ChainedEngine: the engine on any server that takes and gives token ids. What differs is its `LinkServer`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from functools import lru_cache
from typing import Generic, Protocol, TypeVar

from llguidance import LLTokenizer

from grammars.branch import Branch
from grammars.constraint import compile_constraint
from grammars.errors import Overloaded, RequestError
from grammars.tokenizer import Tokenizer
from serving.engines.base import SHARED, BranchEnded, BranchEvent, Scope, room_after
from serving.engines.chain import Batch, Chain, Link

Lane = TypeVar("Lane")
"""What the links of one `decode` have in common, such as the replica that has read their prefix."""


class LinkSession(Protocol):
    """One chain on a server. Its links come one after another; each prompt begins with the last one's."""

    def tokens(self, link: Link) -> AsyncGenerator[Batch, None]:
        """The tokens that the model writes for the link, as they come. Closing it ends the request on the server.

        Raises `Overloaded` if the server cannot answer now, and `RequestError` if it refuses the request.
        """
        ...

    async def aclose(self) -> None:
        """There are no more links; the server may forget what it holds for them."""
        ...


class LinkServer(Protocol[Lane]):
    """Answers links: vLLM in process, or any server of completions over HTTP."""

    def lane(self, prefix: Sequence[int], scope: Scope) -> Lane:
        """The lane of these branches. Raises `NotFound` for an adapter that the server does not have."""
        ...

    def session(self, lane: Lane) -> LinkSession:
        """A session for one chain. Raises `Overloaded` if the server is gone."""
        ...

    @property
    def chains(self) -> bool:
        """Whether it takes token ids to allow and to stop at, and returns them and how likely each was.

        If not, a branch is one request.
        """
        ...

    @property
    def healthy(self) -> bool: ...

    async def close(self) -> None: ...


class ChainedEngine(Generic[Lane]):
    """Decodes each branch as a chain of short requests over the server's prefix cache; `Chain` says why and how."""

    def __init__(
        self,
        server: LinkServer[Lane],
        tokenizer: Tokenizer,
        *,
        model: str,
        context_length: int,
        adapters: Sequence[str] = (),
    ) -> None:
        self._server = server
        self._tokenizer = tokenizer
        self._model = model
        self._context_length = context_length
        self._adapters = tuple(adapters)
        self._closed = False
        self.live_branches = 0
        self.links = 0

    @property
    def model(self) -> str:
        return self._model

    @property
    def adapters(self) -> tuple[str, ...]:
        return self._adapters

    @property
    def tokenizer(self) -> Tokenizer:
        return self._tokenizer

    @property
    def context_length(self) -> int:
        return self._context_length

    @property
    def healthy(self) -> bool:
        return not self._closed and self._server.healthy

    async def decode(
        self, prefix: Sequence[int], branches: Sequence[Branch], scope: Scope = SHARED
    ) -> AsyncGenerator[BranchEvent, None]:
        if self._closed:
            raise Overloaded("the engine is closed")
        chains = await asyncio.to_thread(self._chains, prefix, branches)
        lane = self._server.lane(prefix, scope)
        events: asyncio.Queue[BranchEvent | Exception] = asyncio.Queue()
        tasks = [asyncio.create_task(self._follow(chain, lane, events)) for chain in chains]
        left = len(chains)
        try:
            while left:
                event = await events.get()
                if isinstance(event, Exception):
                    raise event
                left -= isinstance(event, BranchEnded)
                yield event
        finally:
            for task in tasks:
                task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self) -> None:
        self._closed = True
        await self._server.close()

    def _chains(self, prefix: Sequence[int], branches: Sequence[Branch]) -> list[Chain]:
        if not self._server.chains and any(branch.logprobs is not None for branch in branches):
            raise RequestError("the model's server does not tell how likely tokens are", place="logprobs")
        known, end_ids = self._tokenizer.grammar_tokenizer, self._tokenizer.end_ids
        return [
            Chain(
                branch,
                index,
                compile_constraint(branch.constraint, self._tokenizer),
                self._tokenizer,
                prefix=prefix,
                room=room_after(len(prefix) + len(branch.suffix), self._context_length),
                chained=self._server.chains,
                stops=pause_tokens(known, branch.constraint.pauses) | end_ids,
            )
            for index, branch in enumerate(branches)
        ]

    async def _follow(self, chain: Chain, lane: Lane, events: asyncio.Queue[BranchEvent | Exception]) -> None:
        """One chain from its first link to its last; what goes wrong is told to the reader, who ends the turn."""
        self.live_branches += 1
        try:
            async with aclosing(self._server.session(lane)) as session:
                tell(events, chain.start())
                while (link := chain.next_link()) is not None:
                    self.links += 1
                    async with aclosing(session.tokens(link)) as batches:
                        async for batch in batches:
                            tell(events, chain.begin(batch.cached_tokens))
                            for place, token in enumerate(batch.tokens):
                                tell(events, chain.take(token, batch.logprobs[place] if batch.logprobs else None))
                                if not chain.link_is_open:
                                    break
                            if not chain.link_is_open:
                                break
                    tell(events, chain.end_link())
        except Exception as error:
            events.put_nowait(error)
        finally:
            self.live_branches -= 1


def tell(events: asyncio.Queue[BranchEvent | Exception], told: Sequence[BranchEvent]) -> None:
    for event in told:
        events.put_nowait(event)


@lru_cache(maxsize=16)
def pause_tokens(tokenizer: LLTokenizer, pauses: str) -> frozenset[int]:
    """The tokens in which one of these characters occurs. Looks at the whole vocabulary, once."""
    if not pauses:
        return frozenset()
    wanted = [character.encode() for character in pauses]
    return frozenset(
        token
        for token in range(tokenizer.vocab_size)
        if not tokenizer.is_special_token(token) and any(byte in tokenizer.decode_bytes([token]) for byte in wanted)
    )
