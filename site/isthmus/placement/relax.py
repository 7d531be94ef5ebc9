"""The nearest relaxation: the least change that would let a refused chain in, each one tried.

Latency: the fastest walk with room says how much more is needed; that is least by proof when the
walk keeps the joint constraints. Room: the search runs with all room granted and shortage as its
price, so the walk it finds is the one that lacks least. Constraints: each is dropped alone. No
relaxation is told that was not placed with the change made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from isthmus.placement.compiled import CompiledChain, compile_chain, contradiction
from isthmus.placement.model import ChainDemand, Change, Pair, Placement, Relaxation
from isthmus.placement.usage import Usage

ENDLESS = 1 << 58


def relaxations(usage: Usage, chain: ChainDemand, *, work: int) -> tuple[Relaxation, ...]:
    """Every verified relaxation of a chain that has no place, the smallest first."""
    if contradiction(chain) is not None:
        return ()
    found = [*_latency(usage, chain, work), *_room(usage, chain, work)]
    found += _dropped(usage, chain, work)
    return tuple(sorted(found, key=lambda r: (r.size, r.text)))


def _fits(usage: Usage, chain: ChainDemand, work: int) -> Placement | None:
    from isthmus.placement.online import place

    answer = place(usage, replace(chain, backup=False), work=work, reasons=False, proof=False)
    return answer if isinstance(answer, Placement) else None


def _latency(usage: Usage, chain: ChainDemand, work: int) -> Iterator[Relaxation]:
    from isthmus.placement.explain import fastest_ns, milliseconds

    budget = chain.latency_budget_ns
    if budget is None:
        return
    bound = fastest_ns(usage, compile_chain(usage.compiled, chain, pruned=False))
    if bound == float("inf"):
        return
    least = True
    fit = _fits(usage, replace(chain, latency_budget_ns=int(bound)), work)
    if fit is None:
        least, fit = False, _fits(usage, replace(chain, latency_budget_ns=None), work)
    if fit is None or fit.latency_ns <= budget:
        return
    more = fit.latency_ns - budget
    text = f"{milliseconds(more)} more latency (a budget of {milliseconds(fit.latency_ns)})"
    size = more / max(1, budget)
    yield Relaxation("latency", text, (Change("latency budget", more, "ns"),), size, least)


def _room(usage: Usage, chain: ChainDemand, work: int) -> Iterator[Relaxation]:
    """What exactly does the walk lack that lacks least?"""
    wanted = least_overbooked(usage, chain, work=work)
    if wanted is None:
        return
    changes, size = shortage(usage, chain, wanted)
    if not changes or _fits(_with_room(usage, changes), chain, work) is None:
        return
    text = ", ".join(f"{c.amount} {c.unit} more {c.what}" for c in changes)
    yield Relaxation("room", text, tuple(changes), size)


def least_overbooked(usage: Usage, chain: ChainDemand, *, work: int) -> Placement | None:
    """Granted all room that is up, the walk that lacks least of what it asks for."""
    from isthmus.placement.online import search, to_placement

    compiled = compile_chain(usage.compiled, chain)
    state = _granted(usage, compiled)
    found = search(usage, compiled, state, work=work, priced=True)
    kernel = usage.compiled.kernel
    if found.status not in (kernel.OPTIMAL, kernel.WITHIN_GAP):
        return None
    return to_placement(usage, chain, compiled.stages, found)


def _granted(usage: Usage, compiled: CompiledChain) -> Any:
    """A state with endless room whose prices are the shortage, as a share of what is asked."""
    network, query = usage.compiled, compiled.query
    sites, kinds = len(network.site_names), len(network.resources)
    ints, floats = network.arrays.ints, network.arrays.floats
    inf = float(network.kernel.INF)
    for stage in range(query.stages):
        for v in range(sites):
            cost = 0.0
            if not compiled.permitted[stage * sites + v] or not usage.site_up[v]:
                cost = inf
            for r in range(kinds):
                need = int(query.demand[stage * kinds + r])
                short = need - int(usage.site_room[r * sites + v])
                if cost < inf and need and short > 0:
                    cost += short / need
            query.place_cost[stage * sites + v] = cost
    most = max(1, *(int(b) for b in query.bandwidth))
    links = [int(room) for room in usage.link_room]
    prices = [max(0, most - room) / most / most if room >= 0 else 0.0 for room in links]
    return usage.state._replace(
        site_room=ints(ENDLESS for _ in range(kinds * sites)),
        link_room=ints(ENDLESS if room >= 0 else -1 for room in links),
        link_price=floats(prices),
    )


def shortage(usage: Usage, chain: ChainDemand, wanted: Placement) -> tuple[list[Change], float]:
    """What a placement lacks, summed per site and link, and its size relative to the demand."""
    on_site: Counter[tuple[str, str]] = Counter()
    on_link: Counter[str] = Counter()
    for function, site in zip(chain.functions, wanted.sites, strict=True):
        for resource, amount in function.demand.items():
            on_site[site, resource] += amount
    for hop, bandwidth in zip(wanted.hops, chain.bandwidth_kbps, strict=True):
        for link in hop:
            on_link[link] += bandwidth
    changes, size = [], 0.0
    for (site, resource), need in on_site.items():
        short = need - usage.free(site, resource)
        if need and short > 0:
            changes.append(Change(f"at {site}", short, resource))
            size += short / need
    for link, need in on_link.items():
        short = need - usage.free_link(link)
        if need and short > 0:
            changes.append(Change(f"on {link}", short, "kbit/s"))
            size += short / need
    return changes, size


def _with_room(usage: Usage, changes: list[Change]) -> Usage:
    """A copy of the state with the room of the changes added."""
    richer, sites = usage.copy(), len(usage.network.sites)
    for change in changes:
        name = change.what.split(" ", 1)[1]
        if change.what.startswith("on "):
            richer.link_room[richer.compiled.link_index[name]] += change.amount
        else:
            r = richer.compiled.resources.index(change.unit)
            richer.site_room[r * sites + richer.compiled.site_index[name]] += change.amount
    return richer


def _dropped(usage: Usage, chain: ChainDemand, work: int) -> Iterator[Relaxation]:
    """Each single constraint without which the chain fits."""
    for text, weaker in _weaker(chain):
        if _fits(usage, weaker, work) is not None:
            yield Relaxation("constraint", text, (Change(text, 1, "constraint"),), 1.0, True)


def _weaker(chain: ChainDemand) -> Iterator[tuple[str, ChainDemand]]:
    if chain.allowed_sites is not None:
        yield "without the list of allowed sites", replace(chain, allowed_sites=None)
    if chain.forbidden_sites:
        yield "without the list of forbidden sites", replace(chain, forbidden_sites=frozenset())
    if chain.countries is not None:
        yield "without the rule on countries", replace(chain, countries=None)
    if chain.owners is not None:
        yield "without the rule on owners", replace(chain, owners=None)
    if chain.regions is not None:
        yield "without the rule on regions", replace(chain, regions=None)
    if chain.transit_sites is not None:
        yield "without the rule on transit", replace(chain, transit_sites=None)
    for i, function in enumerate(chain.functions):
        if function.features or function.allowed_sites is not None:
            freer = replace(function, features=frozenset(), allowed_sites=None)
            functions = (*chain.functions[:i], freer, *chain.functions[i + 1 :])
            yield (
                f"without the needs of function {i} ({function.name}) on its site",
                replace(chain, functions=functions),
            )
    for pair in chain.anti_affinity:
        left = tuple(p for p in chain.anti_affinity if p != pair)
        yield (
            f"without anti-affinity of {pair[0]} and {pair[1]}",
            replace(chain, anti_affinity=left),
        )
    for pair in chain.affinity:
        left = tuple(p for p in chain.affinity if p != pair)
        yield f"without affinity of {pair[0]} and {pair[1]}", replace(chain, affinity=left)


def drop_pair(chain: ChainDemand, pair: Pair) -> Relaxation:
    """Without one contradictory anti-affinity pair (the first obstacle, maybe not the only one)."""
    text = f"without anti-affinity of {pair[0]} and {pair[1]}"
    return Relaxation("constraint", text, (Change(text, 1, "constraint"),), 1.0)
