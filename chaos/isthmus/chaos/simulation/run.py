"""One seed, from its schedule to its verdicts (issue 5, points 1 and 3)."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from isthmus.chaos.history import History
from isthmus.chaos.history.judge import broken, judge_all
from isthmus.chaos.history.record import encode, encode_header
from isthmus.chaos.history.verdict import Verdict
from isthmus.chaos.simulation import faults
from isthmus.chaos.simulation.guard import no_real_world
from isthmus.chaos.simulation.loop import SimulationError, VirtualLoop
from isthmus.chaos.simulation.schedule import Schedule, stream
from isthmus.chaos.simulation.stats import Stats
from isthmus.chaos.simulation.world import World
from isthmus.chaos.simulation.worlds import WORLDS
from isthmus.failpoint import arm, disarm


@dataclass(slots=True)
class Outcome:
    """What came of a schedule. ``failures`` is empty when every promise was kept."""

    schedule: Schedule
    failures: list[str]
    history: History
    verdicts: list[Verdict] = field(default_factory=list)
    stats: Stats = field(default_factory=Stats)

    @property
    def ok(self) -> bool:
        """Did it keep every promise?"""
        return not self.failures

    def digest(self) -> str:
        """Of the whole history, byte by byte (G13)."""
        return hashlib.sha256(trace(self.history).encode()).hexdigest()


def trace(history: History) -> str:
    """The history as it would be written."""
    clock = history.header.clock
    lines = [encode_header(history.header), *(encode(one, clock) for one in history.records)]
    return "\n".join(lines) + "\n"


def schedule_of(seed: int, world: str, kinds: Sequence[str] | None = None) -> Schedule:
    """What ``seed`` means in ``world``."""
    made = WORLDS[world]()
    return faults.draw(seed, world, made.targets(), made.lasts_s, kinds=kinds)


def run(schedule: Schedule, commit: str = "") -> Outcome:
    """Play ``schedule`` and have it judged."""
    world = WORLDS[schedule.world]()(schedule, commit)
    shuffled = stream(schedule.seed, "order") if schedule.seed % 2 else None
    logging.disable(logging.CRITICAL)
    before = arm(world.reached)
    try:
        with (
            no_real_world() as leaks,
            asyncio.Runner(loop_factory=lambda: VirtualLoop(shuffled)) as runner,
        ):
            runner.run(_bounded(world))
            world.problems += sorted(set(leaks))
    except SimulationError as error:
        world.problem(f"{type(error).__name__}: {error}")
    finally:
        disarm(before)
        logging.disable(logging.NOTSET)
    history = world.memory.history
    judged = judge_all(history.records, world.promises)
    world.stats.judged.update({verdict.promise.id: verdict.samples for verdict in judged})
    verdicts = broken(judged)
    failures = [*world.problems, *(verdict.text for verdict in verdicts)]
    return Outcome(schedule, failures, history, verdicts, world.stats)


async def _bounded(world: World) -> None:
    async with asyncio.timeout(world.schedule.lasts_s + world.settles_s + 60):
        await world.run()
