"""Toolbox: sources are opened before the first request and closed after the last; the example in full."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

from grammars.dialects import dialect_of
from grammars.errors import ConfigurationError
from grammars.tools import Tool
from serving.api.app import create_app
from serving.decode.round import Decoder
from serving.engines.scripted import ScriptedEngine
from serving.execute.execute import Executor
from serving.execute.facts import ToolFacts
from serving.execute.registry import Registry
from serving.execute.server_tool import ServerTool, ToolRefused
from serving.execute.toolbox import Toolbox
from serving.execute.tools_file import read_tools_file
from serving.turn_request import TurnLimits
from serving.turn_runner import TurnRunner
from tests.serving.api.api_server import Rounds
from tests.serving.execute.services import SECRET, free_port, listening, wait_for

EXAMPLE = Path(__file__).parents[3] / "examples" / "tools"


class Constant:
    async def run(self, _arguments: Any) -> Any:
        return 1


@dataclass
class Source:
    """Offers tools of these names, or cannot be opened."""

    name: str
    tools: tuple[str, ...] = ()
    works: bool = True
    log: list[str] = field(default_factory=list)

    async def open(self) -> list[ServerTool]:
        self.log.append("open")
        if not self.works:
            raise ConfigurationError(f"{self.name} is broken")
        return [ServerTool(tool=Tool(name=name), facts=ToolFacts(), runner=Constant()) for name in self.tools]

    async def close(self) -> None:
        self.log.append("close")


async def test_registry_has_the_tools_of_all_sources_while_open() -> None:
    sources = [Source("one", ("b", "a")), Source("two", ("c",))]
    toolbox = Toolbox(registry=Registry(), sources=sources)
    async with toolbox.opened():
        assert [tool.name for tool in toolbox.registry.tools] == ["b", "a", "c"]
        assert [source.log for source in sources] == [["open"], ["open"]]
    assert [source.log for source in sources] == [["open", "close"], ["open", "close"]]


@pytest.mark.parametrize(
    ("second", "says"),
    [(Source("two", works=False), "two is broken"), (Source("two", ("a",)), "two: the tool 'a' is registered twice")],
)
async def test_source_that_does_not_fit_ends_the_opening_and_closes_all(second: Source, says: str) -> None:
    first = Source("one", ("a",))
    with pytest.raises(ConfigurationError, match=says):
        async with Toolbox(sources=[first, second]).opened():
            raise AssertionError("opened")
    assert first.log == second.log == ["open", "close"]


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The example's folder, and its service, on a port of its own."""
    folder = tmp_path / "tools"
    shutil.copytree(EXAMPLE, folder)
    port = free_port()
    for name, old, new in (("weather.yaml", ":8081", f":{port}"), ("tools.toml", '"python"', f'"{sys.executable}"')):
        text = (folder / name).read_text(encoding="utf-8")
        assert old in text
        (folder / name).write_text(text.replace(old, new), encoding="utf-8")
    monkeypatch.setenv("WEATHER_KEY", SECRET)
    monkeypatch.syspath_prepend(str(folder))
    with subprocess.Popen([sys.executable, str(folder / "weather_service.py"), str(port)]) as service:
        wait_for(port)
        yield folder
        service.kill()


@contextmanager
def client_of(toolbox: Toolbox, rounds: list[Any]) -> Iterator[OpenAI]:
    """A client of a server with these tools, whose engine says what is told."""
    engine = ScriptedEngine(Rounds(rounds))
    executor = Executor(toolbox.registry)
    runner = TurnRunner(Decoder(engine, dialect_of(engine.tokenizer)), executor, TurnLimits())
    with (
        listening(create_app(engine, runner, toolbox=toolbox)) as port,
        OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0, timeout=30) as client,
    ):
        yield client


def test_example_runs_tools_of_every_kind_in_one_turn(example: Path) -> None:
    toolbox = read_tools_file(example / "tools.toml")
    calls = [
        ("forecast", {"city": "Oslo", "days": 2}),
        ("convert", {"degrees": 20.0, "to": "fahrenheit"}),
        ("count_primes", {"below": 100}),
        ("notes_add", {"text": "Oslo is cold"}),
    ]
    with client_of(toolbox, [calls, "Done."]) as client:
        answer = client.chat.completions.create(
            model="scripted", messages=[{"role": "user", "content": "Go."}], tool_choice="required"
        )
        assert [tool.name for tool in toolbox.registry.tools] == [
            *("convert", "count_primes", "notes_add", "notes_read", "forecast", "report")
        ]
    assert answer.choices[0].message.content == "Done."
    report = answer.model_extra["polycall"]  # type: ignore[index]
    results = {call["name"]: call["result"] for call in report["server_calls"]}
    assert results == {
        "forecast": {"city": "Oslo", "celsius": [4, 5]},
        "convert": 68.0,
        "count_primes": 25,
        "notes_add": {"result": "kept"},
    }
    assert (example / "notes.txt").read_text() == "Oslo is cold\n"


def test_documented_tools_file_is_the_example() -> None:
    document = (EXAMPLE.parents[1] / "docs" / "execution.md").read_text(encoding="utf-8")
    assert f"```toml\n{(EXAMPLE / 'tools.toml').read_text(encoding='utf-8')}```" in document


async def test_example_states_what_is_known_of_its_tools(example: Path) -> None:
    toolbox = read_tools_file(example / "tools.toml")
    async with toolbox.opened():
        facts = {
            tool.name: found.facts for tool in toolbox.registry.tools if (found := toolbox.registry.get(tool.name))
        }
        assert facts["count_primes"].compute
        assert (facts["forecast"].resource, facts["forecast"].retries, facts["forecast"].timeout_s) == ("weather", 2, 5)
        assert (facts["report"].retries, facts["report"].approval) == (0, "always")
        assert facts["report"].writes == ("weather:{body.city}",)
        assert facts["notes_read"].read_only
        report = toolbox.registry.get("report")
        assert report is not None
        assert await report.runner.run({"body": {"city": "Oslo", "sky": "snow"}}) == {"reports": 1}
        with pytest.raises(ToolRefused, match="422"):
            await report.runner.run({"body": {"city": "Oslo"}})
