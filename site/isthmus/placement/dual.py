"""The bound that the engine proves itself, and the prices behind it.

Lagrangian dual: for any prices p >= 0 on sites and links,
``sum(p * capacity) + sum over chains of max(0, worth - least cost at p)`` is at least the
objective of every answer. Never a restricted master's LP, which bounds nothing until its pricing
is exact (research page, pitfalls). Start: one price per resource where the sorted demand cuts the
capacity (a knapsack; within 0.2 to 0.5 % at once when compute binds), then many small steps from
samples of the chains, then a projected subgradient with momentum, its step by Polyak's rule.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from isthmus.placement.arena import Arena

ROUNDING = 1e-9  # share of the bound added for what doubles may have lost
MOMENTUM = 0.6
FIRST_STEP = 0.05  # 0.5 never bettered the knapsack's bound with 10,000 chains
SHRINK = 0.6
SKETCH_STEPS = 32
SKETCH_STRIDE = 8  # each step sees every eighth chain, so 32 steps cost four rounds
SKETCH_CHAINS = 1_000  # at least so many chains are seen by a step
SKETCH_MOVE = 0.002  # share of the scale by which a price moves when it is overused once over
SKETCH_SHRINK = 0.97
SKETCH_MOMENTUM = 0.7
PRICED_AT_ONCE = 500  # chains of a round between two looks at the clock
PATIENCE = 1  # rounds without a better bound before the step shrinks
LINK_SHARE = 0.5  # scale of link prices: this share of the mean worth of a kbit/s
SITE_FLOOR = 0.1  # least scale of a site price, as a share of the mean worth of a unit


def cuts(arena: Arena, sweeps: int = 3) -> list[float]:
    """Per resource the worth of its last unit if sites were one pool and nothing else scarce.

    With several resources the prices share the burden: one after the other takes the cut that is
    left beside the others' prices (coordinate descent on the pooled dual).
    """
    resources, sites = len(arena.compiled.resources), len(arena.compiled.site_names)
    if not arena.chains:
        return [0.0] * resources
    count, demand = arena.batch.chains, [int(d) for d in arena.batch.demand_sum]
    value = [float(v) for v in arena.batch.value]
    prices = [0.0] * resources
    for sweep in range(sweeps if resources > 1 else 1):
        for r in range(resources):
            rest = value
            if sweep or r:
                others = [q for q in range(resources) if q != r and prices[q] > 0]
                rest = [
                    value[c] - sum(prices[q] * demand[c * resources + q] for q in others)
                    for c in range(count)
                ]
            room = arena.market.site_capacity[r * sites : (r + 1) * sites]
            prices[r] = _cut(rest, demand[r::resources][:count], sum(max(0, int(v)) for v in room))
    return prices


def _cut(worth: list[float], need: list[int], room: int) -> float:
    rows = sorted(
        ((w / n, n) for w, n in zip(worth, need, strict=True) if n and w > 0), reverse=True
    )
    for density, amount in rows:
        room -= amount
        if room < 0:
            return density
    return 0.0


def scales(arena: Arena) -> tuple[list[float], list[float]]:
    """(worth per scarce thing of each chain, scale of each congestion price)."""
    batch = arena.batch
    kinds, sites = len(arena.compiled.resources), len(arena.compiled.site_names)
    count = len(arena.chains)
    value = sum(c.value for c in arena.chains)
    per_kind = []
    for r, cut in enumerate(cuts(arena)):
        asked = sum(int(batch.demand_sum[c * kinds + r]) for c in range(count))
        floor = SITE_FLOOR if r == 0 else SITE_FLOOR / 5
        per_kind.append(max(cut, floor * value / asked if asked else 0.0))
    bandwidth = sum(int(batch.bandwidth_sum[c]) for c in range(count))
    link = LINK_SHARE * value / bandwidth if bandwidth else 0.0
    rank = []
    for c in range(count):
        used = 0.01 * link * int(batch.bandwidth_sum[c])
        used += sum(per_kind[r] * int(batch.demand_sum[c * kinds + r]) for r in range(kinds))
        rank.append(arena.chains[c].value / used if used > 0 else 1e18)
    scale = [s for s in per_kind for _ in range(sites)]
    return rank, scale + [link] * len(arena.compiled.links)


class Dual:
    """Prices that move, the best bound so far, and its prices."""

    def __init__(self, arena: Arena, scale: Sequence[float]) -> None:
        self.arena = arena
        self.sites = len(arena.market.site_capacity)
        room = [*arena.market.site_capacity, *arena.market.link_capacity]
        if not arena.compiled.links:
            room = list(arena.market.site_capacity)
        self.room = [max(0.0, float(v)) for v in room]
        self.scale = [s if v > 0 else 0.0 for s, v in zip(scale, self.room, strict=True)]
        resources = len(arena.compiled.resources)
        per = self.sites // max(1, resources)
        self.prices = [0.0] * len(self.room)
        for r, cut in enumerate(cuts(arena)):
            for v in range(per):
                self.prices[r * per + v] = cut
        self.best, self.best_prices = float("inf"), list(self.prices)
        self.velocity = [0.0] * len(self.room)
        self.step, self.bad, self.rounds = FIRST_STEP, 0, 0
        arrays = arena.compiled.arrays
        self.site_use = arrays.floats([0.0] * self.sites)
        self.link_use = arrays.floats([0.0] * max(1, len(self.room) - self.sites))
        self.worth = arrays.floats([0.0] * arena.batch.chains)
        self._at, self._total = 0, 0.0

    def advance(self, chains: int) -> bool:
        """Price the next ``chains`` chains of the round under way; True when it is complete."""
        arena, count = self.arena, self.arena.batch.chains
        if self._at == 0:
            self._begin()
        end = min(count, self._at + chains)
        self._total += float(
            arena.pricing.bound_round(
                arena.compiled.graph,
                self.state,
                arena.batch,
                arena.scratch,
                arena.work,
                self._at,
                end,
                1,
                self.site_use,
                self.link_use,
                self.worth,
            )
        )
        self._at = end
        if end < count:
            return False
        self._finish()
        return True

    def stride(self) -> int:
        """How many chains a step of the sketch passes over."""
        return max(1, min(SKETCH_STRIDE, len(self.arena.chains) // SKETCH_CHAINS))

    def sketch(self, stop: Callable[[], bool]) -> None:
        """Many small steps, each from a sample of the chains: prices for the next round.

        Says nothing about the bound: :meth:`advance` then prices every chain at what came out.
        Measured at 10,000 x 300, "both": four rounds' work takes 0.15 points off the gap, as
        many whole rounds 0.03.
        """
        arena, stride = self.arena, self.stride()
        velocity, move = [0.0] * len(self.room), SKETCH_MOVE
        self.prices = list(self.best_prices)
        for k in range(SKETCH_STEPS):
            if stop():
                return
            self._begin()
            arena.pricing.bound_round(
                arena.compiled.graph,
                self.state,
                arena.batch,
                arena.scratch,
                arena.work,
                (7 * k) % stride,
                arena.batch.chains,
                stride,
                self.site_use,
                self.link_use,
                self.worth,
            )
            use = [float(u) for u in self.site_use]
            use += [float(u) for u in self.link_use][: len(self.room) - self.sites]
            velocity = [
                SKETCH_MOMENTUM * old + (1 - SKETCH_MOMENTUM) * (stride * u - v)
                for old, u, v in zip(velocity, use, self.room, strict=True)
            ]
            self.prices = [
                max(0.0, p + move * s / max(1.0, v) * w)
                for p, s, v, w in zip(self.prices, self.scale, self.room, velocity, strict=True)
            ]
            move *= SKETCH_SHRINK

    def _begin(self) -> None:
        arena, floats = self.arena, self.arena.compiled.arrays.floats
        own = [*arena.market.site_price, *arena.market.link_price]
        now = [float(a) + b for a, b in zip(own, self.prices, strict=False)]
        self.state: Any = arena.state._replace(
            site_price=floats(now[: self.sites]),
            link_price=floats(now[self.sites :]),
            site_room=arena.market.site_capacity,
            link_room=arena.market.link_capacity,
        )
        self._total = 0.0
        for use in (self.site_use, self.link_use):
            for i in range(len(use)):
                use[i] = 0.0

    def _finish(self) -> None:
        self._at = 0
        self.rounds += 1
        bound = self._total + sum(p * v for p, v in zip(self.prices, self.room, strict=True))
        bound += abs(bound) * ROUNDING
        if bound < self.best:
            self.best, self.best_prices, self.bad = bound, list(self.prices), 0
            return
        self.bad += 1
        if self.bad >= PATIENCE:
            self.step, self.bad = self.step * SHRINK, 0
            self.prices = list(self.best_prices)

    def move(self, target: float) -> None:
        """Step from the last round's prices against its overuse, aiming at ``target``."""
        use = [float(u) for u in self.site_use]
        use += [float(u) for u in self.link_use][: len(self.room) - self.sites]
        gradient = [u - v for u, v in zip(use, self.room, strict=True)]
        self.velocity = [
            MOMENTUM * old + (1 - MOMENTUM) * new
            for old, new in zip(self.velocity, gradient, strict=True)
        ]
        way = [
            s / max(1.0, v) * g
            for s, v, g in zip(self.scale, self.room, self.velocity, strict=True)
        ]
        length = sum(w * g for w, g in zip(way, self.velocity, strict=True))
        if length <= 0.0:
            return
        step = self.step * max(0.0, self.best - target) / length
        self.prices = [max(0.0, p + step * w) for p, w in zip(self.prices, way, strict=True)]
