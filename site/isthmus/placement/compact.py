"""The smallest problems exactly: flows and stages as one mixed-integer program in HiGHS.

What packs sites tightly is beyond columns priced one chain at a time; with some 15 chains on 12
sites the whole program can be solved instead. One binary per chain, per stage and permitted site,
per hop and link in reach of the latency budget; flow conservation, sums, budget and pairs. It
starts from the answer that stands, and stops within :data:`GAP` of its own bound. The bound is not
taken over: the engine's own is the Lagrangian one.
"""

from __future__ import annotations

import importlib.util
from collections import defaultdict
from typing import Any

from isthmus.placement import highs
from isthmus.placement.arena import Arena

MOST_BINARIES = 14_000  # some 60 chains on 12 sites have 10,000
GAP = 3e-4
NODES = 100

Steps = tuple[int, ...]
Walk = tuple[int, int, Steps]  # chain, start, steps
PLACE = -2


class Compact:
    """The program of an arena's problem; ``hints`` is the answer that stands, as its columns."""

    def __init__(self, arena: Arena) -> None:
        self.arena = arena
        self.cost: list[float] = []
        self.hints: list[float] = []
        self.rows: list[tuple[dict[int, float], float, float]] = []
        self.on_site: dict[int, dict[int, float]] = defaultdict(dict)
        self.on_link: dict[int, dict[int, float]] = defaultdict(dict)
        self.accepts: list[int] = []
        self.enters: list[dict[int, int]] = []
        self.leaves: list[dict[int, int]] = []
        self.stands: list[list[dict[int, int]]] = []
        self.flows: list[list[dict[int, int]]] = []
        self.floor = arena.objective()

    def build(self) -> bool:
        """Make all rows; False when the program is too large."""
        for c in range(len(self.arena.chains)):
            self._chain(c)
            if len(self.cost) > MOST_BINARIES:
                return False
        market = self.arena.market
        for cell, terms in self.on_site.items():
            self._capacity(terms, int(market.site_capacity[cell]))
        for arc, terms in self.on_link.items():
            self._capacity(terms, int(market.link_capacity[arc]))
        return True

    def _binary(self, cost: float) -> int:
        self.cost.append(cost)
        self.hints.append(0.0)
        return len(self.cost) - 1

    def _capacity(self, terms: dict[int, float], room: int) -> None:
        if sum(terms.values()) > room > 0:
            self.rows.append(({i: v / room for i, v in terms.items()}, -1e30, 1.0))

    def _chain(self, c: int) -> None:
        arena, batch = self.arena, self.arena.batch
        compiled = arena.compiled
        sites = len(compiled.site_names)
        query = arena.passes.query_of(compiled.graph, batch, arena.work, c)
        roomy = arena.state._replace(
            site_price=arena.market.site_price,
            link_price=arena.market.link_price,
            site_room=arena.market.site_capacity,
            link_room=arena.market.link_capacity,
        )
        arena.passes.fill_costs(compiled.graph, roomy, batch, query, c)
        accept = self._binary(float(batch.value[c]))
        stands = [self._stage(c, k, query, sites) for k in range(query.stages)]
        reach = [int(v) for v in query.reach]
        enter = {int(v): self._binary(0.0) for v in query.ingress if reach[int(v)]}
        leave = {int(v): self._binary(0.0) for v in query.egress if reach[int(v)]}
        for row in (enter, *stands, leave):
            self.rows.append(({**dict.fromkeys(row.values(), 1.0), accept: -1.0}, 0, 0))
        points = [enter, *stands, leave]
        flows = [self._hop(k, query, reach, points[k : k + 2]) for k in range(query.stages + 1)]
        slow = {
            column: compiled.latency[arc] / 1e6 for flow in flows for arc, column in flow.items()
        }
        if slow and float(query.budget) < 1e17:
            self.rows.append((slow, 0.0, float(query.budget) / 1e6))
        self._pairs(query, stands)
        self.accepts.append(accept)
        self.enters.append(enter)
        self.leaves.append(leave)
        self.stands.append(stands)
        self.flows.append(flows)

    def _stage(self, c: int, k: int, query: Any, sites: int) -> dict[int, int]:
        row: dict[int, int] = {}
        for v in range(sites):
            cost = float(query.place_cost[k * sites + v])
            if cost >= float(self.arena.pricing.INF):
                continue
            row[v] = self._binary(-cost)
            for r in range(len(self.arena.compiled.resources)):
                need = int(query.demand[k * len(self.arena.compiled.resources) + r])
                if need:
                    self.on_site[r * sites + v][row[v]] = float(need)
        return row

    def _hop(
        self, k: int, query: Any, reach: list[int], ends: list[dict[int, int]]
    ) -> dict[int, int]:
        compiled, market = self.arena.compiled, self.arena.market
        need = int(query.bandwidth[k])
        flow: dict[int, int] = {}
        balance: dict[int, dict[int, float]] = defaultdict(dict)
        for arc, (u, v) in enumerate(zip(compiled.tail, compiled.head, strict=True)):
            if not (reach[u] and reach[v] and query.link_ok[arc]):
                continue
            if need > int(market.link_capacity[arc]) or u == v:
                continue
            flow[arc] = self._binary(-need * float(market.link_price[arc]))
            balance[u][flow[arc]] = 1.0
            balance[v][flow[arc]] = -1.0
            if need:
                self.on_link[arc][flow[arc]] = float(need)
        for v, column in ends[0].items():
            balance[v][column] = -1.0
        for v, column in ends[1].items():
            balance[v][column] = 1.0
        self.rows += [(terms, 0.0, 0.0) for terms in balance.values()]
        return flow

    def _pairs(self, query: Any, stands: list[dict[int, int]]) -> None:
        for p in range(int(query.apart_count)):
            a, b = stands[int(query.apart[2 * p])], stands[int(query.apart[2 * p + 1])]
            self.rows += [({a[v]: 1.0, b[v]: 1.0}, 0.0, 1.0) for v in a.keys() & b.keys()]
        for p in range(int(query.together_count)):
            a, b = stands[int(query.together[2 * p])], stands[int(query.together[2 * p + 1])]
            for v in a.keys() | b.keys():
                terms = {a[v]: 1.0} if v in a else {}
                terms |= {b[v]: -1.0} if v in b else {}
                self.rows.append((terms, 0.0, 0.0))

    def hint(self, walk: Walk) -> None:
        """Make a walk that stands part of the start."""
        c, at, steps = walk
        self.hints[self.accepts[c]] = 1.0
        self.hints[self.enters[c][at]] = 1.0
        stage = 0
        for step in steps:
            if step == PLACE:
                self.hints[self.stands[c][stage][at]] = 1.0
                stage += 1
            else:
                self.hints[self.flows[c][stage][step]] = 1.0
                at = self.arena.compiled.head[step]
        self.hints[self.leaves[c][at]] = 1.0

    def solve(self, stop: highs.Stop | None) -> tuple[list[Walk], bool, float | None]:
        """The walks of the best answer found (maybe the one that stood), whether proved, the bound."""
        import highspy

        solver = highs.solver(stop, mip_rel_gap=GAP, mip_max_nodes=NODES)
        solver.passModel(self._program(highspy))
        start = highspy.HighsSolution()
        start.col_value = self.hints
        solver.setSolution(start)
        solver.run()
        shares = list(solver.getSolution().col_value)
        chosen = [c for c, column in enumerate(self.accepts) if shares and shares[column] > 0.5]
        proved = solver.getModelStatus() == highspy.HighsModelStatus.kOptimal
        bound = float(solver.getInfo().mip_dual_bound)
        return [self._walk(c, shares) for c in chosen], proved, bound if bound < 1e300 else None

    def _program(self, highspy: Any) -> Any:
        import numpy as np

        lp = highspy.HighsLp()
        lp.num_col_, lp.num_row_ = len(self.cost), len(self.rows)
        lp.sense_ = highspy.ObjSense.kMaximize
        lp.col_cost_ = np.array(self.cost)
        lp.col_lower_, lp.col_upper_ = np.zeros(lp.num_col_), np.ones(lp.num_col_)
        inf = highspy.kHighsInf
        lp.row_lower_ = np.array([low if low > -1e29 else -inf for _, low, _ in self.rows])
        lp.row_upper_ = np.array([high for _, _, high in self.rows], dtype=float)
        lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        lp.a_matrix_.start_ = np.cumsum([0] + [len(terms) for terms, _, _ in self.rows])
        lp.a_matrix_.index_ = np.array([i for terms, _, _ in self.rows for i in terms])
        lp.a_matrix_.value_ = np.array([v for terms, _, _ in self.rows for v in terms.values()])
        lp.integrality_ = [highspy.HighsVarType.kInteger] * lp.num_col_
        return lp

    def _walk(self, c: int, shares: list[float]) -> Walk:
        """Read one chain's walk back: along the links chosen, stage by stage, loops left out."""

        def chosen(row: dict[int, int]) -> int:
            return max(row, key=lambda v: (shares[row[v]], -v))

        head, tail = self.arena.compiled.head, self.arena.compiled.tail
        start = at = chosen(self.enters[c])
        steps: list[int] = []
        stops = [chosen(row) for row in (*self.stands[c], self.leaves[c])]
        for hop, stop in enumerate(stops):
            onward: dict[int, list[int]] = defaultdict(list)
            for arc, column in self.flows[c][hop].items():
                if shares[column] > 0.5:
                    onward[tail[arc]].append(arc)
            path: list[int] = []
            while at != stop:
                arc = onward[at].pop()
                path.append(arc)
                at = head[arc]
            steps += [*path, PLACE]
        return c, start, tuple(steps[:-1])


def possible(arena: Arena) -> bool:
    """Whether HiGHS is there and the program may be small enough."""
    hops = sum(
        int(arena.batch.stage_first[c + 1]) - int(arena.batch.stage_first[c]) + 1
        for c in range(len(arena.chains))
    )
    if hops * len(arena.compiled.links) > 2 * MOST_BINARIES:
        return False
    return importlib.util.find_spec("highspy") is not None
