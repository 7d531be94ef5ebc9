"""Small problems nearly to the optimum: column generation and a mixed-integer program in HiGHS.

A column is one walk of one chain. The master chooses among the columns known; its prices say which
walk each chain lacks, the exact search finds it, until none is missing. Then prices are shaken a
few times for near-best columns, and the integer program chooses. The master's LP is never called a
bound (it is none until pricing finds nothing): its prices go to the dual, which proves its own.
Measured on the prototype: 0.02 % from the optimum with 20 chains, worse than the search beyond some
400 chains, so above :data:`MOST_CHAINS` it is not used. Needs the extra ``[fast]``.
"""

from __future__ import annotations

import importlib.util
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from isthmus.placement import highs
from isthmus.placement.arena import Arena
from isthmus.placement.dual import PRICED_AT_ONCE, Dual

MOST_CHAINS = 250
ROUNDS = 40
PRICING_LABELS = 150
NODES = 40  # of branch and bound; more rarely finds more
WITHOUT = 4_000  # chains times sites up to which each site is done without
SHAKES = 8
MOST_COLUMNS = 1_500  # in the integer program, the least lacking first
ENOUGH = 2e-4  # of the bound: an answer this near is not worked on
TINY = 1e-6

Steps = tuple[int, ...]


@dataclass(frozen=True)
class Column:
    """One walk of one chain, what it brings and what it takes (row -> amount)."""

    chain: int
    start: int
    steps: Steps
    profit: float
    takes: tuple[tuple[int, int], ...]


def worth_it(arena: Arena) -> bool:
    """Whether HiGHS is there and the problem small."""
    if not 0 < len(arena.chains) <= MOST_CHAINS:
        return False
    return importlib.util.find_spec("highspy") is not None


def improve(
    arena: Arena,
    dual: Dual,
    stop: Callable[[], bool],
    pool: Pool,
    *,
    integer: bool = True,
) -> None:
    """Prices for the dual by column generation; with ``integer`` the best mix of all columns."""
    pool.add_answers()
    prices = list(dual.best_prices)
    pool.add_priced(prices)
    master = _Master((), prices, [], 0.0)
    for _ in range(ROUNDS):
        if stop():
            return
        master = _solve(pool, dual, stop, integer=False)
        if not master.prices:
            return
        grown = pool.add_priced(master.prices)
        dual.prices = master.prices
        while not dual.advance(PRICED_AT_ONCE):
            pass
        if not grown:
            break
    dual.prices = list(dual.best_prices)
    before = arena.objective()
    if not integer or dual.best - before <= ENOUGH * dual.best or stop():
        return
    pool.add_without(master.prices, stop)
    rng = random.Random(1)
    for _ in range(SHAKES):
        pool.add_priced([p * rng.uniform(0.6, 1.4) for p in master.prices])
        pool.add_priced([p * rng.uniform(0.0, 1.0) for p in master.prices])
    pool.keep_promising(master, before)
    if stop():
        return
    chosen = _solve(pool, dual, stop, integer=True).chosen
    if sum(pool.columns[i].profit for i in chosen) > before + TINY:
        adopt(arena, [pool.columns[i] for i in chosen])


@dataclass(frozen=True)
class _Master:
    """What the restricted master said: columns chosen or prices, worth per chain, objective."""

    chosen: tuple[int, ...]
    prices: list[float]
    worth: list[float]
    objective: float


class Pool:
    """The columns known."""

    def __init__(self, arena: Arena) -> None:
        self.arena = arena
        self.columns: list[Column] = []
        self.known: set[tuple[int, int, Steps]] = set()
        self.cells = len(arena.market.site_capacity)

    def add(self, c: int, start: int, steps: Steps) -> bool:
        """A walk of chain ``c``; False when it is known."""
        if (c, start, steps) in self.known:
            return False
        self.known.add((c, start, steps))
        arena, batch = self.arena, self.arena.batch
        graph, kinds = arena.compiled.graph, len(arena.compiled.resources)
        sites = len(arena.compiled.site_names)
        first, stage, v, cost = int(batch.stage_first[c]), 0, start, 0.0
        takes: Counter[int] = Counter()
        for step in steps:
            if step >= 0:
                need = int(batch.bandwidth[first + c + stage])
                takes[self.cells + step] += need
                cost += need * float(arena.market.link_price[step])
                v = int(graph.head[step])
                continue
            for r in range(kinds):
                need = int(batch.demand[(first + stage) * kinds + r])
                takes[r * sites + v] += need
                cost += need * float(arena.market.site_price[r * sites + v])
            homes = batch.homes[
                batch.home_first[first + stage] : batch.home_first[first + stage + 1]
            ]
            if batch.move[c] > 0:
                cost += float(batch.move[c]) * sum(int(h) != v for h in homes)
            stage += 1
        profit = float(batch.value[c]) - cost
        rows = tuple((row, n) for row, n in takes.items() if n)
        self.columns.append(Column(c, start, steps, profit, rows))
        return True

    def add_answers(self) -> None:
        """What stands now."""
        for walk in self.arena.walks():
            self.add(*walk)

    def add_priced(self, prices: list[float]) -> bool:
        """The best walk of every chain at these prices; whether any is new."""
        state = self._state(prices)
        new = [self._price(state, c) for c in range(len(self.arena.chains))]
        return any(new)

    def add_without(self, prices: list[float], stop: Callable[[], bool]) -> None:
        """The best walk of every chain that keeps its functions off one site, for each site."""
        arena, sites = self.arena, len(self.arena.compiled.site_names)
        if len(arena.chains) * sites > WITHOUT:
            return
        for v in range(sites):
            up = arena.compiled.arrays.ints(arena.state.site_up)
            up[v] = 0
            state = self._state(prices)._replace(site_up=up)
            for c in range(len(arena.chains)):
                self._price(state, c)
            if stop():
                return

    def keep_promising(self, master: _Master, floor: float) -> None:
        """Drop columns that cannot be part of an answer better than ``floor``.

        Against the master's prices a column that lacks more than the distance of the LP from the
        answer known cannot pay (LP duality on the columns known); nothing good is lost.
        """
        allowed = max(0.0, master.objective - floor) + TINY

        def lacks(column: Column) -> float:
            paid = sum(master.prices[row] * n for row, n in column.takes)
            return master.worth[column.chain] - (column.profit - paid)

        rows = sorted((lacks(column), i) for i, column in enumerate(self.columns))
        kept = [i for missing, i in rows if missing <= allowed][:MOST_COLUMNS]
        self.columns = [self.columns[i] for i in sorted(kept)]

    def _state(self, prices: list[float]) -> Any:
        arena, floats = self.arena, self.arena.compiled.arrays.floats
        own = [*arena.market.site_price, *arena.market.link_price]
        now = [float(a) + b for a, b in zip(own, prices, strict=False)]
        return arena.state._replace(
            site_price=floats(now[: self.cells]),
            link_price=floats(now[self.cells :]),
            site_room=arena.market.site_capacity,
            link_room=arena.market.link_capacity,
        )

    def _price(self, state: Any, c: int) -> bool:
        arena = self.arena
        scratch = arena.scratch._replace(limit=min(PRICING_LABELS, int(arena.scratch.limit)))
        status, start, size, *_ = arena.pricing.price_one(
            arena.compiled.graph,
            state,
            arena.batch,
            scratch,
            arena.work,
            c,
        )
        if status not in (arena.pricing.OPTIMAL, arena.pricing.WITHIN_GAP):
            return False
        return self.add(c, int(start), tuple(int(s) for s in scratch.best_steps[:size]))


def _solve(pool: Pool, dual: Dual, stop: highs.Stop, *, integer: bool) -> _Master:
    """The restricted master in HiGHS, as a linear or as an integer program; empty when out of time."""
    import highspy

    chains = len(pool.arena.chains)
    solver = highs.solver(stop, mip_rel_gap=1e-4, mip_max_nodes=NODES)
    solver.passModel(_program(highspy, pool, dual, integer))
    solver.run()
    solution = solver.getSolution()
    shares = list(solution.col_value)
    if len(shares) < len(pool.columns):
        return _Master((), [], [], 0.0)
    chosen = tuple(i for i, share in enumerate(shares) if share > 0.5) if integer else ()
    objective = sum(c.profit * x for c, x in zip(pool.columns, shares, strict=True))
    if integer:
        return _Master(chosen, [], [], objective)
    duals = [max(0.0, float(d)) for d in solution.row_dual]
    prices = [
        d / room if room > 0 else 0.0 for d, room in zip(duals[chains:], dual.room, strict=True)
    ]
    return _Master((), prices, duals[:chains], objective)


def _program(highspy: Any, pool: Pool, dual: Dual, integer: bool) -> Any:
    """Rows: one per chain, one per site cell and link, scaled to shares of the room."""
    import numpy as np

    chains, columns = len(pool.arena.chains), pool.columns
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = len(columns), chains + len(dual.room)
    lp.sense_ = highspy.ObjSense.kMaximize
    lp.col_cost_ = np.array([c.profit for c in columns])
    lp.col_lower_ = np.zeros(len(columns))
    lp.col_upper_ = np.ones(len(columns))
    lp.row_lower_ = np.full(lp.num_row_, -highspy.kHighsInf)
    lp.row_upper_ = np.array([1.0] * chains + [1.0 if v > 0 else 0.0 for v in dual.room])
    starts, index, value = [0], [], []
    for column in columns:
        index.append(column.chain)
        value.append(1.0)
        for row, amount in column.takes:
            index.append(chains + row)
            value.append(amount / dual.room[row] if dual.room[row] > 0 else 1.0)
        starts.append(len(index))
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    lp.a_matrix_.start_ = np.array(starts)
    lp.a_matrix_.index_ = np.array(index)
    lp.a_matrix_.value_ = np.array(value)
    if integer:
        lp.integrality_ = [highspy.HighsVarType.kInteger] * len(columns)
    return lp


def adopt(arena: Arena, columns: Iterable[Column]) -> None:
    """Make these columns the arena's answers."""
    answers = arena.answers
    for c in arena.placed():
        _book(arena, c, -1)
        answers.size[c] = -1
    for column in columns:
        steps = arena.compiled.arrays.ints(column.steps)
        size = len(column.steps)
        while not arena.passes.keep(arena.answers, column.chain, column.start, steps, size):
            arena.grow_pool()
        arena.answers.cost[column.chain] = _book(arena, column.chain, 1)


def _book(arena: Arena, c: int, sign: int) -> float:
    graph, state, batch, market, answers, *_ = arena.parts
    return float(arena.passes.book(graph, state, batch, market, answers, c, sign))
