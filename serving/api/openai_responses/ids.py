"""The ids of a response and of the items in it, which tell the turn and the call that they stand for."""

from __future__ import annotations

import re

RESPONSE = "resp_"
RESPONSE_ID = re.compile(rf"{RESPONSE}[0-9a-f]{{1,64}}")
TURN = "turn_"
CALL = "call_"
FUNCTION_CALL = "fc_"
MCP_CALL = "mcp_"


def response_id(turn_id: str) -> str:
    """A turn's response."""
    return RESPONSE + turn_id.removeprefix(TURN)


def turn_id(response: str) -> str:
    """The turn of a response; empty for what is no response's id."""
    return TURN + response.removeprefix(RESPONSE) if RESPONSE_ID.fullmatch(response) else ""


def item_id(kind: str, call_id: str) -> str:
    """The item that shows a call."""
    return kind + call_id.removeprefix(CALL)


def call_id(mcp_call: str) -> str:
    """The call that an `mcp_call` shows."""
    return CALL + mcp_call.removeprefix(MCP_CALL)
