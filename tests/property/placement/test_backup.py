"""A pair of disjoint places against every pair there is: the trap that a greedy second falls into."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.property.placement.cases import chains, networks

from isthmus.placement.model import ChainDemand, Function, Link, Network, Placement, Refusal, Site
from isthmus.placement.online import place
from isthmus.placement.usage import Usage
from isthmus.placement.verify import violations

Way = tuple[float, frozenset[str], frozenset[str]]  # cost, sites of functions, links


def _ways(network: Network, demand: ChainDemand) -> list[Way]:
    """Every walk of the chain on the empty network, hop by hop over simple paths."""
    sites = {s.name: s for s in network.sites}

    def paths(at: str, seen: tuple[str, ...]) -> Iterator[tuple[Link, ...]]:
        yield ()
        for link in network.links:
            if link.source == at and link.target not in seen:
                for rest in paths(link.target, (*seen, link.target)):
                    yield (link, *rest)

    def walk(i: int, at: str) -> Iterator[tuple[tuple[str, ...], tuple[tuple[int, Link], ...]]]:
        for path in paths(at, (at,)):
            there = path[-1].target if path else at
            taken = tuple((demand.bandwidth_kbps[i], link) for link in path)
            if i == len(demand.functions):
                if there in demand.egress:
                    yield (), taken
                continue
            for names, more in walk(i + 1, there):
                yield (there, *names), taken + more

    found = []
    for start in dict.fromkeys(demand.ingress):
        for names, taken in walk(0, start):
            need: Counter[tuple[str, str]] = Counter()
            for function, name in zip(demand.functions, names, strict=True):
                need.update({(name, r): n for r, n in function.demand.items()})
            load: Counter[str] = Counter()
            for bandwidth, link in taken:
                load[link.id] += bandwidth
            room = {link.id: link.capacity_kbps for link in network.links}
            if any(n > sites[v].capacity.get(r, 0) for (v, r), n in need.items()):
                continue
            if any(n > room[name] for name, n in load.items()):
                continue
            latency = sum(link.latency_ns for _, link in taken)
            if demand.latency_budget_ns is not None and latency > demand.latency_budget_ns:
                continue
            cost = sum(n * sites[v].price.get(r, 0.0) for (v, r), n in need.items())
            cost += sum(bandwidth * link.price for bandwidth, link in taken)
            found.append((cost, frozenset(names), frozenset(load)))
    return found


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_the_pair_is_the_cheapest_of_all(data: st.DataObject) -> None:
    """Greedy (the cheapest first, then a second beside it) both missed pairs and paid too much."""
    network = data.draw(networks())
    network = replace(network, links=network.links[:6])
    drawn = data.draw(chains(network))
    keep = 2
    demand = replace(
        drawn,
        functions=tuple(replace(f, features=frozenset()) for f in drawn.functions[:keep]),
        bandwidth_kbps=drawn.bandwidth_kbps[: min(keep, len(drawn.functions)) + 1],
        allowed_sites=None,
        countries=None,
        affinity=(),
        anti_affinity=(),
        current=None,
        migration_price=0.0,
        backup=True,
    )
    ways = _ways(network, demand)
    pairs = [a[0] + b[0] for a in ways for b in ways if not a[1] & b[1] and not a[2] & b[2]]
    answer = place(Usage(network, fast=False), demand)
    if isinstance(answer, Refusal):
        assert not pairs
        return
    assert answer.cost == pytest.approx(min(pairs), abs=1e-9)
    assert answer.lower_bound <= min(pairs) + 1e-9
    assert violations(network, [(demand, answer)]) == ()


def test_the_trap() -> None:
    """The cheapest way uses the one link of each way round: only a dearer first leaves a second."""
    sites = tuple(Site(n, {"cpu": 9}) for n in "sabt")
    ends = (("s", "a", 1), ("a", "b", 1), ("b", "t", 1), ("s", "b", 3), ("a", "t", 3))
    links = tuple(Link(a, b, 1, 9, float(price)) for a, b, price in ends)
    demand = ChainDemand("c", (), ("s",), ("t",), (1,), backup=True)
    answer = place(Usage(Network(sites, links), fast=False), demand)
    assert isinstance(answer, Placement)
    assert answer.cost == 8.0
    assert answer.backup is not None


def test_a_backup_beside_a_full_function_site() -> None:
    """Where the first takes the only site that both could use, the first moves aside."""
    sites = (Site("a", {"cpu": 4}, {"cpu": 1.0}), Site("b", {"cpu": 4}, {"cpu": 5.0}))
    links = (Link("a", "b", 1, 9), Link("b", "a", 1, 9))
    functions = (Function("f", {"cpu": 2}),)
    demand = ChainDemand("c", functions, ("a",), ("a",), (1, 1), backup=True)
    answer = place(Usage(Network(sites, links), fast=False), demand)
    assert isinstance(answer, Placement)
    assert answer.cost == 12.0
