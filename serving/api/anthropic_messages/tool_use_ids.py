"""The ids of calls on this wire: Anthropic's begin with `toolu_`, those of the house with `call_`."""

from __future__ import annotations

OURS = "call_"
ANTHROPICS = "toolu_"


def tool_use_id(call_id: str) -> str:
    """The id under which a client gets the call."""
    return ANTHROPICS + call_id.removeprefix(OURS) if call_id.startswith(OURS) else call_id


def call_id(tool_use_id: str) -> str:
    """The id of the call that a client names."""
    return OURS + tool_use_id.removeprefix(ANTHROPICS) if tool_use_id.startswith(ANTHROPICS) else tool_use_id
