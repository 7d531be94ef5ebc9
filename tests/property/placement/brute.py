"""The truth on tiny cases: every way to place a chain, tried one by one.

Shares nothing with the engine but the model: plain depth-first search over sites and simple paths
with exact sums. Simple paths per *hop* are enough (a loop within a hop only costs), the same link
in several hops is counted each time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from isthmus.placement.model import ChainDemand, Link, Network, Placement


@dataclass
class Brute:
    """All ways on what is left of a network after some placements."""

    network: Network
    placed: list[tuple[ChainDemand, Placement]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.room: Counter[tuple[str, str]] = Counter()
        self.free: Counter[str] = Counter()
        for site in self.network.sites:
            for resource, amount in site.capacity.items():
                self.room[site.name, resource] = amount
        for link in self.network.links:
            self.free[link.id] = link.capacity_kbps
        for chain, placement in self.placed:
            for function, name in zip(chain.functions, placement.sites, strict=True):
                for resource, amount in function.demand.items():
                    self.room[name, resource] -= amount
            for hop, bandwidth in zip(placement.hops, chain.bandwidth_kbps, strict=True):
                for link_id in hop:
                    self.free[link_id] -= bandwidth

    def best(self, chain: ChainDemand) -> float | None:
        """The least cost of any placement, or None when there is none."""
        costs = [
            cost
            for start in dict.fromkeys(chain.ingress)
            for cost in self._from(chain, 0, start, 0, 0.0, [])
        ]
        return min(costs) if costs else None

    def _from(
        self, chain: ChainDemand, i: int, at: str, latency: int, cost: float, stood: list[str]
    ) -> Iterator[float]:
        bandwidth = chain.bandwidth_kbps[i]
        for path in self._paths(at, (at,), bandwidth, ()):
            there = path[-1].target if path else at
            slow = latency + sum(link.latency_ns for link in path)
            if chain.latency_budget_ns is not None and slow > chain.latency_budget_ns:
                continue
            paid = cost + sum(bandwidth * link.price for link in path)
            for link in path:
                self.free[link.id] -= bandwidth
            if i == len(chain.functions):
                if there in chain.egress:
                    yield paid
            else:
                yield from self._stand(chain, i, there, slow, paid, stood)
            for link in path:
                self.free[link.id] += bandwidth

    def _stand(
        self, chain: ChainDemand, i: int, name: str, latency: int, cost: float, stood: list[str]
    ) -> Iterator[float]:
        site = next(s for s in self.network.sites if s.name == name)
        function = chain.functions[i]
        if chain.allowed_sites is not None and name not in chain.allowed_sites:
            return
        if chain.countries is not None and site.country not in chain.countries:
            return
        if not function.features <= site.features:
            return
        for pair in chain.affinity:
            if max(pair) == i and min(pair) != i and stood[min(pair)] != name:
                return
        for pair in chain.anti_affinity:
            if max(pair) == i and (min(pair) == i or stood[min(pair)] == name):
                return
        if any(n > self.room[name, r] for r, n in function.demand.items()):
            return
        for resource, amount in function.demand.items():
            self.room[name, resource] -= amount
        paid = cost + sum(n * site.price.get(r, 0.0) for r, n in function.demand.items())
        if chain.current is not None and chain.current[i] != name:
            paid += chain.migration_price
        yield from self._from(chain, i + 1, name, latency, paid, [*stood, name])
        for resource, amount in function.demand.items():
            self.room[name, resource] += amount

    def _paths(
        self, at: str, seen: tuple[str, ...], bandwidth: int, path: tuple[Link, ...]
    ) -> Iterator[tuple[Link, ...]]:
        yield path
        for link in self.network.links:
            if link.source == at and link.target not in seen and self.free[link.id] >= bandwidth:
                yield from self._paths(link.target, (*seen, link.target), bandwidth, (*path, link))
