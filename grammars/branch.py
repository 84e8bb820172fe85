"""Branch: one stream on top of the prefix, a forced suffix and a constraint for what is still free."""

from __future__ import annotations

from dataclasses import dataclass, field

from grammars.array import literal
from grammars.constraint import STRING_END, Constraint
from grammars.dialects import Dialect
from grammars.plan import PlannedCall
from grammars.prompt import branch_ending, branch_opening
from grammars.schema import read_schema
from grammars.text_guard import TextGuard
from grammars.tokenizer import Tokenizer
from grammars.tools import Tool


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How a branch chooses among the allowed tokens. Temperature 0 is greedy; equal seeds repeat equal choices."""

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None


@dataclass(frozen=True, kw_only=True)
class Branch:
    """One stream over a prefix.

    `suffix` is already known text that the stream stands on; it is read, not written. `constraint` governs what is
    written after it, at most `max_new_tokens` tokens. With `skip_forced`, tokens about which the constraint leaves no
    choice cost no decode step; without it every token costs one, which is what other servers do. With `logprobs`, which
    needs `skip_forced` off, the engine tells how likely each token was, and so many of the likeliest in its place.
    """

    suffix: tuple[int, ...] = ()
    constraint: Constraint
    max_new_tokens: int
    sampling: Sampling = field(default_factory=Sampling)
    skip_forced: bool = True
    logprobs: int | None = None


def arguments_constraint(tool: Tool, ending: str, tokenizer: Tokenizer) -> Constraint:
    """What stands in a call of `tool` after its opening: the arguments, and all that ends the call.

    The ending is forced text, but it must be there: models like to close arguments and call with one token, `}}`, and
    where they may not, they go on writing digits.
    """
    schema = read_schema(tool.parameters).grammar
    lark = f"start: arguments {literal(ending, tokenizer)}".rstrip() + f"\narguments: %json {schema}"
    return Constraint(lark, pauses=STRING_END, portable=("json", schema))


def call_branch(
    call: PlannedCall, tool: Tool, dialect: Dialect, tokenizer: Tokenizer, *, max_new_tokens: int, sampling: Sampling
) -> Branch:
    """The branch that writes one planned call: opening, name and subject are forced, the arguments are free.

    The subject stands inside the call, as its "request", right where the model is about to write. Anywhere else, a
    stock model that sees the whole request writes the first call again and again (see `docs/decoding.md`).
    """
    guard = TextGuard(tokenizer, call.subject)
    opening = branch_opening(call.tool, dialect, request=guard.text(call.subject))
    return Branch(
        suffix=guard.encode(opening),
        constraint=arguments_constraint(tool, branch_ending(dialect), tokenizer),
        max_new_tokens=max_new_tokens,
        sampling=sampling,
    )
