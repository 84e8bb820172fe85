"""The front end of stock vLLM by itself: its API server, whose engine has the answer at once.

`vllm serve` builds the same application on the same seam, `EngineClient`; only what generates is another. The tokens of
an answer come one by one where it is streamed, as an engine would hand them on, and whole where it is not.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

from frontend_servers import TEXT, asked_calls, listen, run
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.engine.protocol import EngineClient
from vllm.entrypoints.launchers.api_server.app_state import init_app_state
from vllm.entrypoints.launchers.app import build_app
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.outputs import CompletionOutput, RequestOutput
from vllm.renderers import renderer_from_config
from vllm.sampling_params import RequestOutputKind, SamplingParams
from vllm.utils.argparse_utils import FlexibleArgumentParser
from vllm.v1.engine.input_processor import InputProcessor

OPTIONS = ("--served-model-name", "scripted", "--enable-auto-tool-choice", "--tool-call-parser", "hermes")


class InstantEngine:
    """What the API server needs of an engine to answer a chat; it makes the calls that the question asks for."""

    is_running = True
    is_stopped = errored = False

    def __init__(self, config: Any) -> None:
        self.vllm_config = config
        self.model_config = config.model_config
        self.renderer = renderer_from_config(config)
        self.input_processor = InputProcessor(config, self.renderer)

    async def generate(
        self, prompt: Any, sampling_params: SamplingParams, request_id: str, **_options: Any
    ) -> AsyncIterator[RequestOutput]:
        tokenizer: Any = self.renderer.tokenizer
        said = answer(tokenizer.decode(prompt["prompt_token_ids"]))
        tokens = tokenizer.encode(said, add_special_tokens=False)
        if sampling_params.output_kind == RequestOutputKind.FINAL_ONLY:
            pieces = [(said, tokens)]
        else:
            pieces = [(tokenizer.decode([token]), [token]) for token in tokens]
        for number, (text, token_ids) in enumerate(pieces, start=1):
            is_last = number == len(pieces)
            output = CompletionOutput(
                index=0,
                text=text,
                token_ids=token_ids,
                cumulative_logprob=None,
                logprobs=None,
                finish_reason="stop" if is_last else None,
            )
            yield RequestOutput(
                request_id=request_id,
                prompt=None,
                prompt_token_ids=prompt["prompt_token_ids"],
                prompt_logprobs=None,
                outputs=[output],
                finished=is_last,
            )
            await asyncio.sleep(0)

    async def is_tracing_enabled(self) -> bool:
        return False


def engine_client(config: Any) -> Any:
    """The engine as vLLM takes it. Of what an engine must be able to do, nothing else is asked for."""
    client: Any = type("InstantClient", (InstantEngine, EngineClient), {})
    client.__abstractmethods__ = frozenset()
    return client(config)


def answer(question: str) -> str:
    """The calls in the form of Hermes, or the text."""
    calls = [
        {"name": "get_weather", "arguments": {"city": f"City {number}", "unit": "C"}}
        for number in range(asked_calls(question))
    ]
    return "".join(f"<tool_call>\n{json.dumps(call)}\n</tool_call>\n" for call in calls) or TEXT


async def serve(core: int, folder: str) -> None:
    parser: Any = FlexibleArgumentParser  # which has no types
    arguments = make_arg_parser(parser()).parse_args(["--model", folder, *OPTIONS])
    config = AsyncEngineArgs.from_cli_args(arguments).create_engine_config()
    app = build_app(arguments, ("generate",), config.model_config)
    await init_app_state(engine_client(config), app.state, arguments, ("generate",))
    await listen(app, core)


if __name__ == "__main__":
    run(serve(int(sys.argv[2]), json.loads(sys.stdin.readline())["model"]))
