"""Thousands of small disasters in virtual time (G4, G5, G6, G8, attacks 13, 15, 16): the destination ends up equal,
and on the way it never shows a key going back, a value that never was, a hole, or a foreign key."""

from __future__ import annotations

import os

import pytest
from tests.simulation.federation.world import World

from isthmus.chaos.simulation.loop import run_virtually

SEEDS = int(os.environ.get("ISTHMUS_SEEDS", "40"))
FIRST = int(os.environ.get("ISTHMUS_FIRST_SEED", "0"))


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("restores", [False, True], ids=["no-restore", "restore"])
@pytest.mark.parametrize("disturbed", [0.0, 0.1], ids=["in-order", "disturbed"])
def test_every_seed_converges_in_order(restores: bool, disturbed: float) -> None:
    """Whatever the faults: equal at the end, Ordered and without holes on the way."""
    for seed in range(FIRST, FIRST + SEEDS):
        run_virtually(World(seed, restores=restores, disturbed=disturbed).run())


@pytest.mark.timeout(3600)
def test_destination_that_goes_back_in_time_is_filled_again() -> None:
    """The store that a link writes to is restored under it, again and again: equal in the end."""
    for seed in range(FIRST, FIRST + SEEDS):
        run_virtually(World(seed, target_restores=True).run())


@pytest.mark.parametrize("seed", [2696])
def test_seeds_that_once_failed(seed: int) -> None:
    """2696: a backup held the newest nonce, the watch resumed in another history, and nobody noticed."""
    run_virtually(World(seed, restores=True).run())


def test_same_seed_same_run() -> None:
    """G13: a seed that fails can be run again."""
    counts = []
    for _ in range(2):
        world = World(11, restores=True)
        run_virtually(world.run())
        counts.append((world.joins, world.judge.counter, dict(world.judge.shown)))
    assert counts[0] == counts[1]
