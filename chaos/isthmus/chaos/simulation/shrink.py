"""From a schedule that fails to the shortest one that still does (Zeller's delta debugging, ddmin).

Taking a fault away leaves everything else of the run as it was (each part draws from a stream of its own), but time
and order move, so a shorter schedule may fail for another reason: only the same promise counts as the same failure.
Afterwards the faults that are left are made shorter, and the run as a whole, where that still fails.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from isthmus.chaos.simulation.run import Outcome, run
from isthmus.chaos.simulation.schedule import Fault, Schedule

MOST_RUNS = 150
"""A shrink that takes minutes is not waited for."""


def kind_of(failure: str) -> str:
    """What makes two failures the same: the promise, or the kind of mishap."""
    return failure.split(":", 1)[0].split(" ", 1)[0]


@dataclass(slots=True)
class Shrunk:
    """``outcome`` of the shortest schedule found, after ``runs`` runs."""

    outcome: Outcome
    runs: int

    @property
    def schedule(self) -> Schedule:
        """The shortest one found."""
        return self.outcome.schedule


class _Search:
    def __init__(self, first: Outcome, play: Callable[[Schedule], Outcome]) -> None:
        self.best = first
        self._play = play
        self._wanted = {kind_of(failure) for failure in first.failures}
        self.runs = 0

    def fails(self, schedule: Schedule) -> bool:
        """Does ``schedule`` fail in the same way? Then it is the best so far."""
        if self.runs >= MOST_RUNS:
            return False
        self.runs += 1
        outcome = self._play(schedule)
        same = bool(self._wanted & {kind_of(failure) for failure in outcome.failures})
        if same:
            self.best = outcome
        return same


def shrink(failing: Outcome, play: Callable[[Schedule], Outcome] = run) -> Shrunk:
    """The shortest schedule that still fails as ``failing`` does."""
    search = _Search(failing, play)
    schedule = failing.schedule
    if not search.fails(schedule.with_faults(())):
        faults = _fewest(list(schedule.faults), lambda few: search.fails(schedule.with_faults(few)))
        _shorten(search, schedule, faults)
    return Shrunk(search.best, search.runs)


def _fewest(faults: list[Fault], fails: Callable[[Sequence[Fault]], bool]) -> list[Fault]:
    """ddmin: try ever smaller parts, and what is left without them."""
    parts = 2
    while len(faults) >= 2:
        size = max(1, len(faults) // parts)
        chunks = [faults[i : i + size] for i in range(0, len(faults), size)]
        for chunk in chunks:
            rest = [fault for fault in faults if fault not in chunk]
            if fails(rest):
                faults, parts = rest, max(parts - 1, 2)
                break
        else:
            if parts >= len(faults):
                break
            parts = min(len(faults), 2 * parts)
    return faults


def _shorten(search: _Search, schedule: Schedule, faults: list[Fault]) -> None:
    """Half as long, as often as it still fails; then the whole run."""
    for index in range(len(faults)):
        while faults[index].for_s > 0.2:
            half = replace(faults[index], for_s=round(faults[index].for_s / 2, 2))
            tried = [*faults[:index], half, *faults[index + 1 :]]
            if not search.fails(schedule.with_faults(tried)):
                break
            faults = tried
    ends_s = round(max((fault.ends_s for fault in faults), default=0.0) + 0.5, 2)
    if ends_s < schedule.lasts_s:
        search.fails(replace(schedule.with_faults(faults), lasts_s=ends_s))
