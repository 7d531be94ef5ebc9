"""The compact integer program of a small problem in HiGHS: the reference that knows the optimum.

One binary per chain, hop and link, one per chain, function and site, flow conservation, sums,
latency and pairs; what the latency budget puts out of reach is left out. It shares nothing with the
engine but the model. Without a start it does not end beyond some 20 chains on 12 sites (research
page, 2.3); from an answer that is the best already, HiGHS proves 60 chains in seconds: most columns
fall to their reduced costs.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Mapping

from isthmus.placement import highs
from isthmus.placement.model import ChainDemand, Function, Network, Placement, Site
from isthmus.placement.problem import Problem

Row = tuple[dict[int, float], float, float]


class _Program:
    """Columns and rows as they are made; ``known`` says which column is which, for a start."""

    def __init__(self) -> None:
        self.known: dict[tuple[object, ...], int] = {}
        self.cost: list[float] = []
        self.rows: list[Row] = []

    def binary(self, cost: float) -> int:
        self.cost.append(cost)
        return len(self.cost) - 1

    def row(self, terms: dict[int, float], low: float, high: float) -> None:
        self.rows.append((terms, low, high))


def _allowed(chain: ChainDemand, function: Function, site: Site) -> bool:
    named = (chain.allowed_sites, function.allowed_sites)
    kinds = ((chain.countries, site.country), (chain.owners, site.owner))
    return (
        all(names is None or site.name in names for names in named)
        and all(names is None or value in names for names, value in kinds)
        and (chain.regions is None or site.region in chain.regions)
        and site.name not in chain.forbidden_sites
        and function.features <= site.features
    )


def _chain(
    program: _Program,
    network: Network,
    chain: ChainDemand,
    on_site: dict[tuple[str, str], dict[int, float]],
    on_link: dict[str, dict[int, float]],
) -> None:
    near, back = _distances(network, chain.ingress, True), _distances(network, chain.egress, False)
    budget = math.inf if chain.latency_budget_ns is None else chain.latency_budget_ns
    reach = {site.name for site in network.sites if near[site.name] + back[site.name] <= budget}
    accept = program.known[chain.id,] = program.binary(chain.value)
    stands: list[dict[str, int]] = []
    for i, function in enumerate(chain.functions):
        row: dict[str, int] = {}
        for site in network.sites:
            if site.name not in reach or not _allowed(chain, function, site):
                continue
            if any(n > site.capacity.get(r, 0) for r, n in function.demand.items()):
                continue
            cost = sum(n * site.price.get(r, 0.0) for r, n in function.demand.items())
            row[site.name] = program.known[chain.id, "at", i, site.name] = program.binary(-cost)
            for resource, amount in function.demand.items():
                on_site[site.name, resource][row[site.name]] = float(amount)
        stands.append(row)
        program.row({**dict.fromkeys(row.values(), 1.0), accept: -1.0}, 0, 0)
    enter, leave = _ends(program, chain, accept)
    points = [enter, *stands, leave]
    latency: dict[int, float] = {}
    for hop, bandwidth in enumerate(chain.bandwidth_kbps):
        links = [
            link
            for link in network.links
            if link.source in reach and link.target in reach and bandwidth <= link.capacity_kbps
        ]
        flow = {link.id: program.binary(-bandwidth * link.price) for link in links}
        program.known |= {(chain.id, "hop", hop, name): column for name, column in flow.items()}
        for link in links:
            on_link[link.id][flow[link.id]] = float(bandwidth)
            latency[flow[link.id]] = link.latency_ns / 1e6
        for site in network.sites:
            terms: dict[int, float] = {}
            for link in links:
                if link.source == site.name:
                    terms[flow[link.id]] = 1.0
                elif link.target == site.name:
                    terms[flow[link.id]] = -1.0
            if site.name in points[hop]:
                terms[points[hop][site.name]] = -1.0
            if site.name in points[hop + 1]:
                terms[points[hop + 1][site.name]] = 1.0
            if terms:
                program.row(terms, 0, 0)
    if chain.latency_budget_ns is not None and latency:
        program.row(latency, 0, chain.latency_budget_ns / 1e6)
    _pairs(program, chain, stands)


def _ends(
    program: _Program, chain: ChainDemand, accept: int
) -> tuple[dict[str, int], dict[str, int]]:
    """Where it may begin and end; exactly one of each when it is accepted."""
    enter = {name: program.binary(0.0) for name in chain.ingress}
    leave = {name: program.binary(0.0) for name in chain.egress}
    program.known |= {(chain.id, "in", name): column for name, column in enter.items()}
    program.known |= {(chain.id, "out", name): column for name, column in leave.items()}
    program.row({**dict.fromkeys(enter.values(), 1.0), accept: -1.0}, 0, 0)
    program.row({**dict.fromkeys(leave.values(), 1.0), accept: -1.0}, 0, 0)
    return enter, leave


def _pairs(program: _Program, chain: ChainDemand, stands: list[dict[str, int]]) -> None:
    """Functions that must stand apart, or together."""
    for a, b in chain.anti_affinity:
        for name in stands[a].keys() & stands[b].keys():
            program.row({stands[a][name]: 1.0, stands[b][name]: 1.0}, 0, 1)
    for a, b in chain.affinity:
        for name in stands[a].keys() | stands[b].keys():
            both = {stands[a].get(name): 1.0, stands[b].get(name): -1.0}
            program.row({k: v for k, v in both.items() if k is not None}, 0, 0)


def _distances(network: Network, ends: tuple[str, ...], forward: bool) -> dict[str, float]:
    """Least latency from the ends to each site (``forward``) or back to them, on the empty network."""
    found = dict.fromkeys((site.name for site in network.sites), math.inf)
    found |= dict.fromkeys(ends, 0.0)
    for _ in network.sites:  # Bellman and Ford: these networks are small
        for link in network.links:
            a, b = (link.source, link.target) if forward else (link.target, link.source)
            found[b] = min(found[b], found[a] + link.latency_ns)
    return found


def _started(program: _Program, start: Mapping[str, Placement]) -> list[float]:
    """The columns of an answer."""
    values = [0.0] * len(program.cost)
    for name, placement in start.items():
        keys: list[tuple[object, ...]] = [(name,)]
        keys += [(name, "at", i, site) for i, site in enumerate(placement.sites)]
        keys += [(name, "in", placement.routes[0][0]), (name, "out", placement.routes[-1][-1])]
        keys += [(name, "hop", h, link) for h, hop in enumerate(placement.hops) for link in hop]
        for key in keys:
            values[program.known[key]] = 1.0
    return values


def optimum(
    problem: Problem,
    *,
    time_limit_s: float = 60.0,
    start: Mapping[str, Placement] | None = None,
    gap: float = 1e-6,
) -> tuple[float, float]:
    """(best objective found, proved bound) of the whole problem, from ``start`` if there is one.

    The limit is in CPU seconds.
    """
    import highspy
    import numpy as np

    program = _Program()
    on_site: dict[tuple[str, str], dict[int, float]] = defaultdict(dict)
    on_link: dict[str, dict[int, float]] = defaultdict(dict)
    for chain in problem.chains:
        _chain(program, problem.network, chain, on_site, on_link)
    for site in problem.network.sites:
        for (name, resource), terms in on_site.items():
            if name == site.name:
                _capacity(program, terms, site.capacity.get(resource, 0))
    for link in problem.network.links:
        _capacity(program, on_link[link.id], link.capacity_kbps)
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = len(program.cost), len(program.rows)
    lp.sense_ = highspy.ObjSense.kMaximize
    lp.col_cost_ = np.array(program.cost)
    lp.col_lower_, lp.col_upper_ = np.zeros(lp.num_col_), np.ones(lp.num_col_)
    lp.row_lower_ = np.array([low for _, low, _ in program.rows], dtype=float)
    lp.row_upper_ = np.array([high for _, _, high in program.rows], dtype=float)
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    starts = np.cumsum([0] + [len(terms) for terms, _, _ in program.rows])
    lp.a_matrix_.start_ = starts
    lp.a_matrix_.index_ = np.array([i for terms, _, _ in program.rows for i in terms])
    lp.a_matrix_.value_ = np.array([v for terms, _, _ in program.rows for v in terms.values()])
    lp.integrality_ = [highspy.HighsVarType.kInteger] * lp.num_col_
    until = time.process_time() + time_limit_s
    solver = highs.solver(lambda: time.process_time() > until, mip_rel_gap=gap)
    solver.passModel(lp)
    if start is not None:
        begin = highspy.HighsSolution()
        begin.col_value = _started(program, start)
        solver.setSolution(begin)
    solver.run()
    info = solver.getInfo()
    return float(info.objective_function_value), float(info.mip_dual_bound)


def _capacity(program: _Program, terms: dict[int, float], room: int) -> None:
    if room > 0:
        program.row({i: v / room for i, v in terms.items()}, -float("inf"), 1.0)
    else:
        program.row({i: v for i, v in terms.items() if v > 0}, -float("inf"), 0.0)
