"""The separate verifier: does an answer keep every constraint? Shares nothing with the solvers.

It knows only the model. It recomputes each sum from names, walks each hop link by link, and
returns one sentence per broken constraint; an empty tuple means the answer holds. Every answer
passes here before it leaves the engine; the sentence *is* the promise that was broken.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from isthmus.placement.errors import VerificationFailed
from isthmus.placement.model import ChainDemand, Link, Network, Placement, Site

MONEY_TOLERANCE = 1e-6


def violations(
    network: Network, answers: Iterable[tuple[ChainDemand, Placement]]
) -> tuple[str, ...]:
    """Every broken constraint of these placements standing together on the empty network."""
    sites = {site.name: site for site in network.sites}
    links = {link.id: link for link in network.links}
    on_site: dict[tuple[str, str], int] = defaultdict(int)
    on_link: dict[str, int] = defaultdict(int)
    broken: list[str] = []
    seen: set[str] = set()
    for chain, placement in answers:
        if chain.id in seen:
            broken.append(f"chain {chain.id}: placed twice")
        seen.add(chain.id)
        parts = [placement] + ([placement.backup] if placement.backup else [])
        for part in parts:
            found = list(_alone(chain, part, sites, links))
            broken += found
            if found:
                continue
            for function, name in zip(chain.functions, part.sites, strict=True):
                for resource, amount in function.demand.items():
                    on_site[name, resource] += amount
            for hop, bandwidth in zip(part.hops, chain.bandwidth_kbps, strict=True):
                for link in hop:
                    on_link[link] += bandwidth
        broken += _backup(chain, placement)
    for (name, resource), taken in on_site.items():
        has = sites[name].capacity.get(resource, 0)
        if taken > has:
            broken.append(f"site {name}: {taken} {resource} taken, {has} there")
    for link, taken in on_link.items():
        if taken > links[link].capacity_kbps:
            broken.append(f"link {link}: {taken} kbit/s taken, {links[link].capacity_kbps} there")
    return tuple(broken)


def check(network: Network, answers: Iterable[tuple[ChainDemand, Placement]]) -> None:
    """Raise :class:`VerificationFailed` when a constraint is broken."""
    broken = violations(network, answers)
    if broken:
        raise VerificationFailed(broken)


def _alone(
    chain: ChainDemand, placement: Placement, sites: dict[str, Site], links: dict[str, Link]
) -> Iterator[str]:
    """What is wrong with one placement whatever else stands there."""
    here = f"chain {chain.id}"
    if placement.chain != chain.id:
        yield f"{here}: the answer is for {placement.chain}"
    if len(placement.sites) != len(chain.functions):
        yield f"{here}: {len(placement.sites)} sites for {len(chain.functions)} functions"
        return
    if len(placement.hops) != len(chain.functions) + 1:
        yield f"{here}: {len(placement.hops)} hops for {len(chain.functions)} functions"
        return
    unknown = [s for s in placement.sites if s not in sites]
    unknown += [link for hop in placement.hops for link in hop if link not in links]
    if unknown:
        yield f"{here}: unknown {', '.join(unknown)}"
        return
    for i, name in enumerate(placement.sites):
        yield from _policy(chain, i, sites[name])
    yield from _walk(chain, placement, links)
    for a, b in chain.affinity:
        if placement.sites[a] != placement.sites[b]:
            yield f"{here}: functions {a} and {b} must share a site"
    for a, b in chain.anti_affinity:
        if placement.sites[a] == placement.sites[b]:
            yield f"{here}: functions {a} and {b} must not share a site"


def _policy(chain: ChainDemand, i: int, site: Site) -> Iterator[str]:
    function = chain.functions[i]
    here = f"chain {chain.id}: function {i} at {site.name}"
    if chain.allowed_sites is not None and site.name not in chain.allowed_sites:
        yield f"{here}: not an allowed site"
    if function.allowed_sites is not None and site.name not in function.allowed_sites:
        yield f"{here}: not an allowed site of the function"
    if site.name in chain.forbidden_sites:
        yield f"{here}: a forbidden site"
    if chain.countries is not None and site.country not in chain.countries:
        yield f"{here}: country {site.country} is not allowed"
    if chain.owners is not None and site.owner not in chain.owners:
        yield f"{here}: owner {site.owner} is not allowed"
    if chain.regions is not None and site.region not in chain.regions:
        yield f"{here}: region {site.region} is not allowed"
    if not function.features <= site.features:
        yield f"{here}: lacks {', '.join(sorted(function.features - site.features))}"


def _walk(chain: ChainDemand, placement: Placement, links: dict[str, Link]) -> Iterator[str]:
    """Continuity of the hops from an ingress to an egress, transit, and the latency budget."""
    here = f"chain {chain.id}"
    first = next((links[link].source for hop in placement.hops for link in hop), None)
    stops = list(placement.sites)
    start = first if first is not None else (stops[0] if stops else None)
    if placement.hops[0] == () and stops:
        start = stops[0]
    if start is None:  # no function and no link: some ingress must itself be an egress
        if not set(chain.ingress) & set(chain.egress):
            yield f"{here}: no link between ingress and egress"
        return
    if start not in chain.ingress:
        yield f"{here}: starts at {start}, not at an ingress"
    at = start
    latency = 0
    crossed: set[str] = set()
    for i, hop in enumerate(placement.hops):
        for link in hop:
            if links[link].source != at:
                yield f"{here}: hop {i} jumps from {at} to {links[link].source}"
            at = links[link].target
            crossed.add(at)
            latency += links[link].latency_ns
        if i < len(stops) and at != stops[i]:
            yield f"{here}: hop {i} ends at {at}, function {i} stands at {stops[i]}"
            at = stops[i]
    if at not in chain.egress:
        yield f"{here}: ends at {at}, not at an egress"
    if latency != placement.latency_ns:
        yield f"{here}: says {placement.latency_ns} ns, its links take {latency} ns"
    if chain.latency_budget_ns is not None and latency > chain.latency_budget_ns:
        yield f"{here}: {latency} ns over a budget of {chain.latency_budget_ns} ns"
    if chain.transit_sites is not None:
        fine = {*chain.transit_sites, *chain.ingress, *chain.egress, *(chain.allowed_sites or ())}
        for function in chain.functions:
            fine |= function.allowed_sites or frozenset()
        for site in sorted(crossed - fine):
            yield f"{here}: crosses {site}, which is not allowed for transit"


def _backup(chain: ChainDemand, placement: Placement) -> Iterator[str]:
    """A backup shares neither a site of functions nor a link with the primary."""
    if not chain.backup:
        return
    if placement.backup is None:
        yield f"chain {chain.id}: has no backup"
        return
    shared = set(placement.sites) & set(placement.backup.sites)
    both = {link for hop in placement.hops for link in hop}
    shared |= both & {link for hop in placement.backup.hops for link in hop}
    if shared:
        yield f"chain {chain.id}: primary and backup share {', '.join(sorted(shared))}"


def objective(network: Network, answers: Iterable[tuple[ChainDemand, Placement]]) -> float:
    """Value of the priorities accepted minus what sites and links cost, from names alone."""
    sites = {site.name: site for site in network.sites}
    links = {link.id: link for link in network.links}
    total = 0.0
    for chain, placement in answers:
        total += chain.value
        for part in [placement] + ([placement.backup] if placement.backup else []):
            for function, name in zip(chain.functions, part.sites, strict=True):
                price = sites[name].price
                total -= sum(n * price.get(r, 0.0) for r, n in function.demand.items())
            for hop, bandwidth in zip(part.hops, chain.bandwidth_kbps, strict=True):
                total -= sum(bandwidth * links[link].price for link in hop)
        if chain.current is not None:
            moved = sum(a != b for a, b in zip(chain.current, placement.sites, strict=True))
            total -= moved * chain.migration_price
    return total
