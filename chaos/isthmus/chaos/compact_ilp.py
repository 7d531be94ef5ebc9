"""The compact integer program of a small problem in HiGHS: the reference that knows the optimum.

One binary per chain, hop and link, one per chain, function and site, flow conservation, sums,
latency and pairs. Grows too fast for more than some 20 chains on 12 sites (research page, 2.3);
it shares nothing with the engine but the model.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from isthmus.placement.model import ChainDemand, Function, Network, Site
from isthmus.placement.problem import Problem

Row = tuple[dict[int, float], float, float]


class _Program:
    """Columns and rows as they are made."""

    def __init__(self) -> None:
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
    accept = program.binary(chain.value)
    stands: list[dict[str, int]] = []
    for function in chain.functions:
        row: dict[str, int] = {}
        for site in network.sites:
            if not _allowed(chain, function, site):
                continue
            cost = sum(n * site.price.get(r, 0.0) for r, n in function.demand.items())
            row[site.name] = program.binary(-cost)
            for resource, amount in function.demand.items():
                on_site[site.name, resource][row[site.name]] = float(amount)
        stands.append(row)
        program.row({**dict.fromkeys(row.values(), 1.0), accept: -1.0}, 0, 0)
    enter = {name: program.binary(0.0) for name in chain.ingress}
    leave = {name: program.binary(0.0) for name in chain.egress}
    program.row({**dict.fromkeys(enter.values(), 1.0), accept: -1.0}, 0, 0)
    program.row({**dict.fromkeys(leave.values(), 1.0), accept: -1.0}, 0, 0)
    points = [enter, *stands, leave]
    latency: dict[int, float] = {}
    for hop, bandwidth in enumerate(chain.bandwidth_kbps):
        flow = {link.id: program.binary(-bandwidth * link.price) for link in network.links}
        for link in network.links:
            on_link[link.id][flow[link.id]] = float(bandwidth)
            latency[flow[link.id]] = link.latency_ns / 1e6
        for site in network.sites:
            terms: dict[int, float] = {}
            for link in network.links:
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
    for a, b in chain.anti_affinity:
        for name in stands[a].keys() & stands[b].keys():
            program.row({stands[a][name]: 1.0, stands[b][name]: 1.0}, 0, 1)
    for a, b in chain.affinity:
        for name in stands[a].keys() | stands[b].keys():
            both = {stands[a].get(name): 1.0, stands[b].get(name): -1.0}
            program.row({k: v for k, v in both.items() if k is not None}, 0, 0)


def optimum(problem: Problem, *, time_limit_s: float = 60.0) -> tuple[float, float]:
    """(best objective found, proved bound) of the whole problem."""
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
    solver: Any = highspy.Highs()
    for name in ("log_to_console", "output_flag"):
        solver.setOptionValue(name, False)
    solver.setOptionValue("threads", 1)
    solver.setOptionValue("time_limit", time_limit_s)
    solver.setOptionValue("mip_rel_gap", 1e-6)
    solver.passModel(lp)
    solver.run()
    info = solver.getInfo()
    return float(info.objective_function_value), float(info.mip_dual_bound)


def _capacity(program: _Program, terms: dict[int, float], room: int) -> None:
    if room > 0:
        program.row({i: v / room for i, v in terms.items()}, -float("inf"), 1.0)
    else:
        program.row({i: v for i, v in terms.items() if v > 0}, -float("inf"), 0.0)
