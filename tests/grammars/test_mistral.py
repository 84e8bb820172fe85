"""The mistral dialect beside Mistral's own encoder: the same ids, with the tokenizers that mistral-common bundles."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mistral_common
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from transformers import AutoTokenizer

from grammars.array import turn_constraint
from grammars.branch import Sampling, call_branch
from grammars.constraint import compile_constraint
from grammars.conversation import Choice, Conversation, Message
from grammars.dialects import MISTRAL, MISTRAL_TEKKEN, Dialect, dialect_of
from grammars.plan import PlannedCall
from grammars.prompt import calls_text, render, render_text, short_id
from grammars.tools import Tool, ToolCall, json_text
from serving.engines.transformers.tokenizer import HuggingFaceTokenizer
from tests.grammars.templates import BRACKETED, MISTRAL_V3, MISTRAL_V3_TEKKEN, TemplateTokenizer

DATA = Path(mistral_common.__file__).parent / "data"


@dataclass(frozen=True, kw_only=True)
class Family:
    """Models with one kind of tokenizer: their dialect here, and Mistral's own encoder."""

    dialect: Dialect
    template: str
    vocabulary: int
    theirs: MistralTokenizer
    file: str
    file_name: str

    def folder(self, place: Path) -> Path:
        """A model folder with the bundled tokenizer, in the form in which models come."""
        raw, folder = place / "raw", place / "model"
        described = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "legacy": False}
        for made in (raw, folder):
            made.mkdir()
            (made / "config.json").write_text(json.dumps({"model_type": "mistral", "vocab_size": self.vocabulary}))
        (raw / "tokenizer_config.json").write_text(json.dumps(described))
        shutil.copy(DATA / self.file, raw / self.file_name)
        AutoTokenizer.from_pretrained(raw, mistral_format=False).save_pretrained(folder)
        (folder / "tokenizer_config.json").write_text(json.dumps({**described, "chat_template": self.template}))
        return folder

    def load(self, folder: Path) -> HuggingFaceTokenizer:
        return HuggingFaceTokenizer.load(folder, vocabulary_size=self.vocabulary)

    def ids(self, text: str) -> list[int]:
        """Text, with nothing in it that steers."""
        return list(self.theirs.instruct_tokenizer.tokenizer.encode(text, bos=False, eos=False))

    @property
    def marker(self) -> int:
        """The token before calls."""
        return int(self.theirs.instruct_tokenizer.tokenizer.get_special_token("[TOOL_CALLS]"))


FAMILIES = {
    "v3": Family(
        dialect=MISTRAL,
        template=MISTRAL_V3,
        vocabulary=32768,
        theirs=MistralTokenizer.v3(),
        file="mistral_instruct_tokenizer_240323.model.v3",
        file_name="tokenizer.model",
    ),
    "v3 tekken": Family(
        dialect=MISTRAL_TEKKEN,
        template=MISTRAL_V3_TEKKEN,
        vocabulary=131072,
        theirs=MistralTokenizer.v3(is_tekken=True),
        file="tekken_240718.json",
        file_name="tekken.json",
    ),
}

WEATHER = Tool(
    name="get_weather",
    description='Says what the "weather" is.\nAnd where: é.',
    parameters={"type": "object", "properties": {"city": {"type": "string", "description": "a city, é"}}},
)
CLOCK = Tool(name="clock")
TOOLS = (WEATHER, CLOCK)


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


@pytest.fixture(scope="module")
def ours(family: Family, tmp_path_factory: pytest.TempPathFactory) -> HuggingFaceTokenizer:
    return family.load(family.folder(tmp_path_factory.mktemp("mistral")))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return FAMILIES["v3"].folder(tmp_path_factory.mktemp("v3"))


def call(call_id: str, name: str = "get_weather", **arguments: Any) -> ToolCall:
    return ToolCall(id=call_id, name=name, arguments=arguments)


def result(call_id: str, text: str) -> Message:
    return Message(role="tool", call_id=call_id, text=text)


def user(text: str) -> Message:
    return Message(role="user", text=text)


def their_ids(conversation: Conversation, family: Family, instructions: str = "") -> list[int]:
    """The same conversation through Mistral's own encoder."""
    system = [message.text for message in conversation.messages if message.role == "system"]
    said = [text for text in (*system, instructions) if text]
    messages: list[dict[str, Any]] = [{"role": "system", "content": "\n\n".join(said)}] if said else []
    for message in conversation.messages:
        if message.role == "system":
            continue
        written: dict[str, Any] = {"role": message.role, "content": message.text}
        if message.calls:
            written["tool_calls"] = [their_call(made, short_id(made.id, MISTRAL)) for made in message.calls]
        if message.call_id is not None:
            written["tool_call_id"] = short_id(message.call_id, MISTRAL)
        messages.append(written)
    tools = [
        {
            "type": "function",
            "function": {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)},
        }
        for tool in conversation.callable_tools
    ]
    request = ChatCompletionRequest.from_openai(messages=messages, tools=tools or None, model="mistral")
    return list(family.theirs.encode_chat_completion(request).tokens)


def their_call(made: ToolCall, call_id: str) -> dict[str, Any]:
    function = {"name": made.name, "arguments": json_text(dict(made.arguments))}
    return {"id": call_id, "type": "function", "function": function}


def their_calls(calls: Sequence[ToolCall], family: Family) -> list[int]:
    """Calls as the model was trained to write them: without ids, which it does not choose."""
    text = json.dumps([{"name": made.name, "arguments": dict(made.arguments)} for made in calls], ensure_ascii=False)
    return [family.marker, *family.ids(text)]


CALLS = (call("call_1", city="Bern"), call("call_2", "clock"))
MADE = Message(role="assistant", calls=CALLS)
RESULTS = (result("call_1", '{"sky": "clear"}'), result("call_2", "noon"))
SYSTEM = Message(role="system", text="Be brief.")

ODD_RESULTS = ('a "quote"', "12", "null", "12 degrees\n", '"noon"', "noon")
"""An empty one is left out: to Mistral's encoder it is an empty object, here an empty string."""

CONVERSATIONS = {
    "a question": (user("Weather in Bern, and the time?"),),
    "a system message": (SYSTEM, user("Weather in Bern?")),
    "results at the end": (user("Weather in Bern, and the time?"), MADE, *RESULTS),
    "results at the end, and a system message": (SYSTEM, user("Weather in Bern, and the time?"), MADE, *RESULTS),
    "a second question": (
        SYSTEM,
        user("Weather?"),
        MADE,
        *RESULTS,
        Message(role="assistant", text="Clear."),
        user("Thanks."),
    ),
    "results that are no JSON": (
        user("Weather?"),
        Message(role="assistant", calls=tuple(call(f"c{number}", city="Bern") for number in range(len(ODD_RESULTS)))),
        *(result(f"c{number}", text) for number, text in enumerate(ODD_RESULTS)),
    ),
}


@pytest.mark.parametrize("instructions", ["", "Write an outline."])
@pytest.mark.parametrize("messages", CONVERSATIONS.values(), ids=CONVERSATIONS)
def test_conversation_has_the_ids_of_mistrals_own_encoder(
    messages: tuple[Message, ...], instructions: str, family: Family, ours: HuggingFaceTokenizer
) -> None:
    conversation = Conversation.read(messages, TOOLS)
    ids = render(conversation, family.dialect, ours, instructions=instructions)
    assert ours.decode(ids) == ours.decode(their_ids(conversation, family, instructions))
    assert list(ids) == their_ids(conversation, family, instructions)


def test_without_tools_nothing_is_said_of_them(family: Family, ours: HuggingFaceTokenizer) -> None:
    conversation = Conversation.read([user("hi")])
    assert list(render(conversation, family.dialect, ours)) == their_ids(conversation, family)


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=30).filter(
    lambda text: text == text.strip() and not any(mark in text for mark in ("[", "<", "NaN", "Infinity"))
)
"""Without what only Python reads as JSON: Mistral's own encoder writes it into the prompt as it is."""

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=5,
)


@given(WORDS, WORDS, st.lists(st.dictionaries(WORDS, VALUES, max_size=3), min_size=1, max_size=4), st.data())
@settings(deadline=None, max_examples=60)
def test_any_ordinary_conversation_has_the_ids_of_mistrals_own_encoder(
    family: Family,
    ours: HuggingFaceTokenizer,
    said: str,
    question: str,
    arguments: list[dict[str, Any]],
    data: st.DataObject,
) -> None:
    calls = tuple(
        ToolCall(id=f"call {number}", name="get_weather", arguments=one) for number, one in enumerate(arguments)
    )
    results = [result(made.id, data.draw(WORDS | VALUES.map(json_text))) for made in calls]
    messages = [Message(role="system", text=said), user(question), Message(role="assistant", calls=calls), *results]
    conversation = Conversation.read(messages, TOOLS)
    assert list(render(conversation, family.dialect, ours)) == their_ids(conversation, family)


def test_template_that_makes_json_by_itself_gets_texts_as_they_are() -> None:
    conversation = Conversation.read(CONVERSATIONS["results that are no JSON"], TOOLS)
    text = render_text(conversation, MISTRAL, TemplateTokenizer(BRACKETED))
    for made in (*ODD_RESULTS, WEATHER.description):
        assert text.count(json_text(made)) == 1


# What the model writes


def test_dialect_is_told_by_the_template(family: Family, ours: HuggingFaceTokenizer) -> None:
    assert dialect_of(ours) is family.dialect


def test_calls_have_the_ids_of_mistrals_own_encoder(family: Family, ours: HuggingFaceTokenizer) -> None:
    assert list(ours.encode(calls_text(CALLS, family.dialect))) == their_calls(CALLS, family)


def test_grammar_takes_calls_as_mistral_writes_them_and_no_letters_in_place_of_the_marker(
    family: Family,
    ours: HuggingFaceTokenizer,
) -> None:
    conversation = Conversation.read([user("?")], TOOLS, Choice(mode="required", most=2))
    constraint = compile_constraint(turn_constraint(conversation, family.dialect, ours), ours)
    written = [*their_calls(CALLS, family), *ours.end_ids]
    assert constraint.matcher().accepts(written) == len(written)
    spelled = family.ids(family.dialect.calls_open)
    assert constraint.matcher().accepts(spelled) == 0


def test_branch_begins_as_mistral_begins_calls(family: Family, ours: HuggingFaceTokenizer) -> None:
    planned = PlannedCall(tool="get_weather", subject="")
    branch = call_branch(planned, WEATHER, family.dialect, ours, max_new_tokens=9, sampling=Sampling())
    assert list(branch.suffix[:-1]) == their_calls(CALLS, family)[: len(branch.suffix) - 1]
    assert (branch.suffix[0], branch.suffix.count(family.marker)) == (family.marker, 1)


# How tokenizers come


def variant(folder: Path, place: Path, **parts: Any) -> Path:
    """The model folder with another way to put spaces before texts."""
    shutil.copytree(folder, place)
    described = json.loads((place / "tokenizer.json").read_text())
    (place / "tokenizer.json").write_text(json.dumps({**described, **parts}))
    return place


REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
METASPACE = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}
PREPENDING = {
    "Metaspace": {"normalizer": None, "pre_tokenizer": METASPACE},
    "Prepend": {
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, REPLACE]},
        "pre_tokenizer": None,
    },
}


@pytest.mark.parametrize("parts", PREPENDING.values(), ids=PREPENDING)
def test_tokenizer_that_puts_a_space_before_texts_encodes_them_as_they_are(
    parts: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    family = FAMILIES["v3"]
    ours = family.load(folder)
    place = variant(folder, tmp_path / "variant", **parts)
    prepending = AutoTokenizer.from_pretrained(place, mistral_format=False)
    assert prepending.encode("Bern", add_special_tokens=False) != list(ours.encode("Bern")), "it does as it comes"
    loaded = FAMILIES["v3"].load(place)
    for text in ("Bern", " Bern", "[INST] Bern[/INST]", '{"a": 1}'):
        assert loaded.encode(text) == ours.encode(text)
        assert b"".join(loaded.grammar_tokenizer.decode_bytes([token]) for token in loaded.encode(text)[-1:])
    conversation = Conversation.read(CONVERSATIONS["a second question"], TOOLS)
    assert list(render(conversation, MISTRAL, loaded)) == their_ids(conversation, family)


def test_folder_that_has_mistrals_own_format_too_is_read_in_the_common_one(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "both"
    shutil.copytree(folder, place)
    shutil.copy(DATA / "tekken_240718.json", place / "tekken.json")
    loaded = FAMILIES["v3"].load(place)
    assert loaded.encode("[INST] Bern") == FAMILIES["v3"].load(folder).encode("[INST] Bern")
