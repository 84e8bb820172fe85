"""`polycall serve`: a real process that serves, stops when told, and says what is wrong with its settings."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from openai import OpenAI
from typer.testing import CliRunner

from serving.cli import app
from serving.config import Settings

ROOT = Path(__file__).parents[2]
TOOLS = """
from serving.execute.registry import Registry

registry = Registry()
number = 5


@registry.tool()
def ping() -> str:
    return "pong"
"""


def command(*options: str) -> list[str]:
    return [sys.executable, "-m", "serving.cli", "serve", *options]


def environment(**more: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("POLYCALL_")}
    return {**clean, "PYTHONPATH": str(ROOT), "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb", **more}


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[str]:
    """The address of a server in a process of its own."""
    with subprocess.Popen(
        command(*options), cwd=folder, env=environment(POLYCALL_PORT="0"), stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        lines: list[str] = []
        for line in process.stderr:
            lines.append(line)
            if "running on" in line:
                break
        try:
            assert "http://" in lines[-1], lines
            yield next(word for word in lines[-1].split() if word.startswith("http://"))
        finally:
            process.send_signal(signal.SIGTERM)
            process.stderr.read()
            process.wait(20)
    assert process.returncode in (0, -signal.SIGTERM)


def test_a_scripted_server_with_tools_answers_and_stops_when_told(tmp_path: Path) -> None:
    (tmp_path / "my_tools.py").write_text(TOOLS, encoding="utf-8")
    (tmp_path / "serve.toml").write_text('served_model_name = "stand-in"\n', encoding="utf-8")
    options = ["--engine", "scripted", "--tools", "my_tools:registry", "--config", "serve.toml", "--api-key", "sesame"]
    with serving(tmp_path, *options) as url:
        assert httpx.get(f"{url}/health").json()["status"] == "ok"
        with OpenAI(base_url=f"{url}/v1", api_key="sesame", max_retries=0) as client:
            assert client.models.list().data[0].id == "stand-in"
            answer = client.chat.completions.create(
                model="stand-in",
                messages=[{"role": "user", "content": "ping!"}],
                tool_choice={"type": "function", "function": {"name": "ping"}},
            )
    assert answer.choices[0].message.content
    [call] = answer.model_extra["polycall"]["server_calls"]
    assert (call["name"], call["result"]) == ("ping", "pong")


def test_a_server_stops_when_told_though_an_answer_is_awaited(tmp_path: Path) -> None:
    (tmp_path / "slow_tools.py").write_text(
        TOOLS.replace('return "pong"', "import time; time.sleep(60)"), encoding="utf-8"
    )
    begin_s = time.monotonic()
    with serving(tmp_path, "--engine", "scripted", "--tools", "slow_tools:registry", "--turn-timeout-s", "1") as url:
        body = {
            "model": "scripted",
            "messages": [{"role": "user", "content": "x"}],
            "tool_choice": {"type": "function", "function": {"name": "ping"}},
        }
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{url}/v1/chat/completions", json=body, timeout=0.5)
    assert time.monotonic() - begin_s < 15, "a tool that hangs in its thread does not hold up the exit"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--engine", "remote"], "model: the engine 'remote' needs one"),
        (["--engine", "steam"], "engine: "),
        (["--engine", "scripted", "--max-rounds", "1"], "max_rounds: "),
        (["--engine", "scripted", "--dialect", "klingon"], "no dialect 'klingon'"),
        (["--engine", "scripted", "--argument-heads", "8"], "argument_heads: for models that were trained for it"),
        (["--engine", "scripted", "--tools", "nowhere:registry"], "'nowhere:registry' cannot be imported"),
        (["--engine", "scripted", "--tools", "my_tools:missing"], "'my_tools:missing' do not exist"),
        (["--engine", "scripted", "--tools", "my_tools:number"], "'my_tools:number' is no Registry but int"),
        (["--engine", "scripted", "--config", "nowhere.toml"], "'nowhere.toml' does not exist"),
        (["--flavour", "sweet"], "No such option"),
    ],
)
def test_wrong_settings_end_with_2_and_say_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], says: str
) -> None:
    (tmp_path / "my_tools.py").write_text(TOOLS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    ended = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}).invoke(app, ["serve", *options])
    assert ended.exit_code == 2, ended.output
    assert says in ended.stderr


def test_tools_that_cannot_be_opened_end_the_start_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "tools.toml").write_text('[mcp.files]\ncommand = ["/no/such/program"]\n', encoding="utf-8")
    ended = subprocess.run(
        command("--engine", "scripted", "--tools", "tools.toml"),
        cwd=tmp_path,
        env=environment(POLYCALL_PORT="0"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode != 0
    assert "polycall: the MCP server 'mcp.files' cannot be used: [Errno 2] No such file" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_every_setting_is_an_option_with_its_help() -> None:
    wide = {"COLUMNS": "300", "NO_COLOR": "1", "TERM": "dumb"}
    shown = CliRunner(env=wide).invoke(app, ["serve", "--help"]).stdout
    for name, field in Settings.model_fields.items():
        if name == "keys":  # lists do not fit an option
            continue
        assert f"--{name.replace('_', '-')} " in shown
        assert field.description
        assert " ".join(field.description.split()[:3]) in shown
