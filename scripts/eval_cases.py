"""The cases of a run as a file of JSON lines: what the run is, then a line for each case, written as it is answered.

A run that ended early goes on from there, and two runs of the same cases can be put together case by case.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from eval_run import Outcome, Question
from pydantic import ConfigDict, TypeAdapter, ValidationError

from finetune.bfcl import Verdict
from finetune.failures import Mode
from finetune.gating import Scored
from finetune.gold import Gold
from grammars.errors import ConfigurationError
from grammars.tools import ToolCall
from serving.decode.request import Decoding

ENDING = ".cases.jsonl"
"""What the files of cases in a folder are named, after their category."""


@dataclass(frozen=True, kw_only=True)
class RunLine:
    """What a run is: cases of another cannot go on in the same file. `files` tells apart what a path held, and holds.

    `sure_tally` is from when on tallies count; None where no outline could take their place.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    category: str
    model: str
    engine: str
    device: str
    dtype: str
    dialect: str
    decoding: Decoding
    plan_form: str | None
    sure_tally: float | None
    tool_choice: str | None
    dependencies: bool
    files: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class CalledLine:
    """A call that was made."""

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class CaseLine:
    """One case: what was called, the verdict, the failure modes that show, and what it took."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    id: str
    calls: tuple[CalledLine, ...]
    valid: bool
    error_type: str | None
    error: str
    failure_modes: Mapping[Mode, int]
    invalid_calls: int
    failed_calls: int
    right_count: bool
    steps: int
    plan_steps: int
    tally_probability: float | None
    fallbacks: int
    duplicates_removed: int

    @classmethod
    def of(cls, outcome: Outcome) -> CaseLine:
        return cls(
            id=outcome.id,
            calls=tuple(CalledLine(name=call.name, arguments=dict(call.arguments)) for call in outcome.calls),
            **asdict(outcome.verdict),
            failure_modes=dict(outcome.modes),
            invalid_calls=outcome.invalid_calls,
            failed_calls=outcome.failed_calls,
            right_count=outcome.right_count,
            steps=outcome.steps,
            plan_steps=outcome.plan_steps,
            tally_probability=outcome.tally_probability,
            fallbacks=outcome.fallbacks,
            duplicates_removed=outcome.duplicates_removed,
        )

    def outcome(self, gold: Gold) -> Outcome:
        """What this is the line of, for a question with this gold."""
        return Outcome(
            id=self.id,
            calls=tuple(
                ToolCall(id=str(number), name=call.name, arguments=call.arguments)
                for number, call in enumerate(self.calls, start=1)
            ),
            verdict=Verdict(valid=self.valid, error_type=self.error_type, error=self.error),
            gold=gold,
            modes=Counter(dict(self.failure_modes)),
            invalid_calls=self.invalid_calls,
            failed_calls=self.failed_calls,
            right_count=self.right_count,
            steps=self.steps,
            plan_steps=self.plan_steps,
            tally_probability=self.tally_probability,
            fallbacks=self.fallbacks,
            duplicates_removed=self.duplicates_removed,
        )

    @property
    def scored(self) -> Scored:
        return Scored(
            id=self.id,
            is_right=self.valid,
            is_right_count=self.right_count,
            steps=self.steps,
            plan_steps=self.plan_steps,
            tally_probability=self.tally_probability,
        )


class CasesFile:
    """The file in which a run writes its cases, to go on from there when it is begun again."""

    def __init__(self, path: Path, run: RunLine) -> None:
        """Begin the file, or read what it holds already: raises `ConfigurationError` if that is of another run.

        A line that was cut in the middle, as a run that is killed may leave it, is taken off; its case is open again.
        """
        self._path = path
        self._cases: list[CaseLine] = []
        path.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            path.write_text(whole, encoding="utf-8")
        if not whole:
            path.write_text(written(run), encoding="utf-8")
            return
        held, self._cases = read_cases(path)
        if held != run:
            differing = [name for name, value in asdict(run).items() if asdict(held)[name] != value]
            raise ConfigurationError(
                f"{path} has cases of another run: {', '.join(differing)} differ; name another folder"
            )

    def done(self, questions: Sequence[Question]) -> dict[str, Outcome]:
        """The outcomes of those questions that are answered already, by their ids."""
        gold = {question.id: question.gold for question in questions}
        return {case.id: case.outcome(gold[case.id]) for case in self._cases if case.id in gold}

    def add(self, outcome: Outcome) -> None:
        """Write an outcome down at once."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(written(CaseLine.of(outcome)))


def read_cases(path: Path) -> tuple[RunLine, list[CaseLine]]:
    """What run a file is of, and its cases in the order of their ids. Raises `ConfigurationError`, naming the line."""
    try:
        head, *lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise ConfigurationError(f"{path} is no file of cases: {error}") from None
    run = read_line(RunLine, head, f"{path}, line 1")
    cases = [read_line(CaseLine, line, f"{path}, line {number}") for number, line in enumerate(lines, start=2)]
    if twice := [id for id, count in Counter(case.id for case in cases).items() if count > 1]:
        raise ConfigurationError(f"{path} has the case {twice[0]!r} twice")
    return run, sorted(cases, key=lambda case: case.id)


Line = TypeVar("Line", RunLine, CaseLine)


def read_line(kind: type[Line], line: str, place: str) -> Line:
    try:
        return TypeAdapter(kind).validate_json(line)
    except ValidationError as error:
        fault = error.errors()[0]
        where = "/".join(map(str, fault["loc"]))
        raise ConfigurationError(f"{place} is no {kind.__name__}: {where} {fault['msg']}".strip()) from None


def written(line: RunLine | CaseLine) -> str:
    return json.dumps(asdict(line)) + "\n"
