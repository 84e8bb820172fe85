"""The error tree, split by who must act.

PolycallError
├── RequestError         the caller must change the request (4xx)
│   ├── SchemaRefused    a tool's JSON Schema cannot be honoured: names JSON pointer and keyword
│   ├── ContextExceeded  the prompt is longer than the model's context
│   ├── SourceFailed     a server of tools that the request names cannot be used (424)
│   ├── NotFound         the model, or another thing asked for, is not here (404)
│   ├── PreviousNotFound the response that the request goes on with is not here
│   ├── KeyReused        an idempotency key came back with another request (422)
│   └── AlreadyTaken     approvals that an earlier request has brought already (409)
├── TurnInProgress       the same request is being answered; ask again for its answer (409)
├── DecodingFailed       the model wrote nothing usable; asking again may help (500)
├── Overloaded           the server is full or going away; ask later (503)
├── JournalUnavailable   what must be written down before it is done cannot be; ask later (503)
└── ConfigurationError   the operator must change settings or files; raised before serving
    └── SourceAway       a source of tools does not answer as it should

What a *tool* does wrong, and a single call that the model gets wrong, is no exception: it is data, a `CallError`
inside a `ToolResult` or a turn event, beside its siblings' values.
"""

from __future__ import annotations

from typing import ClassVar


class PolycallError(Exception):
    """The root. `code` is stable and machine-readable; the message is for people."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    retryable: ClassVar[bool] = False


class RequestError(PolycallError):
    """The request cannot be honoured as it stands. `place` names the offending field, such as `tools[0].function`."""

    status = 400
    code = "invalid_request"

    def __init__(self, message: str, *, place: str | None = None) -> None:
        super().__init__(message)
        self.place = place


class SchemaRefused(RequestError):
    """A JSON Schema is invalid, too large, or says something that can be neither enforced nor checked.

    `pointer` is the JSON pointer (RFC 6901) of the subschema inside the schema, `keyword` the keyword at fault.
    """

    code = "schema_refused"

    def __init__(self, reason: str, *, pointer: str, keyword: str, place: str | None = None) -> None:
        super().__init__(f"schema refused at {pointer!r}, keyword {keyword!r}: {reason}", place=place)
        self.reason = reason
        self.pointer = pointer
        self.keyword = keyword

    def at(self, place: str) -> SchemaRefused:
        """The same refusal, with the request's field that holds the schema."""
        return SchemaRefused(self.reason, pointer=self.pointer, keyword=self.keyword, place=place)


class ContextExceeded(RequestError):
    """The rendered conversation, with room for an answer, does not fit the model's context."""

    code = "context_length_exceeded"


class SourceFailed(RequestError):
    """A server of tools that the request names cannot be reached, or does not speak as it should."""

    status = 424
    code = "mcp_server_failed"


class NotFound(RequestError):
    """What the request names does not exist on this server."""

    status = 404
    code = "not_found"


class PreviousNotFound(RequestError):
    """The request goes on with a response that was not stored, is too old, or was deleted."""

    code = "previous_response_not_found"


class KeyReused(RequestError):
    """The idempotency key stands for another request of the same caller."""

    status = 422
    code = "idempotency_key_reused"


class AlreadyTaken(RequestError):
    """What the request brings was brought before, and acted on: acting again could do harm."""

    status = 409
    code = "already_decided"


class TurnInProgress(PolycallError):
    """The turn that the request asks for is running, here or on another server; its answer can be had afterwards."""

    status = 409
    code = "turn_in_progress"
    retryable = True

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class TurnLost(TurnInProgress):
    """The turn was taken over by another request, since this one showed no sign of life."""


class JournalUnavailable(PolycallError):
    """The journal cannot be read or written now, so that nothing can be done that must not be done twice."""

    status = 503
    code = "journal_unavailable"
    retryable = True


class DecodingFailed(PolycallError):
    """The model wrote nothing that can be handed on, after the sequential retry."""

    code = "decoding_failed"
    retryable = True


class Overloaded(PolycallError):
    """No room now: the queue is full or the engine is shutting down."""

    status = 503
    code = "overloaded"
    retryable = True


class ConfigurationError(PolycallError):
    """A setting, model name or file is wrong; raised while the server is being built."""

    code = "configuration_error"


class SourceAway(ConfigurationError):
    """A source of tools cannot be reached, or what it says of its tools cannot be read."""
