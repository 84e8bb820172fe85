"""The examples of the clients, each run as a program against a server whose model says what a good one would."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from tests.serving.api.api_server import Call, Said, Serve
from tests.serving.api.conftest import serve

__all__ = ["serve"]

ROOT = Path(__file__).parents[2]
CLIENTS = ROOT / "examples" / "clients"
CALLS: list[Call] = [("get_weather", {"city": city}) for city in ("San Francisco", "Tokyo", "Paris")]
ANSWER = "It is 17, 21 and 12 degrees."
WEATHER = [
    'get_weather {"city": "San Francisco"}',
    'get_weather {"city": "Tokyo"}',
    'get_weather {"city": "Paris"}',
    ANSWER,
]
ENTITIES: list[Call] = [
    ("Person", {"name": "Ada Lovelace", "age": 36}),
    ("Place", {"name": "London"}),
    ("Person", {"name": "Charles Babbage", "age": 79}),
    ("Place", {"name": "Turin"}),
]
FOUND = [
    "Person(name='Ada Lovelace', age=36)",
    "Place(name='London')",
    "Person(name='Charles Babbage', age=79)",
    "Place(name='Turin')",
]

EXAMPLES: dict[str, tuple[list[Said], list[str]]] = {
    "weather_openai.py": ([CALLS, ANSWER], WEATHER),
    "weather_openai_responses.py": ([CALLS, ANSWER], WEATHER),
    "weather_anthropic.py": ([CALLS, ANSWER], WEATHER),
    "weather_gemini.py": ([CALLS, ANSWER], WEATHER),
    "one_at_a_time_openai.py": ([*([call] for call in CALLS), ANSWER], WEATHER),
    "entities_langchain.py": ([ENTITIES], FOUND),
}
"""For each: what the model says in its rounds, and what the program prints."""


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_prints_the_calls_and_the_answer(
    name: str, serve: Serve, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rounds, printed = EXAMPLES[name]
    server = serve(rounds)
    seen: list[str] = []
    monkeypatch.setenv("POLYCALL_URL", server.url)
    monkeypatch.setenv("POLYCALL_MODEL", server.engine.model)
    script = server.engine._script
    assert callable(script)
    server.engine._script = lambda text, constraint: (seen.append(text), script(text, constraint))[1]
    runpy.run_path(str(CLIENTS / name), run_name="__main__")
    assert capsys.readouterr().out.splitlines() == printed
    if printed is WEATHER:
        assert all(f'"celsius": {degrees}' in seen[-1] for degrees in (17, 21, 12))


def test_every_example_is_run_and_the_page_about_them_names_it() -> None:
    page = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    here = {path.name for path in CLIENTS.iterdir() if path.is_file()}
    assert here == set(EXAMPLES)
    assert all(f"clients/{name}" in page for name in here)
