"""A large batch in regional parts: what the global tier ships to its workers, and how it joins.

Chains that stay within one group of regions go to that group's part, on its own sites and links
with the share of their capacity that such chains ask for; what crosses groups is placed last, on
what the parts left (the coordinator's turn). So parts share nothing, prices need not be agreed on,
and the joined answer is valid by construction. Below :data:`BREAK_EVEN` chains a task costs more
than it saves (measured, research page section 3): then there is one part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from isthmus.placement.batch import Solution, solve
from isthmus.placement.model import ChainDemand, Network, Placement
from isthmus.placement.usage import Usage

BREAK_EVEN = 300  # chains a task; 1000 to 2000 are comfortable


@dataclass(frozen=True)
class Part:
    """One independent sub-problem (picklable)."""

    name: str
    network: Network
    chains: tuple[ChainDemand, ...]


@dataclass(frozen=True)
class Split:
    """The parts, and the chains that the coordinator places after them."""

    parts: tuple[Part, ...]
    crossing: tuple[ChainDemand, ...]


def split(network: Network, chains: Sequence[ChainDemand], workers: int) -> Split:
    """At most ``workers`` regional parts of at least :data:`BREAK_EVEN` chains each."""
    region = {site.name: site.region for site in network.sites}
    home: dict[str, list[ChainDemand]] = {r: [] for r in sorted(set(region.values()))}
    crossing = []
    for chain in chains:
        regions = {region[name] for name in (*chain.ingress, *chain.egress) if name in region}
        if len(regions) == 1 and not chain.backup:
            home[regions.pop()].append(chain)
        else:
            crossing.append(chain)
    groups: list[list[str]] = [[] for _ in range(max(1, workers))]
    sizes = [0] * len(groups)
    for name in sorted(home, key=lambda r: (-len(home[r]), r)):
        least = sizes.index(min(sizes))
        groups[least].append(name)
        sizes[least] += len(home[name])
    parts = []
    for i, group in enumerate(groups):
        own = tuple(c for name in sorted(group) for c in home[name])
        if len(own) < BREAK_EVEN or workers < 2:
            crossing.extend(own)
            continue
        parts.append(Part(f"part{i}", _part_network(network, frozenset(group), own, chains), own))
    return Split(tuple(parts), tuple(crossing))


def _part_network(
    network: Network,
    regions: frozenset[str],
    own: Sequence[ChainDemand],
    chains: Sequence[ChainDemand],
) -> Network:
    """The regions' sites and inner links, with the share of capacity that their chains ask for."""
    inside = {site.name for site in network.sites if site.region in regions}
    asked = sum(sum(c.bandwidth_kbps) for c in chains if inside & {*c.ingress, *c.egress})
    share = sum(sum(c.bandwidth_kbps) for c in own) / asked if asked else 1.0
    sites = tuple(
        replace(site, capacity={r: int(v * share) for r, v in site.capacity.items()})
        for site in network.sites
        if site.name in inside
    )
    links = tuple(
        replace(link, capacity_kbps=int(link.capacity_kbps * share))
        for link in network.links
        if link.source in inside and link.target in inside
    )
    return Network(sites, links)


def solve_part(part: Part, *, work: int, seed: int) -> dict[str, Placement]:
    """What a worker does: the placements of one part."""
    return solve(part.network, part.chains, work=work, seed=seed).placements


def merge(
    network: Network,
    chains: Sequence[ChainDemand],
    answers: Sequence[Mapping[str, Placement]],
    *,
    work: int,
    seed: int,
) -> Solution:
    """Join the parts' placements and place what is left on what they left.

    The bound is that of the whole problem, so the gap also tells what the split has cost.
    """
    by_id = {chain.id: chain for chain in chains}
    joined = {name: placement for answer in answers for name, placement in answer.items()}
    usage = Usage(network)
    for name, placement in joined.items():
        usage.apply(by_id[name], placement)
    rest = [chain for chain in chains if chain.id not in joined]
    after = solve(network, rest, usage=usage, work=work, seed=seed)
    bound = solve(network, chains, work=0, seed=seed).upper_bound
    gained = sum(by_id[name].value - placement.cost for name, placement in joined.items())
    placements = joined | after.placements
    return replace(
        after,
        objective=after.objective + gained,
        upper_bound=max(bound, after.objective + gained),
        placements=placements,
    )
