"""Small problems: ruin and recreate, columns from what it saw, and the whole program in HiGHS.

Each finds what the others miss (measured on 10 to 60 chains x 12 sites): ruin and recreate packs
one more chain where columns priced one at a time do not meet; the compact program closes what fits
into it; above that another turn of ruin and recreate beat the integer program over all columns
seen. All only ever replace the arena's answers by better ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from isthmus.placement import accel
from isthmus.placement.arena import Arena
from isthmus.placement.columns import Pool, adopt
from isthmus.placement.compact import Compact, possible

MOST_ROUNDS = 4_000
FIRST_ROUNDS = 300  # before the compact program: a good start is half of its proof
CLOSE_SHARE = 0.7  # of the time left goes to the compact program
ROUNDS_TIMES_CHAINS = 110_000  # 60 chains: 1,833 rounds, some 1.5 s
TURNS = 2  # of all rounds, where the compact program does not fit
SLICE = 25  # rounds between two looks at clock and columns
LIFTS = 4
PATIENCE = 1.1  # first loss that a round may bring, in units of the least important chain's worth
STEPS = 200  # of the pool for each chain, so that it never has to grow


def rounds_for(chains: int, work: int, *, fast: bool) -> int:
    """How many rounds a problem of this size gets; none in plain Python, a hundred times slower."""
    if not fast:
        return 0
    return min(MOST_ROUNDS, ROUNDS_TIMES_CHAINS // max(1, chains), 20 * work)


def shake(
    arena: Arena,
    scale: list[float],
    random: Any,
    pool: Pool,
    rounds: int,
    stop: Callable[[], bool],
) -> None:
    """Rounds of ruin and recreate; the best state seen is what stands afterwards."""
    if not arena.placed() or rounds <= 0:
        return
    kernel: Any = accel.kernels("ruin", not arena.compiled.fast)
    while len(arena.answers.pool) < STEPS * len(arena.chains):
        arena.grow_pool()
    best = _best(arena, kernel, scale)
    kernel.remember(arena.batch, arena.answers, best)
    now = best.objective[0] = arena.objective()
    least = min((c.value for c in arena.chains if c.value > 0), default=0.0)
    patience = PATIENCE * least
    for begin in range(0, rounds, SLICE):
        if stop():
            break
        end = min(rounds, begin + SLICE)
        now, reached = kernel.recreate(
            *arena.parts, arena.desk, best, random, LIFTS, begin, end, rounds, patience, now
        )
        if now > best.objective[0] - 2 * patience:
            pool.add_answers()
        if reached < end:
            break
    graph, state, batch, market, answers, *_ = arena.parts
    kernel.recall(graph, state, batch, market, answers, best)
    pool.add_answers()


def _best(arena: Arena, kernel: Any, scale: list[float]) -> Any:
    ints, floats = arena.compiled.arrays.ints, arena.compiled.arrays.floats
    count, cells = len(arena.chains), len(arena.market.site_capacity)
    return kernel.Best(
        ints([-1] * count),
        ints([0] * count),
        ints([0] * count),
        floats([0.0] * count),
        ints([0] * len(arena.answers.pool)),
        floats([0.0]),
        floats(scale[:cells]),
        floats(scale[cells:]),
        ints([0] * count),
        floats([0.0] * count),
        ints(arena.state.site_up),
    )


class Closed(NamedTuple):
    """Whether what stands is proved to be within :data:`compact.GAP`, and HiGHS's own bound."""

    proved: bool
    bound: float | None


def turns(*, limited: bool) -> int:
    """How often all rounds are gone through after the compact program was left open."""
    return 1_000 if limited else TURNS - 1


def close(arena: Arena, stop: Callable[[], bool] | None = None) -> Closed:
    """The compact program, where it is small enough."""
    if not possible(arena):
        return Closed(False, None)
    program = Compact(arena)
    if not program.build():
        return Closed(False, None)
    for walk in arena.walks():
        program.hint(walk)
    before = arena.objective()
    found = Pool(arena)
    walks, proved, bound = program.solve(stop)
    for walk in walks:
        found.add(*walk)
    if sum(column.profit for column in found.columns) > before + 1e-6:
        adopt(arena, found.columns)
    return Closed(proved, bound)
