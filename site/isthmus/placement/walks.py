"""Walks in the layered network: the arrays, the cheapest and the fastest, and what a walk needs.

See :mod:`isthmus.placement.kernel` for how these parts make a search.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from isthmus.placement import accel

_tools = accel.tools(__name__.endswith("_plain"))
jit, reset, push, pop = _tools

INF = 1e300
PLACE = -2  # a step or pointer that means "place the next stage at this site"
NONE = -1

OPTIMAL, WITHIN_GAP, NO_WALK, TOO_SLOW, NO_JOINT, UNDECIDED = 0, 1, 2, 3, 4, 5


class Graph(NamedTuple):
    """The network: arcs sorted by tail (``first``), and their numbers by head (``back``)."""

    sites: int
    resources: int
    first: Any
    back_first: Any
    back: Any
    tail: Any
    head: Any
    latency: Any


class State(NamedTuple):
    """What changes between searches: prices in force and what is free."""

    site_price: Any  # resource * sites + site
    link_price: Any
    site_room: Any  # resource * sites + site
    link_room: Any
    site_up: Any


class Query(NamedTuple):
    """One chain: stages are runs of functions that must share a site, already merged."""

    stages: int
    bandwidth: Any  # stages + 1
    demand: Any  # stage * resources + resource
    place_cost: Any  # stage * sites + site, INF where not permitted
    link_ok: Any
    ingress: Any
    egress: Any
    budget: float
    apart: Any  # pairs, flat, of stages on different sites
    apart_count: int
    together: Any  # pairs, flat, of stages on one site
    together_count: int
    bandwidth_sum: int
    demand_sum: Any
    reach: Any  # 1 where a walk within the budget may pass, by latency alone


class Scratch(NamedTuple):
    """Memory that is used again and again; ``limit`` labels end a search as undecided."""

    limit: int
    cost_to_go: Any
    mixed_to_go: Any
    latency_to_go: Any
    following: Any
    heap_cost: Any
    heap_item: Any
    first_label: Any
    at_goal: Any
    label_cost: Any
    label_latency: Any
    label_state: Any
    label_parent: Any
    label_via: Any
    label_next: Any
    label_dead: Any
    label_tight: Any  # 1 when the walk uses a link, 2 a site, too small for the chain twice
    steps: Any
    best_steps: Any
    sites_a: Any
    sites_b: Any


@jit
def stage_costs(graph: Any, state: Any, query: Any, permitted: Any, homes: Any, move: Any) -> None:
    """Fill ``place_cost``: price of each stage at each site, INF where mask or room forbid it."""
    sites, resources = graph.sites, graph.resources
    price, room, demand, out = (
        state.site_price,
        state.site_room,
        query.demand,
        query.place_cost,
    )
    for stage in range(query.stages):
        base = stage * sites
        for site in range(sites):
            cost = 0.0
            if permitted[base + site] == 0 or state.site_up[site] == 0:
                cost = INF
            else:
                for r in range(resources):
                    need = demand[stage * resources + r]
                    if need > 0:
                        if need > room[r * sites + site]:
                            cost = INF
                            break
                        cost += need * price[r * sites + site]
            if cost < INF and homes[base + site] > 0:
                cost += homes[base + site] * move
            out[base + site] = cost


@jit
def backward(
    graph: Any,
    state: Any,
    query: Any,
    scratch: Any,
    of_cost: float,
    of_latency: float,
    limit: float,
    out: Any,
) -> None:
    """``out[k * sites + v]``: least ``of_cost * cost + of_latency * latency`` from there on.

    What would reach ``limit`` is not followed.
    """
    sites, stages = graph.sites, query.stages
    back_first, back, tail, latency = graph.back_first, graph.back, graph.tail, graph.latency
    price, room, ok = state.link_price, state.link_room, query.link_ok
    place, following, reach = query.place_cost, scratch.following, query.reach
    costs, items = scratch.heap_cost, scratch.heap_item
    for k in range(stages, -1, -1):
        base = k * sites
        size = reset(costs, items)
        for v in range(sites):
            out[base + v] = INF
            following[base + v] = NONE
        if k == stages:
            for v in query.egress:
                if reach[v] == 1 and out[base + v] > 0.0:
                    out[base + v] = 0.0
                    size = push(costs, items, size, 0.0, v)
        else:
            for v in range(sites):
                onward = out[base + sites + v]
                if onward >= INF:
                    continue
                here = place[base + v]
                if here < INF:
                    total = of_cost * here + onward
                    if total < limit:
                        out[base + v] = total
                        following[base + v] = PLACE
                        size = push(costs, items, size, total, v)
        need = query.bandwidth[k]
        while size > 0:
            distance, v = pop(costs, items, size)
            size -= 1
            if distance > out[base + v]:
                continue
            for j in range(back_first[v], back_first[v + 1]):
                arc = back[j]
                u = tail[arc]
                if reach[u] == 0 or room[arc] < need or ok[arc] == 0:
                    continue
                total = distance + (of_cost * (need * price[arc]) + of_latency * latency[arc])
                if total < out[base + u] and total < limit:
                    out[base + u] = total
                    following[base + u] = arc
                    size = push(costs, items, size, total, u)


@jit
def best_start(query: Any, to_go: Any) -> int:
    """The ingress with the least to go (the first of equals), or -1 when none gets through."""
    best, found = INF, -1
    for v in query.ingress:
        if to_go[v] < best:
            best = to_go[v]
            found = v
    return found


@jit
def follow(graph: Any, query: Any, following: Any, start: int, steps: Any) -> int:
    """Write the walk that the pointers describe into ``steps``; its length."""
    sites, head = graph.sites, graph.head
    layer, site, size = 0, start, 0
    while True:
        step = following[layer * sites + site]
        if step == NONE:
            return size
        steps[size] = step
        size += 1
        if step == PLACE:
            layer += 1
        else:
            site = head[step]


@jit
def measure(graph: Any, state: Any, query: Any, start: int, steps: Any, size: int) -> Any:
    """Cost and latency of a walk."""
    sites = graph.sites
    cost, latency = 0.0, 0
    layer, site = 0, start
    for i in range(size):
        step = steps[i]
        if step == PLACE:
            cost += query.place_cost[layer * sites + site]
            layer += 1
        else:
            cost += query.bandwidth[layer] * state.link_price[step]
            latency += graph.latency[step]
            site = graph.head[step]
    return cost, latency


@jit
def walk_sites(graph: Any, start: int, steps: Any, size: int, out: Any) -> None:
    """The site of each stage of a walk."""
    layer, site = 0, start
    for i in range(size):
        if steps[i] == PLACE:
            out[layer] = site
            layer += 1
        else:
            site = graph.head[steps[i]]


@jit
def keeps_joint(
    graph: Any, state: Any, query: Any, start: int, steps: Any, size: int, at: Any
) -> bool:
    """Whether a walk keeps apart, together, and the *sums* on every site and link it uses."""
    walk_sites(graph, start, steps, size, at)
    stages, resources, sites = query.stages, graph.resources, graph.sites
    for p in range(query.apart_count):
        if at[query.apart[2 * p]] == at[query.apart[2 * p + 1]]:
            return False
    for p in range(query.together_count):
        if at[query.together[2 * p]] != at[query.together[2 * p + 1]]:
            return False
    for i in range(stages):
        for r in range(resources):
            room = state.site_room[r * sites + at[i]]
            if room >= query.demand_sum[r]:
                continue
            used = 0
            for j in range(stages):
                if at[j] == at[i]:
                    used += query.demand[j * resources + r]
            if used > room:
                return False
    for i in range(size):
        arc = steps[i]
        if arc == PLACE or state.link_room[arc] >= query.bandwidth_sum:
            continue
        used, layer = 0, 0
        for j in range(size):
            if steps[j] == PLACE:
                layer += 1
            elif steps[j] == arc:
                used += query.bandwidth[layer]
        if used > state.link_room[arc]:
            return False
    return True


@jit
def latency_row(graph: Any, start: int, forward: bool, scratch: Any, out: Any) -> None:
    """Least latency from ``start`` to every site (``forward``), or from every site to it."""
    costs, items = scratch.heap_cost, scratch.heap_item
    for v in range(graph.sites):
        out[v] = INF
    out[start] = 0.0
    size = push(costs, items, reset(costs, items), 0.0, start)
    while size > 0:
        distance, v = pop(costs, items, size)
        size -= 1
        if distance > out[v]:
            continue
        first, last = graph.back_first[v], graph.back_first[v + 1]
        if forward:
            first, last = graph.first[v], graph.first[v + 1]
        for j in range(first, last):
            if forward:
                arc, u = j, graph.head[j]
            else:
                arc = graph.back[j]
                u = graph.tail[arc]
            total = distance + graph.latency[arc]
            if total < out[u]:
                out[u] = total
                size = push(costs, items, size, total, u)
