"""Ruin and recreate: small problems packed tightly, where single moves and priced columns end.

An optimum may pack sites so tightly that no one chain's walk looks good at any prices; what finds
it is trying many orders and many prices. One round: lift some chains (any, those of one site, or
those in the way of a refused one), draw new congestion prices round the usual ones, put lifted and
waiting chains back in a shaken order of worth, and keep the change unless it lost more than
``patience``, which falls to nothing while the budget is spent (threshold accepting). The best
state seen is kept aside. With 12 sites a round takes some 0.1 ms compiled.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from isthmus.placement import accel

_plain = __name__.endswith("_plain")
jit = accel.tools(_plain).jit
_walks = accel.kernels("walks", _plain)
_passes = accel.kernels("passes", _plain)
_moves = accel.kernels("moves", _plain)
INF, PLACE, State = _walks.INF, _walks.PLACE, _walks.State
OPTIMAL, WITHIN_GAP = _walks.OPTIMAL, _walks.WITHIN_GAP
search = accel.kernels("kernel", _plain).search
query_of, fill_costs, keep = _passes.query_of, _passes.fill_costs, _passes.keep
book, try_place, reprice_all = _passes.book, _passes.try_place, _passes.reprice_all
draw, lift, put_back, find_in_way = (
    _moves.draw,
    _moves.lift,
    _moves.put_back,
    _moves.find_in_way,
)
LIFTED = _moves.LIFTED


class Best(NamedTuple):
    """The best state seen, a copy of the answers, and the scales that prices are drawn round."""

    size: Any
    at: Any
    start: Any
    cost: Any
    pool: Any
    objective: Any  # one number
    site_scale: Any
    link_scale: Any
    order: Any  # of chains to put back
    key: Any
    up: Any  # which sites are up at all


@jit
def close_some(state: Any, best: Any, seed: Any, closed: int) -> None:
    """Close each site for the next chain with a chance of ``closed`` in 1024."""
    for v in range(len(best.up)):
        state.site_up[v] = best.up[v]
        if closed > 0 and draw(seed, 1024) < closed:
            state.site_up[v] = 0


@jit
def shake_prices(market: Any, best: Any, state: Any, seed: Any) -> None:
    """New congestion prices: a common share of the usual scale, times 0 to 2 for each thing."""
    share = (0.02, 0.1, 0.4, 1.0)[draw(seed, 4)]
    for i in range(len(market.site_scale)):
        market.site_scale[i] = best.site_scale[i] * share * (draw(seed, 1024) / 512.0)
    for i in range(len(market.link_scale)):
        market.link_scale[i] = best.link_scale[i] * share * (draw(seed, 1024) / 512.0)
    reprice_all(market, state)


@jit
def mark_site(graph: Any, desk: Any, v: int) -> None:
    """Mark one site in all resources, and nothing else."""
    for i in range(len(desk.hot_site)):
        desk.hot_site[i] = 0
    for i in range(len(desk.hot_link)):
        desk.hot_link[i] = 0
    for r in range(graph.resources):
        desk.hot_site[r * graph.sites + v] = 1


@jit
def candidates(graph: Any, batch: Any, answers: Any, desk: Any, seed: Any) -> int:
    """Into ``in_way``: every chain that stands, or those on one or two drawn sites."""
    found = 0
    if draw(seed, 2) == 0:
        mark_site(graph, desk, draw(seed, graph.sites))
        other = draw(seed, graph.sites)
        for r in range(graph.resources):
            desk.hot_site[r * graph.sites + other] = 1
        return int(find_in_way(graph, batch, answers, desk))
    for c in range(batch.chains):
        if answers.size[c] >= 0:
            desk.in_way[found] = c
            found += 1
    return found


@jit
def ruin(
    graph: Any,
    state: Any,
    batch: Any,
    market: Any,
    answers: Any,
    desk: Any,
    seed: Any,
    lifts: int,
) -> Any:
    """Lift 1 to ``lifts`` chains: (what they brought, how many)."""
    found = candidates(graph, batch, answers, desk, seed)
    wanted = min(found, 1 + draw(seed, lifts))
    before, count = 0.0, 0
    for n in range(wanted):
        pick = n + draw(seed, found - n)
        chosen = desk.in_way[pick]
        desk.in_way[pick] = desk.in_way[n]
        if not lift(graph, state, batch, market, answers, desk, n, chosen):
            break
        before += batch.value[chosen] - desk.saved_cost[n]
        count += 1
    return before, count


@jit
def waiting_one(batch: Any, answers: Any, seed: Any) -> int:
    """One of those who stand nowhere, or -1."""
    found, chosen = 0, -1
    for c in range(batch.chains):
        if answers.size[c] < 0:
            found += 1
            if draw(seed, found) == 0:
                chosen = c
    return chosen


@jit
def mark_lack(
    graph: Any, state: Any, query: Any, start: int, steps: Any, size: int, desk: Any
) -> Any:
    """What a whole walk lacks, by site cell and link (``hot``: 1 where it lacks); how many."""
    sites, resources = graph.sites, graph.resources
    for i in range(len(desk.hot_site)):
        desk.hot_site[i] = 0
    for i in range(len(desk.hot_link)):
        desk.hot_link[i] = 0
    stage, v = 0, start
    for i in range(size):
        step = steps[i]
        if step == PLACE:
            for r in range(resources):
                desk.hot_site[r * sites + v] += query.demand[stage * resources + r]
            stage += 1
        else:
            desk.hot_link[step] += query.bandwidth[stage]
            v = graph.head[step]
    lacking = 0
    for i in range(len(desk.hot_site)):
        desk.hot_site[i] = 1 if desk.hot_site[i] > max(0, state.site_room[i]) else 0
        lacking += desk.hot_site[i]
    for i in range(len(state.link_room)):
        desk.hot_link[i] = 1 if desk.hot_link[i] > max(0, state.link_room[i]) else 0
        lacking += desk.hot_link[i]
    return lacking


@jit
def invade(
    graph: Any,
    state: Any,
    batch: Any,
    market: Any,
    answers: Any,
    scratch: Any,
    work: Any,
    desk: Any,
    seed: Any,
    c: int,
) -> Any:
    """Put ``c`` where it would go if nobody stood there, lifting whom it must.

    (what the lifted brought, how many, 1 when ``c`` stands, -1 when the pool is full).
    """
    roomy = State(
        state.site_price,
        state.link_price,
        market.site_capacity,
        market.link_capacity,
        state.site_up,
    )
    query = query_of(graph, batch, work, c)
    fill_costs(graph, roomy, batch, query, c)
    found = search(graph, roomy, query, scratch, 1.0, INF)
    if found[0] != OPTIMAL and found[0] != WITHIN_GAP:
        return 0.0, 0, 0
    start, size = found[1], found[2]
    before, count, steps = 0.0, 0, scratch.best_steps
    while count < LIFTED:
        if mark_lack(graph, state, query, start, steps, size, desk) == 0:
            break
        others = find_in_way(graph, batch, answers, desk)
        if others == 0:
            return before, count, 0
        chosen = desk.in_way[draw(seed, others)]
        if not lift(graph, state, batch, market, answers, desk, count, chosen):
            return before, count, 0
        before += batch.value[chosen] - desk.saved_cost[count]
        count += 1
    if mark_lack(graph, state, query, start, steps, size, desk) > 0:
        return before, count, 0
    if not keep(answers, c, start, steps, size):
        return before, count, -1
    answers.cost[c] = book(graph, state, batch, market, answers, c, 1)
    return before, count, 1


@jit
def queue(batch: Any, answers: Any, desk: Any, best: Any, seed: Any) -> int:
    """Everybody who stands nowhere, by worth with noise; how many."""
    count = 0
    spread = (0.0005, 0.002, 0.01)[draw(seed, 3)]
    for c in range(batch.chains):
        if answers.size[c] >= 0:
            continue
        key = desk.rank[c] * (1.0 + spread * draw(seed, 1024))
        at = count
        while at > 0 and best.key[at - 1] < key:
            best.key[at] = best.key[at - 1]
            best.order[at] = best.order[at - 1]
            at -= 1
        best.key[at] = key
        best.order[at] = c
        count += 1
    return count


@jit
def one_round(
    graph: Any,
    state: Any,
    batch: Any,
    market: Any,
    answers: Any,
    scratch: Any,
    work: Any,
    desk: Any,
    best: Any,
    seed: Any,
    lifts: int,
    patience: float,
) -> Any:
    """(gain of one round, 0 when undone; 1 when the pool was full)."""
    shake_prices(market, best, state, seed)
    closed = (0, 0, 100, 300)[draw(seed, 4)]
    guest, full, after = -1, 0, 0.0
    if draw(seed, 2) == 0:
        guest = waiting_one(batch, answers, seed)
    if guest >= 0:
        close_some(state, best, seed, (0, 200, 400, 600)[draw(seed, 4)])
        before, count, done = invade(
            graph, state, batch, market, answers, scratch, work, desk, seed, guest
        )
        if done == 1:
            after += batch.value[guest] - answers.cost[guest]
        elif done < 0:
            full = 1
    else:
        before, count = ruin(graph, state, batch, market, answers, desk, seed, lifts)
    waiting = queue(batch, answers, desk, best, seed)
    for i in range(waiting):
        c = best.order[i]
        close_some(state, best, seed, closed)
        done = try_place(graph, state, batch, market, answers, scratch, work, c, False)
        if done == 1:
            after += batch.value[c] - answers.cost[c]
        elif done < 0:
            full = 1
    close_some(state, best, seed, 0)
    if full == 0 and after >= before - patience:
        return after - before, 0
    if guest >= 0 and answers.size[guest] >= 0:
        book(graph, state, batch, market, answers, guest, -1)
        answers.size[guest] = -1
    for i in range(waiting):
        c = best.order[i]
        if answers.size[c] >= 0:
            book(graph, state, batch, market, answers, c, -1)
            answers.size[c] = -1
    put_back(graph, state, batch, market, answers, desk, count)
    return 0.0, full


@jit
def remember(batch: Any, answers: Any, best: Any) -> None:
    """Copy the answers aside."""
    for c in range(batch.chains):
        best.size[c], best.at[c] = answers.size[c], answers.at[c]
        best.start[c], best.cost[c] = answers.start[c], answers.cost[c]
    for i in range(answers.used[0]):
        best.pool[i] = answers.pool[i]


@jit
def recall(graph: Any, state: Any, batch: Any, market: Any, answers: Any, best: Any) -> None:
    """The state copied aside, booked again."""
    for c in range(batch.chains):
        if answers.size[c] >= 0:
            book(graph, state, batch, market, answers, c, -1)
            answers.size[c] = -1
    for c in range(batch.chains):
        if best.size[c] < 0:
            continue
        for i in range(best.size[c]):
            answers.pool[answers.at[c] + i] = best.pool[best.at[c] + i]
        answers.size[c], answers.start[c] = best.size[c], best.start[c]
        answers.cost[c] = book(graph, state, batch, market, answers, c, 1)


@jit
def recreate(
    graph: Any,
    state: Any,
    batch: Any,
    market: Any,
    answers: Any,
    scratch: Any,
    work: Any,
    desk: Any,
    best: Any,
    seed: Any,
    lifts: int,
    begin: int,
    end: int,
    budget: int,
    patience: float,
    objective: float,
) -> Any:
    """Rounds ``begin`` to ``end`` of ``budget``: (objective now, where it stopped)."""
    for i in range(begin, end):
        left = patience * (budget - i) / budget
        gain, full = one_round(
            graph,
            state,
            batch,
            market,
            answers,
            scratch,
            work,
            desk,
            best,
            seed,
            lifts,
            left * draw(seed, 1024) / 1024.0,
        )
        if full == 1:
            return objective, i
        objective += gain
        if objective > best.objective[0] + 1e-6:
            best.objective[0] = objective
            remember(batch, answers, best)
    return objective, end
