"""Random turns, for the property that each wire's answer has: streamed and put together, it equals the whole one."""

from __future__ import annotations

from hypothesis import strategies as st

from grammars.tools import CallError, Tool, ToolCall, ToolResult
from serving.decode.events import CallFailed, CallWritten, Figures, RoundEnded, StreamSpan, TextWritten
from serving.engines.base import TokenLogprob
from serving.execute.execute import CallFinished, CallStarted
from serving.round_ledger import CallRules, RoundLedger
from serving.turn_events import ListedServer, ToolsListed, TurnBegan, TurnEnded, TurnEvent, TurnFigures

NAMES = st.sampled_from(["weather", "search", "server_side", "server_side_delete"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
ARGUMENTS = st.dictionaries(st.text(max_size=8), VALUES, max_size=4)
PIECES = st.lists(st.text(), max_size=5)
TOP = st.builds(
    TokenLogprob,
    text=st.text(max_size=3),
    bytes=st.binary(max_size=3).map(tuple),
    logprob=st.floats(-99, 0),
)
LOGPROBS = st.lists(
    st.builds(
        TokenLogprob,
        text=st.text(max_size=3),
        bytes=st.binary(max_size=3).map(tuple),
        logprob=st.floats(-99, 0),
        top=st.lists(TOP, max_size=1).map(tuple),
    ),
    max_size=2,
).map(tuple)
ERRORS = st.builds(CallError, kind=st.sampled_from(["truncated", "tool_error"]), message=st.text())
SECONDS = st.floats(0, 1e6)
SPANS = st.builds(
    StreamSpan, label=NAMES, start_s=SECONDS, end_s=SECONDS, steps=st.integers(0, 99), forced_tokens=st.integers(0, 99)
)
FIGURES = st.builds(
    Figures,
    decoding=st.sampled_from(["parallel", "sequential"]),
    steps=st.integers(0, 999),
    prompt_tokens=st.integers(99, 999),
    cached_tokens=st.none() | st.integers(0, 99),
    completion_tokens=st.integers(0, 999),
    spans=st.lists(SPANS, max_size=3).map(tuple),
)


LABELS = {"server_side": "house", "server_side_delete": "house"}
LISTED = ToolsListed(
    labels=LABELS, servers=(ListedServer(label="house", tools=tuple(Tool(name=name) for name in LABELS)),)
)
"""As a turn begins whose request named the server `house`."""


@st.composite
def turns(draw: st.DrawFn) -> list[TurnEvent]:
    """A turn: its last round as decoded, in any order and with gaps, and everything that a turn tells beside it."""
    order = draw(st.permutations(range(draw(st.integers(0, 6)))))
    began = TurnBegan(turn_id="turn_1", created_s=draw(SECONDS))
    listed = draw(st.sampled_from([(), (ToolsListed(labels=LABELS),), (LISTED,)]))
    likely = draw(st.sampled_from([st.just(()), LOGPROBS]))
    written = [TextWritten(text=piece, logprobs=draw(likely)) for piece in draw(PIECES)]
    events: list[TurnEvent] = [began, *listed, *written]
    finished = []
    rules = CallRules(
        runs=lambda name: name.startswith("server_side"),
        wants_approval=lambda name: name == "server_side_delete",
        refers=lambda _call: False,
        start=lambda _call: None,
    )
    ledger = RoundLedger(rules, answered=())
    for index in order:
        fate = draw(st.sampled_from(["written", "written", "written", "failed", "dropped"]))
        event: TurnEvent
        if fate == "written":
            call = ToolCall(id=f"call_{index}", name=draw(NAMES), arguments=draw(ARGUMENTS))
            event = CallWritten(index=index, call=call)
            if call.name == "server_side":
                result = ToolResult(call_id=call.id, value=draw(VALUES), error=draw(st.none() | ERRORS))
                finished.append(CallFinished(call=call, result=result, start_s=1.0, end_s=draw(SECONDS)))
        elif fate == "failed":
            event = CallFailed(index=index, tool=draw(NAMES), error=draw(ERRORS))
        else:
            continue
        events += [event, *ledger.take(event)]
    for done in finished:
        events += [CallStarted(call=done.call, at_s=done.start_s), done]
    reason = draw(st.sampled_from(["calls", "text", "length"]))
    ended = RoundEnded(reason=reason, figures=draw(FIGURES))
    events += [ended, *ledger.take(ended)]
    figures = TurnFigures(rounds=(ended.figures,), total_s=draw(SECONDS))
    failures = tuple(ledger.failures)
    if reason == "calls" and ledger.awaiting and not ledger.handed_back:
        reason = "approval"
    turn_ended = TurnEnded(
        turn_id=began.turn_id,
        reason=reason,
        stop=draw(st.none() | st.just("END")) if reason == "text" else None,
        figures=figures,
        server_calls=tuple(finished),
        failures=failures,
        awaiting=tuple(ledger.awaiting),
    )
    return [*events, turn_ended]
