"""scripts/eval gate: what it says of a threshold is what a run at that threshold comes to."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from io import StringIO
from itertools import cycle
from pathlib import Path

import pytest
from eval import app
from eval_cases import ENDING, CasesFile, RunLine
from eval_gate import TOGETHER, read_gating, read_run
from eval_run import Outcome, Question, answer_questions, decoder_of
from rich.console import Console
from typer.testing import CliRunner

from finetune.gating import gated
from finetune.gold import gold_of
from grammars.constraint import Constraint
from grammars.conversation import Choice, Conversation, Message
from grammars.errors import ConfigurationError
from grammars.tools import Tool, ToolCall
from serving.decode.round import RoundRequest
from serving.engines.scripted import Answer, Failure, ScriptedEngine

CITY = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 20}}, "required": ["city"]}
CITIES = ("Oslo", "Rome")
"""What the calls are about that are known by their numbers only."""
WEATHER = Tool(name="weather", parameters=CITY)
RUN = RunLine(
    category="parallel",
    model="trained",
    engine="transformers",
    device="cpu",
    dtype="auto",
    dialect="polycall-smollm2",
    decoding="parallel",
    plan_form="tally, outline below 0",
    sure_tally=0,
    tool_choice=None,
    dependencies=False,
    files={},
)
OUTLINE = replace(RUN, plan_form="outline", sure_tally=None)
SEQUENTIAL = replace(RUN, decoding="sequential", plan_form=None, sure_tally=None)


def script(text: str, constraint: Constraint) -> Answer:
    """Counts and outlines by what is asked: `ask 2 Oslo,Rome` is tallied as 2 and outlined as Oslo and Rome."""
    asked = re.search(r"ask (\d|broken) ([\w,]*)", text)
    assert asked is not None
    tallied, outlined = asked[1], [city for city in asked[2].split(",") if city]
    stands_on = text.rpartition("assistant\n")[2]
    if stands_on.startswith("<jupyter_start>"):
        return Failure(error="broken") if tallied == "broken" else tallied
    if stands_on == "<jupyter_text>":
        return "".join(f"weather: {city}\n" for city in outlined) + "end"
    if called := re.fullmatch(r"<jupyter_code>weather: (.*)<jupyter_output>", stands_on):
        subject = called[1].partition(" of ")[0]
        return f'{{"city": "{CITIES[int(subject) - 1] if subject.isdigit() else subject}"}}'
    return "In words." if "[" not in constraint.lark else None


def question(number: int, asked: str, due: Sequence[str], most: int, mode: str) -> Question:
    """A question with so many `most` calls: the script finds each number of them that is allowed equally likely."""
    conversation = Conversation.read(
        [Message(role="user", text=f"ask {asked}")],
        [WEATHER],
        Choice(mode="auto" if mode == "auto" else "required", most=most),
    )
    gold = gold_of([ToolCall(id=city, name="weather", arguments={"city": city}) for city in due], ())
    return Question(id=str(number), conversation=conversation, gold=gold)


QUESTIONS = [
    question(number, asked, due.split(), most, mode)
    for number, ((asked, due), most, mode) in enumerate(
        zip(
            [
                ("2 Oslo,Rome", "Oslo Rome"),  # both are right
                ("1 Oslo,Rome", "Oslo Rome"),  # the outline is
                ("2 Oslo,Rome,Bern", "Oslo Rome"),  # the tally is
                ("0 Oslo", ""),  # the tally is, by no call, unless one is required
                ("2 ", ""),  # the outline is, by no call
                ("broken Oslo", "Oslo"),  # there is no tally
            ]
            * 3,
            cycle([2, 9, 4, 3]),
            cycle(["auto", "auto", "auto", "required", "auto"]),
            strict=False,
        )
    )
]


async def answered(plan_form: str | None, sure_tally: float | None) -> list[Outcome]:
    decoder = decoder_of(ScriptedEngine(script), "polycall-smollm2", plan_form, sure_tally)
    outcomes = await answer_questions(decoder, QUESTIONS, RoundRequest(), "t", 4, Console(file=StringIO()))
    await decoder.engine.close()
    return outcomes


def write(folder: Path, run: RunLine, outcomes: Sequence[Outcome]) -> Path:
    file = CasesFile(folder / f"{run.category}{ENDING}", run)
    for outcome in outcomes:
        file.add(outcome)
    return folder


async def test_gated_at_a_threshold_is_case_by_case_the_run_at_that_threshold(tmp_path: Path) -> None:
    tally = await answered(None, 0)
    outline = await answered("outline", None)
    sure = {outcome.tally_probability and round(outcome.tally_probability, 6) for outcome in tally}
    choices = [one.conversation.choice for one in QUESTIONS]
    assert sure == {None, *(round(1 / (choice.most + 1 - choice.least), 6) for choice in choices)}
    seen = []
    for threshold in (0.0, 0.15, 0.22, 0.3, 0.5):
        real = await answered(None, threshold)
        folders = [
            write(tmp_path / f"{threshold} {name}", RUN, outcomes)
            for name, outcomes in (("tally", tally), ("outline", outline), ("real", real))
        ]
        scored = [read_run(folder)["parallel"][1] for folder in folders]
        assert gated(scored[0], scored[1], threshold) == scored[2]
        seen.append([case.is_right for case in scored[2]])
    assert len({tuple(rights) for rights in seen}) == 5  # each threshold leads to another run


async def test_table_has_every_way_beside_the_others_and_the_best_threshold(tmp_path: Path) -> None:
    tally = write(tmp_path / "tally", RUN, await answered(None, 0))
    outline = write(tmp_path / "outline", OUTLINE, await answered("outline", None))
    sequential = write(tmp_path / "sequential", SEQUENTIAL, await answered("outline", None))
    plot, report = tmp_path / "gate.png", tmp_path / "gate.json"
    folders = ["--tally", str(tally), "--outline", str(outline), "--sequential", str(sequential)]
    result = CliRunner().invoke(
        app, ["gate", *folders, "--plot", str(plot), "--json", str(report)], catch_exceptions=False
    )
    assert result.exit_code == 0
    assert plot.read_bytes().startswith(b"\x89PNG")
    (one,) = read_gating(tally, outline, sequential)
    assert one.outline == one.sequential
    assert one.best == max(one.table, key=lambda row: (row.right.cases, -row.decode_steps, row.threshold))
    assert (
        f"the tally from {one.best.threshold:g} on, {one.best.right.cases} of {len(QUESTIONS)} right" in result.output
    )
    assert sum(tallies.right_count.of for tallies in one.reliability) == len(QUESTIONS) - 3  # which are broken
    (written,) = json.loads(report.read_text())
    assert written["best"]["threshold"] == one.best.threshold
    assert [row["threshold"] for row in written["curve"]] == pytest.approx(
        [0, 1 / 10, 1 / 9, 1 / 5, 1 / 4, 1 / 3, 1 / 2, 1]
    )


async def test_several_categories_are_also_put_together(tmp_path: Path) -> None:
    for name, run in (("tally", RUN), ("outline", OUTLINE)):
        outcomes = await answered(None if name == "tally" else "outline", run.sure_tally)
        for category in ("parallel", "irrelevance"):
            write(tmp_path / name, replace(run, category=category), outcomes)
    *each, together = read_gating(tmp_path / "tally", tmp_path / "outline", None)
    assert [one.category for one in each] == ["irrelevance", "parallel"]
    assert together.category == TOGETHER
    assert together.outline.right.of == 2 * len(QUESTIONS)
    assert together.outline.right.rate == each[0].outline.right.rate
    assert together.sequential is None


@pytest.mark.parametrize(
    ("tally", "outline", "sequential", "reason"),
    [
        (replace(RUN, sure_tally=0.8), OUTLINE, SEQUENTIAL, "no run with --sure-tally 0"),
        (OUTLINE, OUTLINE, SEQUENTIAL, "no run with --sure-tally 0"),
        (RUN, RUN, SEQUENTIAL, "no run with --plan-form outline"),
        (RUN, OUTLINE, OUTLINE, "no run with --decoding sequential"),
        (RUN, replace(OUTLINE, model="other"), SEQUENTIAL, "of another model, or asked in another way"),
        (RUN, OUTLINE, replace(SEQUENTIAL, files={"model.safetensors": "later"}), "of another model"),
        (RUN, replace(OUTLINE, category="irrelevance"), SEQUENTIAL, "has the categories irrelevance, and not parallel"),
    ],
)
def test_runs_that_cannot_be_put_together_are_refused(
    tmp_path: Path, tally: RunLine, outline: RunLine, sequential: RunLine, reason: str
) -> None:
    folders = [
        write(tmp_path / name, run, [])
        for name, run in (("tally", tally), ("outline", outline), ("sequential", sequential))
    ]
    with pytest.raises(ConfigurationError, match=reason):
        read_gating(*folders)


def test_folder_with_cases_of_several_models_is_refused(tmp_path: Path) -> None:
    for category, model in (("parallel", "trained"), ("irrelevance", "other")):
        write(tmp_path / "tally", replace(RUN, category=category, model=model), [])
        write(tmp_path / "outline", replace(OUTLINE, category=category, model=model), [])
    with pytest.raises(ConfigurationError, match="several models: other, trained"):
        read_gating(tmp_path / "tally", tmp_path / "outline", None)


def test_folder_without_cases_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="has no file of cases"):
        read_gating(tmp_path, tmp_path, None)
