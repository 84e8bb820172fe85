"""Findings of written answers: which sentence says which result, and what is left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from finetune.answered import with_results
from finetune.findings import findings
from finetune.readers.example import Example
from grammars.conversation import Message
from grammars.findings import QUESTION
from grammars.tools import Tool, ToolResult

TIDE = Tool(
    name="tide", parameters={"type": "object", "properties": {"port": {"type": "string"}}, "required": ["port"]}
)
CLOCK = Tool(name="clock", parameters={"type": "object", "properties": {}})


def answered(values: Sequence[Any], gold: str) -> Example:
    ports = ["Brest", "Calais", "Cork"][: len(values)]
    asked = Example.build(
        id="1",
        source="here",
        messages=[Message(role="user", text="Tides?")],
        tools=[TIDE, CLOCK],
        calls=[("tide", {"port": port}) for port in ports],
    )
    results = [ToolResult(call_id=call.id, value=value) for call, value in zip(asked.calls, values, strict=True)]
    return with_results(asked, results, gold)


@pytest.mark.parametrize(
    ("values", "gold", "said"),
    [
        ([6.5, 7], "At Brest 6.5 m. At Calais 7 m.", {1: "At Brest 6.5 m.", 2: "At Calais 7 m."}),
        ([6.5, 7], "- Brest: 6.5 m\n- Calais: 7 m", {1: "Brest: 6.5 m", 2: "Calais: 7 m"}),
        ([6.5, 7], "Brest has 6.5 m and Calais 7 m.", {}),
        ([6.5, 7, 8], "Brest has 6.5 m and Calais 7 m. Cork has 8.", {3: "Cork has 8."}),
        ([6.5, 7], "At Brest 6.5 m. At Calais 7 m. So 7 m it is.", {1: "At Brest 6.5 m."}),
        ([7, 7], "At Brest 7 m. At Calais 7 m.", {1: "At Brest 7 m.", 2: "At Calais 7 m."}),
        ([7, 7], "Both have 7 m.", {}),
        ([6.5, 7], "At Brest, 6.5 m. Calais: 17 m.", {1: "At Brest, 6.5 m."}),
        ([6.5, 7], "At Brest in France 6.5 m. Calais: 7 m.", {2: "Calais: 7 m."}),
        (["H. Pryce", 7], "Brest: H. Pryce. Calais: 7 V. Cork: 8.", {1: "Brest: H. Pryce.", 2: "Calais: 7 V."}),
        ([{"m": 6, "by": "noon"}, 7], "Brest: 6 m. By noon. Calais: 7 m.", {2: "Calais: 7 m."}),
        (["low"], "It is low. Very low, indeed.", {1: "It is low. Very low, indeed."}),
    ],
)
def test_a_result_is_a_finding_where_one_sentence_says_it_and_no_other_result(
    values: Sequence[Any], gold: str, said: dict[int, str]
) -> None:
    found = list(findings(answered(values, gold)))
    assert {int(one.id.rpartition("-")[2]): one.text for one in found} == said


def test_a_finding_is_an_example_of_its_call_alone_without_tools() -> None:
    [one] = findings(answered([6.5, 7, 8], "Brest has 6.5 m and Calais 7 m. Cork has 8."))
    question, made, result = one.conversation.messages
    assert (question.text, [call.arguments for call in made.calls], result.text) == (QUESTION, [{"port": "Cork"}], "8")
    assert (one.conversation.tools, one.calls) == ((), ())


def test_what_is_no_answer_after_results_has_none() -> None:
    example = Example.build(id="1", source="here", messages=[Message(role="user", text="Hi")], tools=[], text="Hello.")
    assert list(findings(example)) == []
