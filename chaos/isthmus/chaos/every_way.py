"""Every way to place one chain, one by one: the truth that a refusal is judged by.

Shares nothing with the engine but the model: plain depth-first search over sites and simple paths
with exact sums. Simple paths per *hop* are enough (a loop within a hop only costs and slows); the
same link in several hops is counted each time. For problems of a few sites: it takes exponential
time and asks nobody for leave.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from isthmus.placement.model import ChainDemand, Link, Network, Placement


@dataclass(frozen=True)
class Way:
    """One place: what it costs and what it uses."""

    cost: float
    sites: frozenset[str]
    links: frozenset[str]


class EveryWay:
    """All ways on what is left of a network beside some placements."""

    def __init__(
        self, network: Network, placed: Iterable[tuple[ChainDemand, Placement]] = ()
    ) -> None:
        self.network = network
        self.sites = {site.name: site for site in network.sites}
        self.room: Counter[tuple[str, str]] = Counter()
        self.free: Counter[str] = Counter()
        for site in network.sites:
            self.room.update({(site.name, r): n for r, n in site.capacity.items()})
        self.free.update({link.id: link.capacity_kbps for link in network.links})
        for chain, placement in placed:
            for part in filter(None, (placement, placement.backup)):
                for function, name in zip(chain.functions, part.sites, strict=True):
                    self.room.subtract({(name, r): n for r, n in function.demand.items()})
                for hop, bandwidth in zip(part.hops, chain.bandwidth_kbps, strict=True):
                    for link_id in hop:
                        self.free[link_id] -= bandwidth

    def least(self, chain: ChainDemand) -> float | None:
        """The least cost of a place (of a disjoint pair, where a backup is asked for), or None."""
        if not chain.backup:
            return min((way.cost for way in self.ways(chain)), default=None)
        firsts = list(self.ways(chain))
        seconds = list(self.ways(chain, sticky=False))
        pairs = (
            a.cost + b.cost
            for a in firsts
            for b in seconds
            if not a.sites & b.sites and not a.links & b.links
        )
        return min(pairs, default=None)

    def ways(self, chain: ChainDemand, *, sticky: bool = True) -> Iterator[Way]:
        """Each place, some more than once."""
        for start in dict.fromkeys(chain.ingress):
            yield from self._from(chain, 0, start, 0, 0.0, (), (), sticky)

    def _from(
        self,
        chain: ChainDemand,
        i: int,
        at: str,
        latency: int,
        cost: float,
        stood: tuple[str, ...],
        crossed: tuple[str, ...],
        sticky: bool,
    ) -> Iterator[Way]:
        bandwidth = chain.bandwidth_kbps[i]
        for path in self._paths(chain, at, (at,), bandwidth, ()):
            there = path[-1].target if path else at
            slow = latency + sum(link.latency_ns for link in path)
            if chain.latency_budget_ns is not None and slow > chain.latency_budget_ns:
                continue
            paid = cost + sum(bandwidth * link.price for link in path)
            over = (*crossed, *(link.id for link in path))
            for link in path:
                self.free[link.id] -= bandwidth
            if i == len(chain.functions):
                if there in chain.egress:
                    yield Way(paid, frozenset(stood), frozenset(over))
            elif self._may_stand(chain, i, there, stood):
                yield from self._stand(chain, i, there, slow, paid, stood, over, sticky)
            for link in path:
                self.free[link.id] += bandwidth

    def _stand(
        self,
        chain: ChainDemand,
        i: int,
        name: str,
        latency: int,
        cost: float,
        stood: tuple[str, ...],
        crossed: tuple[str, ...],
        sticky: bool,
    ) -> Iterator[Way]:
        demand, price = chain.functions[i].demand, self.sites[name].price
        paid = cost + sum(n * price.get(r, 0.0) for r, n in demand.items())
        if sticky and chain.current is not None and chain.current[i] != name:
            paid += chain.migration_price
        for resource, amount in demand.items():
            self.room[name, resource] -= amount
        yield from self._from(chain, i + 1, name, latency, paid, (*stood, name), crossed, sticky)
        for resource, amount in demand.items():
            self.room[name, resource] += amount

    def _may_stand(self, chain: ChainDemand, i: int, name: str, stood: tuple[str, ...]) -> bool:
        site, function = self.sites[name], chain.functions[i]
        told = (
            (chain.allowed_sites, name),
            (function.allowed_sites, name),
            (chain.countries, site.country),
            (chain.owners, site.owner),
            (chain.regions, site.region),
        )
        if any(names is not None and value not in names for names, value in told):
            return False
        if name in chain.forbidden_sites or not function.features <= site.features:
            return False
        for pair in chain.affinity:
            if max(pair) == i and min(pair) != i and stood[min(pair)] != name:
                return False
        for pair in chain.anti_affinity:
            if max(pair) == i and (min(pair) == i or stood[min(pair)] == name):
                return False
        return all(n <= self.room[name, r] for r, n in function.demand.items())

    def _paths(
        self,
        chain: ChainDemand,
        at: str,
        seen: tuple[str, ...],
        bandwidth: int,
        path: tuple[Link, ...],
    ) -> Iterator[tuple[Link, ...]]:
        yield path
        for link in self.network.links:
            if link.source != at or link.target in seen or self.free[link.id] < bandwidth:
                continue
            if self._may_cross(chain, link.target):
                onward = (*path, link)
                yield from self._paths(chain, link.target, (*seen, link.target), bandwidth, onward)

    def _may_cross(self, chain: ChainDemand, name: str) -> bool:
        if chain.transit_sites is None:
            return True
        named = [chain.transit_sites, chain.ingress, chain.egress, chain.allowed_sites or ()]
        named += [function.allowed_sites or () for function in chain.functions]
        return any(name in names for names in named)
