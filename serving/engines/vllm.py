"""vLLM in this process, stock and unpatched: the only file that imports it.

Facts about `AsyncLLM` are those of vLLM 0.32 and 0.33. The engine's core runs in a process of its own, which vLLM
starts; whatever decodes at a time, of however many turns, shares its steps and its prefix cache.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.engine.protocol import StreamingInput
from vllm.exceptions import VLLMValidationError
from vllm.inputs import tokens_input
from vllm.lora.request import LoRARequest
from vllm.outputs import CompletionOutput, RequestOutput
from vllm.platforms import current_platform
from vllm.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError

from grammars.errors import ConfigurationError, NotFound, Overloaded, RequestError
from grammars.tokenizer import Tokenizer
from serving.engines.base import Scope, TokenLogprob
from serving.engines.chain import Batch, Link
from serving.engines.chained import ChainedEngine
from serving.engines.transformers.tokenizer import load_tokenizer
from serving.engines.written import likelihood

BACKEND = "guidance"
"""The one structured-output backend: vLLM pins the first that is used, and this one reads the grammars used here."""

CPU_CACHE_GIB = 4
"""The prefix cache on CPUs, where nothing else is said."""


@dataclass(frozen=True, kw_only=True)
class VllmLane:
    """The replica that holds the prefix, whose cache it is, and which weights."""

    rank: int | None
    cache_salt: str | None
    adapter: LoRARequest | None


class VllmServer:
    """Answers links with `AsyncLLM.generate`, one request each."""

    def __init__(self, engine: AsyncLLM, tokenizer: Tokenizer, adapters: Mapping[str, Path]) -> None:
        self._engine: AsyncLLM | None = engine
        self._tokenizer = tokenizer
        self._adapters = {
            name: LoRARequest(lora_name=name, lora_int_id=number, lora_path=str(folder))
            for number, (name, folder) in enumerate(adapters.items(), start=1)
        }
        self._ranks = engine.vllm_config.parallel_config.data_parallel_size
        self._numbers = itertools.count()

    @property
    def chains(self) -> bool:
        return True

    @property
    def healthy(self) -> bool:
        return self._engine is not None and bool(self._engine.is_running and not self._engine.errored)

    def lane(self, prefix: Sequence[int], scope: Scope) -> VllmLane:
        """A prefix always goes to the same replica, so that a round's plan and branches find it there."""
        if scope.adapter is not None and scope.adapter not in self._adapters:
            raise NotFound(f"there is no adapter {scope.adapter!r}", place="model")
        return VllmLane(
            rank=hash(tuple(prefix)) % self._ranks if self._ranks > 1 else None,
            cache_salt=scope.tenant or None,
            adapter=None if scope.adapter is None else self._adapters[scope.adapter],
        )

    def session(self, lane: VllmLane) -> VllmSession:
        if self._engine is None:
            raise Overloaded("the engine is shut down")
        return VllmSession(self._engine, self._tokenizer, lane, f"polycall-{next(self._numbers)}")

    async def close(self) -> None:
        """Shut down, and let go of the engine: at the interpreter's exit vLLM can no longer clean up after itself."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.shutdown()


class VllmSession:
    """The links of one chain as one of vLLM's streaming-input requests, which keeps what it has read between them.

    vLLM holds the keys and values of all that a session read and wrote, but for the last token of each link; the next
    link sends that token and what follows it. A link that goes on elsewhere, because what was written after some token
    is not wanted, ends the request and begins another one over the prefix cache.
    """

    def __init__(self, engine: AsyncLLM, tokenizer: Tokenizer, lane: VllmLane, name: str) -> None:
        self._engine = engine
        self._tokenizer = tokenizer
        self._lane = lane
        self._name = name
        # Where vLLM speculates, a link's last token may be held after all: then each link is a request of its own.
        self._keeps = engine.vllm_config.speculative_config is None
        self._requests = itertools.count()
        self._held: tuple[int, ...] = ()
        self._inputs: asyncio.Queue[StreamingInput] = asyncio.Queue()
        self._outputs: AsyncGenerator[RequestOutput, None] | None = None

    async def tokens(self, link: Link) -> AsyncGenerator[Batch, None]:
        """The tokens that the model writes for the link, as they come. Leaving them early ends the request."""
        length = len(self._held)
        if link.prompt[:length] != self._held or len(link.prompt) == length:
            await self.aclose()
        new = list(link.prompt[len(self._held) :])
        prompt = tokens_input(new, cache_salt=self._lane.cache_salt)
        params = sampling_params(link)
        self._inputs.put_nowait(StreamingInput(prompt=prompt, sampling_params=params))
        if self._outputs is None:
            self._outputs = self._engine.generate(
                taken_from(self._inputs),
                params,
                request_id=f"{self._name}-{next(self._requests)}",
                lora_request=self._lane.adapter,
                data_parallel_rank=self._lane.rank,
            )
        written = list(link.prompt)
        ended = False
        try:
            async for output in self._outputs:
                [choice] = output.outputs
                written += choice.token_ids
                ended = choice.finish_reason is not None
                yield Batch(
                    tokens=choice.token_ids,
                    logprobs=() if link.logprobs is None else self._logprobs(choice, link.logprobs),
                    cached_tokens=output.num_cached_tokens,
                )
                if ended:
                    break
        except EngineDeadError as error:
            raise Overloaded("the engine has died") from error
        except VLLMValidationError as error:
            raise RequestError(f"the engine refuses the request: {error}", place="messages") from error
        finally:
            self._held = tuple(written[:-1])
            if not (ended and self._keeps):
                await self.aclose()

    def _logprobs(self, choice: CompletionOutput, count: int) -> list[TokenLogprob]:
        """How likely each token was. What the grammar bars stands in vLLM's lists as impossible, and is left out."""
        likely = []
        for token, found in zip(choice.token_ids, choice.logprobs or (), strict=True):
            assert found is not None  # vLLM leaves out those of prompts only
            ordered = sorted(found.items(), key=lambda other: -other[1].logprob)
            top = [(other, its.logprob) for other, its in ordered[:count] if its.logprob > float("-inf")]
            likely.append(likelihood(self._tokenizer, token, found[token].logprob, top))
        return likely

    async def aclose(self) -> None:
        """End the request; what is still written for it is aborted."""
        outputs, self._outputs = self._outputs, None
        self._held = ()
        self._inputs = asyncio.Queue()
        if outputs is not None:
            await outputs.aclose()


async def taken_from(inputs: asyncio.Queue[StreamingInput]) -> AsyncGenerator[StreamingInput, None]:
    """What is put into the queue, without an end: who reads it ends it."""
    while True:
        yield await inputs.get()


def sampling_params(link: Link) -> SamplingParams:
    """A link in vLLM's terms."""
    sampling = link.sampling
    grammar = None if link.grammar is None else StructuredOutputsParams(grammar=link.grammar.lark)
    return SamplingParams(
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        seed=sampling.seed,
        max_tokens=link.most_tokens,
        stop_token_ids=sorted(link.stops),
        min_tokens=int(link.stops_later),
        allowed_token_ids=None if link.allowed is None else list(link.allowed),
        structured_outputs=grammar,
        logprobs=link.logprobs,
        detokenize=False,
        skip_special_tokens=False,
        output_kind=RequestOutputKind.DELTA,
        skip_clone=True,  # made for one link, and never changed
    )


def load_vllm(
    folder: Path,
    *,
    name: str,
    dtype: str = "auto",
    adapters: Mapping[str, Path] | None = None,
    engine_args: Mapping[str, Any] | None = None,
) -> ChainedEngine[VllmLane]:
    """Load a model folder into vLLM. `engine_args` are vLLM's own, by vLLM's names, and override what stands here.

    Raises `ConfigurationError` for arguments that vLLM refuses.
    """
    given: dict[str, Any] = {
        "model": str(folder),
        "served_model_name": name,
        "dtype": dtype,
        "enable_prefix_caching": True,
        "block_size": 32,
        "structured_outputs_config": {"backend": BACKEND, "disable_any_whitespace": True},
        "disable_log_stats": True,
        **({"enable_lora": True, "max_loras": len(adapters)} if adapters else {}),
        **(engine_args or {}),
    }
    if current_platform.is_cpu() and "gpu_memory_utilization" not in given:
        # Without it vLLM takes nearly all of the machine's memory, and does not start where some of that is in use.
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", str(CPU_CACHE_GIB))
    try:
        engine = AsyncLLM.from_engine_args(AsyncEngineArgs(**given))
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"vLLM refuses its settings: {error}") from error
    tokenizer, _ = load_tokenizer(folder)
    return ChainedEngine(
        VllmServer(engine, tokenizer, adapters or {}),
        tokenizer,
        model=name,
        adapters=tuple(adapters or ()),
        context_length=engine.model_config.max_model_len,
    )
