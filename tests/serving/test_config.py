"""Settings: command line before environment before file, and nothing misspelt is ignored."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from grammars.errors import ConfigurationError
from serving.build import decode_options, server_opener
from serving.config import DEFAULT_MODEL, load_settings
from serving.decode.request import DecodeOptions
from serving.execute.mcp.by_request import RequestServers


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("POLYCALL_"):
            monkeypatch.delenv(name)


@pytest.fixture
def toml(tmp_path: Path) -> Any:
    def write(text: str) -> Path:
        path = tmp_path / "serve.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(
    toml: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POLYCALL_PORT", "2")
    monkeypatch.setenv("POLYCALL_HOST", "two")
    path = toml('model = "three"\nhost = "three"\nport = 3\n')
    settings = load_settings({"port": 1}, path)
    assert (settings.port, settings.host, settings.model, settings.max_rounds) == (1, "two", "three", 8)


def test_the_file_can_be_named_in_the_environment(toml: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYCALL_CONFIG", str(toml('model = "m"')))
    assert load_settings({}).model == "m"


def test_the_folder_of_models_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYCALL_CACHE", "somewhere")
    assert load_settings({"model": "m"}).model == "m"


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"model": "m"}, "m"),
        ({"model": "m", "served_model_name": "mine"}, "mine"),
        ({"engine": "scripted"}, "scripted"),
        ({}, DEFAULT_MODEL),
        ({"engine": "vllm"}, DEFAULT_MODEL),
    ],
)
def test_the_served_name_is_the_models_unless_another_is_given(options: dict[str, Any], name: str) -> None:
    assert load_settings(options).served_name == name


def test_servers_that_requests_name_are_connected_to_where_the_operator_says(toml: Any) -> None:
    assert server_opener(load_settings({"model": "m"})) is None
    networks = 'request_mcp_networks = ["10.1.0.0/16", "::1/128"]'
    allowed = load_settings({}, toml(f'model = "m"\nrequest_mcp = true\n{networks}'))
    assert [str(network) for network in allowed.request_mcp_networks] == ["10.1.0.0/16", "::1/128"]
    assert isinstance(server_opener(allowed), RequestServers)
    with pytest.raises(ConfigurationError, match="request_mcp_networks"):
        server_opener(load_settings({}, toml(f'model = "m"\n{networks}')))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('model = "m"\nrequest_mcp_networks = ["10.1.0.0/8"]', "request_mcp_networks"),
        ('model = "m"\nprot = 1', "unknown setting 'prot'"),
        ('model = "m"\nport = 70000', "port: "),
        ('model = "m"\nport = "many"', "port: "),
        ('model = "m"\nengine = "steam"', "engine: "),
        ('model = "m"\nmax_rounds = 1', "max_rounds: "),
        ('model = "m"\ntools = "no colon"', "tools: "),
        ('engine = "remote"', "model: the engine 'remote' needs one"),
        ("this is no TOML", "cannot be read"),
    ],
)
def test_a_wrong_file_is_refused_and_the_key_named(toml: Any, text: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        load_settings({}, toml(text))


def test_all_wrong_keys_are_named_at_once(toml: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings({}, toml("prot = 1\nport = -1\nhots = 2"))
    assert [name for name in ("prot", "port", "hots") if name in str(caught.value)] == ["prot", "port", "hots"]


def test_an_unknown_variable_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYCALL_PROT", "1")
    with pytest.raises(ConfigurationError, match="POLYCALL_PROT"):
        load_settings({"model": "m"})


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not exist"):
        load_settings({"model": "m"}, tmp_path / "nowhere.toml")


def test_the_key_shows_neither_in_the_settings_nor_in_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYCALL_API_KEY", "sesame")
    settings = load_settings({"model": "m"})
    assert settings.api_key is not None
    assert settings.api_key.get_secret_value() == "sesame"
    assert "sesame" not in repr(settings)
    with pytest.raises(ConfigurationError) as caught:
        load_settings({"model": "m", "port": "x"})
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "options"),
    [
        ({}, DecodeOptions(argument_heads=0, answer_by_result=False)),
        ({"model": DEFAULT_MODEL}, DecodeOptions(answer_by_result=True)),
        ({"model": DEFAULT_MODEL, "answer_by_result": False}, DecodeOptions(answer_by_result=False)),
        ({"argument_heads": 8}, DecodeOptions(argument_heads=8)),
        ({"answer_by_result": True}, DecodeOptions(answer_by_result=True)),
    ],
)
def test_settings_of_decoding_reach_the_decoder(given: dict[str, Any], options: DecodeOptions) -> None:
    assert decode_options(load_settings({"model": "m", **given})) == options
