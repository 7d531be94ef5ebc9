"""``isthmus bench placement-online``: one chain on warm state, and the busiest site fails (GOALS, row of that name).

The reference is a bare layered Dijkstra in plain Python, without latency, capacity or pairs, on the same instance.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from isthmus.chaos.bench_placement import ONLINE_GAP, Sizes, cpu_s, document, figure, warm_up
from isthmus.placement.generator import drawn, make
from isthmus.placement.incremental import repair
from isthmus.placement.model import ChainDemand, Network, Placement
from isthmus.placement.online import place
from isthmus.placement.usage import Usage


def online(folder: Path, sizes: Sizes | None = None) -> dict[str, Any]:
    """The online row: one chain on warm state; the busiest site fails."""
    sizes = sizes or Sizes()
    warm_up()
    rows: list[dict[str, Any]] = []
    for count, goal_ms in zip(sizes.online_sites, (1.5, 5.0), strict=False):
        problem = make(drawn(count, 1), sizes.online_chains, regime="relaxed", seed=1)
        usage = Usage(problem.network, fast=True)
        spent = _arrivals(usage, problem.chains)
        reference = [_bare(problem.network, chain) for chain in problem.chains[:60]]
        rows.append(
            figure(
                f"{count} sites: place one chain, p50",
                _p(spent, 0.5),
                "ms",
                "",
                None,
                _p(reference, 0.5),
                _p(spent, 0.5) / _p(reference, 0.5),
            )
        )
        p99 = _p(spent, 0.99)
        rows.append(
            figure(
                f"{count} sites: place one chain, p99",
                p99,
                "ms",
                f"<= {goal_ms} ms",
                p99 <= goal_ms,
                _p(reference, 0.99),
                p99 / _p(reference, 0.99),
            )
        )
        _failure(rows, usage, count)
    return document("placement-online", rows, {}, sizes)


def _arrivals(usage: Usage, chains: Sequence[ChainDemand]) -> list[float]:
    """CPU milliseconds of each placement after a warm fifth."""
    spent = []
    for chain in chains:
        began = cpu_s()
        answer = place(usage, chain, proof=False, gap=ONLINE_GAP)
        spent.append(1000 * (cpu_s() - began))
        if isinstance(answer, Placement):
            usage.apply(chain, answer)
    return spent[len(spent) // 5 :]


def _failure(rows: list[dict[str, Any]], usage: Usage, count: int) -> None:
    stands: dict[str, int] = {}
    for _, placement in usage.placed.values():
        for site in set(placement.sites):
            stands[site] = stands.get(site, 0) + 1
    busiest = max(stands, key=lambda site: (stands[site], site))
    began = cpu_s()
    lost = usage.drain_site(busiest)
    result = repair(usage, lost)
    spent = 1000 * (cpu_s() - began)
    told = f"{len(lost)} hit, {len(result.moved)} restored, {len(result.refused)} explained"
    goal = "<= 50 ms" if count <= 300 else ""
    rows.append(
        figure(
            f"{count} sites: the busiest loses its compute ({told})",
            spent,
            "ms",
            goal,
            spent <= 50 if goal else None,
        )
    )


def _p(values: Sequence[float], share: float) -> float:
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(len(ranked) * share))]


def _bare(network: Network, chain: ChainDemand) -> float:
    """CPU milliseconds of one layered Dijkstra over cost in plain Python: the reference."""
    out: dict[str, list[tuple[str, float]]] = {site.name: [] for site in network.sites}
    for link in network.links:
        out[link.source].append((link.target, link.price))
    price = {site.name: site.price.get("cpu", 0.0) for site in network.sites}
    stages = len(chain.functions)
    began = cpu_s()
    heap, seen = [(0.0, 0, chain.ingress[0])], set()
    while heap:
        cost, stage, at = heapq.heappop(heap)
        if (stage, at) in seen:
            continue
        seen.add((stage, at))
        if stage == stages and at in chain.egress:
            break
        if stage < stages:
            step = chain.functions[stage].demand.get("cpu", 0) * price[at]
            heapq.heappush(heap, (cost + step, stage + 1, at))
        for there, per_kbps in out[at]:
            step = chain.bandwidth_kbps[stage] * per_kbps
            heapq.heappush(heap, (cost + step, stage, there))
    return 1000 * (cpu_s() - began)
