"""Chains at given prices: a lower bound of each one's cost, a round of the dual, one column.

The bound is the Lagrangian dual: capacity at dual prices plus, for each chain, what it is worth
beyond a *lower* bound of its cost at these prices. Any prices that are not negative give a valid
bound, and a lower bound per chain is enough, so nothing here needs an exact optimum.
"""

from __future__ import annotations

from typing import Any

from isthmus.placement import accel

_plain = __name__.endswith("_plain")
jit = accel.tools(_plain).jit
_walks = accel.kernels("walks", _plain)
_kernel = accel.kernels("kernel", _plain)
_passes = accel.kernels("passes", _plain)
INF, PLACE = _walks.INF, _walks.PLACE
OPTIMAL, WITHIN_GAP = _walks.OPTIMAL, _walks.WITHIN_GAP
backward, best_start = _walks.backward, _walks.best_start
follow, measure = _walks.follow, _walks.measure
search = _kernel.search
query_of, fill_costs = _passes.query_of, _passes.fill_costs


@jit
def least_cost(graph: Any, state: Any, query: Any, scratch: Any, limit: float) -> Any:
    """(lower bound of the chain's cost at these prices, start, size of ``steps``).

    The walk in ``steps`` keeps the budget (sums and pairs are left out: the bound is lower for
    it). INF when no walk is below ``limit``.
    """
    backward(graph, state, query, scratch, 1.0, 0.0, limit, scratch.cost_to_go)
    start = best_start(query, scratch.cost_to_go)
    if start < 0:
        return INF, -1, 0
    size = follow(graph, query, scratch.following, start, scratch.steps)
    cost, latency = measure(graph, state, query, start, scratch.steps, size)
    if latency <= query.budget:
        return scratch.cost_to_go[start], start, size
    backward(graph, state, query, scratch, 0.0, 1.0, INF, scratch.latency_to_go)
    quick = best_start(query, scratch.latency_to_go)
    if scratch.latency_to_go[quick] > query.budget:
        return INF, -1, 0
    start, bound = quick, scratch.cost_to_go[start]
    size = follow(graph, query, scratch.following, start, scratch.steps)
    fast_cost, fast_latency = measure(graph, state, query, start, scratch.steps, size)
    slow_cost, slow_latency = cost, latency
    best_cost, best_size, best_at = fast_cost, size, start
    for i in range(size):
        scratch.best_steps[i] = scratch.steps[i]
    for _ in range(6):
        if slow_latency <= fast_latency or fast_cost <= slow_cost:
            break
        factor = (fast_cost - slow_cost) / (slow_latency - fast_latency)
        backward(graph, state, query, scratch, 1.0, factor, INF, scratch.mixed_to_go)
        start = best_start(query, scratch.mixed_to_go)
        mixed = scratch.mixed_to_go[start]
        bound = max(bound, mixed - factor * query.budget)
        if bound >= limit:
            return INF, -1, 0
        size = follow(graph, query, scratch.following, start, scratch.steps)
        cost, latency = measure(graph, state, query, start, scratch.steps, size)
        if mixed >= (slow_cost + factor * slow_latency) * (1.0 - 1e-9):
            break
        if latency <= query.budget:
            fast_cost, fast_latency = cost, latency
            if cost < best_cost:
                best_cost, best_size, best_at = cost, size, start
                for i in range(size):
                    scratch.best_steps[i] = scratch.steps[i]
        else:
            slow_cost, slow_latency = cost, latency
    for i in range(best_size):
        scratch.steps[i] = scratch.best_steps[i]
    return bound, best_at, best_size


@jit
def bound_round(
    graph: Any,
    state: Any,
    batch: Any,
    scratch: Any,
    work: Any,
    begin: int,
    end: int,
    stride: int,
    site_use: Any,
    link_use: Any,
    worth: Any,
) -> float:
    """Sum over every ``stride``-th chain of what it is worth beyond its least cost.

    ``state`` holds full capacities and the prices (own + dual). ``site_use`` and ``link_use``
    receive what these chains would take (doubles), ``worth`` the surplus of each.
    """
    sites, resources = graph.sites, graph.resources
    total = 0.0
    for c in range(begin, end, stride):
        query = query_of(graph, batch, work, c)
        fill_costs(graph, state, batch, query, c)
        bound, start, size = least_cost(graph, state, query, scratch, batch.value[c])
        worth[c] = 0.0
        if bound >= batch.value[c]:
            continue
        worth[c] = batch.value[c] - bound
        total += worth[c]
        stage, v = 0, start
        for i in range(size):
            step = scratch.steps[i]
            if step == PLACE:
                for r in range(resources):
                    site_use[r * sites + v] += query.demand[stage * resources + r]
                stage += 1
            else:
                link_use[step] += query.bandwidth[stage]
                v = graph.head[step]
    return total


@jit
def price_one(
    graph: Any,
    state: Any,
    batch: Any,
    scratch: Any,
    work: Any,
    c: int,
) -> Any:
    """The cheapest walk of one chain at these prices that pays, pairs and sums kept."""
    query = query_of(graph, batch, work, c)
    fill_costs(graph, state, batch, query, c)
    return search(graph, state, query, scratch, 0.0, batch.value[c])
