"""The file of a run's cases: written as they are answered, gone on with after an end, never mixed with another's."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from eval_cases import CasesFile, RunLine, read_cases
from eval_report import report_of
from eval_run import Outcome, Question, answer_questions, decoder_of
from rich.console import Console

from finetune.bfcl import Verdict
from finetune.failures import Mode
from finetune.gold import Gold, gold_of
from grammars.conversation import Choice, Conversation, Message
from grammars.errors import ConfigurationError
from grammars.tools import Tool, ToolCall
from serving.decode.round import RoundRequest
from serving.engines.scripted import ScriptedEngine

RUN = RunLine(
    category="rows.jsonl",
    model="m",
    engine="transformers",
    device="cpu",
    dtype="auto",
    dialect="json",
    decoding="parallel",
    plan_form="joint",
    sure_tally=None,
    tool_choice="auto",
    dependencies=False,
    files={"rows.jsonl": "its hash"},
)
CALL = ToolCall(id="1", name="note", arguments={"text": "a\u2028b, \u00e9", "n": [1, 2.5, None]})
GOLD = gold_of([CALL], ())


def outcome(id: str = "one") -> Outcome:
    return Outcome(
        id=id,
        calls=(CALL,),
        verdict=Verdict(valid=False, error_type="x", error="y"),
        gold=GOLD,
        modes=Counter[Mode]({"duplicate": 2}),
        invalid_calls=1,
        failed_calls=2,
        right_count=True,
        steps=30,
        plan_steps=4,
        tally_probability=0.1 + 0.2,
        fallbacks=1,
        duplicates_removed=3,
    )


def question(id: str, gold: Gold = GOLD) -> Question:
    conversation = Conversation.read([Message(role="user", text="?")], [Tool(name="now")], Choice(mode="required"))
    return Question(id=id, conversation=conversation, gold=gold)


def test_outcomes_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "a" / "run.cases.jsonl"
    CasesFile(path, RUN).add(outcome())
    assert CasesFile(path, RUN).done([question("one"), question("two")]) == {"one": outcome()}
    run, (case,) = read_cases(path)
    assert run == RUN
    assert case.scored.tally_probability == 0.1 + 0.2
    assert (case.scored.is_right, case.scored.is_right_count) == (False, True)


def test_line_that_was_cut_is_taken_off_and_its_case_is_open_again(tmp_path: Path) -> None:
    path = tmp_path / "run.cases.jsonl"
    file = CasesFile(path, RUN)
    file.add(outcome("one"))
    file.add(outcome("two"))
    path.write_bytes(path.read_bytes()[:-9])
    again = CasesFile(path, RUN)
    questions = [question("one"), question("two")]
    assert list(again.done(questions)) == ["one"]
    again.add(outcome("two"))
    assert list(CasesFile(path, RUN).done(questions)) == ["one", "two"]


def test_cases_of_another_run_are_not_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "run.cases.jsonl"
    CasesFile(path, RUN)
    with pytest.raises(ConfigurationError, match="another run: sure_tally, files differ"):
        CasesFile(path, replace(RUN, sure_tally=0.5, files={}))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nonsense\n", "line 1 is no RunLine"),
        ('{"category": "parallel"}\n', "line 1 is no RunLine: model"),
        ("{run}\n{}\n", "line 2 is no CaseLine: id"),
        ("{run}\n{case}\n{case}\n", "the case 'one' twice"),
    ],
)
def test_file_that_cannot_be_read_is_refused_with_its_line(tmp_path: Path, text: str, reason: str) -> None:
    good = tmp_path / "good.cases.jsonl"
    CasesFile(good, RUN).add(outcome())
    run, case = good.read_text().splitlines()
    path = tmp_path / "run.cases.jsonl"
    path.write_text(text.replace("{run}", run).replace("{case}", case))
    with pytest.raises(ConfigurationError, match=reason):
        CasesFile(path, RUN)


def test_run_that_ended_early_asks_only_what_is_open_and_reports_all(tmp_path: Path) -> None:
    """The first run breaks in the middle; the second answers the rest; a third has nothing to do."""
    path = tmp_path / "run.cases.jsonl"
    questions = [question(str(number)) for number in range(6)]

    def run(broken_after: int | None = None) -> tuple[list[Outcome], list[str]]:
        file = CasesFile(path, RUN)
        asked: list[str] = []

        def heard(outcome: Outcome) -> None:
            if len(asked) == broken_after:
                raise OSError("no space left")
            file.add(outcome)
            asked.append(outcome.id)

        decoder = decoder_of(ScriptedEngine(), "json", "joint")
        answering = answer_questions(
            decoder,
            questions,
            RoundRequest(),
            "t",
            1,
            Console(file=StringIO()),
            done=file.done(questions),
            heard=heard,
        )
        return asyncio.run(answering), asked

    with pytest.raises(OSError, match="no space"):
        run(broken_after=2)
    outcomes, asked = run()
    assert asked == ["2", "3", "4", "5"]
    assert [one.id for one in outcomes] == [one.id for one in questions]
    again, none = run()
    assert none == []
    assert report_of("r", "m", "parallel", "joint", again) == report_of("r", "m", "parallel", "joint", outcomes)
    assert len(path.read_text().splitlines()) == 1 + len(questions)
    assert json.loads(path.read_text().splitlines()[0])["files"] == {"rows.jsonl": "its hash"}
