"""Engine: the one-method seam between the decoder and whatever runs the model. It knows nothing of tools."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from grammars.branch import Branch
from grammars.errors import ContextExceeded
from grammars.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class TokenLogprob:
    """A token and the natural logarithm of its probability among those that the constraint allowed in its place, before
    temperature and top_p. `text` is its `bytes`, with U+FFFD for what is no whole character. `top` lists the likeliest
    tokens there, each without a list of its own.
    """

    text: str
    bytes: tuple[int, ...]
    logprob: float
    top: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, kw_only=True)
class BranchStarted:
    """A branch begins to decode: its prefix and suffix are read. `at_s` is on the clock of `time.monotonic`.

    `cached_tokens`: how many of them the engine had read before and still held; None where it does not know.
    """

    branch: int
    at_s: float
    cached_tokens: int | None = None


@dataclass(frozen=True, kw_only=True)
class BranchProgress:
    """A branch wrote some text: what one or more decode steps chose, and the forced tokens after it.

    `steps` counts the branch's decode steps so far. `logprobs` are those of its tokens, if the branch wants them.
    """

    branch: int
    text: str
    steps: int
    at_s: float
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, kw_only=True)
class BranchEnded:
    """A branch is over, and this is its last event. `text` is all that it wrote.

    `complete`: the constraint is satisfied. `length`: `max_new_tokens` or the context ran out. `failed`: the
    constraint broke, `error` says how. `steps` counts the decode steps, one for each token that the model chose;
    `forced_tokens` counts the tokens that cost none.
    """

    branch: int
    reason: Literal["complete", "length", "failed"]
    text: str
    tokens: tuple[int, ...]
    steps: int
    forced_tokens: int
    at_s: float
    error: str | None = None


BranchEvent = BranchStarted | BranchProgress | BranchEnded


@dataclass(frozen=True, kw_only=True)
class Scope:
    """For whom streams decode, and with which weights; only streams of equal scope share what is cached of a prefix.

    `tenant` keeps callers apart who must not be able to time what another one asked. `adapter` names a LoRA adapter of
    the engine; None is the model itself.
    """

    tenant: str = ""
    adapter: str | None = None


SHARED = Scope()
"""The scope of those who say nothing."""


def room_after(length: int, context_length: int) -> int:
    """How many tokens may follow `length` of them, at least one. Raises `ContextExceeded` where there is no room."""
    if length >= context_length:
        raise ContextExceeded(
            f"the prompt has {length} tokens, and the model's context of {context_length} no room to answer",
            place="messages",
        )
    return context_length - length


class Engine(Protocol):
    """Decodes branches over a prefix."""

    @property
    def model(self) -> str:
        """The name under which the model is served."""
        ...

    @property
    def adapters(self) -> tuple[str, ...]:
        """The names of the LoRA adapters that are served beside the model."""
        ...

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def context_length(self) -> int:
        """The most tokens that prefix, suffix and new text of one branch may have together."""
        ...

    def decode(
        self, prefix: Sequence[int], branches: Sequence[Branch], scope: Scope = SHARED
    ) -> AsyncGenerator[BranchEvent, None]:
        """Decode all branches concurrently over one prefix, and yield what happens as it happens.

        Each branch sees the prefix and itself, never a sibling. Every branch yields exactly one `BranchEnded`, in
        whatever order they end; events of one branch come in order. May be called concurrently; calls share the
        machine fairly. Closing the generator frees the branches within one decode step. Raises `ContextExceeded`
        before the first event if prefix and suffix leave no room for text, and `Overloaded` if there is no capacity.
        """
        ...

    async def close(self) -> None:
        """Stop, ending every open generator with `Overloaded`. Idempotent."""
        ...

    @property
    def healthy(self) -> bool:
        """Whether the engine can decode. False once its worker has died: every later call raises `Overloaded`."""
        ...
