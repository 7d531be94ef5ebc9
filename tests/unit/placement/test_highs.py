"""HiGHS in this house: silent, ended by our clock, and proofs of 40 chains that it gave up before."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from isthmus.chaos.compact_ilp import optimum
from isthmus.placement import compact, recreate
from isthmus.placement.batch import _Run, solve
from isthmus.placement.generator import drawn, make
from isthmus.placement.usage import Usage

SOLVE = """
from isthmus.chaos.compact_ilp import optimum
from isthmus.placement.batch import solve
from isthmus.placement.generator import drawn, make
p = make(drawn(6, 1), 3, regime="both", seed=1)
s = solve(p.network, p.chains, work=5, fast=False, exact=True)
assert "columns" in s.solver
optimum(p, start=s.placements)
"""


def test_nothing_is_printed() -> None:
    """The banner of the wrapper's constructor stood in front of JSON; C flushes it at the end only."""
    told = subprocess.run([sys.executable, "-c", SOLVE], capture_output=True, text=True, check=True)
    assert (told.stdout, told.stderr) == ("", "")


def test_the_callers_clock_ends_it() -> None:
    """A limit by the wall let --time-limit run over, and cut answers short on a loaded machine."""
    problem = make(drawn(10, 3), 14, regime="both", seed=3)
    now, asked = [0.0], [0]

    def clock() -> float:
        asked[0] += 1
        now[0] += 0.05
        return now[0]

    run = _Run(Usage(problem.network, fast=False), problem.chains, 300, 1, clock, 30.0, None)
    run.first_answer()
    now[0] = 1e6
    before = asked[0]
    closed = recreate.close(run.arena, lambda: run._seconds() > 30.0)
    assert not closed.proved
    assert asked[0] > before


def test_the_exact_bound_holds_and_is_told() -> None:
    """It is HiGHS's word, so it stands beside the engine's own bound, never in its place."""
    problem = make(drawn(8, 4), 6, regime="compute", seed=4)
    solution = solve(problem.network, problem.chains, work=30)
    best, bound = optimum(problem, time_limit_s=30, start=solution.placements)
    assert solution.exact_bound is not None
    assert solution.objective <= best + 1e-3
    assert best <= solution.exact_bound * (1 + 1e-6) + 1e-3
    assert bound <= solution.exact_bound * (1 + 1e-3) + 1e-3
    assert solution.objective >= (1 - 2 * compact.GAP) * best
    assert solution.upper_bound >= best - 1e-3


def test_the_reference_starts_from_an_answer_and_is_not_led_by_it() -> None:
    """A start that is worse than the best must not become the reference's optimum."""
    problem = make(drawn(6, 2), 5, regime="both", seed=2)
    alone, _ = optimum(problem, time_limit_s=30)
    poor = solve(problem.network, problem.chains[:1], work=0, exact=False).placements
    led, bound = optimum(problem, time_limit_s=30, start=poor)
    assert led == pytest.approx(alone, rel=1e-6)
    assert bound >= led - 1e-3


def test_backups_are_outside_of_the_program() -> None:
    """The compact program knows no pairs: with one in the batch its bound bounds nothing."""
    problem = make(drawn(6, 2), 5, regime="relaxed", seed=2)
    chains = (*problem.chains[:4], replace(problem.chains[4], backup=True))
    solution = solve(problem.network, chains, work=5, fast=False, exact=True)
    assert solution.exact_bound is None
    assert json.dumps(solution.upper_bound)
