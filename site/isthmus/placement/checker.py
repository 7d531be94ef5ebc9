"""Re-verifies a refusal from names alone: shares nothing with the solvers, like ``verify``.

``check_refusal`` is given the network, the chains accepted beside (for ``residual``; none for
``alone``) and the certificate, and returns one sentence per flaw. Bottleneck proofs: every member
must truly lack room, and with *only* the members closed a walk within the budget must not exist
(Dijkstra over latency, own code). Exhaustive proofs are done again by depth-first search with a
limit on steps; beyond it the checker says that it could not check, never that it holds. A proof of
"price" is the same search for a place that costs no more than the limit. Proofs about pairs of
disjoint places are put together from these (:mod:`isthmus.placement.pair_checker`).
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from isthmus.placement.model import ChainDemand, Function, Link, Network, Placement, Site

STEPS = 200_000  # of the depth-first search


def check_refusal(
    network: Network,
    chain: ChainDemand,
    certificate: Mapping[str, Any],
    accepted: Iterable[tuple[ChainDemand, Placement]] = (),
    down: Iterable[str] = (),
) -> tuple[str, ...]:
    """What is wrong with a certificate; empty when it proves that the chain has no place."""
    proof = certificate.get("proof")
    if proof == "pairs":
        from isthmus.placement.pair_checker import check_pairs

        return check_pairs(network, chain, certificate, tuple(accepted), frozenset(down))
    room = _Room(network, accepted, frozenset(down))
    if proof == "contradiction":
        return () if _contradicts(chain) else (f"chain {chain.id}: no contradiction in its pairs",)
    if proof == "bottleneck":
        return _bottleneck(room, chain, certificate.get("bottleneck") or {})
    if proof == "exhaustive":
        return _exhaustive(room, chain)
    if proof == "price":
        limit = certificate.get("limit")
        if not isinstance(limit, int | float):
            return (f"chain {chain.id}: the price names no limit",)
        return _exhaustive(room, chain, float(limit))
    return (f"chain {chain.id}: no proof of a kind known here ({proof!r})",)


class _Room:
    """What is left of a network, counted from names."""

    def __init__(
        self,
        network: Network,
        accepted: Iterable[tuple[ChainDemand, Placement]],
        down: frozenset[str],
    ) -> None:
        self.network, self.down = network, down
        self.site: Counter[tuple[str, str]] = Counter()
        self.link: Counter[str] = Counter()
        for site in network.sites:
            for resource, amount in site.capacity.items():
                self.site[site.name, resource] = amount
        for link in network.links:
            self.link[link.id] = link.capacity_kbps
        for chain, placement in accepted:
            for part in [placement] + ([placement.backup] if placement.backup else []):
                for function, name in zip(chain.functions, part.sites, strict=True):
                    self.site.subtract({(name, r): n for r, n in function.demand.items()})
                for hop, bandwidth in zip(part.hops, chain.bandwidth_kbps, strict=True):
                    for link_id in hop:
                        self.link[link_id] -= bandwidth

    def fits(self, name: str, functions: Sequence[Function]) -> bool:
        """Whether these functions together have room at a site."""
        need: Counter[str] = Counter()
        for function in functions:
            need.update(function.demand)
        return name not in self.down and all(n <= self.site[name, r] for r, n in need.items())

    def open(self, link: Link, bandwidth: int) -> bool:
        """Whether a link is up and has room."""
        closed = {link.id, link.source, link.target} & self.down
        return not closed and self.link[link.id] >= bandwidth


def allowed(chain: ChainDemand, i: int, site: Site) -> bool:
    """Policy for function ``i`` at a site, read from the model a second time."""
    function = chain.functions[i]
    rules = (
        (chain.countries, site.country),
        (chain.owners, site.owner),
        (chain.regions, site.region),
        (chain.allowed_sites, site.name),
        (function.allowed_sites, site.name),
    )
    fine = all(names is None or name in names for names, name in rules)
    return fine and site.name not in chain.forbidden_sites and function.features <= site.features


def _groups(chain: ChainDemand) -> list[set[int]]:
    sets = [{i} for i in range(len(chain.functions))]
    for a, b in chain.affinity:
        one = next(s for s in sets if a in s)
        two = next(s for s in sets if b in s)
        if one is not two:
            sets.remove(two)
            one |= two
    return sets


def _contradicts(chain: ChainDemand) -> bool:
    return any({a, b} <= group for a, b in chain.anti_affinity for group in _groups(chain))


def _runs(chain: ChainDemand) -> list[list[int]]:
    """Functions that follow each other and must share a site."""
    sets = _groups(chain)
    runs: list[list[int]] = []
    for i in range(len(chain.functions)):
        if runs and any({runs[-1][-1], i} <= group for group in sets):
            runs[-1].append(i)
        else:
            runs.append([i])
    return runs


@dataclass(frozen=True)
class _Closed:
    places: Mapping[int, frozenset[str]]
    links: Mapping[int, frozenset[str]]


def _bottleneck(room: _Room, chain: ChainDemand, data: Mapping[str, Any]) -> tuple[str, ...]:
    try:
        closed = _Closed(
            {int(i): frozenset(names) for i, names in data.get("places", {}).items()},
            {int(h): frozenset(names) for h, names in data.get("links", {}).items()},
        )
    except (TypeError, ValueError, AttributeError):
        return (f"chain {chain.id}: the bottleneck is malformed",)
    flaws = []
    runs = _runs(chain)
    links = {link.id: link for link in room.network.links}
    for run in runs:
        members = [chain.functions[i] for i in run]
        for name in closed.places.get(run[0], ()):
            if room.fits(name, members):
                flaws.append(f"chain {chain.id}: {name} has room for function {run[0]}")
    for hop, names in closed.links.items():
        for name in names:
            if name not in links or room.open(links[name], chain.bandwidth_kbps[hop]):
                flaws.append(f"chain {chain.id}: link {name} has room for hop {hop}")
    around = _fastest(room.network, chain, runs, closed)
    if around is not None:
        flaws.append(f"chain {chain.id}: a walk of {around} ns avoids the bottleneck")
    return tuple(flaws)


def _fastest(
    network: Network, chain: ChainDemand, runs: list[list[int]], closed: _Closed
) -> int | None:
    """Latency of the fastest walk within the budget that avoids what is closed, or None."""
    out: dict[str, list[Link]] = {site.name: [] for site in network.sites}
    for link in network.links:
        out[link.source].append(link)
    transit = _transit(chain)
    sites = {site.name: site for site in network.sites}
    heap = [(0, 0, name) for name in chain.ingress]
    seen: set[tuple[int, str]] = set()
    while heap:
        spent, done, at = heapq.heappop(heap)
        if (done, at) in seen:
            continue
        seen.add((done, at))
        if chain.latency_budget_ns is not None and spent > chain.latency_budget_ns:
            return None
        if done == len(runs) and at in chain.egress:
            return spent
        if done < len(runs):
            run = runs[done]
            fine = all(allowed(chain, i, sites[at]) for i in run)
            known = all(
                amount == 0 or any(r in s.capacity for s in network.sites)
                for i in run
                for r, amount in chain.functions[i].demand.items()
            )
            if fine and known and at not in closed.places.get(run[0], ()):
                heapq.heappush(heap, (spent, done + 1, at))
        hop = runs[done][0] if done < len(runs) else len(chain.functions)
        for link in out[at]:
            passable = transit is None or link.target in transit
            if passable and link.id not in closed.links.get(hop, ()):
                heapq.heappush(heap, (spent + link.latency_ns, done, link.target))
    return None


def _transit(chain: ChainDemand) -> set[str] | None:
    if chain.transit_sites is None:
        return None
    fine = {*chain.transit_sites, *chain.ingress, *chain.egress, *(chain.allowed_sites or ())}
    for function in chain.functions:
        fine |= function.allowed_sites or frozenset()
    return fine


def _exhaustive(room: _Room, chain: ChainDemand, limit: float = math.inf) -> tuple[str, ...]:
    search = _Depth(room, chain, limit)
    found = any(search.walk(0, start, 0, 0.0, (), frozenset({start})) for start in chain.ingress)
    if found:
        return (f"chain {chain.id}: there is a place: {' > '.join(search.stood)}",)
    if search.steps > STEPS:
        return (f"chain {chain.id}: not checked, more than {STEPS} steps",)
    return ()


class _Depth:
    """Plain depth-first search with exact sums."""

    def __init__(self, room: _Room, chain: ChainDemand, limit: float) -> None:
        self.room, self.chain, self.steps, self.limit = room, chain, 0, limit
        self.stood: tuple[str, ...] = ()
        self.crossed: list[str] = []
        self.sites = {site.name: site for site in room.network.sites}
        self.transit = _transit(chain)
        self.out: dict[str, list[Link]] = {name: [] for name in self.sites}
        for link in room.network.links:
            self.out[link.source].append(link)

    def walk(
        self, i: int, at: str, spent: int, paid: float, stood: tuple[str, ...], seen: frozenset[str]
    ) -> bool:
        """Whether function ``i`` and the rest can be placed from here on."""
        chain, self.steps = self.chain, self.steps + 1
        if self.steps > STEPS or paid > self.limit * (1 - 1e-9):
            return False
        if i == len(chain.functions):
            if at in chain.egress and self._beside(stood, paid):
                self.stood = stood
                return True
        elif self._may_stand(i, at, stood):
            demand = chain.functions[i].demand
            self.room.site.subtract({(at, r): n for r, n in demand.items()})
            more = paid + self._price(i, at)
            found = self.walk(i + 1, at, spent, more, (*stood, at), frozenset({at}))
            self.room.site.update({(at, r): n for r, n in demand.items()})
            if found:
                return True
        bandwidth = chain.bandwidth_kbps[i]
        for link in self.out[at]:
            slow = spent + link.latency_ns
            late = chain.latency_budget_ns is not None and slow > chain.latency_budget_ns
            barred = self.transit is not None and link.target not in self.transit
            if late or barred or link.target in seen or not self.room.open(link, bandwidth):
                continue
            self.room.link[link.id] -= bandwidth
            self.crossed.append(link.id)
            more = paid + bandwidth * link.price
            found = self.walk(i, link.target, slow, more, stood, seen | {link.target})
            self.room.link[link.id] += bandwidth
            self.crossed.pop()
            if found:
                return True
        return False

    def _beside(self, stood: tuple[str, ...], paid: float) -> bool:
        """Whether a backup, where one is asked for, finds a place that shares nothing with this."""
        if not self.chain.backup:
            return True
        room, down = self.room, self.room.down
        demand = replace(
            self.chain,
            backup=False,
            current=None,
            forbidden_sites=self.chain.forbidden_sites.union(stood),
        )
        second = _Depth(room, demand, self.limit - paid)
        second.steps = self.steps
        room.down = down | frozenset(self.crossed)
        found = any(
            second.walk(0, start, 0, 0.0, (), frozenset({start})) for start in demand.ingress
        )
        room.down, self.steps = down, second.steps
        return found

    def _price(self, i: int, at: str) -> float:
        chain, price = self.chain, self.sites[at].price
        paid = sum(n * price.get(r, 0.0) for r, n in chain.functions[i].demand.items())
        moves = chain.current is not None and chain.current[i] != at
        return paid + (chain.migration_price if moves else 0.0)

    def _may_stand(self, i: int, at: str, stood: tuple[str, ...]) -> bool:
        chain = self.chain
        if not allowed(chain, i, self.sites[at]):
            return False
        if not self.room.fits(at, [chain.functions[i]]):
            return False
        for a, b in chain.anti_affinity:
            if max(a, b) == i and (a == b or stood[min(a, b)] == at):
                return False
        return all(max(a, b) != i or a == b or stood[min(a, b)] == at for a, b in chain.affinity)
