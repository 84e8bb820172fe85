"""Seeded workloads for running calls: what each takes, needs, writes and does wrong, and the least time of it all.

Their shapes are those of the field's benchmarks; their latencies are made up, and always the same for a seed.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

TIMEOUT_S = 1.0
"""How long a call may take where the runner knows timeouts."""

MEAN_S = 0.3
SPREAD = 0.4
"""Latencies of services are log-normal: this is the deviation of their logarithm."""

QUESTIONS = 5
"""How many questions of each set are played, one after another."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One call: how long it takes, whose results it needs, the account that it writes to, and what it does wrong."""

    id: str
    seconds: float
    needs: tuple[str, ...] = ()
    account: int | None = None
    fault: Literal["raises", "hangs"] | None = None


Plan = tuple[Task, ...]
"""The calls of one turn, in call order. They need earlier ones only."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Plans that are played one after another."""

    name: str
    plans: tuple[Plan, ...]

    @property
    def bound_s(self) -> float:
        """The least time that a runner without limits can take."""
        return sum(map(critical_path_s, self.plans))


def critical_path_s(plan: Plan) -> float:
    """The longest way through a plan: needs, and the order of calls that write the same. A hang takes its timeout."""
    ends_s: dict[str, float] = {}
    last_on: dict[int, str] = {}
    lost = {task.id for task in plan} - set(sound(plan))
    for task in plan:
        before = [*task.needs, *([last_on[task.account]] if task.account in last_on else [])]
        begin_s = max((ends_s[name] for name in before), default=0.0)
        takes_s = TIMEOUT_S if task.fault == "hangs" else task.seconds
        never_runs = any(name in lost for name in task.needs)
        ends_s[task.id] = begin_s + (0.0 if never_runs else takes_s)
        if task.account is not None:
            last_on[task.account] = task.id
    return max(ends_s.values())


def sound(plan: Plan) -> dict[str, int]:
    """The value of each call that has one: 1 and the values that it needs. Calls that need a faulty one have none."""
    values: dict[str, int] = {}
    for task in plan:
        if task.fault is None and all(name in values for name in task.needs):
            values[task.id] = 1 + sum(values[name] for name in task.needs)
    return values


def io_workloads(seed: int, data: Path | None) -> list[Workload]:
    """All workloads whose tools wait. Those shaped after question sets are there if their folder is given."""
    chance = random.Random(seed)
    found = [
        Workload(name="5 x 0.5 s", plans=(flat(5, 0.5),)),
        Workload(name="fan-out 64", plans=(flat(64, 0.5),)),
        *(Workload(name=f"random {size}", plans=(random_plan(chance, size),)) for size in (8, 16, 32, 64)),
        Workload(name="conflicts", plans=(conflicting(chance),)),
        Workload(name="faults", plans=(faulty(chance),)),
    ]
    if data is not None:
        found += question_workloads(chance, data)
    return found


def flat(count: int, seconds: float) -> Plan:
    return tuple(Task(id=f"c{number}", seconds=seconds) for number in range(count))


def random_plan(chance: random.Random, size: int) -> Plan:
    """Calls that need up to three of those before them, half of them none."""
    tasks: list[Task] = []
    for number in range(size):
        most = min(number, chance.choice((0, 0, 0, 1, 2, 3)))
        needs = chance.sample([task.id for task in tasks], most)
        tasks.append(Task(id=f"c{number}", seconds=latency_s(chance), needs=tuple(needs)))
    return tuple(tasks)


def conflicting(chance: random.Random) -> Plan:
    """Sixteen calls that write to four accounts: on each, one after another, in call order."""
    return tuple(Task(id=f"c{number}", seconds=latency_s(chance), account=number % 4) for number in range(16))


def faulty(chance: random.Random) -> Plan:
    """Twenty-four calls of which three raise and two hang, and some of the others need those."""
    plan = list(random_plan(chance, 24))
    for number, place in enumerate(chance.sample(range(24), 5)):
        task = plan[place]
        plan[place] = Task(
            id=task.id, seconds=task.seconds, needs=task.needs, fault="raises" if number < 3 else "hangs"
        )
    return tuple(plan)


def question_workloads(chance: random.Random, data: Path) -> Iterator[Workload]:
    """Plans in the shape that the questions of LLMCompiler's three sets ask for."""
    for name, file, shape in (
        ("ParallelQA", "parallelqa_dataset.json", parallelqa_plan),
        ("Movie", "movie_recommendations_formatted.json", movie_plan),
        ("HotpotQA", "hotpotqa_comparison.json", hotpotqa_plan),
    ):
        questions = chance.sample(json.loads((data / file).read_text(encoding="utf-8")), QUESTIONS)
        yield Workload(name=name, plans=tuple(shape(chance, question) for question in questions))


def parallelqa_plan(chance: random.Random, question: dict[str, str]) -> Plan:
    """A search and a calculation for each branch, and a calculation over all of them."""
    branches = range(int(question["branch"]))
    searches = [Task(id=f"search_{number}", seconds=latency_s(chance)) for number in branches]
    sums = [Task(id=f"math_{number}", seconds=latency_s(chance), needs=(f"search_{number}",)) for number in branches]
    return (*searches, *sums, Task(id="answer", seconds=latency_s(chance), needs=ids(sums)))


def movie_plan(chance: random.Random, question: dict[str, str]) -> Plan:
    """A search for each film that is liked and each that is offered."""
    liked, _, options = question["question"].partition("\nOptions:\n")
    films = [*liked.split(", "), *options.strip().splitlines()]
    return tuple(Task(id=f"search_{number}", seconds=latency_s(chance)) for number, _ in enumerate(films))


def hotpotqa_plan(chance: random.Random, _question: dict[str, str]) -> Plan:
    """A search for each of the two that are compared, and the comparison."""
    searches = [Task(id=f"search_{number}", seconds=latency_s(chance)) for number in range(2)]
    return (*searches, Task(id="compare", seconds=latency_s(chance), needs=ids(searches)))


def ids(tasks: Sequence[Task]) -> tuple[str, ...]:
    return tuple(task.id for task in tasks)


def latency_s(chance: random.Random) -> float:
    return round(min(TIMEOUT_S * 0.9, MEAN_S * chance.lognormvariate(-SPREAD * SPREAD / 2, SPREAD)), 4)
