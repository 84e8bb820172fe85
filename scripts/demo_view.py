"""What the demo shows: the calls, a timeline of decoding and execution, the answer, and the comparison."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

DECODED, RAN = "cyan", "green"

CELLS = 36
"""How wide the timeline is, in characters."""


def show(
    console: Console,
    question: str,
    model: str,
    calls: list[dict[str, Any]],
    answer: str,
    parallel: dict[str, Any],
    sequential: dict[str, Any],
) -> None:
    """Everything, from question to comparison. `calls` have `valid` beside what the report says of them."""
    console.print(Panel(Text(question), title=f"question to {model}", title_align="left"))
    console.print(calls_table(calls))
    width_s = max(parallel["times"]["total_s"], sequential["times"]["total_s"])
    console.print(timeline("decoded in parallel", parallel, width_s))
    console.print(timeline("the same question, decoded sequentially", sequential, width_s))
    console.print(Panel(Text(answer), title="answer", title_align="left"))
    console.print(comparison(parallel, sequential))
    if asked_for(parallel) != asked_for(sequential):
        console.print("The two runs made different calls: their times are not of the same work.", style="yellow")


def asked_for(report: dict[str, Any]) -> list[str]:
    """What a run called, whatever the order."""
    return sorted(f"{call['name']} {json.dumps(call['arguments'], sort_keys=True)}" for call in report["server_calls"])


def calls_table(calls: list[dict[str, Any]]) -> Table:
    table = Table("tool", "arguments", "valid", "result", title="calls", title_justify="left")
    for call in calls:
        error = call["error"]
        result = Text(short(call["result"])) if error is None else Text(f"{error['kind']}: {error['message']}", "red")
        table.add_row(call["name"], Text(short(call["arguments"])), "yes" if call["valid"] else "[red]no", result)
    return table


def timeline(title: str, report: dict[str, Any], width_s: float) -> Table:
    """A row for each stream that was decoded and each call that ran, in the order of their beginnings."""
    spans = [
        (stream["start_s"], stream["end_s"], DECODED, f"decode {stream['label']}", f"{stream['steps']} steps")
        for stream in report["streams"]
    ]
    spans += [
        (call["start_s"], call["end_s"], RAN, f"run    {call['name']}", short(call["arguments"]))
        for call in report["server_calls"]
    ]
    table = Table(box=None, title=f"{title}: {report['times']['total_s']:.1f} s", title_justify="left")
    table.add_column("what", no_wrap=True, min_width=max((len(label) for *_, label, _ in spans), default=0))
    table.add_column(f"0 to {width_s:.1f} s", no_wrap=True, min_width=CELLS)
    table.add_column("", no_wrap=True, max_width=44)
    for start_s, end_s, style, label, note in sorted(spans):
        table.add_row(Text(label, style), bar(start_s, end_s, width_s, style), Text(note, "dim", overflow="ellipsis"))
    return table


def bar(start_s: float, end_s: float, width_s: float, style: str) -> Text:
    """The part of the time from 0 to `width_s` in which something happened; never less than one cell."""
    first = min(CELLS - 1, int(CELLS * start_s / width_s))
    last = max(first + 1, round(CELLS * end_s / width_s))
    return Text(" " * first + "█" * (last - first), style)


def comparison(parallel: dict[str, Any], sequential: dict[str, Any]) -> Table:
    table = Table("", "parallel", "sequential", "ratio", title="the same question", title_justify="left")
    for name, key in (("whole turn", "total_s"), ("decoding", "decode_s"), ("only waiting for tools", "wait_s")):
        ours, theirs = parallel["times"][key], sequential["times"][key]
        table.add_row(f"seconds, {name}", f"{ours:.1f}", f"{theirs:.1f}", ratio(ours, theirs))
    ours, theirs = parallel["steps"], sequential["steps"]
    table.add_row("decode steps, one after another", str(ours), str(theirs), ratio(ours, theirs))
    table.add_row("calls that ran", str(len(parallel["server_calls"])), str(len(sequential["server_calls"])), "")
    return table


def ratio(ours: float, theirs: float) -> str:
    return f"{theirs / ours:.1f}x" if ours else ""


def short(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
