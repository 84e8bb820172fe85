"""`polycall serve --engine vllm` as a user starts it: real calls over HTTP, and what its clients see when vLLM dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from openai import InternalServerError, OpenAI
from openai.types.chat import ChatCompletion
from stock_vllm import free_port, wait_until_ready

pytest.importorskip("vllm", reason="vLLM is not installed; scripts/setup says where it can be")

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
MODEL = "smollm2-135m"
DIES_WITHIN_S = 60.0


def tool(name: str, properties: dict[str, Any]) -> Any:
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "description": f"Does {name}.", "parameters": parameters}}


WEATHER = tool(
    "get_weather", {"city": {"type": "string", "maxLength": 24}, "unit": {"enum": ["celsius", "fahrenheit"]}}
)
GREET = tool("greet", {"name": {"type": "string", "maxLength": 24}})


@dataclass(frozen=True, kw_only=True)
class Served:
    """A running server, and the processes that vLLM started in it."""

    url: str
    client: OpenAI
    process: subprocess.Popen[bytes]

    def ask(self, text: str, **options: Any) -> ChatCompletion:
        answer = self.client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": text}], temperature=0, **options
        )
        assert isinstance(answer, ChatCompletion)
        return answer

    def health(self) -> httpx.Response:
        return httpx.get(f"{self.url}/health", timeout=10)

    def kill_core(self) -> None:
        children = psutil.Process(self.process.pid).children(recursive=True)
        cores = [child for child in children if "EngineCore" in child.name()]
        assert cores, "vLLM names the process of its core"
        for core in cores:
            core.send_signal(signal.SIGKILL)


@pytest.fixture(scope="module")
def served(smollm2_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of the real model. Its folder is asked for first, so that the model is in the cache."""
    assert smollm2_folder.is_dir()
    port, log = free_port(), tmp_path_factory.mktemp("served") / "server.log"
    command = [sys.executable, "-m", "serving.cli", "serve", "--engine", "vllm", "--model", MODEL, "--port", str(port)]
    command += ["--dtype", "float32", "--max-model-len", "2048", "--journal", "memory"]
    command += ["--engine-args", json.dumps({"enforce_eager": True, "max_num_seqs": 16})]
    environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1"}
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT, env=environment)
    try:
        wait_until_ready(process, f"http://127.0.0.1:{port}/health", log)
        url = f"http://127.0.0.1:{port}"
        with OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0, timeout=120) as client:
            yield Served(url=url, client=client, process=process)
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def test_two_tools_are_called_in_one_answer(served: Served) -> None:
    answer = served.ask(
        "What is the weather in Oslo, in celsius? And say hello to Ana.",
        tools=[WEATHER, GREET],
        tool_choice="required",
        extra_body={"polycall": {"exact_tools": ["get_weather", "greet"]}},
    )
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls"
    calls = choice.message.tool_calls or []
    weather, greet = (json.loads(call.function.arguments) for call in calls if call.type == "function")
    assert (set(weather), set(greet)) == ({"city", "unit"}, {"name"})
    assert weather["unit"] in ("celsius", "fahrenheit")
    assert len({call.id for call in calls}) == 2


def test_streamed_calls_put_together_are_those_of_the_whole_answer(served: Served) -> None:
    asked: dict[str, Any] = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "What is the weather in Oslo? And in Rome?"}],
        "temperature": 0,
        "tools": [WEATHER],
        "tool_choice": "required",
        "extra_body": {"polycall": {"min_calls": 2, "max_calls": 2}},
    }
    with served.client.chat.completions.stream(**asked) as stream:
        streamed = stream.get_final_completion()
    whole = served.client.chat.completions.create(**asked)

    def written(message: Any) -> list[tuple[str, str]]:
        return [(call.function.name, call.function.arguments) for call in message.tool_calls]

    assert len(written(whole.choices[0].message)) == 2
    assert written(streamed.choices[0].message) == written(whole.choices[0].message)


# The last test: it kills the engine


def test_killed_engine_gives_503_in_openais_shape_and_a_failing_health_check(served: Served) -> None:
    assert served.health().status_code == 200
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(served.ask, "Write a very long story about the sea.", max_tokens=1500)
        deadline_s = time.monotonic() + 30
        while served.health().json()["turns"] == 0:
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        served.kill_core()
        with pytest.raises(InternalServerError) as caught:
            waiting.result(DIES_WITHIN_S)
    assert caught.value.status_code == 503

    assert served.health().status_code == 503
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Are you there?"}]}
    answer = httpx.post(f"{served.url}/v1/chat/completions", json=body, timeout=30)
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) >= 1
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["param"], error["code"]) == ("server_error", None, "overloaded")
    assert served.process.poll() is None, "the server itself lives on, to say so"
