"""Schedule: the graph of one turn's calls, and which of them may run now. Pure: no clock, no event loop, no tools.

The law of it: calls run together, and what comes of them is as if they had run one after another in the *sequence*:
call order, except that a call stands behind those that it needs. So a step waits for the calls whose results it needs,
for those that the caller put before it, and for those earlier in the sequence with which it is in conflict; for nothing
else. A step that can never run is stopped: it needs a call that failed, or one that is not there, or needs itself.

Steps may be added while others run. The sequence only grows at its end, so that no step that comes later can turn round
what has begun.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from enum import Enum

from grammars.tools import CallError
from serving.execute.keys import NOTHING, Footprint


@dataclass(frozen=True, kw_only=True)
class Step:
    """One call in the graph.

    It needs the results of `needs`, and runs after `after` have ended, however they ended. `duration_s` is what it is
    expected to take. Steps of the same `batch` run in one invocation where they can.
    """

    id: str
    needs: frozenset[str] = frozenset()
    after: frozenset[str] = frozenset()
    footprint: Footprint = NOTHING
    duration_s: float = 1.0
    batch: str | None = None

    @property
    def behind(self) -> frozenset[str]:
        """The steps that this one was asked to wait for."""
        return self.needs | self.after


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """A step that will never run, and why."""

    id: str
    error: CallError


class State(Enum):
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(kw_only=True)
class Entry:
    """What the schedule knows of a step. `conflicts` are the earlier steps in its way; `place` is in the sequence."""

    step: Step
    number: int
    footprint: Footprint
    behind: frozenset[str]
    state: State = State.WAITING
    place: int | None = None
    conflicts: set[str] = field(default_factory=set)
    tail_s: float = 0.0

    @property
    def has_ended(self) -> bool:
        return self.state in (State.DONE, State.FAILED)


class Schedule:
    """The graph. Each step is added once, begins at most once, and ends once: here or by the caller's word."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._sequence: list[str] = []
        self._live: dict[str, Entry] = {}
        self._unbegun: dict[str, Entry] = {}
        self._unplaced: dict[str, Entry] = {}
        self._settled: list[str] = []
        self._stopped: list[Stopped] = []
        self._is_complete = True
        self._tails_are_known = False

    def __contains__(self, step_id: str) -> bool:
        return step_id in self._entries

    @property
    def waiting(self) -> tuple[str, ...]:
        """The steps that have not begun, in the order of adding."""
        return tuple(self._unbegun)

    def add(self, step: Step) -> None:
        """Take in a step, behind all that are there. Its id must be new."""
        assert step.id not in self._entries, f"the step {step.id!r} is there already"
        entry = Entry(step=step, number=len(self._entries), footprint=step.footprint, behind=step.behind)
        self._entries[step.id] = self._live[step.id] = self._unbegun[step.id] = entry
        self._is_complete = False
        self._tails_are_known = False
        circle = self._circle_through(step.id)
        if circle:
            words = f"these calls wait for each other: {', '.join(map(repr, sorted(circle, key=self._number)))}"
            self._stop(circle, CallError(kind="reference_cycle", message=words))
        elif failed := self._failed_need(entry):
            self._stop([step.id], dependency_failed(failed))
        else:
            self._enter_sequence(step.id)

    def complete(self) -> None:
        """No step that is waited for will be added any more: whoever waits for one that is not there can never run."""
        self._is_complete = True
        for name in self.waiting:
            missing = sorted(other for other in self._entries[name].behind if other not in self._entries)
            if missing and self._entries[name].state is State.WAITING:
                words = f"it waits for the call {missing[0]!r}, and the server runs no such call in this turn"
                self._stop([name], CallError(kind="unknown_reference", message=words))

    def ready(self) -> list[list[Step]]:
        """What may begin now, as invocations, first the one from which the longest way is still to go.

        Steps of a batch come together, and not before all of the round's steps are known.
        """
        free = [entry for entry in self._unbegun.values() if self._is_free(entry)]
        if len(free) > 1:
            self._measure_tails()
            free.sort(key=lambda entry: (-entry.tail_s, entry.number))
        invocations: dict[object, list[Step]] = {}
        for entry in free:
            if entry.step.batch is None:
                invocations[entry.number] = [entry.step]
            elif self._is_complete:
                invocations.setdefault(entry.step.batch, []).append(entry.step)
        return list(invocations.values())

    def begin(self, step_id: str) -> None:
        """The step runs now."""
        entry = self._entries[step_id]
        assert self._is_free(entry), f"the step {step_id!r} may not begin"
        entry.state = State.RUNNING
        del self._unbegun[step_id]

    def end(self, step_id: str, *, failed: bool) -> None:
        """The step is over, having run or not. If it failed, so do those that need its result."""
        entry = self._entries[step_id]
        if not entry.has_ended:
            entry.state = State.FAILED if failed else State.DONE
            self._close([entry])

    def narrow(self, step_id: str, footprint: Footprint) -> None:
        """What the step reads and writes is known exactly now; it is within what it was taken for before."""
        entry = self._entries[step_id]
        entry.footprint = footprint
        self._tails_are_known = False
        entry.conflicts = {name for name in entry.conflicts if self._entries[name].footprint.conflicts_with(footprint)}
        for later in self._live.values():
            if step_id in later.conflicts and not later.footprint.conflicts_with(footprint):
                later.conflicts.discard(step_id)

    def take_settled(self) -> list[str]:
        """The steps whose needs have all been met since the last time, so that their arguments are known."""
        taken, self._settled = self._settled, []
        return [name for name in taken if self._entries[name].state is State.WAITING]

    def take_stopped(self) -> list[Stopped]:
        """The steps that were stopped since the last time. They have ended, as failed."""
        taken, self._stopped = self._stopped, []
        return taken

    def _is_free(self, entry: Entry) -> bool:
        if entry.state is not State.WAITING or entry.place is None or entry.conflicts:
            return False
        return all(self._entries[name].has_ended for name in entry.behind)

    def _number(self, step_id: str) -> int:
        return self._entries[step_id].number

    def _circle_through(self, step_id: str) -> set[str]:
        """The steps that the step waits for and that wait for it, itself among them; empty if there is none."""
        forward = self._reached(step_id, lambda name: self._entries[name].behind)
        if step_id not in forward:
            return set()
        behind: dict[str, list[str]] = {}
        for name in forward:
            for other in self._entries[name].behind:
                behind.setdefault(other, []).append(name)
        return forward & self._reached(step_id, lambda name: behind.get(name, ()))

    def _reached(self, start: str, neighbours: Callable[[str], Iterable[str]]) -> set[str]:
        """All live steps that one comes to from `start`, which is among them only if there is a way back."""
        found: set[str] = set()
        todo = [start]
        while todo:
            for name in neighbours(todo.pop()):
                if name in self._live and name not in found:
                    found.add(name)
                    todo.append(name)
        return found

    def _failed_need(self, entry: Entry) -> str | None:
        for name in sorted(entry.step.needs):
            if name in self._entries and self._entries[name].state is State.FAILED:
                return name
        return None

    def _enter_sequence(self, step_id: str) -> None:
        """Put the step into the sequence if all that it waits for is there, and then those that waited for it."""
        candidates = [step_id]
        while candidates:
            candidates.sort(key=self._number)
            entry = self._entries[candidates.pop(0)]
            if entry.place is not None or entry.state is not State.WAITING:
                continue
            if not self._has_all_before(entry):
                self._unplaced[entry.step.id] = entry
                continue
            name = entry.step.id
            entry.place = len(self._sequence)
            self._sequence.append(name)
            self._unplaced.pop(name, None)
            entry.conflicts = self._conflicts_of(entry)
            self._note_if_settled(entry)
            candidates += [other for other, later in self._unplaced.items() if name in later.behind]

    def _conflicts_of(self, entry: Entry) -> set[str]:
        """The steps before it in the sequence with which it may not run together."""
        if entry.footprint == NOTHING:
            return set()
        return {
            name
            for name, earlier in self._live.items()
            if earlier.place is not None
            and earlier is not entry
            and name not in entry.behind
            and earlier.footprint.conflicts_with(entry.footprint)
        }

    def _has_all_before(self, entry: Entry) -> bool:
        return all(
            name in self._entries and (self._entries[name].place is not None or self._entries[name].has_ended)
            for name in entry.behind
        )

    def _note_if_settled(self, entry: Entry) -> None:
        if all(self._entries[name].state is State.DONE for name in entry.step.needs):
            self._settled.append(entry.step.id)

    def _stop(self, step_ids: Collection[str], error: CallError) -> None:
        """These steps fail, and with them all that need their results."""
        entries = [self._entries[name] for name in sorted(step_ids, key=self._number)]
        for entry in entries:
            entry.state = State.FAILED
            self._stopped.append(Stopped(id=entry.step.id, error=error))
        self._close(entries)

    def _close(self, ended: list[Entry]) -> None:
        """Take steps that have ended out of the way of others; `ended` is used up."""
        while ended:
            entry = ended.pop(0)
            name = entry.step.id
            del self._live[name]
            self._unbegun.pop(name, None)
            self._unplaced.pop(name, None)
            for other in list(self._live.values()):
                other.conflicts.discard(name)
                if other.state is not State.WAITING or name not in other.behind:
                    continue
                if entry.state is State.FAILED and name in other.step.needs:
                    other.state = State.FAILED
                    self._stopped.append(Stopped(id=other.step.id, error=dependency_failed(name)))
                    ended.append(other)
                elif other.place is None:
                    self._enter_sequence(other.step.id)
                elif name in other.step.needs:
                    self._note_if_settled(other)

    def _measure_tails(self) -> None:
        """How long the way is from the begin of each step to the end of all that waits for it, conflicts included."""
        if self._tails_are_known:
            return
        self._tails_are_known = True
        for entry in self._live.values():
            entry.tail_s = entry.step.duration_s
        for name in reversed(self._sequence):
            entry = self._entries[name]
            for other in entry.behind | entry.conflicts:
                if other in self._live:
                    earlier = self._live[other]
                    earlier.tail_s = max(earlier.tail_s, earlier.step.duration_s + entry.tail_s)


def dependency_failed(step_id: str) -> CallError:
    return CallError(kind="dependency_failed", message=f"it needs the result of the call {step_id!r}, which failed")
