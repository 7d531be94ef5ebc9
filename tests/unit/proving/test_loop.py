"""The seeded loop: what it promises to the runs on it (G13). Each mistake here would make every seed worthless."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time

import pytest

from isthmus.chaos.simulation.guard import no_real_world
from isthmus.chaos.simulation.loop import (
    Deadlock,
    RealWorld,
    Standstill,
    VirtualLoop,
    run_virtually,
)
from isthmus.chaos.simulation.processes import Process


def test_an_hour_takes_no_time_and_is_an_hour() -> None:
    """Why: a run of minutes of beats and back-off must cost its arithmetic only."""

    async def work() -> float:
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time()

    assert run_virtually(work()) == pytest.approx(3600, abs=0.01)


def test_a_deadlock_names_who_waits() -> None:
    """Why: "everything waits" without a name is hours of search."""

    async def waits_for_nobody() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Deadlock, match="waits_for_nobody"):
        run_virtually(waits_for_nobody())


def test_a_spin_names_who_spins() -> None:
    """Why: a loop that never pauses would hang the CI without a word."""

    async def spins() -> None:
        while True:  # noqa: ASYNC110  (what it is about)
            await asyncio.sleep(0)

    with pytest.raises(Standstill, match="spins"):
        run_virtually(spins())


def _order(chance: random.Random | None) -> list[str]:
    said: list[str] = []

    async def speak(name: str) -> None:
        for number in range(3):
            said.append(f"{name}{number}")
            await asyncio.sleep(0)

    async def work() -> None:
        await asyncio.gather(*(speak(name) for name in "abcde"))

    run_virtually(work(), chance=chance)
    return said


def test_without_a_seed_order_is_first_in_first_out() -> None:
    """Why: tests that need a fixed order have one."""
    assert _order(None)[:5] == ["a0", "b0", "c0", "d0", "e0"]


def test_a_seed_permutes_tasks_but_never_the_steps_of_one() -> None:
    """Why: an order that nobody promised must not be relied on; one task's own order is promised."""
    orders = {tuple(_order(random.Random(seed))) for seed in range(20)}
    assert len(orders) > 15
    for order in orders:
        for name in "abcde":
            assert [one for one in order if one[0] == name] == [f"{name}{n}" for n in range(3)]
    assert _order(random.Random(7)) == _order(random.Random(7))


def test_threads_are_refused() -> None:
    """Why: a thread ends when it likes; the run could not be repeated."""

    async def work() -> None:
        await asyncio.to_thread(time.sleep, 0)

    with pytest.raises(RealWorld, match="thread"):
        run_virtually(work())


def test_real_time_and_chance_are_refused_and_remembered() -> None:
    """Why: who catches every exception would hide that it asked for the time."""
    with no_real_world() as leaks:
        with contextlib.suppress(Exception):
            time.time()
        with contextlib.suppress(Exception):
            random.random()
    assert leaks == [
        "time.time was called in a simulated run",
        "random.random was called in a simulated run",
    ]
    assert time.time() > 0


def _lives(work_of: object) -> list[str]:
    """A process that counts up for ten seconds while ``work_of`` does something to it."""
    said: list[str] = []

    async def main(process: Process) -> None:
        try:
            for number in range(10):
                said.append(f"{process.lives}.{number}")
                await asyncio.sleep(1)
        finally:
            said.append("last words" if process.alive else "unheard")

    async def work() -> None:
        process = Process("p", main, lambda process, error: said.append(repr(error)))
        process.start()
        await work_of(process)  # type: ignore[operator]
        await process.gone()

    run_virtually(work())
    return said


def test_a_killed_process_ends_at_once_and_begins_with_nothing() -> None:
    """Why: kill -9 runs no clean-up that anybody could see."""

    async def kill_and_restart(process: Process) -> None:
        await asyncio.sleep(1.5)
        process.kill()
        await asyncio.sleep(0.1)
        process.start()
        await asyncio.sleep(0.1)
        process.kill()

    assert _lives(kill_and_restart) == ["1.0", "1.1", "unheard", "2.0", "unheard"]


def test_a_process_can_end_between_any_two_of_its_steps() -> None:
    """Why: the interesting crashes are those between a write and the next one."""
    ends = set()
    for steps in range(1, 5):

        async def doomed(process: Process, steps: int = steps) -> None:
            process.kill_after(steps)
            await asyncio.sleep(20)

        ends.add(len(_lives(doomed)))
    assert len(ends) >= 3


def test_a_frozen_process_goes_on_where_it_was() -> None:
    """Why: SIGSTOP is not a crash: what was due meanwhile is due afterwards."""

    async def freeze(process: Process) -> None:
        await asyncio.sleep(1.5)
        process.freeze()
        await asyncio.sleep(5)
        assert not process.steps > 3
        process.thaw()
        await asyncio.sleep(20)

    said = _lives(freeze)
    assert said[:-1] == [f"1.{number}" for number in range(10)]


def test_timers_of_one_moment_are_all_released() -> None:
    """Why: a timer that is left behind at its moment would come late by a whole other timer."""
    loop = VirtualLoop()
    seen: list[int] = []

    async def work() -> None:
        for number in range(5):
            asyncio.get_running_loop().call_at(3.0, seen.append, number)
        await asyncio.sleep(3.5)

    try:
        loop.run_until_complete(work())
    finally:
        loop.close()
    assert sorted(seen) == [0, 1, 2, 3, 4]
