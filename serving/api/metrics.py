"""GET /metrics, and /v1/metrics where NVIDIA's NIM has it: the server's figures in Prometheus' form."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client.exposition import choose_encoder

from serving.engines.base import Engine
from serving.turn_runner import TurnRunner


def metrics_router(engine: Engine, runner: TurnRunner) -> APIRouter:
    """The figures of `serving.telemetry`, and what is true now."""
    router = APIRouter(tags=["operations"])
    telemetry = runner.telemetry
    telemetry.watch("live_turns", "Turns that run now.", lambda: runner.live_turns)
    telemetry.watch("engine_healthy", "Whether the engine can decode: 1 or 0.", lambda: engine.healthy)

    @router.get("/metrics", response_class=PlainTextResponse)
    @router.get("/v1/metrics", response_class=PlainTextResponse)
    async def metrics(request: Request) -> Response:
        encode, media_type = choose_encoder(request.headers.get("Accept", ""))
        return Response(encode(telemetry.registry), headers={"Content-Type": media_type})

    return router
