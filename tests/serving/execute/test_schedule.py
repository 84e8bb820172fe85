"""Schedule: as if one after another, in the least time that allows, and nobody waits for ever."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.execute.keys import Footprint, Key
from serving.execute.schedule import Schedule, Step, Stopped


def writes(*keys: str, is_open: bool = False) -> Footprint:
    return Footprint(writes=frozenset(Key(text=key, is_open=is_open) for key in keys))


def reads(*keys: str) -> Footprint:
    return Footprint(reads=frozenset(Key(text=key) for key in keys))


def step(name: str, *needs: str, after: Iterable[str] = (), **rest: object) -> Step:
    return Step(id=name, needs=frozenset(needs), after=frozenset(after), **rest)  # type: ignore[arg-type]


def schedule_of(*steps: Step, complete: bool = True) -> Schedule:
    schedule = Schedule()
    for one in steps:
        schedule.add(one)
    if complete:
        schedule.complete()
    return schedule


def ready(schedule: Schedule) -> list[list[str]]:
    return [[one.id for one in invocation] for invocation in schedule.ready()]


def run(schedule: Schedule, name: str, *, failed: bool = False) -> None:
    schedule.begin(name)
    schedule.end(name, failed=failed)


def stopped(schedule: Schedule) -> dict[str, str]:
    return {one.id: one.error.kind for one in schedule.take_stopped()}


def test_a_step_that_waits_for_nothing_is_ready_before_the_round_is_complete() -> None:
    assert ready(schedule_of(step("a"), step("b"), complete=False)) == [["a"], ["b"]]


def test_a_step_is_ready_when_the_last_that_it_needs_has_its_result() -> None:
    schedule = schedule_of(step("a"), step("b"), step("c", "a", "b"))
    assert schedule.take_settled() == ["a", "b"]
    run(schedule, "a")
    assert ready(schedule) == [["b"]]
    run(schedule, "b")
    assert schedule.take_settled() == ["c"]
    assert ready(schedule) == [["c"]]


def test_a_step_may_need_one_that_comes_later() -> None:
    schedule = schedule_of(step("a", "b"), complete=False)
    assert ready(schedule) == []
    schedule.add(step("b"))
    assert ready(schedule) == [["b"]]
    run(schedule, "b")
    assert ready(schedule) == [["a"]]


def test_a_failure_reaches_those_that_need_the_result_and_nobody_else() -> None:
    schedule = schedule_of(step("a"), step("b", "a"), step("c", "b"), step("d", after=["a"]), step("e"))
    run(schedule, "a", failed=True)
    assert stopped(schedule) == {"b": "dependency_failed", "c": "dependency_failed"}
    assert ready(schedule) == [["d"], ["e"]]
    schedule.add(step("f", "c"))
    assert stopped(schedule) == {"f": "dependency_failed"}


@pytest.mark.parametrize("size", [1, 2, 3, 40])
def test_a_circle_is_stopped_the_moment_it_closes_and_all_of_it_is_named(size: int) -> None:
    names = [f"s{number}" for number in range(size)]
    schedule = schedule_of(step("behind", names[0]), step("free"), complete=False)
    for index, name in enumerate(names):
        assert stopped(schedule) == {}
        schedule.add(step(name, names[(index + 1) % size]))
    found = {one.id: one.error for one in schedule.take_stopped()}
    assert {name: error.kind for name, error in found.items()} == {
        **dict.fromkeys(names, "reference_cycle"),
        "behind": "dependency_failed",
    }
    assert all(repr(name) in found[names[0]].message for name in names)
    assert ready(schedule) == [["free"]]


def test_what_was_never_there_stops_a_step_once_the_round_is_complete() -> None:
    schedule = schedule_of(step("a", "nobody"), step("b", "a"), step("c", after=["nobody"]), complete=False)
    assert stopped(schedule) == {}
    schedule.complete()
    assert stopped(schedule) == {"a": "unknown_reference", "b": "dependency_failed", "c": "unknown_reference"}
    assert schedule.waiting == ()


def test_steps_in_conflict_run_in_call_order_and_others_together() -> None:
    schedule = schedule_of(
        step("write_1", footprint=writes("k")),
        step("read_1", footprint=reads("k")),
        step("read_2", footprint=reads("k")),
        step("other", footprint=writes("j")),
        step("write_2", footprint=writes("k")),
    )
    assert sorted(map(str, ready(schedule))) == ["['other']", "['write_1']"]
    run(schedule, "write_1", failed=True)  # an order is no need: who comes next runs all the same
    assert sorted(map(str, ready(schedule))) == ["['other']", "['read_1']", "['read_2']"]
    run(schedule, "read_2")
    assert ["write_2"] not in ready(schedule)
    run(schedule, "read_1")
    assert ["write_2"] in ready(schedule)


def test_a_conflict_gives_way_where_the_earlier_needs_the_later() -> None:
    schedule = schedule_of(step("a", "b", footprint=writes("k")), step("b", footprint=writes("k")))
    assert ready(schedule) == [["b"]]
    run(schedule, "b")
    assert ready(schedule) == [["a"]]


def test_conflicts_and_needs_that_point_at_each_other_do_not_lock() -> None:
    schedule = schedule_of(
        step("y1", "z2", footprint=writes("1")),
        step("y2", "z1", footprint=writes("2")),
        step("z1", footprint=writes("1")),
        step("z2", footprint=writes("2")),
    )
    for name in ("z1", "y2", "z2", "y1"):
        run(schedule, name)
    assert schedule.waiting == ()


def test_an_open_key_holds_up_what_it_may_touch_until_it_is_known() -> None:
    schedule = schedule_of(
        step("source"),
        step("pay", "source", footprint=writes("account:", is_open=True)),
        step("same", footprint=writes("account:1")),
        step("other", footprint=writes("account:2")),
        step("elsewhere", footprint=writes("user:1")),
    )
    assert ready(schedule) == [["source"], ["elsewhere"]]
    run(schedule, "source")
    schedule.narrow("pay", writes("account:1"))
    assert ready(schedule) == [["pay"], ["other"], ["elsewhere"]]
    run(schedule, "pay")
    assert ["same"] in ready(schedule)


def test_the_longest_way_goes_first() -> None:
    schedule = schedule_of(
        step("short", duration_s=5.0),
        step("root", duration_s=1.0),
        step("leaf", "root", duration_s=1.0),
        step("slow_leaf", "root", duration_s=7.0),
        step("writer", duration_s=2.0, footprint=writes("k")),
        step("next_writer", duration_s=5.0, footprint=writes("k")),
    )
    assert ready(schedule) == [["root"], ["writer"], ["short"]]


def test_steps_of_a_batch_wait_for_the_round_and_then_run_in_one_invocation() -> None:
    schedule = schedule_of(step("a", batch="geo"), step("b"), step("c", batch="geo"), complete=False)
    assert ready(schedule) == [["b"]]
    schedule.add(step("d", "b", batch="geo"))
    schedule.complete()
    assert ready(schedule) == [["b"], ["a", "c"]]
    for name in ("a", "c", "b"):
        run(schedule, name)
    assert ready(schedule) == [["d"]]


def test_steps_of_a_batch_that_are_in_conflict_stay_apart() -> None:
    schedule = schedule_of(
        step("a", batch="pay", footprint=writes("k")),
        step("b", batch="pay", footprint=writes("k")),
        step("c", batch="pay", footprint=writes("j")),
    )
    assert ready(schedule) == [["a", "c"]]


def test_a_later_round_may_need_a_result_of_an_earlier_one() -> None:
    schedule = schedule_of(step("a"))
    run(schedule, "a")
    schedule.add(step("b", "a"))
    assert schedule.take_settled() == ["b"]
    assert ready(schedule) == [["b"]]


@dataclass
class Plan:
    """A graph, the order in which it comes, and what goes wrong."""

    steps: list[Step]
    fails: set[str] = field(default_factory=set)
    seed: int = 0

    @property
    def by_id(self) -> dict[str, Step]:
        return {one.id: one for one in self.steps}


@st.composite
def plans(draw: st.DrawFn, *, sound: bool) -> Plan:
    """Any graph; a sound one has no circles, nothing unknown and no failures, but may refer forward."""
    count = draw(st.integers(1, 9))
    names = [f"s{number}" for number in range(count)]
    rank = {name: place for place, name in enumerate(draw(st.permutations(names)))}
    steps = []
    for name in names:
        others = [other for other in names if rank[other] < rank[name]] if sound else [*names, "nobody"]
        some = st.sets(st.sampled_from(others), max_size=2) if others else st.just(set())
        keys = st.frozensets(st.builds(Key, text=st.sampled_from(["k", "kk", "j"]), is_open=st.booleans()), max_size=1)
        steps.append(
            Step(
                id=name,
                needs=frozenset(draw(some)),
                after=frozenset(draw(some)),
                footprint=Footprint(reads=draw(keys), writes=draw(keys)),
                duration_s=draw(st.integers(1, 5)),
            )
        )
    fails = set() if sound else draw(st.sets(st.sampled_from(names), max_size=2))
    return Plan(steps, fails, draw(st.integers(0, 1000)))


@dataclass
class Run:
    """One way through a plan: when each step began and ended, by the number of the event, and who was stopped."""

    begun: dict[str, int] = field(default_factory=dict)
    ended: dict[str, int] = field(default_factory=dict)
    stopped: dict[str, Stopped] = field(default_factory=dict)


def run_somehow(plan: Plan) -> Run:
    """Add, begin and end in a random order. A schedule that locks, or lets somebody run twice, does not get through."""
    chance, schedule, done, running = random.Random(plan.seed), Schedule(), Run(), set()
    coming = list(plan.steps)
    for event in range(10_000):
        for one in schedule.take_stopped():
            assert one.id not in done.stopped
            assert one.id not in done.begun
            done.stopped[one.id] = one
        free = [name for invocation in ready(schedule) for name in invocation]
        moves = ["add"] * bool(coming) + ["begin"] * bool(free) + ["end"] * bool(running)
        if not moves:
            break
        match chance.choice(moves):
            case "add":
                schedule.add(coming.pop(0))
                if not coming:
                    schedule.complete()
            case "begin":
                name = chance.choice(free)
                schedule.begin(name)
                running.add(name)
                done.begun[name] = event
            case "end":
                name = chance.choice(sorted(running))
                running.discard(name)
                done.ended[name] = event
                schedule.end(name, failed=name in plan.fails)
    assert schedule.waiting == ()
    return done


@given(plans(sound=False))
@settings(max_examples=200)
def test_any_plan_ends_each_step_once_and_lets_none_begin_too_early(plan: Plan) -> None:
    done = run_somehow(plan)
    assert {*done.ended} | {*done.stopped} == {*plan.by_id}
    assert not {*done.ended} & {*done.stopped}
    for name, begin in done.begun.items():
        one = plan.by_id[name]
        assert all(done.ended[other] < begin and other not in plan.fails for other in one.needs)
        assert all(done.ended.get(other, -1) < begin for other in one.after)
        for other in done.begun:
            together = done.begun[other] < done.ended[name] and begin < done.ended[other]
            assert name == other or not together or not one.footprint.conflicts_with(plan.by_id[other].footprint)


@given(plans(sound=False))
@settings(max_examples=200)
def test_a_step_is_stopped_for_a_reason_and_only_for_one(plan: Plan) -> None:
    done = run_somehow(plan)
    ways = {name: reached(plan, name) for name in plan.by_id}
    for name, one in plan.by_id.items():
        error = done.stopped[name].error if name in done.stopped else None
        lost = {other for other in one.needs if other in done.stopped or (other in plan.fails and other in done.ended)}
        circle = name in ways[name]
        if error is None:
            assert name not in reached(plan, name, without=done.stopped.keys())
            assert not lost
            assert "nobody" not in one.behind
        elif error.kind == "reference_cycle":
            assert circle
        elif error.kind == "dependency_failed":
            assert lost
        else:
            assert error.kind == "unknown_reference"
            assert "nobody" in one.behind


def reached(plan: Plan, start: str, without: Collection[str] = ()) -> set[str]:
    """All that `start` is behind, by any way that does not pass through `without`."""
    found: set[str] = set()
    todo = [start]
    while todo:
        for other in plan.by_id[todo.pop()].behind:
            if other in plan.by_id and other not in found and other not in without:
                found.add(other)
                todo.append(other)
    return found


def sequence_of(plan: Plan) -> list[str]:
    """The order of somebody who runs one call at a time: the first that can run, again and again."""
    left, order = list(plan.steps), []
    while left:
        one = next(one for one in left if one.behind <= {*order})
        left.remove(one)
        order.append(one.id)
    return order


@given(plans(sound=True))
@settings(max_examples=200)
def test_steps_in_conflict_run_in_the_order_of_one_who_runs_them_one_by_one(plan: Plan) -> None:
    done, order = run_somehow(plan), sequence_of(plan)
    assert {*done.ended} == {*order}
    for place, name in enumerate(order):
        for later in order[place + 1 :]:
            if plan.by_id[name].footprint.conflicts_with(plan.by_id[later].footprint):
                assert done.ended[name] < done.begun[later]


@given(plans(sound=True))
@settings(max_examples=200)
def test_without_limits_a_plan_takes_just_its_longest_way(plan: Plan) -> None:
    bound: dict[str, float] = {}
    for name in sequence_of(plan):
        one = plan.by_id[name]
        before = [other for other in bound if other in one.behind or in_conflict(plan, other, name)]
        bound[name] = max((bound[other] for other in before), default=0.0) + one.duration_s
    schedule, now_s, ends = schedule_of(*plan.steps), 0.0, dict[str, float]()
    while True:
        for invocation in schedule.ready():
            schedule.begin(invocation[0].id)
            ends[invocation[0].id] = now_s + invocation[0].duration_s
        if not ends:
            break
        now_s = min(ends.values())
        for name in [name for name, end_s in ends.items() if end_s == now_s]:
            schedule.end(name, failed=False)
            del ends[name]
    assert now_s == max(bound.values())


def in_conflict(plan: Plan, one: str, other: str) -> bool:
    return plan.by_id[one].footprint.conflicts_with(plan.by_id[other].footprint)
