"""Dialects as data: their texts fit together, and each is told by its marker in a model's chat template."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from grammars.dialects import (
    DIALECTS,
    HERMES,
    JSON,
    MISTRAL,
    MISTRAL_TEKKEN,
    POLYCALL,
    Dialect,
    dialect_named,
    dialect_of,
    template_mark,
    trained_dialect,
)
from grammars.errors import ConfigurationError
from grammars.prompt import calls_text
from grammars.tools import ToolCall
from serving.engines.byte_tokenizer import ByteTokenizer
from serving.engines.transformers.tokenizer import HuggingFaceTokenizer
from tests.grammars.templates import BRACKETED, MISTRAL_V3, MISTRAL_V3_TEKKEN, TAGGED, TRIMMING, TemplateTokenizer

EVERY = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
AWKWARD = '{0} {tools} {} }{ %s \\ "'


@EVERY
def test_dialect_is_found_by_its_name(dialect: Dialect) -> None:
    assert dialect_named(dialect.name) is dialect


def test_unknown_name_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigurationError, match="'xml'; there are hermes, json, mistral, mistral-tekken, polycall"):
        dialect_named("xml")


@EVERY
def test_calls_begin_with_the_marker_that_no_text_may_contain(dialect: Dialect) -> None:
    assert (dialect.calls_open + dialect.call_open).startswith(dialect.marker)


@pytest.mark.parametrize(
    ("template", "dialect"),
    [
        (TRIMMING, JSON),
        (TAGGED, HERMES),
        (BRACKETED, MISTRAL),
        (MISTRAL_V3, MISTRAL),
        (MISTRAL_V3_TEKKEN, MISTRAL_TEKKEN),
        ("", JSON),
    ],
)
def test_dialect_of_a_model_is_told_by_its_template(template: str, dialect: Dialect) -> None:
    assert dialect_of(TemplateTokenizer(template)) is dialect


@pytest.mark.parametrize("dialect", POLYCALL, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("template", [TRIMMING, TAGGED, MISTRAL_V3])
def test_template_of_a_model_that_polycall_trained_names_its_dialect(template: str, dialect: Dialect) -> None:
    assert dialect_of(TemplateTokenizer(template_mark(dialect) + template)) is dialect


def test_dialect_to_train_on_is_the_one_whose_marks_the_vocabulary_has(smollm2_folder: Path) -> None:
    tokenizer = HuggingFaceTokenizer.load(smollm2_folder, vocabulary_size=49152)
    dialect = trained_dialect(tokenizer)
    assert dialect.name == "polycall-smollm2"
    assert dialect.marks is not None
    assert [len(tokenizer.encode(mark)) for mark in sorted(dialect.marks.tokens)] == [1, 1, 1, 1]
    with pytest.raises(ConfigurationError, match="marks of none of the families mistral-v3, qwen2, smollm2"):
        trained_dialect(ByteTokenizer())


def test_template_without_calls_means_json(smollm2_folder: Path) -> None:
    assert dialect_of(HuggingFaceTokenizer.load(smollm2_folder, vocabulary_size=49152)) is JSON
    assert dialect_of(ByteTokenizer()) is JSON


@EVERY
def test_braces_in_tools_and_results_are_kept_as_they_are(dialect: Dialect) -> None:
    assert dialect.instructions.format(tools=AWKWARD).count(AWKWARD) == 1
    written = dialect.result.format(name="f", arguments="{}", text=AWKWARD, json=json.dumps(AWKWARD))
    assert written.count(AWKWARD) + written.count(json.dumps(AWKWARD)) == 1


CALLS = (
    ToolCall(id="1", name="f", arguments={"a": "{}", "é": [1]}),
    ToolCall(id="2", name="g.h", arguments={}),
)

WRITTEN = {
    "json": '{"tool_calls": [{"name": "f", "arguments": {"a": "{}", "é": [1]}}, {"name": "g.h", "arguments": {}}]}',
    "hermes": (
        '<tool_call>\n{"name": "f", "arguments": {"a": "{}", "é": [1]}}\n</tool_call>\n'
        '<tool_call>\n{"name": "g.h", "arguments": {}}\n</tool_call>'
    ),
    "mistral": '[TOOL_CALLS] [{"name": "f", "arguments": {"a": "{}", "é": [1]}}, {"name": "g.h", "arguments": {}}]',
}
WRITTEN["mistral-tekken"] = WRITTEN["mistral"].replace("] [", "][")
WRITTEN.update((dialect.name, WRITTEN["json"]) for dialect in POLYCALL)


@EVERY
def test_calls_are_written_in_the_syntax_of_the_family(dialect: Dialect) -> None:
    assert calls_text(CALLS, dialect) == WRITTEN[dialect.name]
    assert calls_text((), dialect) == ""


def test_every_dialect_is_specified_here() -> None:
    assert set(WRITTEN) == set(DIALECTS)
