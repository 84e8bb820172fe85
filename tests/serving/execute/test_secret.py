"""Secrets: read from the environment, sent whole, and taken out of whatever comes back."""

from __future__ import annotations

import html
import json
from base64 import b64encode, urlsafe_b64encode
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grammars.errors import ConfigurationError
from serving.execute.secret import Redactor, Secret, read_secret

KEY = 'k3y/with+"quotes"=und<Ümlaut>'
REDACTOR = Redactor([Secret("KEY", KEY)])

keys = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), min_size=8, max_size=20)


def test_secret_is_sent_with_its_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVICE_KEY", f" {KEY}\n")
    assert read_secret("SERVICE_KEY", prefix="Bearer ").reveal() == f"Bearer {KEY}"


def test_secret_of_basic_authentication_is_sent_in_base64() -> None:
    sent = Secret("LOGIN", "user:password").sent_as("Basic ", base64=True)
    assert sent.reveal() == "Basic dXNlcjpwYXNzd29yZA=="


def test_secret_shows_its_name_only() -> None:
    assert repr(Secret("KEY", KEY)) == "Secret('KEY')"


@pytest.mark.parametrize("value", ["", "eu", "seven77"])
def test_value_that_is_too_short_to_be_a_secret_is_left_in_texts(value: str) -> None:
    region = Secret("REGION", value)
    assert region.reveal() == value
    for text in (value, b64encode(value.encode()).decode()):
        assert Redactor([region]).text(text) == text


@pytest.mark.parametrize(("value", "says"), [(None, "not set"), ("  ", "not set"), ("short", "fewer than 8")])
def test_variable_that_holds_no_secret_is_refused(
    monkeypatch: pytest.MonkeyPatch, value: str | None, says: str
) -> None:
    monkeypatch.delenv("SERVICE_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("SERVICE_KEY", value)
    with pytest.raises(ConfigurationError, match=f"SERVICE_KEY.*{says}") as refusal:
        read_secret("SERVICE_KEY")
    assert value is None or value.strip() == "" or value not in str(refusal.value)


@pytest.mark.parametrize(
    "form",
    [
        KEY,
        quote(KEY),
        quote(KEY, safe=""),
        quote_plus(KEY),
        json.dumps(KEY)[1:-1],
        json.dumps(KEY, ensure_ascii=False)[1:-1],
        json.dumps(KEY, ensure_ascii=False)[1:-1].replace("<", "\\u003c").replace(">", "\\u003e"),
        html.escape(KEY),
        b64encode(KEY.encode()).decode().rstrip("="),
        urlsafe_b64encode(KEY.encode()).decode().rstrip("="),
    ],
)
def test_secret_is_taken_out_in_every_encoding(form: str) -> None:
    assert REDACTOR.text(f"<{form}>") == "<[secret KEY]>"
    assert REDACTOR.data(f"<{form}>".encode()) == b"<[secret KEY]>"


def test_password_of_a_login_is_taken_out_by_itself() -> None:
    assert Redactor([Secret("LOGIN", "user:password")]).text("for user: password") == "for user: [secret LOGIN]"


def test_longer_secret_is_taken_out_whole_where_a_shorter_one_begins_it() -> None:
    redactor = Redactor([Secret("SHORT", "abcdefgh"), Secret("LONG", "abcdefghij")])
    assert redactor.text("abcdefghij abcdefgh") == "[secret LONG] [secret SHORT]"


def test_value_is_redacted_in_strings_and_names_and_otherwise_the_same() -> None:
    value = {"list": [KEY, 1, None, True], KEY: {"deep": f"x{KEY}"}}
    expected = {"list": ["[secret KEY]", 1, None, True], "[secret KEY]": {"deep": "x[secret KEY]"}}
    assert REDACTOR.value(value) == expected


def test_without_secrets_all_stays_as_it_is() -> None:
    redactor = Redactor()
    stream = redactor.stream()
    assert (redactor.text(KEY), redactor.value([KEY]), redactor.data(b"x")) == (KEY, [KEY], b"x")
    assert stream.feed(b"x") + stream.end() == b"x"


@given(keys, st.lists(st.text(max_size=5), max_size=4), st.lists(st.integers(1, 7), min_size=1))
def test_stream_cut_anywhere_reads_as_the_whole_redacted(key: str, between: list[str], sizes: list[int]) -> None:
    redactor = Redactor([Secret("KEY", key)])
    text = key.join(["", *between, ""]).encode()
    stream = redactor.stream()
    told = b""
    at = 0
    while at < len(text):
        size = sizes[at % len(sizes)]
        told += stream.feed(text[at : at + size])
        at += size
    assert told + stream.end() == redactor.data(text)


def test_stream_holds_back_no_more_than_what_could_be_a_secret() -> None:
    stream = Redactor([Secret("KEY", "abcdefgh")]).stream()
    assert stream.feed(b"data: {}\n\n") == b"data: {}\n\n"
    assert stream.feed(b"data: abc") == b"data: "
    assert stream.feed(b"xyz") == b"abcxyz"
