"""The decoder on real vLLM, in process and on a server of its own: the same calls as on transformers, and clear errors.

In float32, where the engines' arithmetic differs too little to turn one token into another.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import save_file
from stock_vllm import stock_vllm

from grammars.branch import Branch
from grammars.constraint import Constraint
from grammars.conversation import Choice, Conversation, Message
from grammars.dialects import dialect_of
from grammars.errors import ContextExceeded, NotFound, Overloaded, RequestError
from grammars.schema import read_schema
from grammars.tools import Tool
from serving.decode.events import CallWritten, DecodeEvent, RoundEnded, TextWritten
from serving.decode.request import Decoding
from serving.decode.round import Decoder, RoundRequest
from serving.engines.base import BranchEnded, BranchProgress, BranchStarted, Engine, Scope, TokenLogprob
from serving.engines.chained import ChainedEngine
from serving.engines.remote import RemoteOptions, load_remote
from serving.engines.transformers.engine import TransformersEngine

pytest.importorskip("vllm", reason="vLLM is not installed; scripts/setup says where it can be")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # vLLM's own warnings are its makers' to mend

ARGUMENTS = {"max_model_len": 2048, "max_num_seqs": 32, "max_loras": 1, "max_lora_rank": 8, "enforce_eager": True}

WEATHER = Tool(
    name="get_weather",
    description="The weather forecast for a city.",
    parameters={
        "type": "object",
        "properties": {
            "city": {"type": "string", "maxLength": 24},
            "unit": {"enum": ["celsius", "fahrenheit"]},
            "days": {"type": "integer", "minimum": 1, "maximum": 14},
            "note": {"type": "string", "pattern": "^[a-z ]{3,12}$"},
        },
        "required": ["city", "unit", "days"],
    },
)
GREET = Tool(
    name="greet",
    description="Say hello to somebody.",
    parameters={"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
)

FREE = Constraint.text()
CITY = Constraint.schema(read_schema(WEATHER.parameters).grammar)


def adapter_folder(folder: Path, model: Path) -> Path:
    """A LoRA adapter with weights large enough to change what is written."""
    config = json.loads((model / "config.json").read_text())
    width, layers = config["hidden_size"], config["num_hidden_layers"]
    generator = torch.Generator().manual_seed(1)
    weights = {}
    for layer in range(layers):
        name = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        weights[f"{name}.lora_A.weight"] = torch.randn(8, width, generator=generator) * 0.3
        weights[f"{name}.lora_B.weight"] = torch.randn(width, 8, generator=generator) * 0.3
    folder.mkdir()
    save_file(weights, folder / "adapter_model.safetensors")
    described = {"peft_type": "LORA", "r": 8, "lora_alpha": 8, "target_modules": ["q_proj"], "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(described))
    return folder


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """One loop for all tests: vLLM's client belongs to the loop of its first request."""
    with asyncio.Runner() as runner:
        yield runner.get_loop()


@pytest.fixture(scope="module")
def engine(
    smollm2_folder: Path, tmp_path_factory: pytest.TempPathFactory, loop: asyncio.AbstractEventLoop
) -> Iterator[ChainedEngine]:
    from serving.engines.vllm import load_vllm

    os.environ["VLLM_CPU_KVCACHE_SPACE"] = "1"
    adapter = adapter_folder(tmp_path_factory.mktemp("lora") / "odd", smollm2_folder)
    engine = load_vllm(
        smollm2_folder, name="smollm2-135m", dtype="float32", adapters={"odd": adapter}, engine_args=ARGUMENTS
    )
    yield engine
    loop.run_until_complete(engine.close())
    gc.collect()  # what vLLM leaves open warns here, not in some later test


@pytest.fixture(scope="module")
def reference(smollm2_folder: Path) -> Iterator[TransformersEngine]:
    engine = TransformersEngine.load(smollm2_folder, name="smollm2-135m", device="cpu", dtype="float32")
    yield engine
    asyncio.run(engine.close())


@pytest.fixture(scope="module")
def base_url(smollm2_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    os.environ["VLLM_CPU_KVCACHE_SPACE"] = "1"
    log = tmp_path_factory.mktemp("vllm") / "server.log"
    options = ["--dtype", "float32", "--max-model-len", "2048", "--enforce-eager", "--block-size", "32"]
    with stock_vllm(smollm2_folder, log, *options, "--structured-outputs-config.backend", "guidance") as url:
        yield url


@pytest.fixture(scope="module")
def remote(smollm2_folder: Path, base_url: str, loop: asyncio.AbstractEventLoop) -> Iterator[ChainedEngine]:
    options = RemoteOptions(base_urls=(base_url,), model="there", context_length=2048)
    engine = load_remote(smollm2_folder, name="smollm2-135m", options=options)
    yield engine
    loop.run_until_complete(engine.close())


def asked(count: int) -> Conversation:
    text = "What is the weather in Oslo, Rome and Lima, in celsius, for the next 3 days? Say hello to Ana, too."
    choice = Choice(mode="required", least=count, most=count)
    return Conversation.read([Message(role="user", text=text)], [WEATHER, GREET], choice)


async def decoded(engine: Engine, conversation: Conversation, decoding: Decoding) -> list[DecodeEvent]:
    decoder = Decoder(engine, dialect_of(engine.tokenizer))
    return [event async for event in decoder.decode_round(conversation, RoundRequest(decoding=decoding))]


def calls(events: Sequence[DecodeEvent]) -> dict[int, tuple[str, str]]:
    return {
        event.index: (event.call.name, event.call.arguments_text) for event in events if isinstance(event, CallWritten)
    }


async def ends(events: AsyncGenerator[object, None]) -> list[BranchEnded]:
    found = [event async for event in events if isinstance(event, BranchEnded)]
    return sorted(found, key=lambda end: end.branch)


def free(engine: Engine, suffix: str, tokens: int) -> Branch:
    return Branch(suffix=engine.tokenizer.encode(suffix), constraint=FREE, max_new_tokens=tokens)


# The same calls everywhere


@pytest.mark.parametrize("decoding", ["parallel", "sequential"])
@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("where", ["engine", "remote"])
def test_same_conversation_gives_the_same_greedy_calls_as_on_transformers(
    where: str,
    count: int,
    decoding: Decoding,
    reference: TransformersEngine,
    loop: asyncio.AbstractEventLoop,
    request: pytest.FixtureRequest,
) -> None:
    other: Engine = request.getfixturevalue(where)
    expected = asyncio.run(decoded(reference, asked(count), decoding))
    found = loop.run_until_complete(decoded(other, asked(count), decoding))
    assert calls(found) == calls(expected)
    assert len(calls(found)) >= 1
    ended = found[-1]
    assert isinstance(ended, RoundEnded)
    assert ended.reason == "calls"


@pytest.mark.parametrize("where", ["engine", "remote"])
def test_answer_in_text_is_the_same_and_comes_in_pieces(
    where: str, reference: TransformersEngine, loop: asyncio.AbstractEventLoop, request: pytest.FixtureRequest
) -> None:
    other: Engine = request.getfixturevalue(where)
    question = Conversation.read([Message(role="user", text="Name three colours.")], [], None)

    def pieces(events: list[DecodeEvent]) -> list[str]:
        return [event.text for event in events if isinstance(event, TextWritten)]

    expected = pieces(asyncio.run(decoded(reference, question, "parallel")))
    found = pieces(loop.run_until_complete(decoded(other, question, "parallel")))
    assert "".join(found) == "".join(expected)
    assert len(found) > 3


@pytest.mark.parametrize("where", ["engine", "remote"])
@pytest.mark.parametrize("constraint", [FREE, CITY], ids=["free text", "JSON"])
def test_logprobs_are_those_of_transformers(
    where: str,
    constraint: Constraint,
    reference: TransformersEngine,
    loop: asyncio.AbstractEventLoop,
    request: pytest.FixtureRequest,
) -> None:
    other: Engine = request.getfixturevalue(where)
    prefix = other.tokenizer.encode("The capital of France is")
    branch = Branch(constraint=constraint, max_new_tokens=8, skip_forced=False, logprobs=3)

    async def told(engine: Engine) -> list[TokenLogprob]:
        events = engine.decode(prefix, [branch])
        return [likely async for event in events if isinstance(event, BranchProgress) for likely in event.logprobs]

    found, expected = loop.run_until_complete(told(other)), asyncio.run(told(reference))
    assert [likely.bytes for likely in found] == [likely.bytes for likely in expected]
    assert [likely.logprob for likely in found] == pytest.approx([likely.logprob for likely in expected], abs=0.01)
    for one, two in zip(found, expected, strict=True):
        assert [top.bytes for top in one.top] == [top.bytes for top in two.top]
        assert [top.logprob for top in one.top] == pytest.approx([top.logprob for top in two.top], abs=0.01)


def test_what_vllm_held_of_a_prompt_is_told_in_whole_blocks(
    engine: ChainedEngine, loop: asyncio.AbstractEventLoop
) -> None:
    prefix = engine.tokenizer.encode("What nobody has read before, in any of these tests. " * 8)

    async def cached() -> int | None:
        events = engine.decode(prefix, [free(engine, "", 1)])
        [started] = [event async for event in events if isinstance(event, BranchStarted)]
        return started.cached_tokens

    first, second = [loop.run_until_complete(cached()) for _ in range(2)]
    assert (first, second) == (0, (len(prefix) - 1) // 32 * 32)


def test_stepping_stream_is_written_under_vllms_own_grammar(
    engine: ChainedEngine, loop: asyncio.AbstractEventLoop
) -> None:
    before = engine.links
    events = loop.run_until_complete(decoded(engine, asked(2), "sequential"))
    assert engine.links - before == 1
    ended = events[-1]
    assert isinstance(ended, RoundEnded)
    assert ended.figures.spans[0].forced_tokens == 0


def test_links_of_a_chain_are_one_request_of_vllm(
    engine: ChainedEngine, loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests: list[str] = []
    inside = engine._server._engine
    generate = inside.generate

    def counted(*given: object, **named: object) -> object:
        requests.append(str(named["request_id"]))
        return generate(*given, **named)

    monkeypatch.setattr(inside, "generate", counted)
    prefix = engine.tokenizer.encode("The forecast for Oslo, in celsius, for 3 days, as JSON: ")
    unit, days = WEATHER.parameters["properties"]["unit"], WEATHER.parameters["properties"]["days"]
    schema = {"type": "object", "properties": {"unit": unit, "days": days}, "required": ["unit", "days"]}
    constraint = Constraint.schema(read_schema(schema).grammar)
    before = engine.links
    [end] = loop.run_until_complete(ends(engine.decode(prefix, [Branch(constraint=constraint, max_new_tokens=60)])))
    assert end.reason == "complete"
    assert engine.links - before >= 2
    assert len(requests) == 1


# Adapters


def test_adapter_is_chosen_by_its_name(engine: ChainedEngine, loop: asyncio.AbstractEventLoop) -> None:
    prefix = engine.tokenizer.encode("The capital of France is")

    async def written(scope: Scope) -> str:
        [end] = await ends(engine.decode(prefix, [free(engine, "", 12)], scope))
        return end.text

    plain = loop.run_until_complete(written(Scope()))
    assert loop.run_until_complete(written(Scope(adapter="odd"))) != plain
    assert loop.run_until_complete(written(Scope(tenant="somebody"))) == plain
    with pytest.raises(NotFound, match="even"):
        loop.run_until_complete(written(Scope(adapter="even")))
    assert engine.adapters == ("odd",)


# Leaving, and bad input


@pytest.mark.parametrize("where", ["engine", "remote"])
def test_closing_frees_the_branches(
    where: str, loop: asyncio.AbstractEventLoop, request: pytest.FixtureRequest
) -> None:
    other: ChainedEngine = request.getfixturevalue(where)
    prefix = other.tokenizer.encode("Once upon a time")

    async def leave() -> None:
        async with aclosing(other.decode(prefix, [free(other, f" {n}", 1500) for n in range(3)])) as events:
            async for event in events:
                if getattr(event, "text", ""):
                    break
            assert other.live_branches == 3
        assert other.live_branches == 0
        [end] = await ends(other.decode(prefix, [free(other, " a", 2)]))
        assert end.reason == "length"

    loop.run_until_complete(asyncio.wait_for(leave(), 60))


@pytest.mark.parametrize("where", ["engine", "remote"])
def test_bad_input_is_refused_while_others_finish(
    where: str, loop: asyncio.AbstractEventLoop, request: pytest.FixtureRequest
) -> None:
    other: ChainedEngine = request.getfixturevalue(where)
    prefix = other.tokenizer.encode("Once upon a time")
    wide = {f"p{number}": {"type": "string"} for number in range(10_000)}
    huge = Tool(name="huge", parameters={"type": "object", "properties": wide, "required": list(wide)})

    async def mixed() -> None:
        good = asyncio.create_task(ends(other.decode(prefix, [free(other, " there", 30)])))
        with pytest.raises(RequestError, match="grammar"):
            await ends(other.decode(prefix, [Branch(constraint=Constraint("start: nothing"), max_new_tokens=3)]))
        with pytest.raises(ContextExceeded, match="2048"):
            await ends(other.decode([5] * 2048, [free(other, "x", 3)]))
        question = Conversation.read([Message(role="user", text="?")], [huge], Choice(mode="required"))
        with pytest.raises(RequestError, match="schema"):
            await decoded(other, question, "parallel")
        [end] = await good
        assert len(end.tokens) == 30

    loop.run_until_complete(asyncio.wait_for(mixed(), 120))


def test_server_that_cannot_be_reached_is_overloaded_and_its_sibling_answers(
    smollm2_folder: Path, base_url: str, loop: asyncio.AbstractEventLoop
) -> None:
    gone = "http://127.0.0.1:9/v1"

    async def one(urls: tuple[str, ...], tries: int) -> list[str]:
        options = RemoteOptions(base_urls=urls, model="there", retries=0, timeout_s=60)
        engine = load_remote(smollm2_folder, name="m", options=options)
        told = []
        for number in range(tries):
            prefix = engine.tokenizer.encode(f"Number {number} is")
            try:
                told.append((await ends(engine.decode(prefix, [free(engine, "", 2)])))[0].reason)
            except Overloaded as error:
                told.append("overloaded" if "cannot be reached" in str(error) else str(error))
        told.append("healthy" if engine.healthy else "unhealthy")
        await engine.close()
        return told

    assert loop.run_until_complete(one((gone,), 1)) == ["overloaded", "unhealthy"]
    told = loop.run_until_complete(one((gone, base_url), 6))
    assert told.count("overloaded") <= 1, "a server that is gone is left alone"
    assert told[-2:] == ["length", "healthy"]


def test_wrong_model_there_is_said(smollm2_folder: Path, base_url: str, loop: asyncio.AbstractEventLoop) -> None:
    async def wrong() -> None:
        options = RemoteOptions(base_urls=(base_url,), model="elsewhere")
        engine = load_remote(smollm2_folder, name="m", options=options)
        try:
            await ends(engine.decode(engine.tokenizer.encode("Hello"), [free(engine, "", 2)]))
        finally:
            await engine.close()

    with pytest.raises(RequestError, match="elsewhere"):
        loop.run_until_complete(wrong())


# The last test: it kills the engine


def test_killed_engine_process_ends_every_stream_and_is_told(
    engine: ChainedEngine, loop: asyncio.AbstractEventLoop
) -> None:
    prefix = engine.tokenizer.encode("Once upon a time")

    async def kill() -> None:
        waiting = asyncio.create_task(ends(engine.decode(prefix, [free(engine, " there", 1500)])))
        while not engine.live_branches:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)
        cores = [child for child in psutil.Process().children(recursive=True) if "EngineCore" in child.name()]
        assert cores, "vLLM names the process of its core"
        for core in cores:
            core.send_signal(signal.SIGKILL)
        with pytest.raises(Overloaded, match="died"):
            await asyncio.wait_for(waiting, 60)
        assert not engine.healthy
        with pytest.raises(Overloaded):
            await asyncio.wait_for(ends(engine.decode(prefix, [free(engine, " so", 2)])), 30)

    loop.run_until_complete(kill())
