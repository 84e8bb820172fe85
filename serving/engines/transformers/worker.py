"""Worker: the decode loop. One thread steps every live stream of every job together (continuous batching).

A step packs tokens of many rows into one forward pass: for each stream the token it chose last and the forced ones
after it, and beside them as much unread prefix as a budget allows, so that a long prompt delays others by a chunk at
a time and no more. The order of rows turns with each step, so that nobody is always served last.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

import torch

from grammars.errors import DecodingFailed, Overloaded
from grammars.tree import PREFIX
from serving.engines.base import BranchEnded, BranchEvent
from serving.engines.transformers.model import Span, TreeModel
from serving.engines.transformers.pool import HeldPrefix, RowPool
from serving.engines.transformers.sampling import choose_tokens, likelihoods
from serving.engines.transformers.stream import Job, Stream


@dataclass(frozen=True, kw_only=True)
class WorkerLimits:
    """How much a step reads, and how much is held.

    `chunk_tokens`: unread text that one step takes in. `forced_tokens`: unread text of a stream up to this length
    rides along for free. `streams`: how many decode at once; further jobs wait. `rows_mib`: memory for rows.
    `waiting_jobs`: how many jobs may wait.
    """

    chunk_tokens: int = 512
    forced_tokens: int = 16
    streams: int = 128
    rows_mib: int = 2048
    waiting_jobs: int = 256


class Worker:
    """Owns the model, the rows and the thread that steps them."""

    def __init__(self, model: TreeModel, limits: WorkerLimits) -> None:
        self._model = model
        self._limits = limits
        self.pool = RowPool(model.shape, limits.rows_mib * 2**20)
        self._waiting: deque[Job] = deque()
        self._live: list[Job] = []
        self.steps = 0
        self.peak_rows_bytes = 0
        self._closing = False
        self._forgetting = False
        self._wake = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="polycall-decode", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread still decodes."""
        return self._thread.is_alive() and not self._closing

    @property
    def live_streams(self) -> int:
        """How many branches decode now."""
        return sum(len(job.streams) for job in self._live)

    def submit(self, job: Job) -> None:
        """Queue a job. Its events come through `job.emit`, on the worker's thread."""
        with self._wake:
            if not self.alive:
                raise Overloaded("the engine has stopped")
            if len(self._waiting) >= self._limits.waiting_jobs:
                raise Overloaded(f"{self._limits.waiting_jobs} decode jobs are waiting already")
            self._waiting.append(job)
            self._wake.notify()

    def cancel(self, job: Job) -> None:
        """Free a job's streams before the next step. Harmless for a job that is over."""
        with self._wake:
            job.cancelled = True
            self._wake.notify()

    def forget_prefixes(self) -> None:
        """Drop idle rows before the next step."""
        with self._wake:
            self._forgetting = True

    def close(self) -> None:
        """Stop the thread after the current step; open jobs end with `Overloaded`."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()

    @torch.inference_mode()
    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._closing or self._waiting or self._live)
                if self._closing:
                    break
                self._admit()
            try:
                self._step()
            except Exception as error:  # whatever the forward pass raised: its jobs end, the engine goes on
                self._fail(DecodingFailed(f"the forward pass failed: {error!r}"))
        self._live += self._waiting
        self._fail(Overloaded("the engine is shutting down"))

    def _fail(self, error: Exception) -> None:
        for job in self._live:
            job.emit(error)
        self._live.clear()
        self.pool.clear()

    def _admit(self) -> None:
        """Drop what was cancelled; let waiting jobs in, in order, while there is room."""
        for job in [job for job in self._live if job.cancelled]:
            self._leave(job)
        if self._forgetting:
            self._forgetting = False
            self.pool.drop_idle()
        while self._waiting:
            job = self._waiting[0]
            if job.cancelled:
                self._waiting.popleft()
                continue
            if self._live and self.live_streams + len(job.streams) > self._limits.streams:
                return
            held = self.pool.acquire(job.prefix, job.tenant)
            if held is None:
                return
            self._waiting.popleft()
            job.held = held
            self._live.append(job)
            for stream in list(job.streams):
                stream.number = held.new_branch()
                stream.cached_tokens = held.read_count
                self._deliver(job, stream, stream.start())
            if not job.streams:
                self._leave(job)

    def _leave(self, job: Job) -> None:
        assert job.held is not None
        for stream in job.streams:
            job.held.depart(stream.number, stream.read)
        job.streams.clear()
        self.pool.release(job.held)
        self._live.remove(job)

    def _step(self) -> None:
        spans: list[Span] = []
        wanting: list[tuple[Job, Stream]] = []
        reading: list[tuple[Stream | HeldPrefix, int]] = []
        budget = self._limits.chunk_tokens
        for held in self._rows():
            count = min(len(held.unread), budget)
            if count:
                spans.append(span_of(held, PREFIX, held.unread[:count], held.read_count, wants_logits=False))
                reading.append((held, count))
                budget -= count
            if count < len(held.unread):
                continue
            for job in self._live:
                for stream in job.streams if job.held is held else ():
                    size = len(stream.unread)
                    count = size if size <= self._limits.forced_tokens else min(size, budget)
                    if not count:
                        continue
                    budget -= count if size > self._limits.forced_tokens else 0
                    position = len(held.tokens) + len(stream.read)
                    spans.append(
                        span_of(held, stream.number, stream.unread[:count], position, wants_logits=count == size)
                    )
                    reading.append((stream, count))
                    if count == size:
                        wanting.append((job, stream))
        if not spans:
            return
        self.steps += 1
        logits = self._model.read(spans)
        self.peak_rows_bytes = max(self.peak_rows_bytes, self.pool.bytes)
        for reader, count in reading:
            if isinstance(reader, Stream):
                reader.read += reader.unread[:count]
            del reader.unread[:count]
        if wanting:
            self._choose(wanting, logits)

    def _choose(self, wanting: list[tuple[Job, Stream]], logits: torch.Tensor) -> None:
        streams = [stream for _, stream in wanting]
        tokens = choose_tokens(
            logits, [stream.matcher.mask() for stream in streams], [stream.chooser for stream in streams]
        )
        for (job, stream), token, masked in zip(wanting, tokens, logits, strict=True):
            wanted = stream.logprobs_wanted
            likely = None if wanted is None else likelihoods(masked, token, wanted)
            self._deliver(job, stream, stream.advance(token, likely))
        for job in [job for job in self._live if not job.streams]:
            self._leave(job)

    def _deliver(self, job: Job, stream: Stream, events: list[BranchEvent]) -> None:
        for event in events:
            job.emit(event)
            if isinstance(event, BranchEnded):
                job.streams.remove(stream)
                assert job.held is not None
                job.held.depart(stream.number, stream.read)

    def _rows(self) -> list[HeldPrefix]:
        """The rows that somebody stands on, beginning with another one at each step."""
        rows = [held for held in self.pool.held if held.users]
        first = self.steps % len(rows) if rows else 0
        return rows[first:] + rows[:first]


def span_of(held: HeldPrefix, branch: int, tokens: list[int], position: int, *, wants_logits: bool) -> Span:
    """Tokens of a branch of this row, to be read next."""
    return Span(row=held.row, branch=branch, tokens=tokens, first_position=position, wants_logits=wants_logits)
