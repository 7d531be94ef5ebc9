"""Large-neighbourhood search: make room for a refused chain, keep the change only if it pays.

One move: take a refused chain, find the walk it would take if everything could be overbooked at
congestion prices, lift a few of the chains that stand in its way there, place the refused one, put
the lifted ones (and whoever else waits) back in order of worth, and undo all of it unless the
objective grew. Rough numbers: 1 ms a move at 300 sites compiled; Python did 100 a second in the
prototype. Randomness is a linear congruence in ``seed[0]``: same seed, same bytes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from isthmus.placement import accel

_plain = __name__.endswith("_plain")
jit = accel.tools(_plain).jit
_walks = accel.kernels("walks", _plain)
_passes = accel.kernels("passes", _plain)
INF, PLACE, State = _walks.INF, _walks.PLACE, _walks.State
_pricing = accel.kernels("pricing", _plain)
query_of, fill_costs = _passes.query_of, _passes.fill_costs
least_cost = _pricing.least_cost
book, keep, try_place = _passes.book, _passes.keep, _passes.try_place
LIFTED = 24  # at most so many chains are lifted in one move


class Desk(NamedTuple):
    """Scratch of the moves."""

    hot_site: Any  # cells that the wanted walk would overbook
    hot_link: Any
    in_way: Any
    lifted: Any
    saved: Any  # their steps
    saved_at: Any
    saved_size: Any
    saved_start: Any
    saved_cost: Any
    rank: Any  # worth per scarce thing of each chain, for the order of putting back
    in_order: Any  # of lifted chains


@jit
def draw(seed: Any, below: int) -> int:
    """The next pseudo-random number in 0 .. below - 1."""
    seed[0] = (seed[0] * 1103515245 + 12345) & 0x7FFFFFFF
    return int((seed[0] >> 7) % below)


@jit
def mark_hot(
    graph: Any, state: Any, query: Any, start: int, steps: Any, size: int, desk: Any
) -> int:
    """Mark what the walk in ``steps`` would overbook; how many things that is."""
    sites, resources = graph.sites, graph.resources
    for i in range(len(desk.hot_site)):
        desk.hot_site[i] = 0
    for i in range(len(desk.hot_link)):
        desk.hot_link[i] = 0
    stage, v, hot = 0, start, 0
    for i in range(size):
        step = steps[i]
        if step == PLACE:
            for r in range(resources):
                need = query.demand[stage * resources + r]
                if need > state.site_room[r * sites + v] and desk.hot_site[r * sites + v] == 0:
                    desk.hot_site[r * sites + v] = 1
                    hot += 1
            stage += 1
        else:
            if query.bandwidth[stage] > state.link_room[step] and desk.hot_link[step] == 0:
                desk.hot_link[step] = 1
                hot += 1
            v = graph.head[step]
    return hot


@jit
def find_in_way(graph: Any, batch: Any, answers: Any, desk: Any) -> int:
    """Collect the chains that take from a marked site or link."""
    sites, resources, found = graph.sites, graph.resources, 0
    for c in range(batch.chains):
        size = answers.size[c]
        if size < 0:
            continue
        stage, v, at = 0, answers.start[c], answers.at[c]
        first = batch.stage_first[c]
        for i in range(at, at + size):
            step = answers.pool[i]
            hit = False
            if step == PLACE:
                for r in range(resources):
                    if (
                        desk.hot_site[r * sites + v] == 1
                        and batch.demand[(first + stage) * resources + r] > 0
                    ):
                        hit = True
                stage += 1
            else:
                hit = desk.hot_link[step] == 1 and batch.bandwidth[first + c + stage] > 0
                v = graph.head[step]
            if hit:
                desk.in_way[found] = c
                found += 1
                break
    return found


@jit
def lift(
    graph: Any, state: Any, batch: Any, market: Any, answers: Any, desk: Any, n: int, c: int
) -> bool:
    """Take chain ``c`` up as number ``n`` of this move, remembering where it stood."""
    size = answers.size[c]
    begin = 0 if n == 0 else desk.saved_at[n - 1] + desk.saved_size[n - 1]
    if begin + size > len(desk.saved):
        return False
    desk.lifted[n] = c
    desk.saved_at[n], desk.saved_size[n] = begin, size
    desk.saved_start[n], desk.saved_cost[n] = answers.start[c], answers.cost[c]
    for i in range(size):
        desk.saved[begin + i] = answers.pool[answers.at[c] + i]
    book(graph, state, batch, market, answers, c, -1)
    answers.size[c] = -1
    return True


@jit
def put_back(
    graph: Any, state: Any, batch: Any, market: Any, answers: Any, desk: Any, count: int
) -> None:
    """Everybody where they stood before the move."""
    for n in range(count):
        c = desk.lifted[n]
        if answers.size[c] >= 0:
            book(graph, state, batch, market, answers, c, -1)
            answers.size[c] = -1
    for n in range(count):
        c = desk.lifted[n]
        at = desk.saved_at[n]
        size = desk.saved_size[n]
        for i in range(size):
            answers.pool[answers.at[c] + i] = desk.saved[at + i]
        answers.size[c], answers.start[c] = size, desk.saved_start[n]
        answers.cost[c] = book(graph, state, batch, market, answers, c, 1)


@jit
def sort_lifted(desk: Any, count: int, order: Any, seed: Any) -> None:
    """Lifted chains by worth, a little shuffled, into ``order``."""
    for n in range(count):
        key = desk.rank[desk.lifted[n]] * (1.0 + 0.001 * draw(seed, 400))
        at = n
        while at > 0 and desk.saved_cost[LIFTED + at - 1] < key:
            desk.saved_cost[LIFTED + at] = desk.saved_cost[LIFTED + at - 1]
            order[at] = order[at - 1]
            at -= 1
        desk.saved_cost[LIFTED + at] = key
        order[at] = desk.lifted[n]


@jit
def make_room(
    graph: Any,
    state: Any,
    batch: Any,
    market: Any,
    answers: Any,
    desk: Any,
    seed: Any,
    lifts: int,
) -> Any:
    """Lift some of the chains that stand in the way: (what they were worth, how many)."""
    before, count = 0.0, 0
    found = find_in_way(graph, batch, answers, desk)
    wanted = min(found, 1 + draw(seed, lifts))
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
def one_move(
    graph: Any,
    state: Any,
    batch: Any,
    market: Any,
    answers: Any,
    scratch: Any,
    work: Any,
    desk: Any,
    order: Any,
    seed: Any,
    c: int,
    lifts: int,
) -> Any:
    """(gain, 1 when the pool was full) of trying to let refused chain ``c`` in."""
    open_state = State(
        state.site_price,
        state.link_price,
        market.site_capacity,
        market.link_capacity,
        state.site_up,
    )
    query = query_of(graph, batch, work, c)
    fill_costs(graph, open_state, batch, query, c)
    cost, start, size = least_cost(graph, open_state, query, scratch, 2.0 * batch.value[c])
    if cost >= INF:
        return 0.0, 0
    before, count, after = 0.0, 0, 0.0
    if mark_hot(graph, state, query, start, scratch.steps, size, desk) > 0:
        before, count = make_room(graph, state, batch, market, answers, desk, seed, lifts)
    done = try_place(graph, state, batch, market, answers, scratch, work, c, False)
    full = done < 0
    if done == 1:
        after += batch.value[c] - answers.cost[c]
        sort_lifted(desk, count, order, seed)
        for i in range(count):
            other = order[i]
            again = try_place(graph, state, batch, market, answers, scratch, work, other, False)
            if again < 0:
                full = True
            if again == 1:
                after += batch.value[other] - answers.cost[other]
    if full or done != 1 or after <= before:
        if answers.size[c] >= 0:
            book(graph, state, batch, market, answers, c, -1)
            answers.size[c] = -1
        put_back(graph, state, batch, market, answers, desk, count)
        return 0.0, 1 if full else 0
    for i in range(count):
        other = order[i]
        if answers.size[other] < 0 and (
            try_place(graph, state, batch, market, answers, scratch, work, other, False) == 1
        ):
            after += batch.value[other] - answers.cost[other]
    return after - before, 0


@jit
def improve(
    graph: Any,
    state: Any,
    batch: Any,
    market: Any,
    answers: Any,
    scratch: Any,
    work: Any,
    desk: Any,
    order: Any,
    seed: Any,
    waiting: Any,
    begin: int,
    end: int,
    lifts: int,
) -> Any:
    """Moves for ``waiting[begin:end]``: (gain, where it stopped; before ``end``: pool full)."""
    gain = 0.0
    for i in range(begin, end):
        c = waiting[i]
        if answers.size[c] >= 0:
            continue
        more, full = one_move(
            graph, state, batch, market, answers, scratch, work, desk, order, seed, c, lifts
        )
        gain += more
        if full == 1:
            return gain, i
    return gain, end


@jit
def polish(
    graph: Any,
    state: Any,
    batch: Any,
    market: Any,
    answers: Any,
    scratch: Any,
    work: Any,
    desk: Any,
    ranks: Any,
    begin: int,
    end: int,
) -> Any:
    """Place each chain of ``ranks[begin:end]`` anew at the prices in force; keep what is cheaper.

    (gain, where it stopped; before ``end``: the pool was full).
    """
    gain = 0.0
    for i in range(begin, end):
        c = ranks[i]
        if answers.size[c] < 0 or not lift(graph, state, batch, market, answers, desk, 0, c):
            continue
        again = try_place(graph, state, batch, market, answers, scratch, work, c, False)
        better = again == 1 and answers.cost[c] < desk.saved_cost[0]
        if better:
            gain += desk.saved_cost[0] - answers.cost[c]
        else:
            if answers.size[c] >= 0:
                book(graph, state, batch, market, answers, c, -1)
                answers.size[c] = -1
            put_back(graph, state, batch, market, answers, desk, 1)
        if again < 0:
            return gain, i
    return gain, end
