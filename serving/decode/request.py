"""What one round of decoding is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from grammars.answer import asking_for, read_answer_schema
from grammars.branch import Sampling
from grammars.conversation import Conversation
from grammars.dialects import Dialect
from grammars.plan_forms import PlanForm
from grammars.prompt import Prefix, render_for_answer
from serving.engines.base import SHARED, Engine, Scope

Decoding = Literal["parallel", "sequential"]


@dataclass(frozen=True, kw_only=True)
class DecodeOptions:
    """The form of plans, and finite bounds: tokens of a plan, of one call, of a turn in one stream, and of a text.

    Without a form it is the dialect's own. A tally counts if each of its digits is at least as likely as `sure_tally`:
    by default always, since the outline of the model that is shipped is no better than a tally that it doubts
    (docs/finetuning.md has the curve). After a tally each argument of a call is a branch of its own where that makes at
    most `argument_heads` branches, for models that were trained for it. With `answer_by_result`, an answer that follows
    several results says each of them in a stream of its own (`grammars.findings`), unless a request wants one stream.
    """

    plan_form: PlanForm | None = None
    sure_tally: float = 0.0
    argument_heads: int = 0
    answer_by_result: bool = False
    plan_tokens: int = 1024
    call_tokens: int = 1024
    stream_tokens: int = 8192
    text_tokens: int = 2048


@dataclass(frozen=True, kw_only=True)
class RoundRequest:
    """How a caller wants a round decoded.

    `max_tokens` bounds every stream of the round by itself. `stop` ends a text before the first of these strings.
    `skip_forced` lets a sequential stream skip tokens that leave no choice, as branches always do. With
    `parallel_dependencies`, a branch may write a reference to an earlier call of the plan in place of an argument.
    `answer_schema` is a JSON Schema for the text of an answer, which then is JSON; it has no part in calls. `logprobs`
    asks how likely each token of a text was, and for so many of the likeliest in its place. `scope` says for whom and
    with which weights.
    """

    sampling: Sampling = field(default_factory=Sampling)
    decoding: Decoding = "parallel"
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    skip_forced: bool = False
    parallel_dependencies: bool = False
    answer_schema: Mapping[str, Any] | None = None
    logprobs: int | None = None
    scope: Scope = SHARED


@dataclass(frozen=True, kw_only=True)
class Round:
    """One round, prepared: what to decode, on what, and how."""

    engine: Engine
    dialect: Dialect
    options: DecodeOptions
    request: RoundRequest
    conversation: Conversation
    prefix: Prefix

    def answering(self) -> Round:
        """The same round for an answer in text, on the prompt that is for it."""
        return self.asking(self.conversation)

    def asking(self, conversation: Conversation) -> Round:
        """The same round with such a prompt for another conversation."""
        if self.request.answer_schema is not None:
            conversation = asking_for(conversation, read_answer_schema(self.request.answer_schema))
        return replace(self, prefix=render_for_answer(conversation, self.dialect, self.engine.tokenizer))

    def limit(self, tokens: int) -> int:
        """The most tokens of a stream whose default bound is `tokens`."""
        return tokens if self.request.max_tokens is None else min(tokens, self.request.max_tokens)

    def sampling(self, stream: int) -> Sampling:
        """The sampling of the round's stream number `stream`: equal seeds must not make siblings choose alike."""
        sampling = self.request.sampling
        if sampling.seed is None:
            return sampling
        return Sampling(
            temperature=sampling.temperature, top_p=sampling.top_p, seed=(sampling.seed * 1_000_003 + stream) % 2**63
        )
