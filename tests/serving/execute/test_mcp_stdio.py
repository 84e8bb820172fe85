"""MCP servers as child processes: what their tools become, and what is left when they fail."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from grammars.errors import ConfigurationError
from serving.execute.mcp.source import ChildProcess, McpSource
from serving.execute.offered import Selection
from serving.execute.secret import Secret
from serving.execute.server_tool import InvalidArguments, ServerTool, ToolFailed, ToolRefused
from tests.serving.execute.services import FAULTY_MCP_SERVER, MCP_SERVER, SECRET, is_running, is_secret_in, opened

LIMIT_BYTES = 100_000

Tools = dict[str, ServerTool]


def source_of(path: Path, selection: Selection | None = None, *arguments: str, **environment: Any) -> McpSource:
    server = ChildProcess(command=[sys.executable, str(path), *arguments], environment=environment)
    return McpSource(
        "mcp.tests", server, selection or Selection(), answer_limit_bytes=LIMIT_BYTES, connect_timeout_s=20
    )


@asynccontextmanager
async def tools_of(source: McpSource) -> AsyncIterator[Tools]:
    try:
        yield await opened(source)
    finally:
        await source.close()


@pytest.fixture
async def tools() -> AsyncIterator[Tools]:
    async with tools_of(source_of(MCP_SERVER, None, "stdio")) as found:
        yield found


@pytest.fixture
async def faulty() -> AsyncIterator[Callable[[str], Any]]:
    async with tools_of(source_of(FAULTY_MCP_SERVER)) as found:
        yield lambda how: found["misbehave"].runner.run({"how": how})


async def test_tools_have_the_names_descriptions_and_schemas_of_their_server(tools: Tools) -> None:
    tool = tools["add"].tool
    assert (tool.name, tool.description) == ("add", "Add two numbers.")
    assert tool.parameters["required"] == ["one", "other"]
    assert tools["put"].tool.parameters["properties"]["key"]["description"] == "where to put it"


async def test_name_that_no_tool_can_have_is_written_with_underscores(tools: Tools) -> None:
    assert "files/list" not in tools
    assert await tools["files_list"].runner.run({}) == "no files"


async def test_annotations_become_facts(tools: Tools) -> None:
    facts = {name: tools[name].facts for name in ("add", "put", "delete", "wait")}
    assert [(found.read_only, found.idempotent, found.approval) for found in facts.values()] == [
        (True, False, "never"),
        (False, True, "never"),
        (False, False, "always"),
        (False, False, "never"),
    ]


async def test_annotations_that_are_not_trusted_state_nothing() -> None:
    server = ChildProcess(command=[sys.executable, str(MCP_SERVER), "stdio"])
    source = McpSource(
        "t", server, Selection(), answer_limit_bytes=LIMIT_BYTES, connect_timeout_s=20, trust_annotations=False
    )
    async with tools_of(source) as found:
        assert not found["add"].facts.read_only
        assert found["delete"].facts.approval == "never"


async def test_operator_chooses_tools_and_stands_above_annotations() -> None:
    selection = Selection(
        include=["add", "delete"],
        prefix="calc_",
        defaults={"timeout_s": 5.0, "retries": 2},
        facts={"delete": {"approval": "never", "writes": ("key:{key}",)}},
    )
    async with tools_of(source_of(MCP_SERVER, selection, "stdio")) as found:
        assert list(found) == ["calc_add", "calc_delete"]
        add, delete = (tool.facts for tool in found.values())
        assert (add.timeout_s, add.retries) == (5.0, 2)
        assert (delete.approval, delete.writes, delete.retries) == ("never", ("key:{key}",), 0)
        assert await found["calc_add"].runner.run({"one": 1, "other": 2}) == {"result": 3}


@pytest.mark.parametrize(
    ("name", "arguments", "value"),
    [
        ("add", {"one": 1, "other": 2}, {"result": 3}),
        ("files_list", {}, "no files"),
        ("several", {}, ["one", "two"]),
        ("picture", {}, [{"type": "image", "data": "aGk=", "mimeType": "image/png"}]),
    ],
)
async def test_value_is_structured_content_or_text_or_all_blocks(
    tools: Tools, name: str, arguments: dict[str, Any], value: Any
) -> None:
    assert await tools[name].runner.run(arguments) == value


async def test_error_of_a_tool_is_its_refusal_in_its_own_words(tools: Tools) -> None:
    with pytest.raises(ToolRefused, match=r"^no such city$"):
        await tools["fail"].runner.run({"words": "no such city"})


async def test_arguments_that_the_server_refuses_are_told(tools: Tools) -> None:
    with pytest.raises((ToolRefused, InvalidArguments), match="one"):
        await tools["add"].runner.run({"one": "many", "other": 2})


async def test_calls_run_together(tools: Tools) -> None:
    start_s = time.monotonic()
    await asyncio.gather(*(tools["wait"].runner.run({"seconds": 0.5}) for _ in range(8)))
    assert time.monotonic() - start_s < 2.0


async def test_cancelled_call_is_cancelled_on_the_server_and_the_session_goes_on(tools: Tools, tmp_path: Path) -> None:
    path = tmp_path / "what happened"
    before = await tools["process_id"].runner.run({})
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await tools["wait"].runner.run({"seconds": 30, "path": str(path)})
    async with asyncio.timeout(10):
        while not path.exists():
            await asyncio.sleep(0.02)
    assert await tools["process_id"].runner.run({}) == before


async def test_answer_of_100_mb_costs_its_own_call_only(tools: Tools) -> None:
    before = await tools["process_id"].runner.run({})
    large, beside, small = await asyncio.gather(
        tools["letters"].runner.run({"count": 100_000_000}),
        tools["wait"].runner.run({"seconds": 0.5}),
        tools["letters"].runner.run({"count": 10}),
        return_exceptions=True,
    )
    assert isinstance(large, ToolRefused)
    assert str(large) == f"the answer is larger than {LIMIT_BYTES} bytes"
    assert (beside, small) == ("waited", "x" * 10)
    assert await tools["process_id"].runner.run({}) == before


async def test_server_killed_while_idle_is_started_again_by_the_next_call(tools: Tools) -> None:
    before = int(await tools["process_id"].runner.run({}))
    os.kill(before, signal.SIGKILL)
    while is_running(before):
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.5)
    assert await tools["add"].runner.run({"one": 1, "other": 2}) == {"result": 3}
    assert int(await tools["process_id"].runner.run({})) != before


async def test_call_on_which_the_server_dies_fails_as_unknown_and_runs_once(tools: Tools, tmp_path: Path) -> None:
    path = tmp_path / "runs"
    with pytest.raises(ToolFailed, match="whether the call took effect is not known"):
        await tools["note_and_die"].runner.run({"path": str(path)})
    assert await tools["add"].runner.run({"one": 1, "other": 2}) == {"result": 3}
    assert path.read_text() == "ran\n"


async def test_server_whose_child_holds_its_output_is_seen_to_be_dead(tools: Tools) -> None:
    child = int(await tools["start_child"].runner.run({}))
    process = int(await tools["process_id"].runner.run({}))
    calling = asyncio.create_task(tools["wait"].runner.run({"seconds": 30}))
    await asyncio.sleep(0.1)
    os.kill(process, signal.SIGKILL)
    try:
        async with asyncio.timeout(5):
            with pytest.raises(ToolFailed):
                await calling
    finally:
        os.kill(child, signal.SIGKILL)


async def test_closing_ends_the_process_and_calls_in_it() -> None:
    source = source_of(MCP_SERVER, None, "stdio")
    tools = await opened(source)
    process = int(await tools["process_id"].runner.run({}))
    calling = asyncio.create_task(tools["wait"].runner.run({"seconds": 30}))
    await asyncio.sleep(0.1)
    await source.close()
    with pytest.raises(ToolFailed):
        await calling
    assert not is_running(process)
    with pytest.raises(ToolFailed, match="going away"):
        await tools["add"].runner.run({"one": 1, "other": 2})


async def test_secret_reaches_the_server_and_comes_back_neither_in_results_nor_in_logs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    async with tools_of(source_of(MCP_SERVER, None, "stdio", PASS=Secret("PASS", SECRET), PLAIN="plain")) as tools:
        assert await tools["variable"].runner.run({"name": "PASS"}) == {"value": "[secret PASS]", "[secret PASS]": True}
        assert await tools["variable"].runner.run({"name": "PLAIN"}) == {"value": "plain", "plain": True}
        assert await tools["variable"].runner.run({"name": "SECRET_OF_OURS"}) == {"value": "none", "none": True}
    assert "PASS is [secret PASS]" in caplog.text
    assert not is_secret_in(caplog.text)


async def test_environment_of_this_server_stays_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYCALL_API_KEY", SECRET)
    async with tools_of(source_of(MCP_SERVER, None, "stdio")) as tools:
        assert await tools["variable"].runner.run({"name": "POLYCALL_API_KEY"}) == {"value": "none", "none": True}


@pytest.mark.parametrize("how", ["stray", "other id"])
async def test_line_that_is_no_message_is_passed_over(faulty: Callable[[str], Any], how: str) -> None:
    assert await faulty(how) == "fine"


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("garbage", "not a message of MCP"),
        ("bytes", "not a message of MCP"),
        ("shapeless", "not what MCP asks for"),
        ("id last", f"larger than {LIMIT_BYTES} bytes"),
    ],
)
async def test_answer_that_is_spoiled_costs_its_own_call_only(
    faulty: Callable[[str], Any], how: str, says: str
) -> None:
    held = asyncio.create_task(faulty("held"))
    await asyncio.sleep(0.05)
    with pytest.raises(ToolRefused, match=says):
        await faulty(how)
    assert await faulty("release") == "released"
    assert await held == "released"


async def test_long_line_that_answers_nobody_ends_the_session_and_the_next_call_opens_another(
    faulty: Callable[[str], Any],
) -> None:
    with pytest.raises(ToolFailed, match="not known"):
        await faulty("no id")
    assert await faulty("stray") == "fine"


async def test_second_answer_to_a_call_is_passed_over(faulty: Callable[[str], Any]) -> None:
    assert await faulty("twice") == "first"
    assert await faulty("stray") == "fine"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"text": "aaaa"}, None),
        ({"text": 1}, "/text: 1 is not of type"),
        ({"text": "a" * 100 + "b"}, "/text: "),
        ({}, "lacks the structured content"),
    ],
)
async def test_structured_content_is_checked_by_the_schema_of_its_tool_however_that_is_written(
    content: dict[str, Any], says: str | None
) -> None:
    async with tools_of(source_of(FAULTY_MCP_SERVER)) as tools, asyncio.timeout(10):
        if says is None:
            assert await tools["structure"].runner.run({"content": content}) == content
        else:
            with pytest.raises(ToolRefused, match=says):
                await tools["structure"].runner.run({"content": content})


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["/no/such/program"], "No such file"),
        ([sys.executable, "-c", "raise SystemExit(3)"], "losed"),
        (["sleep", "60"], "no answer within 1 s"),
    ],
)
async def test_server_that_does_not_come_up_is_refused_with_its_name(
    command: list[str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.execute.mcp.connection.RECONNECT_S", 0.0)
    source = McpSource(
        "mcp.lost", ChildProcess(command=command), Selection(), answer_limit_bytes=1000, connect_timeout_s=1
    )
    with pytest.raises(ConfigurationError, match=rf"mcp\.lost.*{says}"):
        await source.open()
    await source.close()


@pytest.mark.parametrize(
    "selection", [Selection(include=["ad"]), Selection(exclude=["ad"]), Selection(facts={"ad": {}})]
)
async def test_tool_that_the_server_lacks_is_refused_by_name(selection: Selection) -> None:
    source = source_of(MCP_SERVER, selection, "stdio")
    with pytest.raises(ConfigurationError, match="there is no tool 'ad'"):
        await source.open()
    await source.close()
