"""Telemetry: what the server did, counted from turn events in one place, for Prometheus to read.

Names, labels and buckets stand here and nowhere else. Labels have few values: names of tools, models and callers stay
out of them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from grammars.errors import Overloaded, RequestError, TurnInProgress
from serving.decode.events import CallFailed, RoundEnded
from serving.execute.execute import CallFinished
from serving.turn_events import CallHandedBack, TurnBegan, TurnEnded, TurnEvent

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Upper bounds of the buckets of times: from a tool in process to the longest turn."""


class Telemetry:
    """Counts what a server does. One for the whole server; `registry` has the figures.

    The outcome of a turn is the reason of its end (`calls`, `text`, `length`, `approval`), or in its place `replayed`,
    `refused` for a request that cannot be honoured, `overloaded`, `left` when the client was gone before the end, and
    `failed`. The outcome of a call is `value` or the kind of its error where the server ran it, `handed_back` where it
    is the client's, `awaiting_approval`, and `not_written` where the model could not write it.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._turns = self._counter("turns", "Turns, by the wire they came by and how they ended.", "wire", "outcome")
        self._errors = self._counter("errors", "Answers that are errors, by status and code.", "status", "code")
        self._calls = self._counter("calls", "Tool calls, by what became of them.", "outcome")
        self._rounds = self._counter("rounds", "Rounds of decoding, by how they decode.", "decoding")
        self._steps = self._counter("decode_steps", "Decode steps on the critical path.", "decoding")
        self._plan_steps = self._counter("plan_steps", "Decode steps of plans, which are among the decode steps.")
        self._branches = self._counter("branches", "Branches that were decoded.")
        self._fallbacks = self._counter("fallbacks", "Calls that were decoded once more, sequentially.")
        self._duplicates = self._counter("duplicates_removed", "Calls that said the same as another, and were dropped.")
        self._prompt_tokens = self._counter("prompt_tokens", "Tokens of prompts, of every round.")
        self._cached_tokens = self._counter("cached_prompt_tokens", "Of these, tokens that the engine still held.")
        self._completion_tokens = self._counter("completion_tokens", "Tokens that were written.")
        self._first_event = self._histogram("turn_first_event_seconds", "Until the first event of a turn.", "wire")
        self._turn_seconds = self._histogram("turn_seconds", "Until the end of a turn.", "wire")
        self._call_seconds = self._histogram("call_seconds", "How long a call ran that the server runs.")

    def watch(self, name: str, words: str, read: Callable[[], float]) -> None:
        """Show the present value of something as the gauge `polycall_{name}`."""
        Gauge(f"polycall_{name}", words, registry=self.registry).set_function(read)

    def answered_with_error(self, status: int, code: str) -> None:
        """A request, of whatever kind, was answered with this error."""
        self._errors.labels(str(status), code).inc()

    @contextmanager
    def turn(self, wire: str) -> Iterator[Callable[[TurnEvent], None]]:
        """Count one turn, whose events the caller tells as they happen; what is raised inside is its outcome."""
        begin_s = time.monotonic()
        outcome = "left"

        def hear(event: TurnEvent) -> None:
            nonlocal outcome
            if isinstance(event, TurnBegan):
                if event.replayed:
                    outcome = "replayed"
                else:
                    self._first_event.labels(wire).observe(time.monotonic() - begin_s)
            elif outcome != "replayed":
                self._count(event)
                if isinstance(event, TurnEnded):
                    outcome = event.reason
                    self._turn_seconds.labels(wire).observe(time.monotonic() - begin_s)

        try:
            yield hear
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except (RequestError, TurnInProgress):
            outcome = "refused"
            raise
        except Overloaded:
            outcome = "overloaded"
            raise
        except Exception:
            outcome = "failed"
            raise
        finally:
            self._turns.labels(wire, outcome).inc()

    def _count(self, event: TurnEvent) -> None:
        match event:
            case CallFinished(result=result):
                self._calls.labels("value" if result.error is None else result.error.kind).inc()
                self._call_seconds.observe(event.end_s - event.start_s)
            case CallHandedBack():
                self._calls.labels("handed_back").inc()
            case CallFailed():
                self._calls.labels("not_written").inc()
            case TurnEnded(awaiting=awaiting):
                self._calls.labels("awaiting_approval").inc(len(awaiting))
            case RoundEnded(figures=figures):
                self._rounds.labels(figures.decoding).inc()
                self._steps.labels(figures.decoding).inc(figures.steps)
                self._plan_steps.inc(figures.plan_steps)
                self._branches.inc(figures.branches)
                self._fallbacks.inc(figures.fallbacks)
                self._duplicates.inc(figures.duplicates_removed)
                self._prompt_tokens.inc(figures.prompt_tokens)
                self._cached_tokens.inc(figures.cached_tokens or 0)
                self._completion_tokens.inc(figures.completion_tokens)

    def _counter(self, name: str, words: str, *labels: str) -> Counter:
        return Counter(f"polycall_{name}", words, labels, registry=self.registry)

    def _histogram(self, name: str, words: str, *labels: str) -> Histogram:
        return Histogram(f"polycall_{name}", words, labels, registry=self.registry, buckets=SECONDS)
