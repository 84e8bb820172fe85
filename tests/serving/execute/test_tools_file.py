"""The tools file: what may stand in it, and what it makes of what stands in it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from grammars.errors import ConfigurationError
from serving.execute.facts import Resource
from serving.execute.registry import Registry
from serving.execute.server_tool import BatchRunner
from serving.execute.toolbox import Toolbox
from serving.execute.tools_file import read_tools_file, toolbox_named
from tests.serving.execute.services import SECRET

MODULE = """
from serving.execute.facts import Resource
from serving.execute.registry import Registry

registry = Registry()
registry.resource(Resource(name="oracle", capacity=1))

@registry.tool(resource="oracle")
def ask(question: str) -> str:
    "Ask the oracle."
    return question

def double(number: int) -> int:
    "Double a number."
    return 2 * number

def double_all(numbers: list) -> list:
    return [double(**number) for number in numbers]

constant = 3
"""

FUNCTION = """
[resources.processor]
capacity = 2
rate_per_s = 5

[functions.twice]
function = "tools_of_the_test:double"
batch = "tools_of_the_test:double_all"
description = "Twice as much."
read_only = true
reads = ["number:{number}"]
resource = "processor"
timeout_s = 3
retries = 2
duration_s = 0.1
approval = "always"
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tools_of_the_test.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "tools_of_the_test", raising=False)


def read(tmp_path: Path, text: str, name: str = "tools.toml") -> Toolbox:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return read_tools_file(path)


async def test_function_becomes_a_tool_with_all_its_facts(tmp_path: Path) -> None:
    toolbox = read(tmp_path, FUNCTION)
    tool = toolbox.registry.get("twice")
    assert tool is not None
    assert tool.tool.description == "Twice as much."
    facts = tool.facts
    assert (facts.read_only, facts.idempotent, facts.compute, facts.approval) == (True, False, False, "always")
    assert (facts.reads, facts.resource) == (("number:{number}",), "processor")
    assert (facts.timeout_s, facts.retries, facts.duration_s) == (3, 2, 0.1)
    assert toolbox.registry.resources == (Resource(name="processor", capacity=2, rate_per_s=5),)
    assert await tool.runner.run({"number": 4}) == 8
    assert isinstance(tool.runner, BatchRunner)
    assert await tool.runner.run_batch([{"number": 1}, {"number": 2}]) == [2, 4]


def test_yaml_says_the_same_as_toml(tmp_path: Path) -> None:
    text = "functions:\n  twice: {function: 'tools_of_the_test:double', timeout_s: 3}\n"
    tool = read(tmp_path, text, "tools.yaml").registry.get("twice")
    assert tool is not None
    assert (tool.tool.description, tool.facts.timeout_s) == ("Double a number.", 3)


def test_registry_in_code_stands_in_the_file_with_its_resources(tmp_path: Path) -> None:
    toolbox = read(tmp_path, 'registries = ["tools_of_the_test:registry"]\n' + FUNCTION)
    assert [tool.name for tool in toolbox.registry.tools] == ["ask", "twice"]
    assert [resource.name for resource in toolbox.registry.resources] == ["processor", "oracle"]


def test_sources_are_named_by_their_place_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY_OF_THE_TEST", SECRET)
    toolbox = read(
        tmp_path,
        """
        [mcp.files]
        command = ["files-server"]
        env = { FILES_TOKEN = { env = "KEY_OF_THE_TEST" }, LEVEL = "3" }

        [mcp.search]
        url = "https://search.example/mcp"
        headers = { Authorization = { env = "KEY_OF_THE_TEST", prefix = "Bearer " } }
        private_networks = ["10.0.0.0/8", "fc00::/7"]

        [openapi.weather]
        document = "weather.yaml"
        secrets = { key = { env = "KEY_OF_THE_TEST" } }
        tools = { forecast = { resource = "weather" } }
        """,
    )
    assert [source.name for source in toolbox.sources] == ["mcp.files", "mcp.search", "openapi.weather"]


def test_setting_is_a_file_a_registry_or_nothing(tmp_path: Path) -> None:
    (tmp_path / "tools.toml").write_text(FUNCTION, encoding="utf-8")
    assert [tool.name for tool in toolbox_named(str(tmp_path / "tools.toml")).registry.tools] == ["twice"]
    assert [tool.name for tool in toolbox_named("tools_of_the_test:registry").registry.tools] == ["ask"]
    assert isinstance(toolbox_named(None).registry, Registry)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[function.x]", "function: Extra inputs"),
        ("[functions.x]", "functions.x.function: Field required"),
        ("[functions.x]\nfunction = 'tools_of_the_test:double'\ntimeout = 3", "functions.x.timeout"),
        ("[functions.x]\nfunction = 'tools_of_the_test:double'\ntimeout_s = 0", "functions.x.timeout_s"),
        ("[functions.x]\nfunction = 'tools_of_the_test:double'\nretries = 1", "retries need"),
        ("[functions.x]\nfunction = 'tools_of_the_test:double'\nresource = 'y'", "'y', which is not declared"),
        ("[functions.x]\nfunction = 'tools_of_the_test:triple'", "triple"),
        ("[functions.x]\nfunction = 'tools_of_the_test:constant'", "no function but int"),
        ("[functions.x]\nfunction = 'no_such_module:x'", "no_such_module"),
        ("[functions.'x y']\nfunction = 'tools_of_the_test:double'", "'x y' is not a tool name"),
        ("[resources.x]\ncapacity = 0", "resources.x.capacity"),
        ("registries = ['tools_of_the_test:constant']", "no Registry but int"),
        ("[mcp.x]", "either a command or a url is needed"),
        ("[mcp.x]\ncommand = ['x']\nurl = 'https://x'", "either a command or a url is needed"),
        ("[mcp.x]\nurl = 'ftp://x'", "mcp.x.url"),
        ("[mcp.x]\nurl = 'https://x'\nenv = { A = 'b' }", "env is not for a server with a url"),
        ("[mcp.x]\ncommand = ['x']\nprivate_networks = ['::1']", "private_networks is not for"),
        ("[mcp.x]\nurl = 'https://x'\nprivate_networks = ['10.0.0.1/8']", "private_networks"),
        ("[mcp.x]\nurl = 'https://x'\nheaders = { A = { env = 'NOT_SET_HERE' } }", "mcp.x: .*NOT_SET_HERE is not set"),
        ("[openapi.x]", "openapi.x.document"),
        ("[openapi.x]\ndocument = 'x'\nmethod = 'GET'", "openapi.x.method"),
        ("functions = [", "cannot be read"),
    ],
)
def test_what_does_not_belong_is_refused_with_its_place(tmp_path: Path, text: str, place: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"tools\.toml.*{place}"):
        read(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    [
        f"[mcp.x]\nurl = 'https://x'\nheaders = {{ Authorization = '{SECRET}' }}",
        f"[mcp.x]\ncommand = ['x']\nenv = {{ API_TOKEN = '{SECRET}' }}",
        f"[openapi.x]\ndocument = 'x'\nsecrets = {{ key = '{SECRET}' }}",
        f"[openapi.x]\ndocument = 'x'\nsecrets = {{ key = {{ value = '{SECRET}' }} }}",
    ],
)
def test_secret_that_stands_in_the_file_is_refused_and_not_repeated(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        read(tmp_path, text)
    assert SECRET not in str(refusal.value)


def test_file_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="nowhere"):
        toolbox_named("nowhere.toml")
