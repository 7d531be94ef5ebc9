"""The search for one chain: path and sites together, exact, over the layered network.

Layer ``k`` is "k stages placed"; a move is a link inside a layer or "place the next stage here"
into the next one. A walk in this graph may use a site or link again in another layer (a hair-pin
to a cheap site is legal and sometimes best), never twice in the same layer (removing the loop
costs nothing). Then:

1. Backwards over cost: the cheapest way from every (layer, site) to the egress. If the walk it
   gives keeps the budget and all joint constraints, it is the optimum: done.
2. Backwards over latency: when even the fastest walk is too slow, that is a proof of "latency".
3. Lagrange multiplier on latency (LARAC): a good walk within the budget and a lower bound.
4. Forward over labels with two criteria *and* their history (which sites hold the functions that
   later ones must meet or avoid; what was taken from sites and links too tight to hold the chain
   twice). A label falls only to one that is better or equal in cost, latency and history, so the
   search is exact: an empty heap proves that no walk exists; the first goal popped is the optimum.

Greedy handling of 3 and 4 wrongly refused chains in real topologies (research page, pitfalls);
that is why the history is part of the label. Written for :mod:`isthmus.placement.accel`: flat
arrays, no objects. ``rooms`` are amounts still free; a blocked link has room -1.
"""

from __future__ import annotations

from typing import Any

from isthmus.placement import accel

_plain = __name__.endswith("_plain")
jit = accel.tools(_plain).jit
_walks = accel.kernels("walks", _plain)
_labels = accel.kernels("labels", _plain)
Graph = _walks.Graph
State = _walks.State
Query = _walks.Query
Scratch = _walks.Scratch
stage_costs = _walks.stage_costs
latency_row = _walks.latency_row
INF = _walks.INF
NONE = _walks.NONE
OPTIMAL = _walks.OPTIMAL
WITHIN_GAP = _walks.WITHIN_GAP
NO_WALK = _walks.NO_WALK
TOO_SLOW = _walks.TOO_SLOW
NO_JOINT = _walks.NO_JOINT
UNDECIDED = _walks.UNDECIDED
backward = _walks.backward
best_start = _walks.best_start
follow = _walks.follow
measure = _walks.measure
keeps_joint = _walks.keeps_joint
forward = _labels.forward
unwind = _labels.unwind


@jit
def squeeze_latency(
    graph: Any,
    state: Any,
    query: Any,
    scratch: Any,
    slow_cost: float,
    slow_latency: int,
    limit: float,
) -> Any:
    """LARAC: (factor, lower bound, start, size, cost of the best walk within the budget).

    The walk is in ``best_steps``; its size is -1 when the fastest walk breaks a joint constraint
    and no better one turned up. ``latency_to_go`` must be filled, ``following`` point along it.
    """
    start = best_start(query, scratch.latency_to_go)
    size = follow(graph, query, scratch.following, start, scratch.steps)
    fast_cost, fast_latency = measure(graph, state, query, start, scratch.steps, size)
    kept_start, kept_size, kept_cost = -1, -1, limit
    if fast_cost < limit and keeps_joint(
        graph, state, query, start, scratch.steps, size, scratch.sites_a
    ):
        for i in range(size):
            scratch.best_steps[i] = scratch.steps[i]
        kept_start, kept_size, kept_cost = start, size, fast_cost
    factor, bound = 0.0, slow_cost
    for _ in range(12):
        if slow_latency <= fast_latency or fast_cost <= slow_cost:
            break
        factor = (fast_cost - slow_cost) / (slow_latency - fast_latency)
        backward(graph, state, query, scratch, 1.0, factor, INF, scratch.mixed_to_go)
        start = best_start(query, scratch.mixed_to_go)
        mixed = scratch.mixed_to_go[start]
        bound = mixed - factor * query.budget
        size = follow(graph, query, scratch.following, start, scratch.steps)
        cost, latency = measure(graph, state, query, start, scratch.steps, size)
        if mixed >= (slow_cost + factor * slow_latency) * (1.0 - 1e-12):
            break
        if latency <= query.budget:
            fast_cost, fast_latency = cost, latency
            if cost < kept_cost and keeps_joint(
                graph, state, query, start, scratch.steps, size, scratch.sites_a
            ):
                for i in range(size):
                    scratch.best_steps[i] = scratch.steps[i]
                kept_start, kept_size, kept_cost = start, size, cost
        else:
            slow_cost, slow_latency = cost, latency
    return factor, bound, kept_start, kept_size, kept_cost


@jit
def search(graph: Any, state: Any, query: Any, scratch: Any, gap: float, limit: float) -> Any:
    """(status, start, size of ``best_steps``, cost, lower bound, labels made) of one chain.

    Walks that cost ``limit`` or more do not count. A walk within ``gap`` (a share of its cost) of
    the proved lower bound ends the search early.
    """
    backward(graph, state, query, scratch, 1.0, 0.0, limit, scratch.cost_to_go)
    start = best_start(query, scratch.cost_to_go)
    if start < 0:
        return NO_WALK, -1, 0, INF, INF, 0
    size = follow(graph, query, scratch.following, start, scratch.steps)
    cost, latency = measure(graph, state, query, start, scratch.steps, size)
    if latency <= query.budget and keeps_joint(
        graph, state, query, start, scratch.steps, size, scratch.sites_a
    ):
        for i in range(size):
            scratch.best_steps[i] = scratch.steps[i]
        return OPTIMAL, start, size, cost, cost, 0
    backward(graph, state, query, scratch, 0.0, 1.0, INF, scratch.latency_to_go)
    fastest = best_start(query, scratch.latency_to_go)
    if scratch.latency_to_go[fastest] > query.budget:
        return TOO_SLOW, fastest, 0, INF, INF, 0
    factor, bound, kept_start, kept_size, kept_cost = 0.0, cost, -1, -1, limit
    if latency > query.budget:
        factor, bound, kept_start, kept_size, kept_cost = squeeze_latency(
            graph, state, query, scratch, cost, latency, limit
        )
        if kept_size >= 0 and kept_cost - bound <= gap * kept_cost:
            return WITHIN_GAP, kept_start, kept_size, kept_cost, bound, 0
    weight = 1.0 + min(gap, 1.0)
    status, label, made = forward(graph, state, query, scratch, factor, kept_cost, weight)
    if status == OPTIMAL:
        start, size = unwind(graph, scratch, label, scratch.best_steps)
        cost = scratch.label_cost[label]
        if weight > 1.0:
            return WITHIN_GAP, start, size, cost, max(bound, cost / weight), made
        return OPTIMAL, start, size, cost, cost, made
    if kept_size >= 0:
        if status == NO_JOINT:
            return OPTIMAL, kept_start, kept_size, kept_cost, kept_cost, made
        return WITHIN_GAP, kept_start, kept_size, kept_cost, bound, made
    return status, -1, 0, INF, bound, made
