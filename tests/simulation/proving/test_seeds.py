"""The CI's own seeds: a fixed set, a fresh set of each day, coverage that cannot lie, and what once failed.

``make simulate`` runs many more; this must end within a minute.
"""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from isthmus.chaos.simulation.coverage import expected
from isthmus.chaos.simulation.pool import Summary, Task, run_batch
from isthmus.chaos.simulation.run import run
from isthmus.chaos.simulation.schedule import load_regression

FIXED = (*range(1, 69), 309, 488, 567, 1116, 1422)
"""The last five need a repair: one seed in a hundred does."""
REGRESSIONS = sorted((Path(__file__).parent / "regressions").glob("*.json"))


pytestmark = pytest.mark.timeout(900)  # 15 s alone; a shared machine may take ten times that


@pytest.fixture(scope="module")
def fixed() -> Summary:
    """The fixed set, run once."""
    return run_batch(Task("links", FIXED))


def test_the_fixed_seeds_keep_every_promise(fixed: Summary) -> None:
    """Why: a change that breaks one of these is known before it is merged."""
    assert not fixed.failures, fixed.failures


def test_the_fixed_seeds_hit_every_fault_and_every_transition(fixed: Summary) -> None:
    """Why: a fault kind or a path of the protocol that is never walked is not tested, whatever is green."""
    assert fixed.stats.zeros(expected("links")) == []


def test_a_fresh_set_of_each_day_keeps_every_promise() -> None:
    """Why: a fixed set goes blind for what is not in it. Reproduce: isthmus simulate --seeds <the seed named here>."""
    first = int(datetime.now(UTC).strftime("%y%m%d")) * 1000
    print(f"fresh seeds: {first}-{first + 29}")
    summary = run_batch(Task("links", tuple(range(first, first + 30))))
    assert not summary.failures, summary.failures


@pytest.mark.parametrize("path", REGRESSIONS, ids=lambda path: path.stem)
def test_what_once_failed_does_not_fail_again(path: Path) -> None:
    """Why: each of these schedules has broken a promise once (docs/bugs-found.md)."""
    outcome = run(load_regression(path))
    assert outcome.ok, outcome.failures


PLAY = """
import sys
from isthmus.chaos.simulation.run import run, schedule_of, trace
for seed in sys.argv[2].split(","):
    sys.stdout.write(trace(run(schedule_of(int(seed), sys.argv[1])).history))
"""


def _trace(world: str, seeds: str, hash_seed: str) -> bytes:
    done = subprocess.run(
        [sys.executable, "-c", PLAY, world, seeds],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        check=True,
        capture_output=True,
        timeout=100,
    )
    return done.stdout


@pytest.mark.parametrize(("world", "seeds"), [("links", "1,2,3,4,5,6"), ("carrier", "3")])
def test_the_same_seed_gives_the_same_bytes_in_another_process(world: str, seeds: str) -> None:
    """G13: other addresses, other hash seeds, the same history to the last byte."""
    one = _trace(world, seeds, "1")
    assert len(one) > 1000
    assert one == _trace(world, seeds, "4242")


def test_some_carriers_come_to_rest() -> None:
    """The whole house under faults: every chain asked for runs exactly once in the end, and nothing else is left; each
    promise of this world was judged on something."""
    summary = run_batch(Task("carrier", (3, 5, 7)))
    assert not summary.failures, summary.failures
    assert summary.stats.zeros({"judged": expected("carrier")["judged"]}) == []
