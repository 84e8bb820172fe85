"""The options of an answer, as OpenAI's API says them: what cuts it, what repeats it, what only labels it."""

from __future__ import annotations

from typing import Any

import pytest

from grammars.constraint import Constraint
from serving.engines.scripted import Answer
from tests.serving.api.api_server import Serve, Server
from tests.serving.api.openai_chat.chat import TOOLS, ask, stream


def drawn(_text: str, _constraint: Constraint) -> Answer:
    """The script of a model that draws its words: what it writes hangs on the seed and the prompt."""
    return None


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_limit_cuts_the_text_and_says_length(hello_server: Server, field: str) -> None:
    answer = ask(hello_server, **{field: 3})
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("Hel", "length")
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 3
    assert stream(hello_server, **{field: 3})[-1].choices[0].finish_reason == "length"
    assert ask(hello_server, **{field: 50}).choices[0].finish_reason == "stop"


def test_call_that_is_cut_is_told_as_length_and_is_no_call(serve: Serve) -> None:
    server = serve([[("weather", {"city": "Bern" * 7})]])
    [choice] = ask(server, tools=TOOLS, tool_choice="required", max_tokens=30).choices
    assert (choice.finish_reason, choice.message.tool_calls) == ("length", None)


@pytest.mark.parametrize("streamed", [False, True])
def test_stop_ends_the_text_before_itself(serve: Serve, streamed: bool) -> None:
    server = serve(["one, two, three"])
    stop: Any = ["three", ", t"]
    if streamed:
        chunks = [chunk.choices[0] for chunk in stream(server, stop=stop)]
        assert ("".join(choice.delta.content or "" for choice in chunks), chunks[-1].finish_reason) == ("one", "stop")
    else:
        [choice] = ask(server, stop=stop).choices
        assert (choice.message.content, choice.finish_reason) == ("one", "stop")


def test_seed_repeats_an_answer_and_another_one_changes_it(serve: Serve) -> None:
    server = serve(drawn)
    first, again, other = [ask(server, seed=seed, temperature=1, max_tokens=60) for seed in (7, 7, 8)]
    assert first.choices[0].message.content == again.choices[0].message.content
    assert first.choices[0].message.content != other.choices[0].message.content


def test_labels_of_a_request_have_no_part_in_its_answer(serve: Serve) -> None:
    server = serve(drawn)
    labels: dict[str, Any] = {
        "user": "ada", "metadata": {"team": "a"}, "safety_identifier": "s", "prompt_cache_key": "k",
    }  # fmt: skip
    plain, labelled = [ask(server, seed=7, max_tokens=60, **asked) for asked in ({}, labels)]
    assert plain.choices == labelled.choices
    assert plain.usage is not None
    assert labelled.usage is not None
    assert plain.usage.prompt_tokens == labelled.usage.prompt_tokens
