"""Gemini's wire with Google's own client, google-genai. G1 to G7 are the rules of that wire."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from google import genai
from google.genai import errors, types
from pydantic import BaseModel

from serving.execute.registry import Registry
from tests.serving.api.api_server import Call, Rounds, Serve, Server, serving

QUESTION = "What is the weather in San Francisco, Tokyo and Paris?"
WEATHER: list[Call] = [("weather", {"city": city}) for city in ("San Francisco", "Tokyo", "Paris")]
CITY: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FUNCTIONS = [types.Tool(function_declarations=[
    types.FunctionDeclaration(name="weather", description="The weather in a city.", parameters_json_schema=CITY),
    types.FunctionDeclaration(name="local_time", description="The time in a city.", parameters_json_schema=CITY),
])]  # fmt: skip
BY_HAND = types.AutomaticFunctionCallingConfig(disable=True)


@pytest.fixture(scope="module")
def weather_server() -> Iterator[Server]:
    """A server that asks for the weather in three cities, and then says what it makes of the results."""
    for serve in serving():
        yield serve([WEATHER, "Mild, but for Tokyo."])


@pytest.fixture(scope="module")
def wild_server() -> Iterator[Server]:
    """A server whose model writes whatever the grammar lets it."""
    for serve in serving():
        yield serve(lambda _text, _constraint: None)


@contextmanager
def client(server: Server, **options: Any) -> Iterator[genai.Client]:
    """Google's client, which does not retry."""
    http = types.HttpOptions(
        base_url=server.url, timeout=20_000, retry_options=types.HttpRetryOptions(attempts=1), **options
    )
    with genai.Client(api_key=server.api_key, http_options=http) as made:
        yield made


def config(**fields: Any) -> types.GenerateContentConfig:
    return types.GenerateContentConfig(**{"tools": FUNCTIONS, "automatic_function_calling": BY_HAND, **fields})


def ask(server: Server, contents: Any = QUESTION, **fields: Any) -> types.GenerateContentResponse:
    with client(server) as google:
        return google.models.generate_content(model=server.engine.model, contents=contents, config=config(**fields))


def stream(server: Server, contents: Any = QUESTION, **fields: Any) -> list[types.GenerateContentResponse]:
    with client(server) as google:
        chunks = google.models.generate_content_stream(
            model=server.engine.model, contents=contents, config=config(**fields)
        )
        return list(chunks)


def extension(**fields: Any) -> types.HttpOptions:
    """The request's own object, which Google's client adds to the body."""
    return types.HttpOptions(extra_body={"polycall": fields})


def mode(name: str, *allowed: str) -> types.ToolConfig:
    """The function-calling mode, and the functions that it allows."""
    calling = types.FunctionCallingConfig(mode=name, allowed_function_names=list(allowed) or None)  # type: ignore[arg-type]
    return types.ToolConfig(function_calling_config=calling)


def called(parts: Sequence[types.Part]) -> list[Call]:
    return [(str(part.function_call.name), part.function_call.args or {}) for part in parts if part.function_call]


def parts_of(response: types.GenerateContentResponse) -> list[types.Part]:
    assert response.candidates is not None
    content = response.candidates[0].content
    assert content is not None
    assert content.role == "model"
    return content.parts or []


def answered(part: types.Part, response: dict[str, Any], **fields: Any) -> types.Part:
    """The response to the part's call, with its id unless the fields say otherwise."""
    assert part.function_call is not None
    named = {"id": part.function_call.id, "name": part.function_call.name, **fields}
    return types.Part(function_response=types.FunctionResponse(**named, response=response))


def said(parts: list[types.Part]) -> list[types.Content]:
    """The question, and the model's turn of these parts."""
    asked = types.Content(role="user", parts=[types.Part(text=QUESTION)])
    return [asked, types.Content(role="model", parts=parts)]


def finish(response: types.GenerateContentResponse) -> types.FinishReason | None:
    assert response.candidates is not None
    return response.candidates[0].finish_reason


def post(server: Server, method: str = "generateContent", **body: Any) -> httpx.Response:
    """A request as it stands on the wire."""
    url = f"{server.url}/v1beta/models/{server.engine.model}:{method}"
    return httpx.post(url, json={"contents": [{"parts": [{"text": QUESTION}]}], **body}, timeout=20)


# G1: calls are parts of one model turn, their arguments objects; a stream sends each in one piece.


@pytest.mark.parametrize("count", [0, 1, 2, 8, 32])
def test_g1_so_many_calls_are_parts_of_one_turn_whole_and_streamed(serve: Serve, count: int) -> None:
    calls: list[Call] = [("weather", {"city": f"city {number}"}) for number in range(count)]
    server = serve([calls or "No tool is needed."])
    whole = ask(server, http_options=extension(max_calls=32))
    chunks = stream(server, http_options=extension(max_calls=32))
    streamed = [part for chunk in chunks for part in parts_of(chunk)]
    assert called(parts_of(whole)) == called(streamed) == calls
    assert {finish(whole), finish(chunks[-1])} == {types.FinishReason.STOP}
    ids = {call.id for call in whole.function_calls or []}
    assert len(ids) == count
    assert None not in ids
    assert all(len(parts_of(chunk)) == 1 for chunk in chunks)
    assert len([chunk for chunk in chunks if chunk.function_calls]) == count


def test_g1_arguments_are_objects_that_keep_every_value(serve: Serve) -> None:
    schema = {"type": "object", "properties": {"value": {}}, "required": ["value"]}
    tool = types.Tool(function_declarations=[types.FunctionDeclaration(name="keep", parameters_json_schema=schema)])
    kept: list[Call] = [("keep", {"value": value}) for value in (None, [None, {"a": None}], 1.5, 'O"slo — 世界')]
    server = serve([kept])
    assert called(parts_of(ask(server, tools=[tool]))) == kept
    assert [call for chunk in stream(server, tools=[tool]) for call in called(parts_of(chunk))] == kept


def test_g1_a_text_streams_in_pieces_that_join_to_the_whole_text(serve: Serve) -> None:
    server = serve(["It is fine — 世界."])
    chunks = stream(server)
    assert "".join(chunk.text or "" for chunk in chunks) == ask(server).text == "It is fine — 世界."
    assert len(chunks) > 5


# G2: the next turn answers every call, in one turn.


def test_g2_the_responses_of_one_turn_lead_to_the_answer(weather_server: Server) -> None:
    parts = parts_of(ask(weather_server))
    results = [answered(part, {"output": f"{number} degrees"}) for number, part in enumerate(parts)]
    answer = ask(weather_server, [*said(parts), types.Content(role="user", parts=results)])
    assert answer.text == "Mild, but for Tokyo."


@pytest.mark.parametrize(
    ("answers", "field", "words"),
    [
        (
            [0, 1],
            "contents[2].parts",
            "number of function response parts is equal to the number of function call parts",
        ),
        ([0, 1, 2, 2], "contents[2].parts[3].functionResponse.id", "No call without a response has the id"),
        ([], "contents[1].parts", "number of function response parts is equal to the number of function call parts"),
    ],
)
def test_g2_a_turn_that_does_not_answer_each_call_once_is_refused_in_googles_words(
    weather_server: Server, answers: list[int], field: str, words: str
) -> None:
    parts = parts_of(ask(weather_server))
    turn = [types.Content(role="user", parts=[answered(parts[index], {}) for index in answers])] if answers else []
    with pytest.raises(errors.ClientError) as caught:
        ask(weather_server, [*said(parts), *turn])
    assert (caught.value.code, caught.value.status) == (400, "INVALID_ARGUMENT")
    assert words in str(caught.value.message)
    assert field_of(caught.value) == field


def field_of(error: errors.APIError) -> str:
    """The field that a `BadRequest` among the error's details names."""
    [found] = [detail for detail in error.details["error"]["details"] if "fieldViolations" in detail]
    return str(found["fieldViolations"][0]["field"])


# G3: responses are matched by id, and without one by name and order.


@pytest.mark.parametrize("with_id", [True, False])
def test_g3_the_model_reads_each_result_beside_its_call(serve: Serve, with_id: bool) -> None:
    read: list[str] = []
    calls: list[Call] = [("weather", {"city": "Oslo"}), ("local_time", {"city": "Oslo"}), ("weather", {"city": "Bern"})]

    def says(text: str, constraint: Any) -> Any:
        read.append(text)
        return Rounds([calls, "Done."])(text, constraint)

    server = serve(says)
    parts = parts_of(ask(server))
    without = {} if with_id else {"id": None}
    results = [
        answered(parts[0], {"result": "snow"}, **without),
        answered(parts[2], {"result": {"sky": "sun"}}, **without),
        answered(parts[1], {"error": "the clock stands still"}, **without),
    ]
    assert ask(server, [*said(parts), types.Content(role="user", parts=results)]).text == "Done."
    places = [read[-1].index(words) for words in ("snow", "the clock stands still", '{"sky": "sun"}')]
    assert places == sorted(places)
    assert "tool_error" in read[-1]


# G4: the modes. Whether calls may be parallel has no field of Google's: the extension has it.


@pytest.mark.parametrize("name", ["AUTO", "VALIDATED", "MODE_UNSPECIFIED"])
def test_g4_the_model_decides_whether_to_call(weather_server: Server, hello_server: Server, name: str) -> None:
    assert called(parts_of(ask(weather_server, tool_config=mode(name)))) == WEATHER
    assert ask(hello_server, tool_config=mode(name)).text == "Hello."


def test_g4_any_calls_whatever_the_model_would_rather_say(wild_server: Server) -> None:
    answer = ask(wild_server, tool_config=mode("ANY"))
    assert answer.function_calls
    assert answer.text is None


@pytest.mark.parametrize("name", ["ANY", "VALIDATED"])
def test_g4_allowed_functions_are_the_only_ones_called(wild_server: Server, name: str) -> None:
    for seed in range(3):
        answer = ask(wild_server, tool_config=mode(name, "local_time"), seed=seed, temperature=1)
        assert {call[0] for call in called(parts_of(answer))} <= {"local_time"}


def test_g4_none_calls_nothing_and_shows_the_model_no_function(serve: Serve) -> None:
    seen: list[str] = []

    def says(text: str, _constraint: Any) -> str:
        seen.append(text)
        return "Fine."

    answer = ask(serve(says), tool_config=mode("NONE"))
    assert (answer.text, answer.function_calls) == ("Fine.", None)
    assert "local_time" not in seen[0]


@pytest.mark.parametrize(
    ("choice", "field"),
    [
        (mode("AUTO", "weather"), "toolConfig.functionCallingConfig.allowedFunctionNames"),
        (mode("ANY", "weather", "unknown"), "toolConfig.functionCallingConfig"),
    ],
)
def test_g4_a_mode_that_cannot_be_honoured_is_refused(
    hello_server: Server, choice: types.ToolConfig, field: str
) -> None:
    with pytest.raises(errors.ClientError) as caught:
        ask(hello_server, tool_config=choice)
    assert field_of(caught.value) == field
    assert "tool_choice" not in str(caught.value)


def test_g4_a_mode_without_functions_is_refused(hello_server: Server) -> None:
    with pytest.raises(errors.ClientError) as caught:
        ask(hello_server, tools=None, tool_config=mode("ANY"))
    assert field_of(caught.value) == "toolConfig.functionCallingConfig"


def test_g4_the_extension_allows_one_call_at_most(wild_server: Server) -> None:
    answer = ask(wild_server, tool_config=mode("ANY"), http_options=extension(max_calls=1))
    assert len(answer.function_calls or []) == 1


# G5: both forms of a function's parameters, in both spellings.


@pytest.mark.parametrize(
    "function",
    [
        {"name": "weather", "parametersJsonSchema": CITY},
        {"name": "weather", "parameters_json_schema": CITY},
        {"name": "weather", "parameters": {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}}},
    ],
)
@pytest.mark.parametrize("declarations", ["functionDeclarations", "function_declarations"])
def test_g5_parameters_are_read_in_either_form(
    weather_server: Server, function: dict[str, Any], declarations: str
) -> None:
    answer = post(weather_server, tools=[{declarations: [function]}])
    assert answer.status_code == 200, answer.text
    parts = answer.json()["candidates"][0]["content"]["parts"]
    assert [(part["functionCall"]["name"], part["functionCall"]["args"]) for part in parts] == WEATHER


def test_g5_a_python_function_is_a_tool_with_the_parameters_of_its_signature(serve: Serve) -> None:
    def book(city: str, nights: int, breakfast: bool = False) -> str:
        """Books a room.

        Args:
            city: Where.
            nights: How many.
            breakfast: Whether with it.
        """
        raise AssertionError(f"not to be run: {city} {nights} {breakfast}")

    wanted: list[Call] = [("book", {"city": "Bern", "nights": 2, "breakfast": True})]
    assert called(parts_of(ask(serve([wanted]), tools=[book]))) == wanted


def test_g5_a_schema_that_cannot_be_honoured_is_refused_at_its_declaration(hello_server: Server) -> None:
    bad = {"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}}
    answer = post(hello_server, tools=[{"functionDeclarations": [
        {"name": "weather"}, {"name": "bad", "parametersJsonSchema": bad},
    ]}])  # fmt: skip
    [info, where] = answer.json()["error"]["details"]
    assert (answer.status_code, info["reason"]) == (400, "SCHEMA_REFUSED")
    assert where["fieldViolations"][0]["field"] == "tools[0].functionDeclarations[1].parametersJsonSchema"
    assert "'/properties/a'" in answer.json()["error"]["message"]


# G6: thought signatures, which other models gave to the client, are taken back.


def test_g6_a_history_with_thought_signatures_is_read_without_them(weather_server: Server) -> None:
    parts = parts_of(ask(weather_server))
    assert [part.thought_signature for part in parts] == [None, None, None]
    parts[0].thought_signature = b"opaque"
    results = [answered(part, {"output": "mild"}) for part in parts]
    answer = ask(weather_server, [*said(parts), types.Content(role="user", parts=results)])
    assert answer.text == "Mild, but for Tokyo."


# G7: Google's client runs the calls by itself, and asks again until the answer is text.


class Station:
    """A weather service of the client's, that is closed in one city."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def weather(self, city: str) -> str:
        """The weather in a city.

        Args:
            city: Which city.
        """
        self.asked.append(city)
        if city == "Tokyo":
            raise LookupError("no such station")
        return f"{len(city)} degrees"


@pytest.mark.parametrize("streamed", [False, True])
def test_g7_automatic_function_calling_runs_every_call_and_reads_the_answer(serve: Serve, streamed: bool) -> None:
    read: list[str] = []

    def says(text: str, constraint: Any) -> Any:
        read.append(text)
        return Rounds([WEATHER, "Mild, but for Tokyo."])(text, constraint)

    server, station = serve(says), Station()
    with client(server) as google:
        asked: dict[str, Any] = {
            "model": server.engine.model, "contents": QUESTION, "config": {"tools": [station.weather]}
        }  # fmt: skip
        if streamed:
            chunks = list(google.models.generate_content_stream(**asked))
            text = "".join(chunk.text or "" for chunk in chunks)
            history = chunks[-1].automatic_function_calling_history
        else:
            answer = google.models.generate_content(**asked)
            text, history = answer.text or "", answer.automatic_function_calling_history
    assert text == "Mild, but for Tokyo."
    assert station.asked == ["San Francisco", "Tokyo", "Paris"]
    assert history is not None
    assert [part for part in history[-1].parts or [] if part.function_response]
    assert "13 degrees" in read[-1]
    assert "no such station" in read[-1]


@pytest.mark.parametrize("streamed", [False, True])
def test_g7_a_chat_remembers_calls_and_answers_over_turns(serve: Serve, streamed: bool) -> None:
    rounds = [WEATHER, "Mild, but for Tokyo.", WEATHER[:1], "Still mild."]
    server, station = serve(rounds), Station()
    with client(server) as google:
        chat = google.chats.create(model=server.engine.model, config={"tools": [station.weather]})

        def answer_to(message: str) -> str:
            if streamed:
                return "".join(chunk.text or "" for chunk in chat.send_message_stream(message))
            return chat.send_message(message).text or ""

        assert answer_to(QUESTION) == "Mild, but for Tokyo."
        assert answer_to("And in San Francisco now?") == "Still mild."
        assert station.asked == ["San Francisco", "Tokyo", "Paris", "San Francisco"]
        curated = [part for content in chat.get_history(curated=True) for part in content.parts or []]
    assert len(called(curated)) == 4


@pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")
def test_g7_the_async_client_runs_calls_too(weather_server: Server) -> None:
    asked = []

    async def weather(city: str) -> str:
        """The weather in a city.

        Args:
            city: Which city.
        """
        asked.append(city)
        return "mild"

    async def run() -> str | None:
        with client(weather_server) as google:
            async with google.aio as google_async:
                answer = await google_async.models.generate_content(
                    model=weather_server.engine.model, contents=QUESTION, config={"tools": [weather]}
                )
                return answer.text

    assert asyncio.run(run()) == "Mild, but for Tokyo."
    assert asked == ["San Francisco", "Tokyo", "Paris"]


# What the rules do not say: server-run tools, usage, models, counting, both forms of a stream.


def test_what_the_server_runs_stands_in_the_report_whole_and_streamed(serve: Serve) -> None:
    registry = Registry()

    @registry.tool(read_only=True)
    def capital(country: str) -> str:
        """The capital of a country."""
        return {"Norway": "Oslo"}[country]

    server = serve([[("capital", {"country": "Norway"})], "It is Oslo."], registry=registry)
    whole = post(server).json()
    streamed = post(server, "streamGenerateContent").json()
    assert whole["candidates"][0]["content"]["parts"] == [{"text": "It is Oslo."}]
    for report in (whole["polycall"], streamed[-1]["polycall"]):
        [ran] = report["server_calls"]
        assert (ran["name"], ran["arguments"], ran["result"]) == ("capital", {"country": "Norway"}, "Oslo")
    assert all("polycall" not in chunk for chunk in streamed[:-1])


def test_calls_of_both_sides_go_on_together_by_the_ids_of_the_clients(serve: Serve) -> None:
    registry, read = Registry(), []

    @registry.tool(read_only=True)
    def capital(country: str) -> str:
        """The capital of a country."""
        return {"Norway": "Oslo"}[country]

    def says(text: str, constraint: Any) -> Any:
        read.append(text)
        return Rounds([[("capital", {"country": "Norway"}), *WEATHER[:1]], "Mild."])(text, constraint)

    server = serve(says, registry=registry)
    parts = parts_of(ask(server))
    assert called(parts) == WEATHER[:1]
    results = [answered(part, {"output": "mild"}) for part in parts]
    assert ask(server, [*said(parts), types.Content(role="user", parts=results)]).text == "Mild."
    assert "Oslo" in read[-1]


def test_usage_counts_what_was_read_and_written_and_is_the_same_streamed(weather_server: Server) -> None:
    chunks = stream(weather_server)
    counts = [
        (used.prompt_token_count, used.candidates_token_count, used.total_token_count)
        for used in (ask(weather_server).usage_metadata, chunks[-1].usage_metadata)
        if used is not None
    ]
    assert counts[0] == counts[1]
    read, written, total = counts[0]
    assert total == (read or 0) + (written or 0) > 0
    assert [chunk.usage_metadata for chunk in chunks[:-1]] == [None] * 3


def test_an_answer_that_is_cut_says_so(serve: Serve) -> None:
    answer = ask(serve(["A long story."]), max_output_tokens=3)
    assert finish(answer) == types.FinishReason.MAX_TOKENS


def test_the_whole_answer_and_each_chunk_name_model_and_response(weather_server: Server) -> None:
    chunks = stream(weather_server)
    assert {chunk.model_version for chunk in chunks} == {weather_server.engine.model}
    assert len({chunk.response_id for chunk in chunks}) == 1


def test_tokens_are_counted_as_the_answer_counts_them(hello_server: Server) -> None:
    with client(hello_server) as google:
        counted = google.models.count_tokens(model=hello_server.engine.model, contents=QUESTION)
    used = ask(hello_server, tools=None).usage_metadata
    assert used is not None
    assert counted.total_tokens == used.prompt_token_count


def test_models_are_listed_and_found_in_googles_form_and_openais_clients_get_theirs(hello_server: Server) -> None:
    with client(hello_server) as google:
        [listed] = google.models.list()
        assert listed == google.models.get(model=hello_server.engine.model)
        with pytest.raises(errors.ClientError) as caught:
            google.models.get(model="gemini-9")
    assert listed.name == f"models/{hello_server.engine.model}"
    assert listed.supported_actions == ["generateContent", "countTokens"]
    assert (caught.value.code, caught.value.status) == (404, "NOT_FOUND")
    assert [model.id for model in hello_server.client.models.list()] == [hello_server.engine.model]


def test_an_unknown_model_and_an_unknown_field_are_named(hello_server: Server) -> None:
    with client(hello_server) as google, pytest.raises(errors.ClientError) as caught:
        google.models.generate_content(model="gemini-9", contents=QUESTION)
    assert (caught.value.code, caught.value.status, field_of(caught.value)) == (404, "NOT_FOUND", "model")
    with pytest.raises(errors.ClientError) as caught:
        ask(hello_server, top_k=3)
    assert field_of(caught.value) == "generationConfig.topK"


# Answers by a schema, and how likely their tokens were


class City(BaseModel):
    name: str
    degrees: int


@pytest.mark.parametrize("form", ["response_schema", "response_json_schema"])
def test_a_schema_of_the_answer_does_not_mask_the_calls(serve: Serve, form: str) -> None:
    found = '{"name": "Oslo", "degrees": 3}'
    server = serve([WEATHER[:1], found])
    schema = City if form == "response_schema" else City.model_json_schema()
    fields: dict[str, Any] = {"response_mime_type": "application/json", form: schema}
    parts = parts_of(ask(server, **fields))
    assert called(parts) == WEATHER[:1]
    results = [answered(part, {"output": "3 degrees"}) for part in parts]
    answer = ask(server, [*said(parts), types.Content(role="user", parts=results)], **fields)
    assert answer.text is not None
    assert City.model_validate_json(answer.text) == City(name="Oslo", degrees=3)
    if form == "response_schema":
        assert answer.parsed == City(name="Oslo", degrees=3)


def test_a_schema_that_cannot_be_honoured_is_refused_at_its_field(hello_server: Server) -> None:
    bad = {"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}}
    with pytest.raises(errors.ClientError) as caught:
        ask(hello_server, response_mime_type="application/json", response_json_schema=bad)
    assert field_of(caught.value) == "generationConfig.responseJsonSchema"
    assert "'/properties/a'" in str(caught.value.message)


def test_log_probabilities_are_those_of_the_texts_tokens_whole_and_streamed(hello_server: Server) -> None:
    asked: dict[str, Any] = {"tools": None, "response_logprobs": True, "logprobs": 2}
    whole = told(ask(hello_server, **asked))
    streamed = [each for chunk in stream(hello_server, **asked) for each in told(chunk)]
    assert "".join(token for token, _, _ in whole) == "Hello."
    assert all(logprob <= 0 and count == 2 for _, logprob, count in whole)
    assert streamed == whole


def told(response: types.GenerateContentResponse) -> list[tuple[str | None, float, int]]:
    """Each token, how likely it was, and how many others are told of in its place."""
    assert response.candidates is not None
    result = response.candidates[0].logprobs_result
    if result is None:
        return []
    tops = [len(top.candidates or []) for top in result.top_candidates or []]
    chosen = [(token.token, token.log_probability or 0.0) for token in result.chosen_candidates or []]
    return [(*token, count) for token, count in zip(chosen, tops, strict=True)]
