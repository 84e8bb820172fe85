"""An evaluation from its questions to its reports: what answers, what is read beside them, and what is written."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from eval_cases import ENDING, CasesFile, RunLine
from eval_questions import ToolChoice
from eval_report import Report, report_of
from eval_run import Question, answer_questions, decoder_of, plan_named
from eval_view import draw, show
from rich.console import Console

from finetune.evaluate import EarlierReport, read_report
from grammars.errors import ConfigurationError
from serving.config import load_settings
from serving.decode.round import Decoder, RoundRequest
from serving.engines.build import build_engine


@dataclass(frozen=True, kw_only=True)
class Files:
    """What an evaluation reads beside its questions, and what it writes."""

    output: Path | None
    json_file: Path | None
    compare: Path | None
    plot: Path | None

    def check(self, names: Sequence[str]) -> None:
        """Raise `ConfigurationError` if several reports would go to one file, or a category is asked for twice."""
        if len(set(names)) < len(names):
            raise ConfigurationError("each category once")
        if len(names) > 1 and (self.json_file or self.plot):
            raise ConfigurationError("--json and --plot are for one category: several have their reports in --output")

    def earlier(self, name: str) -> EarlierReport | None:
        """The earlier report of a category, if there is to be one."""
        if self.compare is None:
            return None
        return read_report(report_file(self.compare, name) if self.compare.is_dir() else self.compare, name)

    def write(self, name: str, report: Report, earlier: EarlierReport | None) -> None:
        """Write what is asked for."""
        text = json.dumps(asdict(report), indent=1) + "\n"
        if self.output is not None:
            report_file(self.output, name).write_text(text)
        if self.json_file is not None:
            self.json_file.write_text(text)
        if self.plot is not None:
            draw(report, earlier, self.plot)


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What answers, and how many questions at a time. `files`: what the data was, by its name."""

    settings: Mapping[str, str]
    dialect: str | None
    plan_form: str | None
    sure_tally: float | None
    tool_choice: ToolChoice | None
    concurrency: int
    argument_heads: int = 0
    files: Mapping[str, str] = field(default_factory=dict)

    def run_line(self, category: str, decoder: Decoder, request: RoundRequest) -> RunLine:
        """What the run is, as its file of cases says."""
        parallel = request.decoding == "parallel"
        gates = parallel and self.plan_form is None and decoder.dialect.marks is not None
        return RunLine(
            category=category,
            **self.settings,
            dialect=decoder.dialect.name,
            decoding=request.decoding,
            plan_form=plan_named(self.plan_form, decoder) if parallel else None,
            sure_tally=decoder.options.sure_tally if gates else None,
            tool_choice=self.tool_choice,
            dependencies=request.parallel_dependencies,
            files={**self.files, **weights(Path(self.settings["model"]))},
        )


def weights(model: Path) -> dict[str, str]:
    """Size and time of a model's files, where it is a folder: one that is trained again is another model."""
    if not model.is_dir():
        return {}
    found = [(path.name, path.stat()) for path in sorted(model.glob("*.safetensors"))]
    return {name: f"{told.st_size} bytes of {told.st_mtime_ns}" for name, told in found}


def report_file(folder: Path, category: str) -> Path:
    return folder / f"{category}.report.json"


def evaluate(questions: Mapping[str, Sequence[Question]], request: RoundRequest, setup: Setup, files: Files) -> None:
    """Answer the questions of each category, show its report, and write what is asked for."""
    if setup.argument_heads and request.decoding != "parallel":
        raise ConfigurationError("--argument-heads is for --decoding parallel")
    earlier = {name: files.earlier(name) for name in questions}  # before the hours that answering may take
    engine = build_engine(load_settings(setup.settings))
    decoder = decoder_of(engine, setup.dialect, setup.plan_form, setup.sure_tally, setup.argument_heads)
    asyncio.run(evaluate_all(questions, decoder, request, setup, files, earlier))


async def evaluate_all(
    questions: Mapping[str, Sequence[Question]],
    decoder: Decoder,
    request: RoundRequest,
    setup: Setup,
    files: Files,
    earlier: Mapping[str, EarlierReport | None],
) -> None:
    """Category by category; closes the engine."""
    try:
        for name, asked in questions.items():
            run = setup.run_line(name, decoder, request)
            kept = CasesFile(files.output / f"{name}{ENDING}", run) if files.output else None
            outcomes = await answer_questions(
                decoder,
                asked,
                request,
                f"{name}, {request.decoding}",
                setup.concurrency,
                Console(stderr=True),
                done=kept.done(asked) if kept else None,
                heard=kept.add if kept else None,
            )
            plan = plan_named(setup.plan_form, decoder)
            report = report_of(name, setup.settings["model"], request.decoding, plan, outcomes)
            show(report, earlier[name], Console())
            files.write(name, report, earlier[name])
    finally:
        await decoder.engine.close()
