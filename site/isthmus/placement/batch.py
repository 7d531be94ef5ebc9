"""Many chains at once: a first full answer in seconds, better the longer it may work, and a bound.

Order of work: one pass in order of worth per scarce thing under congestion prices; a bound at the
knapsack's prices; then, in turns until ``work`` is spent, rounds of the dual (lower bound) and
moves of the large-neighbourhood search (better answers), with every chain once more at true
prices. Small problems go to :mod:`isthmus.placement.columns` when HiGHS is there. Every answer is
rebuilt from names and passes the separate verifier before it leaves.

``work`` counts units: one move of the search is one, one round of the dual a 64th of the chains.
The same work, seed and build give the same bytes; ``time_limit_s`` with a ``clock`` only decides
when to stop. How the global placer calls it::

    solution = solve(network, chains, work=2_000, seed=1)     # or usage=..., beside what stands
    solution.placements, solution.refusals, solution.gap_percent, solution.usage
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from isthmus.placement import accel
from isthmus.placement import dual as duals
from isthmus.placement.arena import Arena
from isthmus.placement.compiled import AUTO_FAST_SITES
from isthmus.placement.errors import InvalidProblem
from isthmus.placement.model import ChainDemand, Network, Placement, Refusal
from isthmus.placement.usage import Usage
from isthmus.placement.verify import check, objective

BUILD = "isthmus.placement/1"
DEFAULT_WORK = 2_000
LIFTS = 8  # chains lifted in a move: 4 to 12 do alike, 24 is worse
AUTO_EXACT_CHAINS = 6  # fewer are packed well in plain Python
AUTO_FAST_CHAINS = 100  # from here on compiled kernels pay in a batch
CHUNK = 25  # moves between two looks at the clock
POLISH = 0.03  # scale of congestion prices while chains are placed anew for cost
POLISH_LABELS = 200
REFUSAL_S = 1.3e-5  # per site, what the reasons of one refused chain take; kept free at the end

Clock = Callable[[], float]


@dataclass(frozen=True)
class Point:
    """Where the solver stood: for the progress line and the plot of the gap."""

    work: int
    seconds: float
    objective: float
    bound: float
    placed: int


@dataclass(frozen=True)
class Solution:
    """The answer to a batch. ``prices`` are the dual's: worth of one more unit, by name."""

    objective: float
    upper_bound: float
    placements: dict[str, Placement]
    refusals: dict[str, Refusal]
    work: int
    seed: int
    solver: str
    usage: Usage
    prices: dict[tuple[str, str], float] = field(default_factory=dict)
    history: tuple[Point, ...] = ()
    exact_bound: float | None = None  # of the whole program, by HiGHS; the engine's own is above

    @property
    def gap_percent(self) -> float:
        """How far below the proved bound, in percent of the bound."""
        if self.upper_bound <= 0:
            return 0.0
        return max(0.0, 100.0 * (self.upper_bound - self.objective) / self.upper_bound)


def solve(
    network: Network,
    chains: Sequence[ChainDemand],
    *,
    usage: Usage | None = None,
    work: int = DEFAULT_WORK,
    seed: int = 1,
    fast: bool | None = None,
    exact: bool | None = None,
    clock: Clock | None = None,
    time_limit_s: float | None = None,
    progress: Callable[[Point], None] | None = None,
    relaxations: int = 0,
) -> Solution:
    """Place what pays best beside what ``usage`` holds (by default: nothing).

    ``exact``: the column solver (default: when it is installed and the problem is small).
    ``relaxations``: for so many refused chains the nearest relaxation is sought as well.
    """
    if len({c.id for c in chains}) < len(chains):
        raise InvalidProblem("chains", len(chains), "two chains have the same id; rename one")
    if fast is None and _compiled_pays(len(chains), len(network.sites), exact, time_limit_s):
        fast = accel.numba_available()
    usage = Usage(network, fast=fast) if usage is None else usage
    run = _Run(usage, chains, work, seed, clock, time_limit_s, progress)
    if chains:
        run.first_answer()
        run.exactly(exact)
        run.refine()
    return run.solution(relaxations)


def _compiled_pays(chains: int, sites: int, exact: bool | None, time_limit_s: float | None) -> bool:
    """Large problems need compiled kernels; small ones when there is time to compile, or no need."""
    if chains >= AUTO_FAST_CHAINS or sites >= AUTO_FAST_SITES:
        return True
    if exact is False or chains < AUTO_EXACT_CHAINS:
        return False
    return time_limit_s is None or accel.warm()


class _Run:
    """One solve under way."""

    def __init__(
        self,
        usage: Usage,
        chains: Sequence[ChainDemand],
        work: int,
        seed: int,
        clock: Clock | None,
        time_limit_s: float | None,
        progress: Callable[[Point], None] | None,
    ) -> None:
        self.clock, self.progress = clock, progress
        self.began = clock() if clock else 0.0
        self.usage, self.chains, self.limit, self.seed = usage, chains, work, seed
        plain = [c for c in chains if not c.backup]
        self.pairs = [c for c in chains if c.backup]
        self.arena = Arena(usage.compiled, plain, usage)
        # what writing the answer will take: as much as reading took, some four times
        compiled_s = self._seconds()
        self.time_limit_s, self.whole_s = None, time_limit_s
        if time_limit_s is not None:
            self.time_limit_s = max(0.0, time_limit_s - 5 * compiled_s)
        self.done, self.exact_used, self.left_out = 0, False, 0
        self.exact_bound: float | None = None
        self.history: list[Point] = []
        self.rank, self.scale = duals.scales(self.arena)
        self.dual = duals.Dual(self.arena, self.scale)
        self.random = self.arena.compiled.arrays.ints([1 + seed % 0x7FFFFFF])

    def _seconds(self) -> float:
        return self.clock() - self.began if self.clock else 0.0

    def relaxed_enough(self) -> bool:
        """Whether the time kept free for the end is half spent."""
        if self.time_limit_s is None or self.whole_s is None:
            return False
        return self._seconds() >= (self.time_limit_s + self.whole_s) / 2

    def out_of_time(self) -> bool:
        """Whether the time limit says stop."""
        if self.time_limit_s is None:
            return False
        reasons_s = REFUSAL_S * len(self.usage.network.sites) * self.left_out
        return self._seconds() + reasons_s >= self.time_limit_s

    def _market(self, share: float) -> None:
        """Congestion prices at this share of their scale, everywhere."""
        market, cells = self.arena.market, len(self.arena.market.site_capacity)
        for i, scale in enumerate(self.scale):
            if i < cells:
                market.site_scale[i] = scale * share
            else:
                market.link_scale[i - cells] = scale * share
        self.arena.passes.reprice_all(market, self.arena.state)

    def first_answer(self) -> None:
        """One pass in order of worth, and the first bound."""
        arena = self.arena
        if not arena.chains:
            return
        for c, rank in enumerate(self.rank):
            arena.desk.rank[c] = rank
        self.order = sorted(range(len(arena.chains)), key=lambda c: (-self.rank[c], c))
        self._market(1.0)
        self._pass(self.order)
        while not self.dual.advance(duals.PRICED_AT_ONCE):
            pass
        self._note()

    def _pass(self, order: list[int]) -> None:
        ranks, at = self.arena.order(order), 0
        while at < len(order):
            at = int(self.arena.passes.place_pass(*self.arena.parts, ranks, at, len(order), False))
            if at < len(order):
                self.arena.grow_pool()

    def _note(self) -> None:
        point = Point(
            self.done,
            round(self._seconds(), 3),
            self.arena.objective(),
            self.dual.best,
            len(self.arena.placed()),
        )
        self.left_out = len(self.arena.chains) - point.placed
        self.history.append(point)
        if self.progress:
            self.progress(point)

    def exactly(self, wanted: bool | None) -> None:
        """The column solver, for small problems, when HiGHS is there."""
        from isthmus.placement import columns, compact

        if wanted is False or not self.arena.chains:
            return
        if wanted is None and not columns.worth_it(self.arena):
            return
        from isthmus.placement import recreate

        pool = columns.Pool(self.arena)
        fast = self.arena.compiled.fast
        rounds = recreate.rounds_for(len(self.arena.chains), self.limit, fast=fast)
        first = min(rounds, recreate.FIRST_ROUNDS) if compact.possible(self.arena) else rounds
        recreate.shake(self.arena, self.scale, self.random, pool, first, self.out_of_time)
        self._note()
        proved = not self.out_of_time() and self._close(recreate)
        columns.improve(self.arena, self.dual, self.out_of_time, pool, integer=rounds == 0)
        for _ in range(0 if proved else recreate.turns(limited=self.time_limit_s is not None)):
            if self.out_of_time() or rounds == 0:
                break
            recreate.shake(self.arena, self.scale, self.random, pool, rounds, self.out_of_time)
        self.exact_used = True
        self._note()

    def _close(self, recreate: Any) -> bool:
        """The compact program, for at most its share of what is left of the time limit."""
        begun, limit = self._seconds(), self.time_limit_s

        def stop() -> bool:
            spent = self._seconds() - begun
            return limit is not None and spent > recreate.CLOSE_SHARE * (limit - begun)

        closed = recreate.close(self.arena, None if limit is None else stop)
        self.exact_bound = closed.bound
        self._note()
        return bool(closed.proved)

    def refine(self) -> None:
        """Dual rounds and moves in turns, then true prices, until work or time is spent."""
        if not self.arena.chains:
            return
        round_cost = max(1, len(self.arena.chains) // 64)
        polished = False
        sketch = round_cost * (1 + duals.SKETCH_STEPS // self.dual.stride())
        if not self.exact_used and self.done + sketch <= self.limit // 2:
            self._polish()
            self._moves(min(2 * round_cost, self.limit - self.done))
            polished = True
            self._note()
            self.dual.sketch(self.out_of_time)
            self._finish_round()
            self.done += sketch + round_cost
            self._note()
        while self.done < self.limit and not self.out_of_time():
            before = self.arena.objective()
            if not self._dual_round():
                break
            self.done += round_cost
            if not polished or not self._waiting():
                self._polish()
                self.done += round_cost
                polished = True
            self._moves(min(4 * round_cost, self.limit - self.done))
            self._note()
            if self.dual.best - self.arena.objective() <= 1e-9 * abs(self.dual.best):
                break
            if self.arena.objective() <= before and self.dual.step < 1e-3:
                break
        if not polished and not self.out_of_time() and self.limit > 0:
            self._polish()
            self._note()

    def _dual_round(self) -> bool:
        self.dual.move(self.arena.objective())
        return self._finish_round()

    def _finish_round(self) -> bool:
        while not self.dual.advance(duals.PRICED_AT_ONCE):
            if self.out_of_time():
                return False
        return True

    def _waiting(self) -> list[int]:
        return [c for c in self.order if self.arena.answers.size[c] < 0]

    def _moves(self, budget: int) -> None:
        arena = self.arena
        self._market(1.0)
        while budget > 0 and not self.out_of_time():
            waiting = self._waiting()[:budget]
            if not waiting:
                return
            ranks, at = arena.order(waiting), 0
            while at < len(waiting) and not self.out_of_time():
                end = min(at + CHUNK, len(waiting))
                _, stopped = arena.moves.improve(
                    *arena.parts,
                    arena.desk,
                    arena.desk.in_order,
                    self.random,
                    ranks,
                    at,
                    end,
                    LIFTS,
                )
                at = int(stopped)
                if at < end:
                    arena.grow_pool()
            self.done += len(waiting)
            budget -= len(waiting)

    def _polish(self) -> None:
        """Every chain once more at nearly true prices."""
        arena = self.arena
        self._market(POLISH)
        ranks, at, count = arena.order(self.order), 0, len(arena.chains)
        labels = min(POLISH_LABELS, int(arena.scratch.limit))
        while at < count and not self.out_of_time():
            graph, state, batch, market, answers, scratch, work = arena.parts
            end = min(at + duals.PRICED_AT_ONCE, count)
            _, stopped = arena.moves.polish(
                graph,
                state,
                batch,
                market,
                answers,
                scratch._replace(limit=labels),
                work,
                arena.desk,
                ranks,
                at,
                end,
            )
            at = int(stopped)
            if at < end:
                arena.grow_pool()

    def solution(self, relaxations: int) -> Solution:
        """Names, refusals with reasons, and the verifier's word on all of it."""
        from isthmus.placement.refusals import explain_refused

        arena, prices = self.arena, self._prices()
        arena.batch = arena.desk = None  # a quarter of a kilobyte a chain, and no more searches
        waiting = [arena.chains[c] for c in self._waiting()] if arena.chains else []
        bound = self.dual.best if arena.chains else 0.0
        self.order, self.rank = [], []
        del self.dual
        usage = arena.usage()
        placements = {
            arena.chains[c].id: usage.placed[arena.chains[c].id][1] for c in arena.placed()
        }
        for chain in self.pairs:
            bound += chain.value
            waiting.append(chain)
        del arena, self.arena  # the answer needs their memory
        extra, refusals = explain_refused(
            usage, waiting, relaxations=relaxations, stop=self.relaxed_enough
        )
        placements |= extra
        check(usage.network, usage.placed.values())
        total = objective(usage.network, (usage.placed[name] for name in placements))
        machine = "columns+" if self.exact_used else ""
        return Solution(
            total,
            max(bound, total),
            placements,
            refusals,
            self.done,
            self.seed,
            BUILD + f" {machine}search",
            usage,
            prices,
            tuple(self.history),
            None if self.exact_bound is None or self.pairs else max(self.exact_bound, total),
        )

    def _prices(self) -> dict[tuple[str, str], float]:
        """Dual prices above zero, by (site or link, resource)."""
        compiled, dual = self.arena.compiled, self.dual
        names = [(site, r) for r in compiled.resources for site in compiled.site_names]
        names += [(link.id, "kbit/s") for link in compiled.links]
        return {n: p for n, p in zip(names, dual.best_prices, strict=False) if p > 0}
