"""Engine: the one-method seam between the decoder and whatever runs the model. It knows nothing of tools."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from grammars.branch import Branch
from grammars.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class BranchStarted:
    """A branch begins to decode: its prefix and suffix are read. `at_s` is on the clock of `time.monotonic`."""

    branch: int
    at_s: float


@dataclass(frozen=True, kw_only=True)
class BranchProgress:
    """A branch wrote some text: what one decode step chose, and the forced tokens after it."""

    branch: int
    text: str
    at_s: float


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


class Engine(Protocol):
    """Decodes branches over a prefix."""

    @property
    def model(self) -> str:
        """The name under which the model is served."""
        ...

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def context_length(self) -> int:
        """The most tokens that prefix, suffix and new text of one branch may have together."""
        ...

    def decode(self, prefix: Sequence[int], branches: Sequence[Branch]) -> AsyncGenerator[BranchEvent, None]:
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
