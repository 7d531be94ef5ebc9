"""Many chains at once: one pass over an order, and prices that move.

The same search as for one chain, with the chains as flat arrays (:class:`Batch`) and answers in a
pool (:class:`Answers`). Congestion prices: a site's or link's price is its own plus ``scale``
(what the last unit is worth, from the dual) times 30^(utilisation - 1), from a table, so that both
machines see the same bytes. Fixed dual prices alone send everybody to the same cheap site
(2-4 % lost, research page 2.2).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from isthmus.placement import accel

_plain = __name__.endswith("_plain")
jit = accel.tools(_plain).jit
_walks = accel.kernels("walks", _plain)
_kernel = accel.kernels("kernel", _plain)
INF, PLACE, NONE = _walks.INF, _walks.PLACE, _walks.NONE
OPTIMAL, WITHIN_GAP = _walks.OPTIMAL, _walks.WITHIN_GAP
Query = _walks.Query
search = _kernel.search
STEPS = 1024  # resolution of the price table


class Batch(NamedTuple):
    """Chains as arrays; ``x_first[c]`` is where chain (or stage) ``c`` begins in ``x``."""

    chains: int
    stage_first: Any
    mask_at: Any  # per stage: offset into masks
    masks: Any
    link_mask_at: Any  # per chain: offset into link_masks
    link_masks: Any
    demand: Any  # stage * resources + resource
    bandwidth: Any  # chain c begins at stage_first[c] + c
    in_first: Any
    ins: Any
    out_first: Any
    outs: Any
    budget: Any
    value: Any
    apart_first: Any
    apart: Any
    together_first: Any
    together: Any
    bandwidth_sum: Any
    demand_sum: Any
    home_first: Any  # per stage
    homes: Any
    move: Any
    latency_from: Any  # site * sites + other
    latency_to: Any


class Market(NamedTuple):
    """What was free at the start, true prices, the scale of congestion prices, their shape."""

    site_capacity: Any
    link_capacity: Any
    site_price: Any
    link_price: Any
    site_scale: Any
    link_scale: Any
    table: Any


class Answers(NamedTuple):
    """Where chains stand: steps of chain c are ``pool[at[c] : at[c] + size[c]]``; -1: nowhere."""

    size: Any
    at: Any
    slot: Any  # length of the piece of the pool that c owns
    start: Any
    cost: Any  # in true prices
    pool: Any
    used: Any  # of the pool, one number


class Work(NamedTuple):
    """Scratch of a pass."""

    place: Any
    reach: Any
    nearest: Any


@jit
def query_of(graph: Any, batch: Any, work: Any, c: int) -> Any:
    """The query of chain ``c`` with ``reach`` filled and ``place_cost`` still empty."""
    sites, resources = graph.sites, graph.resources
    first, last = batch.stage_first[c], batch.stage_first[c + 1]
    ins = batch.ins[batch.in_first[c] : batch.in_first[c + 1]]
    outs = batch.outs[batch.out_first[c] : batch.out_first[c + 1]]
    budget = batch.budget[c]
    near, reach = work.nearest, work.reach
    for v in range(sites):
        near[v] = INF
    for s in ins:
        for v in range(sites):
            near[v] = min(near[v], batch.latency_from[s * sites + v])
    for v in range(sites):
        back = INF
        for t in outs:
            back = min(back, batch.latency_to[t * sites + v])
        reach[v] = 1 if near[v] + back <= budget else 0
    apart, together = batch.apart_first, batch.together_first
    links = len(graph.tail)
    at = batch.link_mask_at[c]
    return Query(
        last - first,
        batch.bandwidth[first + c : last + c + 1],
        batch.demand[first * resources : last * resources],
        work.place,
        batch.link_masks[at : at + links],
        ins,
        outs,
        budget,
        batch.apart[2 * apart[c] : 2 * apart[c + 1]],
        apart[c + 1] - apart[c],
        batch.together[2 * together[c] : 2 * together[c + 1]],
        together[c + 1] - together[c],
        batch.bandwidth_sum[c],
        batch.demand_sum[c * resources : (c + 1) * resources],
        reach,
    )


@jit
def fill_costs(graph: Any, state: Any, batch: Any, query: Any, c: int) -> None:
    """``place_cost`` of every stage at every site in reach, at the prices in force."""
    sites, resources = graph.sites, graph.resources
    price, room, up = state.site_price, state.site_room, state.site_up
    reach, out, first = query.reach, query.place_cost, batch.stage_first[c]
    for stage in range(query.stages):
        base, mask = stage * sites, batch.mask_at[first + stage]
        for v in range(sites):
            if reach[v] == 0 or batch.masks[mask + v] == 0 or up[v] == 0:
                out[base + v] = INF
                continue
            cost = 0.0
            for r in range(resources):
                need = query.demand[stage * resources + r]
                if need > 0:
                    if need > room[r * sites + v]:
                        cost = INF
                        break
                    cost += need * price[r * sites + v]
            out[base + v] = cost
        if batch.move[c] > 0.0:
            begin, end = batch.home_first[first + stage], batch.home_first[first + stage + 1]
            for v in range(sites):
                if out[base + v] < INF:
                    stay = 0
                    for i in range(begin, end):
                        if batch.homes[i] == v:
                            stay += 1
                    out[base + v] += (end - begin - stay) * batch.move[c]


@jit
def reprice(market: Any, capacity: Any, room: Any, base: Any, scale: Any, out: Any, i: int) -> None:
    """Price of one site cell or link after its room changed."""
    if scale[i] > 0.0 and capacity[i] > 0:
        taken = min(max(capacity[i] - room[i], 0), capacity[i])
        out[i] = base[i] + scale[i] * market.table[taken * STEPS // capacity[i]]
    else:
        out[i] = base[i]


@jit
def reprice_all(market: Any, state: Any) -> None:
    """All prices from all rooms."""
    for i in range(len(market.site_capacity)):
        reprice(
            market,
            market.site_capacity,
            state.site_room,
            market.site_price,
            market.site_scale,
            state.site_price,
            i,
        )
    for i in range(len(market.link_capacity)):
        reprice(
            market,
            market.link_capacity,
            state.link_room,
            market.link_price,
            market.link_scale,
            state.link_price,
            i,
        )


@jit
def book(graph: Any, state: Any, batch: Any, market: Any, answers: Any, c: int, sign: int) -> float:
    """Take (sign 1) or give back (-1) what chain ``c`` uses; its cost in true prices."""
    sites, resources = graph.sites, graph.resources
    first, stage, v, cost = batch.stage_first[c], 0, answers.start[c], 0.0
    for i in range(answers.at[c], answers.at[c] + answers.size[c]):
        step = answers.pool[i]
        if step == PLACE:
            for r in range(resources):
                need = batch.demand[(first + stage) * resources + r]
                if need > 0:
                    cell = r * sites + v
                    cost += need * market.site_price[cell]
                    state.site_room[cell] -= sign * need
                    reprice(
                        market,
                        market.site_capacity,
                        state.site_room,
                        market.site_price,
                        market.site_scale,
                        state.site_price,
                        cell,
                    )
            if batch.move[c] > 0.0:
                for j in range(
                    batch.home_first[first + stage], batch.home_first[first + stage + 1]
                ):
                    if batch.homes[j] != v:
                        cost += batch.move[c]
            stage += 1
        else:
            need = batch.bandwidth[first + c + stage]
            cost += need * market.link_price[step]
            state.link_room[step] -= sign * need
            reprice(
                market,
                market.link_capacity,
                state.link_room,
                market.link_price,
                market.link_scale,
                state.link_price,
                step,
            )
            v = graph.head[step]
    return cost


@jit
def keep(answers: Any, c: int, start: int, steps: Any, size: int) -> bool:
    """Store a walk for chain ``c``; False when the pool is full."""
    if size > answers.slot[c]:
        if answers.used[0] + size > len(answers.pool):
            return False
        answers.at[c] = answers.used[0]
        answers.slot[c] = size
        answers.used[0] += size
    at = answers.at[c]
    for i in range(size):
        answers.pool[at + i] = steps[i]
    answers.size[c] = size
    answers.start[c] = start
    return True


@jit
def try_place(
    graph: Any,
    state: Any,
    batch: Any,
    market: Any,
    answers: Any,
    scratch: Any,
    work: Any,
    c: int,
    priced: bool,
) -> int:
    """Place one chain at the prices in force: 1 done, 0 refused, -1 the pool is full.

    ``priced``: refuse a chain that at these prices costs more than it is worth; otherwise only
    one whose true cost would be more than its worth.
    """
    query = query_of(graph, batch, work, c)
    fill_costs(graph, state, batch, query, c)
    limit = batch.value[c] if priced else INF
    found = search(graph, state, query, scratch, 1.0, limit)
    if found[0] != OPTIMAL and found[0] != WITHIN_GAP:
        return 0
    if not keep(answers, c, found[1], scratch.best_steps, found[2]):
        return -1
    answers.cost[c] = book(graph, state, batch, market, answers, c, 1)
    if answers.cost[c] > batch.value[c]:
        book(graph, state, batch, market, answers, c, -1)
        answers.size[c] = -1
        return 0
    return 1


@jit
def place_pass(
    graph: Any,
    state: Any,
    batch: Any,
    market: Any,
    answers: Any,
    scratch: Any,
    work: Any,
    order: Any,
    begin: int,
    end: int,
    priced: bool,
) -> int:
    """Place the chains ``order[begin:end]`` that stand nowhere; where it stopped (pool full)."""
    for i in range(begin, end):
        c = order[i]
        if answers.size[c] < 0 and (
            try_place(graph, state, batch, market, answers, scratch, work, c, priced) < 0
        ):
            return i
    return end
