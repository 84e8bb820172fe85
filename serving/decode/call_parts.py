"""CallPart: what one branch writes of a call, all of it or one of its arguments.

Arguments that do not see one another are written in as many steps as the longest of them takes, for more branches and
as many openings to be read. So calls are split only where the model was trained for it, the plan numbers its calls, and
the round comes to no more branches than the options allow. It is SimpleTool's way (arXiv:2603.00030), inside several
calls at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from grammars.argument_heads import argument_of, can_be_split, heads, merged, planned_head
from grammars.parse import CallOutcome, check_call
from grammars.plan import PlannedCall
from grammars.tools import CallError, Tool

CallPartKey = tuple[int, int]
"""The place of the call in the plan, and the number of the part in the call."""


@dataclass(frozen=True, kw_only=True)
class CallPart:
    """What one branch writes: all of a planned call, or one argument, where `tool` is that head of the call's tool."""

    call: PlannedCall
    tool: Tool
    label: str
    number: int = 0

    @property
    def key(self) -> CallPartKey:
        return self.call.place, self.number


def parts_of(calls: Sequence[PlannedCall], tools: Mapping[int, Tool], most: int) -> list[CallPart]:
    """What the branches of these calls write; `tools` are theirs, by their places. All calls are split that can be, or
    none of them where that made more than `most` branches.
    """
    if most:
        split = [part for call in calls for part in arguments_of(call, tools[call.place])]
        if len(split) <= most:
            return split
    return [CallPart(call=call, tool=tools[call.place], label=call.tool) for call in calls]


def arguments_of(call: PlannedCall, tool: Tool) -> list[CallPart]:
    """A part for each argument, or the whole call if it cannot be split."""
    if not can_be_split(tool):
        return [CallPart(call=call, tool=tool, label=call.tool)]
    return [
        CallPart(call=planned_head(call, head), tool=head, label=f"{call.tool}: {argument_of(head)}", number=number)
        for number, head in enumerate(heads(tool))
    ]


def joined(tool: Tool, outcomes: Sequence[CallOutcome]) -> CallOutcome:
    """The call of which these are the parts, in their order; the first fault of one of them, or what is wrong with the
    whole.
    """
    fault = next((outcome for outcome in outcomes if isinstance(outcome, CallError)), None)
    if fault is not None or len(outcomes) == 1:
        return fault or outcomes[0]
    return check_call(tool, merged(outcome.arguments for outcome in outcomes if not isinstance(outcome, CallError)))
