"""scripts/eval: real cases, real weights, the official checker; questions, reports, tables and plots."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from eval import app
from eval_cases import read_cases
from eval_questions import bfcl_questions, file_questions
from eval_report import Report, report_of
from eval_run import Outcome, Question, answer_question, decoder_of, plan_named
from eval_view import draw, show
from rich.console import Console
from typer.testing import CliRunner

from finetune.answer_failures import ANSWER_MODES
from finetune.bfcl import Verdict
from finetune.evaluate import read_report
from finetune.failures import MODES, Mode
from finetune.gold import Gold, gold_of
from grammars.conversation import Choice, Conversation, Message
from grammars.errors import ConfigurationError
from grammars.tools import Tool, ToolCall
from serving.decode.round import RoundRequest
from serving.engines.scripted import ScriptedEngine

needs_bfcl = pytest.mark.skipif(find_spec("bfcl_eval") is None, reason="bfcl-eval is not installed")

WEATHER = {
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
ROW = {
    "query": "Weather in Rome and Oslo?",
    "tools": [{"name": "get_weather", "parameters": {"city": {"type": "str"}}}],
    "answers": [{"name": "get_weather", "arguments": {"city": city}} for city in ("Rome", "Oslo")],
}


@needs_bfcl
@pytest.mark.slow
@pytest.mark.parametrize("decoding", ["parallel", "sequential"])
def test_eval_bfcl_reports_accuracy_errors_and_steps_of_the_first_cases(tmp_path: Path, decoding: str) -> None:
    report_file = tmp_path / "report.json"
    arguments = ["bfcl", "--model", "smollm2-135m", "--category", "parallel", "--limit", "1", "--decoding", decoding]
    result = CliRunner().invoke(
        app, [*arguments, "--json", str(report_file), "--output", str(tmp_path)], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    report = json.loads(report_file.read_text())
    assert (report["category"], report["cases"], report["decoding"]) == ("parallel", 1, decoding)
    assert report["invalid_calls"] == 0
    assert report["accuracy"] in (0, 1)
    assert sum(report["errors"].values()) == 1 - report["accuracy"]
    assert report["decode_steps"] > 0
    assert tuple(report["failure_modes"]) == MODES
    assert json.loads((tmp_path / "parallel.report.json").read_text()) == report
    _, (case,) = read_cases(tmp_path / "parallel.cases.jsonl")
    assert case.valid == (not case.failure_modes)


@pytest.mark.slow
def test_eval_cases_reports_failure_modes_beside_an_earlier_run(tmp_path: Path) -> None:
    data, report_file, plot = tmp_path / "rows.jsonl", tmp_path / "report.json", tmp_path / "plot.png"
    data.write_text(f"{json.dumps(ROW)}\nnonsense\n")
    arguments = ["cases", "--data", str(data), "--model", "smollm2-135m", "--skip", "--json", str(report_file)]
    for more in ([], ["--decoding", "sequential", "--compare", str(report_file), "--plot", str(plot)]):
        result = CliRunner().invoke(app, [*arguments, *more], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        assert "1 rows are left out" in result.output
    assert "smollm2-135m, parallel (joint) → smollm2-135m, sequential" in result.output
    assert json.loads(report_file.read_text())["category"] == "rows.jsonl"
    assert plot.read_bytes().startswith(b"\x89PNG")


ANSWERED = {
    "topic": "harbours",
    "tools": [{"name": "water_level", "description": "Metres now.", "parameters": WEATHER["parameters"]}],
    "requests": [
        {
            "text": "How high is the water at Brest?",
            "calls": [{"name": "water_level", "arguments": {"city": "Brest"}}],
            "results": [{"city": "Brest", "metres": 6.5}],
            "answer": "At Brest it is 6.5 metres high.",
        }
    ],
}


@pytest.mark.slow
def test_eval_answers_reports_the_failure_modes_of_answers_and_each_answer(tmp_path: Path) -> None:
    data, report_file = tmp_path / "rows.jsonl", tmp_path / "report.json"
    data.write_text(f"{json.dumps(ANSWERED)}\n")
    arguments = ["answers", "--data", str(data), "--json", str(report_file)]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    report = json.loads(report_file.read_text())
    [case] = report["cases"]
    assert (report["model"], case["calls"]) == ("polycall-135m", 0)
    assert case["text"]
    assert tuple(report["failure_modes"]) == ANSWER_MODES
    assert [mode for mode, shown in report["failure_modes"].items() if shown["cases"]] == case["modes"]
    assert report["right"]["cases"] == (not case["modes"])


def test_eval_answers_refuses_a_file_without_answers(tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text(f"{json.dumps(ROW)}\n")
    with pytest.raises(ConfigurationError, match=r"rows\.jsonl has no row with results and the answer"):
        CliRunner().invoke(app, ["answers", "--data", str(data)], catch_exceptions=False)


@needs_bfcl
def test_eval_bfcl_refuses_a_category_that_it_cannot_score() -> None:
    result = CliRunner().invoke(app, ["bfcl", "--category", "multi_turn_base"])
    assert result.exit_code != 0
    assert "multi_turn_base" in str(result.exception)


@needs_bfcl
@pytest.mark.parametrize(
    ("category", "mode"),
    [
        ("parallel", "required"),
        ("live_multiple", "required"),
        ("simple_java", "required"),
        ("irrelevance", "auto"),
        ("live_relevance", "auto"),
    ],
)
def test_questions_of_bfcl_require_calls_just_where_there_are_answers(category: str, mode: str) -> None:
    (question,) = bfcl_questions(category, 1, None)
    assert question.conversation.choice.mode == mode
    assert bfcl_questions(category, 1, "auto")[0].conversation.choice.mode == "auto"


@needs_bfcl
def test_questions_that_expect_no_call_cannot_require_one() -> None:
    with pytest.raises(ConfigurationError, match="'irrelevance' expects no call"):
        bfcl_questions("irrelevance", 1, "required")


@needs_bfcl
def test_questions_without_any_tool_are_asked_all_the_same() -> None:
    questions = bfcl_questions("live_irrelevance", None, None)
    bare = [question for question in questions if not question.conversation.tools]
    assert bare
    assert {question.conversation.choice.mode for question in bare} == {"none"}


def rows(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f"{one}\n" for one in lines))
    return path


def test_questions_of_a_file_have_its_calls_as_gold(tmp_path: Path) -> None:
    silent = {"messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello"}]}
    path = rows(tmp_path, json.dumps(ROW), json.dumps(silent))
    (calling, saying), refused = file_questions(path, None, "required", skip=False)
    assert [call.tool for call in calling.gold.calls] == ["get_weather", "get_weather"]
    assert (calling.conversation.choice.mode, saying.conversation.choice.mode) == ("required", "none")
    assert (saying.gold, refused) == (Gold(), [])
    assert len(file_questions(path, 1, "auto", skip=False)[0]) == 1


def test_questions_of_a_file_with_a_corrupt_line_need_leave_to_skip_it(tmp_path: Path) -> None:
    path = rows(tmp_path, json.dumps(ROW), "nonsense")
    with pytest.raises(ConfigurationError, match=r"rows\.jsonl, line 2: no JSON"):
        file_questions(path, None, "auto", skip=False)
    questions, refused = file_questions(path, None, "auto", skip=True)
    assert (len(questions), [reason.line for reason in refused]) == (1, [2])
    with pytest.raises(ConfigurationError, match="has no row that can be asked"):
        file_questions(rows(tmp_path, "nonsense"), None, "auto", skip=True)


def question(gold: Gold, choice: Choice, schema: dict[str, Any] | None = None) -> Question:
    tool = Tool(name="get_weather", parameters=schema or WEATHER["parameters"])  # type: ignore[arg-type]
    messages = [Message(role="user", text="Weather in Rome and Oslo?")]
    return Question(id="q", conversation=Conversation.read(messages, [tool], choice), gold=gold)


async def answered(asked: Question) -> Outcome:
    engine = ScriptedEngine()
    outcome = await answer_question(decoder_of(engine, "json", "joint"), asked, RoundRequest(decoding="parallel"))
    await engine.close()
    return outcome


async def test_answer_without_a_judge_is_right_if_it_shows_no_failure_mode() -> None:
    exact = Choice(mode="required", exact=("get_weather",))
    first = await answered(question(Gold(), exact))
    assert (first.modes, first.verdict.valid) == ({"call_where_none_is_due": 1}, False)
    assert first.verdict.error_type == "call_where_none_is_due"
    again = await answered(question(gold_of(first.calls, ()), exact))
    assert (again.modes, again.verdict, again.right_count) == ({}, Verdict(valid=True), True)


async def test_answer_in_text_is_no_call_however_long_its_first_word() -> None:
    engine = ScriptedEngine(["end", "_" * 500])
    outcome = await answer_question(
        decoder_of(engine, "json", "joint"), question(Gold(), Choice(mode="auto")), RoundRequest()
    )
    await engine.close()
    assert (outcome.calls, outcome.modes, outcome.verdict.valid) == ((), {}, True)
    assert outcome.steps < 30


async def test_answer_that_cannot_be_decoded_is_wrong_and_says_why() -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string", "pattern": "("}}}
    outcome = await answered(question(Gold(), Choice(mode="required"), schema))
    assert (outcome.verdict.valid, outcome.verdict.error_type) == (False, "not_decoded:schema_refused")
    assert (outcome.calls, outcome.steps) == ((), 0)


ONE_CALL = gold_of([ToolCall(id="1", name="get_weather", arguments={})], ())


def outcome(error_type: str | None, *, steps: int) -> Outcome:
    return Outcome(
        id="case",
        calls=(),
        verdict=Verdict(valid=error_type is None, error_type=error_type),
        gold=ONE_CALL,
        modes=Counter[Mode]({"over_emission": 2} if error_type else {}),
        invalid_calls=0,
        failed_calls=1,
        right_count=error_type is None,
        steps=steps,
        plan_steps=2,
        tally_probability=None,
        fallbacks=1,
        duplicates_removed=2,
    )


def test_report_counts_errors_by_the_checkers_type_and_takes_means_of_steps() -> None:
    outcomes = [outcome(None, steps=10), outcome("wrong_count", steps=20), outcome("wrong_count", steps=30)]
    report = report_of("parallel", "m", "parallel", "joint", outcomes)
    assert (report.right, report.accuracy, report.right_count) == (1, 0.3333, 1)
    assert report.errors == {"wrong_count": 2}
    assert (report.decode_steps, report.plan_steps, report.fallbacks, report.failed_calls) == (20.0, 2.0, 3, 3)
    assert report.duplicates_removed == 6
    over = report.failure_modes["over_emission"]
    assert (over.cases, over.of, over.occurrences) == (2, 3, 4)


def test_report_of_a_sequential_run_names_no_plan_form() -> None:
    assert report_of("parallel", "m", "sequential", "joint", [outcome(None, steps=1)]).plan_form is None


def report_with(*error_types: str | None, decoding: Any = "parallel") -> Report:
    return report_of("parallel", "m", decoding, "joint", [outcome(one, steps=1) for one in error_types])


def test_report_as_json_can_be_compared_with_a_later_one(tmp_path: Path) -> None:
    path, report = tmp_path / "report.json", report_with(None, "x", "x")
    path.write_text(json.dumps(asdict(report)))
    earlier = read_report(path, "parallel")
    assert earlier.accuracy == report.right_rate
    assert earlier.failure_modes["over_emission"].cases == 2


def test_tables_show_figures_modes_and_changes_with_intervals(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps(asdict(report_with(*["x"] * 20))))
    console = Console(record=True, width=120, file=(tmp_path / "out").open("w"))
    show(report_with(*[None] * 20, decoding="sequential"), read_report(path, "parallel"), console)
    console.file.close()
    text = console.export_text()
    assert "m, parallel (joint) → m, sequential" in text
    row = next(line for line in text.splitlines() if "right " in line and "of 20" in line)
    for part in ("0 of 20, 0.0%", "20 of 20, 100.0%", "+100.0%", "+77.2% to +100.0%", "*"):
        assert part in row
    assert any("under_emission" in line and "0.0% to 16.1%" in line for line in text.splitlines())
    assert any("dependency_violation" in line and "-" in line for line in text.splitlines())


@pytest.mark.parametrize("compared", [True, False])
def test_plot_is_a_picture_with_or_without_an_earlier_report(tmp_path: Path, compared: bool) -> None:
    path, plot = tmp_path / "report.json", tmp_path / "plot.png"
    path.write_text(json.dumps(asdict(report_with("x"))))
    draw(report_with(None, "x"), read_report(path, "parallel") if compared else None, plot)
    assert plot.read_bytes().startswith(b"\x89PNG")


@needs_bfcl
@pytest.mark.parametrize("option", ["--json", "--plot"])
def test_reports_of_several_categories_cannot_be_one_file(tmp_path: Path, option: str) -> None:
    arguments = ["bfcl", "--category", "parallel", "--category", "irrelevance", option, str(tmp_path / "file")]
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, ConfigurationError)
    assert "several have their reports in --output" in str(result.exception)


def test_category_is_asked_once() -> None:
    result = CliRunner().invoke(app, ["bfcl", "--category", "parallel", "--category", "parallel"])
    assert isinstance(result.exception, ConfigurationError)


def test_how_sure_a_tally_must_be_is_for_models_that_plan_by_it() -> None:
    engine = ScriptedEngine()
    assert decoder_of(engine, "polycall-smollm2", None, 0.3).options.sure_tally == 0.3
    for dialect, plan_form in (("json", None), ("polycall-smollm2", "outline")):
        with pytest.raises(ConfigurationError, match="for trained models that plan in their own way"):
            decoder_of(engine, dialect, plan_form, 0.3)


def test_argument_heads_are_for_models_that_plan_by_a_tally() -> None:
    engine = ScriptedEngine()
    decoder = decoder_of(engine, "polycall-smollm2", "tally", argument_heads=8)
    assert decoder.options.argument_heads == 8
    assert plan_named("tally", decoder) == "tally, up to 8 argument heads"
    for dialect, plan_form, said in (
        ("json", None, "for models that were trained for it, and not in the dialect 'json'"),
        ("polycall-smollm2", "outline", "after a tally, and not after 'outline'"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            decoder_of(engine, dialect, plan_form, argument_heads=8)


def test_argument_heads_are_not_for_one_stream(tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text('{"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}\n')
    given = ["cases", "--data", str(data), "--argument-heads", "8", "--decoding", "sequential"]
    result = CliRunner().invoke(app, given)
    assert "--argument-heads is for --decoding parallel" in str(result.exception)


def test_plan_of_a_trained_model_is_named_with_its_threshold() -> None:
    engine = ScriptedEngine()
    assert plan_named(None, decoder_of(engine, "json", None)) == "joint"
    assert plan_named("outline", decoder_of(engine, "polycall-smollm2", "outline")) == "outline"
    assert plan_named(None, decoder_of(engine, "polycall-smollm2", None, 0)) == "tally, outline below 0"
