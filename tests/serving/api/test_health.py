"""GET /health, NIM's probes, and GET /v1/models."""

from __future__ import annotations

import asyncio

import httpx
import openai
import pytest

from serving.api.app import ApiOptions
from serving.callers import ApiKey
from tests.serving.api.api_server import Serve, Server


def test_health_is_ok_while_the_engine_decodes_and_503_after_it_died(serve: Serve) -> None:
    server = serve()
    assert httpx.get(f"{server.url}/health").json() == {"status": "ok", "turns": 0}
    asyncio.run(server.engine.close())
    response = httpx.get(f"{server.url}/health")
    assert response.status_code == 503
    assert response.json()["status"] == "the engine cannot decode"


def test_nims_probes_live_as_long_as_it_answers_and_ready_while_the_engine_decodes(serve: Serve) -> None:
    server = serve(options=ApiOptions(keys=(ApiKey(key="sesame"),)))  # which no probe needs
    live, ready = f"{server.url}/v1/health/live", f"{server.url}/v1/health/ready"
    assert httpx.get(live).json() == {"object": "health-response", "message": "Service is live."}
    assert httpx.get(ready).json() == {"object": "health-response", "message": "Service is ready."}
    asyncio.run(server.engine.close())
    assert httpx.get(live).status_code == 200
    assert (httpx.get(ready).status_code, httpx.get(ready).json()["message"]) == (503, "Service is not ready.")


def test_a_dead_engine_answers_503(serve: Serve) -> None:
    server = serve()
    asyncio.run(server.engine.close())
    with pytest.raises(openai.InternalServerError) as caught:
        server.client.chat.completions.create(model="scripted", messages=[{"role": "user", "content": "x"}])
    assert (caught.value.status_code, caught.value.code) == (503, "overloaded")


def test_models_lists_the_served_model(hello_server: Server) -> None:
    [model] = hello_server.client.models.list().data
    assert (model.id, model.object, model.owned_by) == ("scripted", "model", "polycall")
    assert hello_server.client.models.retrieve("scripted") == model


def test_a_model_name_with_slashes_can_be_asked_for(serve: Serve) -> None:
    server = serve(model="owner/name")
    assert server.client.models.retrieve("owner/name").id == "owner/name"


def test_an_unknown_model_is_404(hello_server: Server) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        hello_server.client.models.retrieve("gpt-99")
    assert caught.value.param == "model"
