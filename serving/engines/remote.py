"""A server somewhere else: the same decoder over POST /v1/completions with token-id prompts.

Two kinds of server answer differently. Stock vLLM (`vllm serve`, NIM 2) returns token ids and takes `allowed_token_ids`
and `stop_token_ids`, so branches are chains there as they are in process. NIM 1 takes a constraint under `nvext` and
returns text only: there a branch is one request, under the nearest constraint that it knows.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from openai import APIConnectionError, APIStatusError, APITimeoutError, AsyncOpenAI, OpenAIError
from openai.types import Completion
from openai.types.completion_choice import Logprobs

from grammars.errors import DecodingFailed, NotFound, Overloaded, RequestError
from grammars.tokenizer import Tokenizer
from grammars.tools import json_text
from serving.engines.base import Scope, TokenLogprob
from serving.engines.chain import Batch, Link
from serving.engines.chained import ChainedEngine
from serving.engines.transformers.tokenizer import load_tokenizer
from serving.engines.written import likelihood

Form = Literal["vllm", "nim"]
"""How a server takes constraints: vLLM's fields, or `nvext`."""

TOKEN_ID = "token_id:"
IMPOSSIBLE = -9999.0
"""How vLLM names tokens by their ids, and what it gives as the logarithm of no probability at all."""

AWAY_S = 5.0
"""How long a server that could not be reached is left alone while there are others."""


@dataclass(frozen=True, kw_only=True)
class RemoteOptions:
    """Servers that all serve `model`, by their base URLs (which end in /v1), and how they are asked.

    A completion has no effect but its answer, so `retries` are safe; they wait longer each time. `timeout_s` bounds one
    request. `context_length` is the server's, in tokens, where that is shorter than the model's.
    """

    base_urls: tuple[str, ...]
    model: str
    adapters: tuple[str, ...] = ()
    api_key: str | None = None
    form: Form = "vllm"
    timeout_s: float = 120.0
    retries: int = 2
    context_length: int | None = None


@dataclass(kw_only=True)
class Replica:
    """One server, and until when it counts as gone (on the clock of `time.monotonic`)."""

    client: AsyncOpenAI
    gone_until_s: float = 0.0

    @property
    def reachable(self) -> bool:
        return time.monotonic() >= self.gone_until_s


@dataclass(frozen=True, kw_only=True)
class RemoteLane:
    """The replica that has read the prefix, the model or adapter by its name there, and whose cache it is."""

    replica: Replica
    model: str
    cache_salt: str | None


class RemoteServer:
    """Answers links over HTTP."""

    def __init__(self, options: RemoteOptions, tokenizer: Tokenizer) -> None:
        self._options = options
        self._tokenizer = tokenizer
        self._replicas = [
            Replica(
                client=AsyncOpenAI(
                    base_url=url,
                    api_key=options.api_key or "none",
                    timeout=options.timeout_s,
                    max_retries=options.retries,
                )
            )
            for url in options.base_urls
        ]

    @property
    def chains(self) -> bool:
        return self._options.form == "vllm"

    @property
    def healthy(self) -> bool:
        """Whether any replica answered when it was last asked, or may be asked again."""
        return any(replica.reachable for replica in self._replicas)

    def lane(self, prefix: Sequence[int], scope: Scope) -> RemoteLane:
        """A prefix always goes to the same replica as long as that can be reached: its cache holds it there."""
        if scope.adapter is not None and scope.adapter not in self._options.adapters:
            raise NotFound(f"there is no adapter {scope.adapter!r}", place="model")
        reachable = [replica for replica in self._replicas if replica.reachable] or self._replicas
        return RemoteLane(
            replica=reachable[hash(tuple(prefix)) % len(reachable)],
            model=scope.adapter or self._options.model,
            cache_salt=scope.tenant or None,
        )

    def session(self, lane: RemoteLane) -> RemoteSession:
        return RemoteSession(lane, self._tokenizer, chains=self.chains)

    async def close(self) -> None:
        for replica in self._replicas:
            await replica.client.close()


class RemoteSession:
    """The links of one chain as completions, each over the server's prefix cache."""

    def __init__(self, lane: RemoteLane, tokenizer: Tokenizer, *, chains: bool) -> None:
        self._lane = lane
        self._tokenizer = tokenizer
        self._chains = chains

    async def tokens(self, link: Link) -> AsyncGenerator[Batch, None]:
        lane = self._lane
        body = vllm_body(link, lane.cache_salt) if self._chains else nim_body(link)
        async with told_apart(lane.replica):
            answer = await lane.replica.client.completions.create(
                model=lane.model,
                prompt=list(link.prompt),
                max_tokens=link.most_tokens,
                temperature=link.sampling.temperature,
                top_p=link.sampling.top_p,
                seed=link.sampling.seed,
                stream=link.watched and self._chains,
                logprobs=link.logprobs,
                extra_body=body,
            )
            if isinstance(answer, Completion):
                yield self._written(answer, link)
                return
            async with answer:
                async for chunk in answer:
                    if chunk.choices:
                        yield self._written(chunk, link)

    def _written(self, completion: Completion, link: Link) -> Batch:
        choice, usage = completion.choices[0], completion.usage
        details = None if usage is None else usage.prompt_tokens_details
        cached = None if details is None else details.cached_tokens
        if not self._chains:
            return Batch(tokens=self._tokenizer.encode(canonical(choice.text, link)), cached_tokens=cached)
        ids = (choice.model_extra or {}).get("token_ids")
        if ids is None:
            raise DecodingFailed("the server returns no token ids: it is no vLLM, or one older than 0.12")
        tokens = [int(token) for token in ids]
        logprobs = () if link.logprobs is None else self._logprobs(tokens, choice.logprobs, link.logprobs)
        return Batch(tokens=tokens, logprobs=logprobs, cached_tokens=cached)

    def _logprobs(self, tokens: Sequence[int], said: Logprobs | None, count: int) -> list[TokenLogprob]:
        """How likely each token was. vLLM gives what the grammar bars as a number that no token of a model falls to."""
        if said is None or said.token_logprobs is None or said.top_logprobs is None:
            raise DecodingFailed("the server does not tell how likely its tokens are")
        likely = []
        for token, logprob, found in zip(tokens, said.token_logprobs, said.top_logprobs, strict=True):
            ordered = sorted(found.items(), key=lambda other: -other[1])
            top = [(int(name.removeprefix(TOKEN_ID)), its) for name, its in ordered[:count] if its > IMPOSSIBLE]
            likely.append(likelihood(self._tokenizer, token, logprob, top))
        return likely

    async def aclose(self) -> None:
        """There is nothing to forget: each completion was over when it ended."""


def load_remote(folder: Path, *, name: str, options: RemoteOptions) -> ChainedEngine[RemoteLane]:
    """An engine on these servers. `folder` has the model's tokenizer and configuration; its weights are not read."""
    tokenizer, context_length = load_tokenizer(folder)
    return ChainedEngine(
        RemoteServer(options, tokenizer),
        tokenizer,
        model=name,
        adapters=options.adapters,
        context_length=options.context_length or context_length,
    )


@asynccontextmanager
async def told_apart(replica: Replica) -> AsyncGenerator[None, None]:
    """What goes wrong on the way, in this project's errors: gone, full, or a request that is refused."""
    try:
        yield
    except (APIConnectionError, APITimeoutError) as error:
        replica.gone_until_s = time.monotonic() + AWAY_S
        raise Overloaded(f"the model's server cannot be reached: {error}") from error
    except APIStatusError as error:
        if error.status_code in (408, 425, 429) or error.status_code >= 500:
            raise Overloaded(f"the model's server answers {error.status_code}: {error.message}") from error
        raise RequestError(f"the model's server refuses the request: {error.message}", place="messages") from error
    except OpenAIError as error:
        raise DecodingFailed(f"the model's server answers what is no completion: {error}") from error


def vllm_body(link: Link, cache_salt: str | None) -> Mapping[str, Any]:
    """What a link says beyond OpenAI's own fields, in vLLM's."""
    body: dict[str, Any] = {
        "return_token_ids": True,
        "add_special_tokens": False,
        "skip_special_tokens": False,
        "stop_token_ids": sorted(link.stops),
        "min_tokens": int(link.stops_later),
    }
    if link.logprobs is not None:
        body["return_tokens_as_token_ids"] = True
    if cache_salt is not None:
        body["cache_salt"] = cache_salt
    if link.allowed is not None:
        body["allowed_token_ids"] = list(link.allowed)
    if link.grammar is not None:
        body["structured_outputs"] = {"grammar": link.grammar.lark}
    return body


def nim_body(link: Link) -> Mapping[str, Any]:
    """What a link says beyond OpenAI's own fields, in NIM's."""
    if link.grammar is None or link.grammar.portable is None:
        return {}
    kind, value = link.grammar.portable
    if kind == "regex":
        return {"nvext": {"guided_regex": value}}
    given = json.loads(value)
    if kind == "json":
        del given["x-guidance"]  # how this project's own grammars lay JSON out
    return {"nvext": {f"guided_{kind}": given}}


def canonical(text: str, link: Link) -> str:
    """JSON as this project's grammars lay it out, whatever whitespace the server chose; other text as it is."""
    if link.grammar is None or link.grammar.portable is None or link.grammar.portable[0] != "json":
        return text
    try:
        return json_text(json.loads(text))
    except ValueError:
        return text  # cut short: the matcher will say where
