"""Data behind a refusal that a separate checker can verify without trusting the search.

For everything but the joint constraints it is a *bottleneck*: the places (stage, site) and links
(hop, link) that block. The claim is that with only these blocked, and all else of the network
open, no walk keeps the budget. It holds because the set is collected so: run forward over latency
on the residual graph; whenever a blocked move starts at a reached state and could still make the
budget on an open network, the move joins the set. A walk within the budget that avoids the set
would have no blocked move at all, so the search would have found it.
:mod:`isthmus.placement.checker` verifies both halves (each member lacks room; none gets around).
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from typing import Any

from isthmus.placement.compiled import CompiledChain, contradiction
from isthmus.placement.model import ChainDemand, Constraint
from isthmus.placement.usage import Usage


def make(usage: Usage, compiled: CompiledChain, constraint: Constraint) -> dict[str, object]:
    """The certificate for a proved refusal on ``usage`` (already on the empty one for "alone")."""
    if constraint in ("joint", "affinity"):
        return {"proof": "exhaustive"}
    return {"proof": "bottleneck", "bottleneck": bottleneck(usage, compiled)}


def pair_certificate(chain: ChainDemand) -> dict[str, object]:
    """Affinity ties what anti-affinity parts."""
    pair = contradiction(chain)
    return {"proof": "contradiction", "pair": list(pair or ())}


def bottleneck(usage: Usage, compiled: CompiledChain) -> dict[str, Any]:
    """``{"places": {function: [sites]}, "links": {hop: [links]}}`` that block every walk.

    Sites where policy forbids a function are no bottleneck: the checker knows policy itself.
    """
    network, query = usage.compiled, compiled.query
    sites, stages = len(network.site_names), int(query.stages)
    to_go = _open_to_go(usage, compiled)
    first = [int(v) for v in network.graph.first]
    budget = float(query.budget)
    best: dict[int, float] = {}
    heap = [(0.0, int(v)) for v in dict.fromkeys(int(v) for v in query.ingress)]
    places: dict[int, set[str]] = defaultdict(set)
    links: dict[int, set[str]] = defaultdict(set)
    while heap:
        spent, here = heapq.heappop(heap)
        if here in best:
            continue
        best[here] = spent
        layer, v = divmod(here, sites)
        if layer < stages and compiled.permitted[here] and spent + to_go[here + sites] <= budget:
            if _has_room(usage, compiled, layer, v):
                heapq.heappush(heap, (spent, here + sites))
            else:
                places[compiled.stages[layer].members[0]].add(network.site_names[v])
        need = int(query.bandwidth[layer])
        hop = (
            compiled.stages[layer].members[0] if layer < stages else len(compiled.demand.functions)
        )
        for arc in range(first[v], first[v + 1]):
            there = layer * sites + network.head[arc]
            slow = spent + network.latency[arc]
            if not query.link_ok[arc] or slow + to_go[there] > budget:
                continue
            if usage.link_room[arc] >= need:
                heapq.heappush(heap, (slow, there))
            else:
                links[hop].add(network.links[arc].id)
    return {
        "places": {str(i): sorted(names) for i, names in sorted(places.items())},
        "links": {str(h): sorted(names) for h, names in sorted(links.items())},
    }


def _has_room(usage: Usage, compiled: CompiledChain, stage: int, v: int) -> bool:
    kinds, sites = len(usage.compiled.resources), len(usage.compiled.site_names)
    if not usage.site_up[v]:
        return False
    needs = compiled.query.demand[stage * kinds : (stage + 1) * kinds]
    return all(
        int(need) <= 0 or int(need) <= int(usage.site_room[r * sites + v])
        for r, need in enumerate(needs)
    )


def _open_to_go(usage: Usage, compiled: CompiledChain) -> list[float]:
    """Latency to go from each (layer, site) with all room granted, policy kept."""
    network, kernel = usage.compiled, usage.compiled.kernel
    ints = network.arrays.ints
    endless = usage.state._replace(
        site_room=ints([1 << 58] * len(usage.site_room)),
        link_room=ints([1 << 58] * len(usage.link_room)),
        site_up=ints([1] * len(network.site_names)),
    )
    scratch = network.scratch(int(compiled.query.stages), 1)
    kernel.stage_costs(
        network.graph, endless, compiled.query, compiled.permitted, compiled.homes, 0.0
    )
    kernel.backward(
        network.graph,
        endless,
        compiled.query,
        scratch,
        0.0,
        1.0,
        kernel.INF,
        scratch.latency_to_go,
    )
    cells = (int(compiled.query.stages) + 1) * len(network.site_names)
    return [float(v) for v in scratch.latency_to_go[:cells]]
