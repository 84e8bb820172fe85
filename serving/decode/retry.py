"""The second chance of a call: one stream, the same grammar, after the calls that are already written."""

from __future__ import annotations

from collections.abc import Sequence

from grammars.branch import Branch, arguments_constraint
from grammars.conversation import CALLS_LIMIT
from grammars.parse import CallOutcome, read_call
from grammars.prompt import call_ending, call_opening, call_text
from grammars.text_guard import TextGuard
from grammars.tools import CallError, Tool, ToolCall
from serving.decode.ledger import Ledger
from serving.decode.request import Round
from serving.decode.streams import run_stream
from serving.engines.base import BranchEnded


def read_branch(tool: Tool, ending: str, end: BranchEnded) -> CallOutcome:
    """The call that a branch wrote up to the `ending`, or what is wrong with it."""
    if end.reason == "complete":
        return read_call(tool, end.text.removesuffix(ending))
    if end.reason == "length":
        return CallError(kind="truncated", message=f"the arguments of {tool.name!r} did not end within their limit")
    return CallError(kind="invalid_arguments", message=f"the grammar of {tool.name!r} broke: {end.error}")


async def retry_call(round: Round, tool: Tool, written: Sequence[ToolCall], ledger: Ledger) -> CallOutcome:
    """Decode the call of `tool` once more, sequentially: as the next one after those `written`."""
    ledger.fallbacks += 1
    dialect = round.dialect
    guard = TextGuard(round.engine.tokenizer, "".join(call.arguments_text for call in written))
    before = "".join(call_text(call.name, guard.json(call.arguments), dialect) + dialect.separator for call in written)
    suffix = dialect.calls_open + before + call_opening(tool.name, dialect)
    branch = Branch(
        suffix=guard.encode(suffix),
        constraint=arguments_constraint(tool, call_ending(dialect), round.engine.tokenizer),
        max_new_tokens=round.limit(round.options.call_tokens),
        sampling=round.sampling(CALLS_LIMIT + ledger.fallbacks),  # the streams before it are the plan and its branches
    )
    ended = await run_stream(round.engine, round.prefix, branch, round.request.scope)
    ledger.stream(f"{tool.name} (retry)", ended.start_s, ended.end)
    return read_branch(tool, call_ending(dialect), ended.end)
