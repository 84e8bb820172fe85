"""Who asks: several keys, each with its own tools of the server's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from grammars.errors import ConfigurationError
from serving.build import api_keys, journal_of
from serving.callers import ANYONE, ApiKey, Caller, caller_with
from serving.config import load_settings
from serving.execute.database.journal import DatabaseJournal
from serving.execute.journal_memory import MemoryJournal

KEYS = (
    ApiKey(key="sesame"),
    ApiKey(key="ada's", caller=Caller(name="ada")),
    ApiKey(key="bøb", caller=Caller(name="bob")),
)


@pytest.mark.parametrize(
    ("allow", "deny", "may"),
    [
        (None, (), ["read_file", "write_file", "pay"]),
        (("pay",), (), ["pay"]),
        (("*_file",), (), ["read_file", "write_file"]),
        (None, ("*_file",), ["pay"]),
        (("*_file", "pay"), ("write_*",), ["read_file", "pay"]),
        ((), (), []),
        (("*",), ("*",), []),
        (("PAY",), (), []),
    ],
)
def test_a_caller_may_use_what_is_allowed_and_not_denied(
    allow: tuple[str, ...] | None, deny: tuple[str, ...], may: list[str]
) -> None:
    caller = Caller(allow=allow, deny=deny)
    assert [tool for tool in ("read_file", "write_file", "pay") if caller.may_use(tool)] == may


@pytest.mark.parametrize(
    ("given", "name"), [("sesame", ""), ("ada's", "ada"), ("bøb", "bob"), ("", None), ("sesam", None), ("Sesame", None)]
)
def test_a_key_is_its_callers_or_nobodys(given: str, name: str | None) -> None:
    caller = caller_with(given, KEYS)
    assert (None if caller is None else caller.name) == name


def test_a_key_does_not_show() -> None:
    assert "sesame" not in repr(KEYS)


class TestSettings:
    """Keys and the journal as an operator writes them."""

    def file(self, tmp_path: Path, text: str) -> Path:
        path = tmp_path / "serve.toml"
        path.write_text(f'engine = "scripted"\n{text}', encoding="utf-8")
        return path

    def test_keys_of_the_file_stand_beside_the_one_without_a_name(self, tmp_path: Path) -> None:
        text = """
            api_key = "sesame"
            [[keys]]
            name = "ada"
            key = "a"
            allow_tools = ["read_*"]
            [[keys]]
            name = "bob"
            key = "b"
            deny_tools = ["pay"]
        """
        ada, bob, anyone = api_keys(load_settings({}, self.file(tmp_path, text)))
        assert ada == ApiKey(key="a", caller=Caller(name="ada", allow=("read_*",)))
        assert bob == ApiKey(key="b", caller=Caller(name="bob", deny=("pay",)))
        assert anyone == ApiKey(key="sesame", caller=ANYONE)

    @pytest.mark.parametrize(
        ("keys", "says"),
        [
            ([{"name": "ada", "key": "a"}, {"name": "ada", "key": "b"}], "two have the name 'ada'"),
            ([{"name": "ada", "key": "a"}, {"name": "bob", "key": "a"}], "the same key"),
        ],
    )
    def test_keys_that_cannot_be_told_apart_are_refused(self, keys: list[dict[str, str]], says: str) -> None:
        with pytest.raises(ConfigurationError, match=says):
            api_keys(load_settings({"engine": "scripted", "keys": keys}))

    @pytest.mark.parametrize(
        "key", [{"name": "ada"}, {"name": "", "key": "a"}, {"name": "ada", "key": "a", "tools": []}, {"key": "a"}]
    )
    def test_a_key_that_is_none_is_refused_without_showing_it(self, key: dict[str, Any]) -> None:
        with pytest.raises(ConfigurationError, match=r"keys\.0") as refused:
            load_settings({"engine": "scripted", "keys": [{**key, "key": "sesame"} if "key" in key else key]})
        assert "sesame" not in str(refused.value)

    def test_the_journal_is_a_file_in_the_folder_for_state_unless_it_is_told_otherwise(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
        default = load_settings({"engine": "scripted"})
        assert default.journal_url == f"sqlite:///{tmp_path}/polycall/journal.sqlite3"
        assert isinstance(journal_of(default), DatabaseJournal)
        assert isinstance(journal_of(load_settings({"engine": "scripted", "journal": "memory"})), MemoryJournal)

    def test_the_password_of_the_journal_does_not_show(self) -> None:
        settings = load_settings({"engine": "scripted", "journal": "postgresql://ada:sesame@db/polycall"})
        assert "sesame" not in repr(settings)
