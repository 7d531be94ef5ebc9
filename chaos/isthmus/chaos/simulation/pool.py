"""Many seeds on many cores: whole processes, since a run never waits for anything but the processor.

Seeds go out in small batches, results come back as they are done: counters added up, failures by seed. Ctrl-C ends the
workers and leaves what was found until then.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from isthmus.chaos.simulation.run import run, schedule_of
from isthmus.chaos.simulation.stats import Stats

BATCH = 10


@dataclass(slots=True)
class Summary:
    """Over all seeds that were run. ``failures``: seed to what was broken. ``digests``: seed to its trace's."""

    seeds: int = 0
    stats: Stats = field(default_factory=Stats)
    failures: dict[int, list[str]] = field(default_factory=dict)
    digests: dict[int, str] = field(default_factory=dict)
    interrupted: bool = False

    def add(self, other: Summary) -> None:
        """Another batch's."""
        self.seeds += other.seeds
        self.stats.add(other.stats)
        self.failures.update(other.failures)
        self.digests.update(other.digests)


@dataclass(frozen=True, slots=True)
class Task:
    """One batch."""

    world: str
    seeds: tuple[int, ...]
    commit: str = ""
    kinds: tuple[str, ...] | None = None
    traces: bool = False


def run_batch(task: Task) -> Summary:
    """All seeds of ``task``, one after the other."""
    summary = Summary()
    for seed in task.seeds:
        outcome = run(schedule_of(seed, task.world, task.kinds), task.commit)
        summary.seeds += 1
        summary.stats.add(outcome.stats)
        if not outcome.ok:
            summary.failures[seed] = outcome.failures
        if task.traces:
            summary.digests[seed] = outcome.digest()
    return summary


def run_seeds(
    world: str,
    seeds: Sequence[int],
    *,
    jobs: int = 1,
    commit: str = "",
    kinds: tuple[str, ...] | None = None,
    traces: bool = False,
    progress: Callable[[Summary], None] = lambda summary: None,
) -> Summary:
    """Run ``seeds``; ``progress`` is told the sum so far after each batch."""
    tasks = [
        Task(world, tuple(seeds[i : i + BATCH]), commit, kinds, traces)
        for i in range(0, len(seeds), BATCH)
    ]
    total = Summary()
    try:
        if jobs <= 1 or len(tasks) <= 1:
            for task in tasks:
                total.add(run_batch(task))
                progress(total)
        else:
            _in_processes(tasks, jobs, total, progress)
    except KeyboardInterrupt:
        total.interrupted = True
    return total


def _in_processes(
    tasks: Sequence[Task], jobs: int, total: Summary, progress: Callable[[Summary], None]
) -> None:
    context = multiprocessing.get_context("spawn")  # a fork would take locks and loops along
    with context.Pool(jobs, initializer=_leave_interrupts) as pool:
        for summary in pool.imap_unordered(run_batch, tasks):
            total.add(summary)
            progress(total)


def _leave_interrupts() -> None:
    """Ctrl-C is the parent's to hear."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
