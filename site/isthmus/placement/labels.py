"""Forward search over labels with two criteria and their history: exact, and a proof when empty.

See :mod:`isthmus.placement.kernel` for how these parts make a search.
"""

from __future__ import annotations

from typing import Any

from isthmus.placement import accel

_plain = __name__.endswith("_plain")
jit, reset, push, pop = accel.tools(_plain)
_walks = accel.kernels("walks", _plain)
INF = _walks.INF
PLACE = _walks.PLACE
NONE = _walks.NONE
OPTIMAL = _walks.OPTIMAL
NO_JOINT = _walks.NO_JOINT
UNDECIDED = _walks.UNDECIDED


@jit
def label_sites(graph: Any, scratch: Any, label: int, out: Any) -> None:
    """The sites of the stages already placed by a label."""
    sites = graph.sites
    while label >= 0:
        if scratch.label_via[label] == PLACE:
            here = scratch.label_state[label]
            out[here // sites - 1] = here % sites
        label = scratch.label_parent[label]


@jit
def taken_of_link(graph: Any, query: Any, scratch: Any, label: int, arc: int) -> int:
    """Bandwidth that a label's walk already takes from one link."""
    used = 0
    while label >= 0:
        if scratch.label_via[label] == arc:
            used += query.bandwidth[scratch.label_state[label] // graph.sites]
        label = scratch.label_parent[label]
    return used


@jit
def fits_stage(graph: Any, state: Any, query: Any, at: Any, stage: int, site: int) -> bool:
    """Whether the next stage may stand here beside the stages placed before (``at``)."""
    sites, resources = graph.sites, graph.resources
    for p in range(query.apart_count):
        a, b = query.apart[2 * p], query.apart[2 * p + 1]
        if b == stage and (a == stage or at[a] == site):
            return False
    for p in range(query.together_count):
        a, b = query.together[2 * p], query.together[2 * p + 1]
        if b == stage and at[a] != site:
            return False
    for r in range(resources):
        room = state.site_room[r * sites + site]
        if room >= query.demand_sum[r]:
            continue
        used = query.demand[stage * resources + r]
        for j in range(stage):
            if at[j] == site:
                used += query.demand[j * resources + r]
        if used > room:
            return False
    return True


@jit
def no_worse_history(
    graph: Any, state: Any, query: Any, scratch: Any, a: int, b: int, layer: int
) -> bool:
    """Whether whatever label ``b`` may still do, label ``a`` may do as well (same layer, site)."""
    tight = scratch.label_tight[a]
    if tight == 0 and query.apart_count == 0 and query.together_count == 0:
        return True
    at_a, at_b = scratch.sites_a, scratch.sites_b
    label_sites(graph, scratch, a, at_a)
    label_sites(graph, scratch, b, at_b)
    for p in range(query.apart_count):
        i = query.apart[2 * p]
        if i < layer and query.apart[2 * p + 1] >= layer and at_a[i] != at_b[i]:
            return False
    for p in range(query.together_count):
        i = query.together[2 * p]
        if i < layer and query.together[2 * p + 1] >= layer and at_a[i] != at_b[i]:
            return False
    if tight >= 2 and layer < query.stages:
        for i in range(layer):
            for r in range(graph.resources):
                if state.site_room[r * graph.sites + at_a[i]] >= query.demand_sum[r]:
                    continue
                more = 0
                for j in range(layer):
                    if at_a[j] == at_a[i]:
                        more += query.demand[j * graph.resources + r]
                    if at_b[j] == at_a[i]:
                        more -= query.demand[j * graph.resources + r]
                if more > 0:
                    return False
    label = a if tight % 2 == 1 else NONE
    while label >= 0:
        arc = scratch.label_via[label]
        if arc >= 0 and state.link_room[arc] < query.bandwidth_sum:
            mine = taken_of_link(graph, query, scratch, a, arc)
            if mine > taken_of_link(graph, query, scratch, b, arc):
                return False
        label = scratch.label_parent[label]
    return True


@jit
def lower_bound(scratch: Any, budget: float, factor: float, here: int, latency: int) -> Any:
    """A cost that nothing from this state on can undercut, given the latency already spent."""
    bound = scratch.cost_to_go[here]
    if factor > 0.0:
        mixed = scratch.mixed_to_go[here] - factor * (budget - latency)
        if mixed > bound:
            bound = mixed
    return bound


@jit
def tightness(
    graph: Any, state: Any, query: Any, scratch: Any, here: int, parent: int, via: int
) -> int:
    """Whether a walk so far uses a link (1) or site (2) that may not hold the chain twice."""
    tight = 0
    if parent >= 0:
        tight = scratch.label_tight[parent]
    if via >= 0:
        if tight % 2 == 0 and state.link_room[via] < query.bandwidth_sum:
            tight += 1
    elif via == PLACE and tight < 2:
        v = here % graph.sites
        for r in range(graph.resources):
            if tight < 2 and state.site_room[r * graph.sites + v] < query.demand_sum[r]:
                tight += 2
    return int(tight)


@jit
def add_label(
    graph: Any,
    state: Any,
    query: Any,
    scratch: Any,
    count: int,
    here: int,
    cost: float,
    latency: int,
    parent: int,
    via: int,
) -> bool:
    """Write label ``count`` unless an older one dominates it; kill those it dominates."""
    layer = here // graph.sites
    scratch.label_cost[count] = cost
    scratch.label_latency[count] = latency
    scratch.label_state[count] = here
    scratch.label_parent[count] = parent
    scratch.label_via[count] = via
    scratch.label_dead[count] = 0
    scratch.label_tight[count] = tightness(graph, state, query, scratch, here, parent, via)
    other = scratch.first_label[here]
    while other >= 0:
        if scratch.label_dead[other] == 0:
            other_cost, other_latency = scratch.label_cost[other], scratch.label_latency[other]
            if other_cost <= cost and other_latency <= latency:
                if no_worse_history(graph, state, query, scratch, other, count, layer):
                    return False
            elif (
                cost <= other_cost
                and latency <= other_latency
                and no_worse_history(graph, state, query, scratch, count, other, layer)
            ):
                scratch.label_dead[other] = 1
        other = scratch.label_next[other]
    scratch.label_next[count] = scratch.first_label[here]
    scratch.first_label[here] = count
    return True


@jit
def begin(
    graph: Any, state: Any, query: Any, scratch: Any, factor: float, ceiling: float, weight: float
) -> Any:
    """Empty tables and one label for each ingress that can keep the budget: (heap size, labels made)."""
    size, count = reset(scratch.heap_cost, scratch.heap_item), 0
    for i in range((query.stages + 1) * graph.sites):
        scratch.first_label[i] = NONE
    for v in range(graph.sites):
        scratch.at_goal[v] = 0
    for v in query.egress:
        scratch.at_goal[v] = 1
    for v in query.ingress:
        if scratch.latency_to_go[v] <= query.budget and scratch.first_label[v] == NONE:
            bound = lower_bound(scratch, query.budget, factor, v, 0)
            if bound < ceiling and add_label(
                graph, state, query, scratch, count, v, 0.0, 0, NONE, NONE
            ):
                size = push(scratch.heap_cost, scratch.heap_item, size, weight * bound, count)
                count += 1
    return size, count


@jit
def forward(
    graph: Any, state: Any, query: Any, scratch: Any, factor: float, ceiling: float, weight: float
) -> Any:
    """Best-first over labels: (status, goal label or -1, labels made).

    With a ``weight`` above 1 on what is still to go, the goal found costs at most ``weight`` times
    the least, and is found with far fewer labels. Only walks cheaper than ``ceiling`` are looked
    for. The status is OPTIMAL with a goal, NO_JOINT when there is provably none, UNDECIDED when
    ``limit`` labels were not enough.
    """
    sites, stages, budget = graph.sites, query.stages, query.budget
    costs, items = scratch.heap_cost, scratch.heap_item
    size, count = begin(graph, state, query, scratch, factor, ceiling, weight)
    while size > 0:
        _, label = pop(costs, items, size)
        size -= 1
        if scratch.label_dead[label] == 1:
            continue
        here = scratch.label_state[label]
        layer, v = here // sites, here % sites
        if layer == stages and scratch.at_goal[v] == 1:
            return OPTIMAL, label, count
        first, last = graph.first[v], graph.first[v + 1]
        for j in range(first - 1, last):
            placing = j < first
            if placing:
                if layer == stages or query.place_cost[here] >= INF:
                    continue
                there, via = here + sites, PLACE
                cost = scratch.label_cost[label] + query.place_cost[here]
                latency = scratch.label_latency[label]
            else:
                if state.link_room[j] < query.bandwidth[layer] or query.link_ok[j] == 0:
                    continue
                there, via = layer * sites + graph.head[j], j
                cost = scratch.label_cost[label] + query.bandwidth[layer] * state.link_price[j]
                latency = scratch.label_latency[label] + graph.latency[j]
            if latency + scratch.latency_to_go[there] > budget:
                continue
            bound = cost + lower_bound(scratch, budget, factor, there, latency)
            if bound >= ceiling:
                continue
            if placing:
                label_sites(graph, scratch, label, scratch.sites_a)
                if not fits_stage(graph, state, query, scratch.sites_a, layer, v):
                    continue
            elif state.link_room[j] < query.bandwidth_sum:
                used = taken_of_link(graph, query, scratch, label, j)
                if used + query.bandwidth[layer] > state.link_room[j]:
                    continue
            if count >= scratch.limit:
                return UNDECIDED, NONE, count
            if add_label(graph, state, query, scratch, count, there, cost, latency, label, via):
                size = push(costs, items, size, cost + weight * (bound - cost), count)
                count += 1
    return NO_JOINT, NONE, count


@jit
def unwind(graph: Any, scratch: Any, label: int, steps: Any) -> Any:
    """The walk of a label: (start, length)."""
    size, up = 0, label
    while scratch.label_parent[up] >= 0:
        size += 1
        up = scratch.label_parent[up]
    start = scratch.label_state[up] % graph.sites
    at, up = size, label
    while scratch.label_parent[up] >= 0:
        at -= 1
        steps[at] = scratch.label_via[up]
        up = scratch.label_parent[up]
    return start, size
