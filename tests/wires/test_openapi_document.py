"""Requests made from the OpenAPI document, right and wrong ones: the server does what the document says."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.types import ASGIApp, Receive, Scope, Send

from grammars.dialects import dialect_of
from serving.api.app import ApiOptions, create_app
from serving.decode.round import Decoder
from serving.engines.scripted import ScriptedEngine
from serving.execute.execute import Executor
from serving.execute.registry import Registry
from serving.turn_request import TurnLimits
from serving.turn_runner import TurnRunner


def served() -> ASGIApp:
    """A server that goes on whatever the client of a single request does: it never shuts down."""
    engine = ScriptedEngine()
    limits = TurnLimits(wall_s=10.0)
    runner = TurnRunner(Decoder(engine, dialect_of(engine.tokenizer)), Executor(Registry()), limits)
    app = create_app(engine, runner, ApiOptions())

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await app(scope, receive, send)
            return
        for phase in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{phase}.complete"})

    return answer


CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
"""Not among them: that what has the right form is accepted. A body may be of the right form and make no sense."""

NEXT_TO_A_WIRE = "count_tokens|countTokens|stream|/v1/models/{model}:"
"""Paths whose bodies are those of another path."""

SERVED = served()
QUICK = schemathesis.openapi.from_asgi("/openapi.json", SERVED)
QUICK.config.phases.coverage.enabled = False
THOROUGH = schemathesis.openapi.from_asgi("/openapi.json", SERVED).include(method="POST")

SETTINGS = settings(
    max_examples=8, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None
)


def check(case: schemathesis.Case) -> None:
    """Send the request, with the name of the model that is served in place of any other, and look at the answer."""
    if "model" in case.path_parameters:
        case.path_parameters["model"] = "scripted"
    if isinstance(case.body, dict) and isinstance(case.body.get("model"), str):
        case.body["model"] = "scripted"
    case.call_and_validate(checks=CHECKS)


@QUICK.parametrize()
@SETTINGS
def test_the_server_does_what_its_document_says(case: schemathesis.Case) -> None:
    check(case)


@pytest.mark.slow
@THOROUGH.exclude(path_regex=NEXT_TO_A_WIRE).parametrize()
@SETTINGS
def test_every_limit_of_a_body_is_kept(case: schemathesis.Case) -> None:
    check(case)
