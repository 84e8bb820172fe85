"""ChainedEngine on a server that writes what it is told: what it hands on of likelihoods and of what was held."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

import pytest

from grammars.branch import Branch
from grammars.constraint import Constraint
from grammars.errors import RequestError
from serving.engines.base import BranchEnded, BranchEvent, BranchProgress, BranchStarted, Scope, TokenLogprob
from serving.engines.byte_tokenizer import END_ID, ByteTokenizer
from serving.engines.chain import Batch, Link
from serving.engines.chained import ChainedEngine

TOKENIZER = ByteTokenizer()


class Told:
    """A server, and its only session, that answers each link with the next of these batches."""

    healthy = True

    def __init__(self, batches: Sequence[Batch], *, chains: bool = True) -> None:
        self.links: list[Link] = []
        self.chains = chains
        self._batches = list(batches)

    def lane(self, prefix: Sequence[int], scope: Scope) -> None:
        return None

    def session(self, lane: None) -> Told:
        return self

    async def tokens(self, link: Link) -> AsyncGenerator[Batch, None]:
        self.links.append(link)
        yield self._batches.pop(0)

    async def aclose(self) -> None:
        pass

    async def close(self) -> None:
        pass


async def decoded(server: Told, branch: Branch) -> list[BranchEvent]:
    engine = ChainedEngine(server, TOKENIZER, model="told", context_length=100)
    return [event async for event in engine.decode(TOKENIZER.encode("hi"), [branch])]


def likely(text: str) -> TokenLogprob:
    return TokenLogprob(text=text, bytes=tuple(text.encode()), logprob=-0.5)


async def test_every_token_comes_with_its_own_logprob() -> None:
    batch = Batch(tokens=(*b"ab", END_ID), logprobs=(likely("a"), likely("b"), likely("end")))
    branch = Branch(constraint=Constraint.text(), max_new_tokens=9, skip_forced=False, logprobs=2)
    events = await decoded(server := Told([batch]), branch)
    progress = [event for event in events if isinstance(event, BranchProgress)]
    assert [(event.text, event.logprobs) for event in progress] == [("a", (likely("a"),)), ("b", (likely("b"),))]
    assert isinstance(events[-1], BranchEnded)
    assert [link.logprobs for link in server.links] == [2]


@pytest.mark.parametrize("held", [None, 0, 2])
async def test_first_link_tells_what_was_held_and_no_later_one(held: int | None) -> None:
    batches = [Batch(tokens=b"x", cached_tokens=held), Batch(tokens=b"n", cached_tokens=99)]
    branch = Branch(constraint=Constraint.regex("[xy](no|yes)!"), max_new_tokens=9)
    events = await decoded(Told(batches), branch)
    assert [event.cached_tokens for event in events if isinstance(event, BranchStarted)] == [held]
    assert isinstance(events[-1], BranchEnded)
    assert events[-1].text == "xno!"


async def test_server_that_gives_text_only_is_not_asked_for_logprobs() -> None:
    branch = Branch(constraint=Constraint.text(), max_new_tokens=9, skip_forced=False, logprobs=0)
    with pytest.raises(RequestError, match="does not tell") as refused:
        await decoded(Told([], chains=False), branch)
    assert refused.value.place == "logprobs"
