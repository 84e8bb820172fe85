"""Extension: the object `polycall` of a request, the same on every wire.

`min_calls` and `max_calls` bound the calls of the first round, `exact_tools` lists the tools that must all be called,
each as often as it stands there, and `decoding` chooses how the calls are decoded. `require_approval` names the
server's tools whose calls the caller wants to approve; `approvals` are its decisions on the calls that the last answer
listed as `approval_requests`. Both are as OpenAI's Responses have them for MCP tools. With `parallel_dependencies`,
calls may refer to the results of earlier calls of the same round.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from grammars.conversation import CALLS_LIMIT
from grammars.errors import RequestError
from serving.api.wire import Wire
from serving.approvals import Decision, Required
from serving.decode.request import Decoding


class ToolNames(Wire):
    tool_names: list[str]


class ApprovalFilter(Wire):
    """Tools to approve, and tools that are not. What is named in neither follows its own facts."""

    always: ToolNames | None = None
    never: ToolNames | None = None


class ApprovalResponse(Wire):
    approval_request_id: Annotated[str, Field(min_length=1)]
    approve: bool
    reason: str | None = None


class Extension(Wire):
    min_calls: Annotated[int, Field(ge=0, le=CALLS_LIMIT)] | None = None
    max_calls: Annotated[int, Field(ge=1, le=CALLS_LIMIT)] | None = None
    exact_tools: Annotated[list[str], Field(min_length=1, max_length=CALLS_LIMIT)] | None = None
    decoding: Decoding | None = None
    parallel_dependencies: bool | None = None
    require_approval: Literal["always", "never"] | ApprovalFilter | None = None
    approvals: Annotated[list[ApprovalResponse], Field(min_length=1, max_length=CALLS_LIMIT)] | None = None

    def decoding_or(self, default: Decoding) -> Decoding:
        """How to decode, `default` where the request does not say. Raises `RequestError` for what excludes it."""
        decoding = self.decoding or default
        if self.parallel_dependencies and decoding != "parallel":
            place = "polycall.parallel_dependencies"
            raise RequestError("'parallel_dependencies' is only allowed where decoding is parallel", place=place)
        return decoding

    @property
    def required(self) -> Required:
        """Which tools the caller wants to approve."""
        match self.require_approval:
            case "always":
                return Required(tools=None)
            case ApprovalFilter(always=always, never=never):
                asked = frozenset(always.tool_names if always else ())
                both = sorted(asked & frozenset(never.tool_names if never else ()))
                if both:
                    raise RequestError(
                        f"{', '.join(map(repr, both))} cannot want approval always and never",
                        place="polycall.require_approval",
                    )
                return Required(tools=asked)
            case _:
                return Required()

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """The caller's decisions on calls that waited."""
        return tuple(
            Decision(call_id=said.approval_request_id, approve=said.approve, reason=said.reason)
            for said in self.approvals or ()
        )
