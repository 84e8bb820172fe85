"""TransformersEngine: branches decoded on Hugging Face transformers, as an async stream of events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import torch

from grammars.branch import Branch
from grammars.constraint import CompiledConstraint, compile_constraint
from grammars.errors import RequestError
from grammars.tokenizer import Tokenizer
from serving.engines.base import SHARED, BranchEnded, BranchEvent, Scope, room_after
from serving.engines.transformers.model import TreeModel
from serving.engines.transformers.stream import Job, Stream
from serving.engines.transformers.tokenizer import HuggingFaceTokenizer
from serving.engines.transformers.worker import Worker, WorkerLimits


class TransformersEngine:
    """An `Engine` on transformers: one row with a tree-shaped mask for each prefix, all turns stepped together."""

    def __init__(self, model: TreeModel, tokenizer: Tokenizer, *, name: str, limits: WorkerLimits) -> None:
        self._name = name
        self._tokenizer = tokenizer
        self._model = model
        self._worker = Worker(model, limits)

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        name: str,
        device: str = "auto",
        dtype: str = "auto",
        limits: WorkerLimits | None = None,
    ) -> TransformersEngine:
        """Load a model folder. `device` `auto` takes CUDA where there is one; `dtype` `auto` the stored type."""
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        model = TreeModel.load(folder, device=device, dtype=dtype)
        tokenizer = HuggingFaceTokenizer.load(folder, vocabulary_size=model.vocabulary_size)
        return cls(model, tokenizer, name=name, limits=limits or WorkerLimits())

    @property
    def model(self) -> str:
        return self._name

    @property
    def adapters(self) -> tuple[str, ...]:
        return ()

    @property
    def tokenizer(self) -> Tokenizer:
        return self._tokenizer

    @property
    def context_length(self) -> int:
        return self._model.context_length

    @property
    def healthy(self) -> bool:
        return self._worker.alive

    @property
    def live_branches(self) -> int:
        """How many branches decode now, over all calls."""
        return self._worker.live_streams

    @property
    def steps(self) -> int:
        """How many forward passes were made since the engine was loaded."""
        return self._worker.steps

    @property
    def rows_bytes(self) -> int:
        """The memory of all keys and values that are held, remembered prefixes included."""
        return self._worker.pool.bytes

    def take_peak_rows_bytes(self) -> int:
        """The most memory that keys and values took since the last look."""
        peak, self._worker.peak_rows_bytes = self._worker.peak_rows_bytes, 0
        return peak

    def forget_prefixes(self) -> None:
        """Drop every remembered prefix on which nobody stands, as if the engine had just been loaded."""
        self._worker.forget_prefixes()

    async def decode(
        self, prefix: Sequence[int], branches: Sequence[Branch], scope: Scope = SHARED
    ) -> AsyncGenerator[BranchEvent, None]:
        if scope.adapter is not None:
            raise RequestError("the transformers engine serves no adapters", place="model")
        if not prefix:
            raise RequestError("an empty prefix has nothing to go on from", place="messages")
        compiled = await asyncio.to_thread(self._compile, branches)
        # The first logits of a branch come from its last read token: a branch without a suffix needs one of its own.
        # So that all stand on the same row, the others read the prefix's last token for themselves, too.
        shared, last = tuple(prefix[:-1]), tuple(prefix[-1:])
        streams = [
            self._stream(branch, index, constraint, shared, last)
            for index, (branch, constraint) in enumerate(zip(branches, compiled, strict=True))
        ]
        loop = asyncio.get_running_loop()
        events: asyncio.Queue[BranchEvent | Exception] = asyncio.Queue()
        job = Job(
            prefix=shared,
            streams=streams,
            tenant=scope.tenant,
            deliver=lambda event: loop.call_soon_threadsafe(events.put_nowait, event),
        )
        left = len(streams)
        self._worker.submit(job)
        try:
            while left:
                event = await events.get()
                if isinstance(event, Exception):
                    raise event
                left -= isinstance(event, BranchEnded)
                yield event
        finally:
            self._worker.cancel(job)

    async def close(self) -> None:
        await asyncio.to_thread(self._worker.close)

    def _compile(self, branches: Sequence[Branch]) -> list[CompiledConstraint]:
        return [compile_constraint(branch.constraint, self._tokenizer) for branch in branches]

    def _stream(
        self, branch: Branch, index: int, constraint: CompiledConstraint, shared: tuple[int, ...], last: tuple[int, ...]
    ) -> Stream:
        room = room_after(len(shared) + len(last) + len(branch.suffix), self.context_length)
        stream = Stream(branch, index, constraint, self._tokenizer, room)
        stream.unread[:0] = last
        return stream
