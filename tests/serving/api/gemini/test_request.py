"""A body as a turn's request: in both spellings the same, each field honoured or refused by its name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic.alias_generators import to_snake

from grammars.branch import Sampling
from grammars.conversation import DEFAULT_MOST_CALLS, Choice
from grammars.errors import RequestError
from grammars.tools import Tool
from serving.api.gemini.request import Asked, read_asked, read_count, read_generate

CONTENTS: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": "Hello."}]}]}
WEATHER: dict[str, Any] = {"tools": [{"functionDeclarations": [{"name": "weather"}, {"name": "time"}]}]}


def asked(body: dict[str, Any], *, server_has_tools: bool = False) -> Asked:
    request = read_generate(json.dumps({**CONTENTS, **body}).encode(), "m")
    return read_asked(request, server_has_tools=server_has_tools, decoding="parallel")


def refused(body: dict[str, Any]) -> str | None:
    with pytest.raises(RequestError) as caught:
        asked(body)
    return caught.value.place


def calling(**config: Any) -> dict[str, Any]:
    return {**WEATHER, "toolConfig": {"functionCallingConfig": config}}


# What is honoured


EVERYTHING: dict[str, Any] = {
    **calling(mode="ANY", allowedFunctionNames=["weather"]),
    "systemInstruction": {"parts": [{"text": "Be "}, {"text": "brief."}]},
    "generationConfig": {
        "temperature": 1, "topP": 0.5, "maxOutputTokens": 7, "stopSequences": ["END"], "seed": 3, "candidateCount": 1,
        "responseMimeType": "text/plain", "responseModalities": ["TEXT"], "presencePenalty": 0, "frequencyPenalty": 0.0,
        "thinkingConfig": {"thinkingBudget": 0, "includeThoughts": False},
    },
    "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
    "labels": {"team": "a"},
    "model": "models/m",
    "polycall": {"max_calls": 4, "decoding": "sequential"},
}  # fmt: skip


def test_every_field_is_read() -> None:
    turn = asked(EVERYTHING).turn
    assert [(message.role, message.text) for message in turn.messages] == [("system", "Be brief."), ("user", "Hello.")]
    assert turn.round.sampling == Sampling(temperature=1, top_p=0.5, seed=3)
    assert (turn.round.max_tokens, turn.round.stop, turn.round.decoding) == (7, ("END",), "sequential")
    assert turn.choice == Choice(mode="required", allowed=frozenset({"weather"}), most=4)
    assert turn.tools == (Tool(name="weather"), Tool(name="time"))


PET = {"type": "OBJECT", "properties": {"name": {"type": "STRING"}}}
STANDARD_PET = {"type": "object", "properties": {"name": {"type": "string"}}}


@pytest.mark.parametrize(
    ("config", "schema"),
    [
        ({}, None),
        ({"responseMimeType": "text/plain"}, None),
        ({"responseMimeType": "application/json"}, {"type": ["object", "array"]}),
        ({"responseMimeType": "application/json", "responseSchema": PET}, STANDARD_PET),
        ({"responseMimeType": "application/json", "responseJsonSchema": STANDARD_PET}, STANDARD_PET),
    ],
)
def test_the_answer_may_have_a_schema_beside_the_functions(config: dict[str, Any], schema: Any) -> None:
    turn = asked({**WEATHER, "generationConfig": config}).turn
    assert turn.round.answer_schema == schema
    assert turn.choice == Choice()


@pytest.mark.parametrize(
    ("config", "logprobs"),
    [
        ({}, None),
        ({"responseLogprobs": False}, None),
        ({"responseLogprobs": True}, 0),
        ({"responseLogprobs": True, "logprobs": 5}, 5),
    ],
)
def test_log_probabilities_are_asked_for(config: dict[str, Any], logprobs: int | None) -> None:
    assert asked({"generationConfig": config}).turn.round.logprobs == logprobs


def in_snake_case(value: Any) -> Any:
    """The body with its fields renamed, but for the names that are the caller's own."""
    if isinstance(value, dict):
        return {to_snake(name): in_snake_case(inner) for name, inner in value.items()}
    return [in_snake_case(inner) for inner in value] if isinstance(value, list) else value


def test_snake_case_says_the_same() -> None:
    body = in_snake_case(EVERYTHING)
    assert "functionDeclarations" not in json.dumps(body)
    assert asked(body).turn == asked(EVERYTHING).turn


@pytest.mark.parametrize(
    ("config", "choice"),
    [
        ({}, Choice()),
        ({"mode": "MODE_UNSPECIFIED"}, Choice()),
        ({"mode": "AUTO"}, Choice()),
        ({"mode": "AUTO", "allowedFunctionNames": []}, Choice()),
        ({"mode": "VALIDATED"}, Choice()),
        ({"mode": "VALIDATED", "allowedFunctionNames": ["time"]}, Choice(allowed=frozenset({"time"}))),
        ({"mode": "ANY"}, Choice(mode="required")),
        ({"mode": "ANY", "allowedFunctionNames": ["time"]}, Choice(mode="required", allowed=frozenset({"time"}))),
        ({"mode": "NONE"}, Choice(mode="none")),
    ],
)
def test_the_mode_is_the_choice(config: dict[str, Any], choice: Choice) -> None:
    assert asked(calling(**config)).turn.choice == choice
    assert choice.most == DEFAULT_MOST_CALLS


def test_functions_of_all_groups_are_tools_that_know_their_declaration() -> None:
    schema = {"type": "object", "properties": {"any_of": {"type": "string"}}}
    google = {"type": "OBJECT", "properties": {"any_of": {"type": "STRING"}}}
    groups = [
        {"functionDeclarations": [{"name": "a", "description": "A.", "parametersJsonSchema": schema}]},
        {},
        {"functionDeclarations": [{"name": "b", "parameters": google, "response": {"type": "STRING"}}, {"name": "c"}]},
    ]
    found = asked({"tools": groups})
    assert found.turn.tools == (
        Tool(name="a", description="A.", parameters=schema),
        Tool(name="b", parameters=schema),
        Tool(name="c"),
    )
    names = ["tools[0].function.parameters", "tools[1].function.parameters", "tools[2].function.name"]
    assert [found.places.of(name) for name in names] == [
        "tools[0].functionDeclarations[0].parametersJsonSchema",
        "tools[2].functionDeclarations[0].parameters",
        "tools[2].functionDeclarations[1].name",
    ]


def test_without_tools_there_is_no_choice_unless_the_server_has_some() -> None:
    assert asked({}).turn.choice is None
    assert asked({}, server_has_tools=True).turn.choice == Choice()


# What is refused


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"contents": None}, "contents"),
        ({"contents": [{"role": "system", "parts": []}]}, "contents[0].role"),
        ({"contents": [{"parts": [{"inlineData": {"mimeType": "image/png"}}]}]}, "contents[0].parts[0].inlineData"),
        ({"contents": [{"parts": [{"text": "hm", "thought": True}]}]}, "contents[0].parts[0].thought"),
        ({"systemInstruction": {"parts": [{"functionCall": {"name": "a"}}]}}, "systemInstruction.parts[0]"),
        ({"system_instruction": {"parts": "Be brief."}}, "system_instruction.parts"),
        ({"generationConfig": {"candidateCount": 2}}, "generationConfig.candidateCount"),
        ({"generation_config": {"top_k": 4}}, "generation_config.top_k"),
        ({"generationConfig": {"temperature": 3}}, "generationConfig.temperature"),
        ({"generationConfig": {"maxOutputTokens": 0}}, "generationConfig.maxOutputTokens"),
        ({"generationConfig": {"stopSequences": ["a"] * 6}}, "generationConfig.stopSequences"),
        (
            {"generationConfig": {"thinkingConfig": {"thinkingBudget": 9}}},
            "generationConfig.thinkingConfig.thinkingBudget",
        ),
        ({"generationConfig": {"logprobs": 2}}, "generationConfig.logprobs"),
        ({"generationConfig": {"responseLogprobs": True, "logprobs": 21}}, "generationConfig.logprobs"),
        ({"generationConfig": {"responseMimeType": "text/x.enum"}}, "generationConfig.responseMimeType"),
        ({"generationConfig": {"responseSchema": PET}}, "generationConfig.responseSchema"),
        ({"generationConfig": {"responseJsonSchema": STANDARD_PET}}, "generationConfig.responseJsonSchema"),
        (
            {"generationConfig": {"responseSchema": PET, "responseJsonSchema": STANDARD_PET}},
            "generationConfig.responseJsonSchema",
        ),
        ({"generationConfig": {"top_p": 1, "topP": 1}}, "generationConfig.top_p"),
        ({"safetySettings": [{"category": "X", "threshold": "BLOCK_ONLY_HIGH"}]}, "safetySettings[0].threshold"),
        ({"cachedContent": "cachedContents/1"}, "cachedContent"),
        ({"tools": [{"googleSearch": {}}]}, "tools[0].googleSearch"),
        (
            {"tools": [{"functionDeclarations": [{"name": "a", "behavior": "NON_BLOCKING"}]}]},
            "tools[0].functionDeclarations[0].behavior",
        ),
        (
            {"tools": [{"functionDeclarations": [{"name": "a", "parameters": {}, "parametersJsonSchema": {}}]}]},
            "tools[0].functionDeclarations[0].parameters",
        ),
        (
            {"tools": [{"functionDeclarations": [{"name": "a", "parameters": {"type": "OBJECT", "oneOf": []}}]}]},
            "tools[0].functionDeclarations[0].parameters.oneOf",
        ),
        ({"toolConfig": {"functionCallingConfig": {"mode": "ANY"}}}, "toolConfig.functionCallingConfig"),
        (calling(mode="SOME"), "toolConfig.functionCallingConfig.mode"),
        (
            calling(mode="AUTO", allowedFunctionNames=["time"]),
            "toolConfig.functionCallingConfig.allowedFunctionNames",
        ),
        ({**calling(mode="NONE"), "polycall": {"min_calls": 1}}, "polycall.min_calls"),
        (
            {**calling(mode="ANY", allowedFunctionNames=["time"]), "polycall": {"exact_tools": ["time"]}},
            "polycall.exact_tools",
        ),
        ({"model": "models/other"}, "model"),
        ({"n": 2}, "n"),
    ],
)  # fmt: skip
def test_what_cannot_be_honoured_is_refused_at_its_field(body: dict[str, Any], place: str) -> None:
    assert refused(body) == place


# countTokens


@pytest.mark.parametrize(
    "body", [CONTENTS, {"generateContentRequest": CONTENTS}, {"generate_content_request": CONTENTS}]
)
def test_contents_and_whole_requests_can_be_counted(body: dict[str, Any]) -> None:
    counted = read_count(json.dumps(body).encode(), "m")
    assert counted.request.contents[0].parts is not None
    assert counted.request.model == "m"


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({}, "contents"),
        ({**CONTENTS, "generateContentRequest": CONTENTS}, "contents"),
        ({"generateContentRequest": {**CONTENTS, "model": "other"}}, "generateContentRequest.model"),
        ({"generateContentRequest": {}}, "generateContentRequest.contents"),
    ],
)
def test_what_cannot_be_counted_is_refused(body: dict[str, Any], place: str) -> None:
    with pytest.raises(RequestError) as caught:
        read_count(json.dumps(body).encode(), "m")
    assert caught.value.place == place
