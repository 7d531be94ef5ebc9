"""A second placement that shares neither site nor link with the first: the cheapest pair.

The cheapest first place may stand in the way of every second one (a trap), so pairs are searched
by branching: take the cheapest first place that is still allowed, seek the cheapest second one
disjoint from it, then forbid each site and each link of the first in turn. This misses no pair:
another first place either lacks one of these sites or links (a branch), or uses them all and is no
better beside any second. A branch whose first place, with the least that a second can cost, is no
cheaper than the best pair is dropped; so an empty list of branches proves the best pair the best.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, replace

from isthmus.placement.model import ChainDemand, Placement, Refusal
from isthmus.placement.usage import Usage

TRIES = 200  # first places; a chain in a real network takes 1 to 20

Exclusion = tuple[frozenset[str], frozenset[str]]  # sites of functions, links


def with_backup(
    usage: Usage, chain: ChainDemand, primary: Placement, *, work: int
) -> Placement | Refusal:
    """The cheapest disjoint pair, or a refusal. ``primary`` is the cheapest place by itself."""
    search = _Pairs(usage, replace(chain, backup=False), work)
    search.push(primary, (frozenset(), frozenset()))
    search.run()
    if search.best is not None:
        return replace(search.best, lower_bound=search.bound())
    said = "all were tried" if not search.open else f"{TRIES} first places were tried"
    return Refusal(
        chain.id,
        "undecided",
        "backup",
        f"backup: no two places that share neither site nor link ({said}; {search.against})",
        snapshot=usage.snapshot(),
    )


@dataclass
class _Pairs:
    usage: Usage
    chain: ChainDemand
    work: int

    def __post_init__(self) -> None:
        self.best: Placement | None = None
        self.open: list[tuple[float, int, Placement, Exclusion]] = []
        self.seen: set[Exclusion] = set()
        self.pushed, self.least, self.against = 0, -1.0, ""
        # a second place pays no migration: it has nowhere to come from
        self.second = replace(self.chain, current=None, migration_price=0.0)

    def push(self, first: Placement, exclusion: Exclusion) -> None:
        """Remember a branch by the least its pairs can cost."""
        if self.least < 0.0:
            free = first
            if self.chain.current is not None:
                free = self._place(self.second, exclusion) or first
            self.least = min(free.lower_bound, free.cost)
        bound = first.lower_bound + self.least
        if self.best is None or bound < self.best.cost * (1 - 1e-9):
            self.pushed += 1
            heapq.heappush(self.open, (bound, self.pushed, first, exclusion))

    def bound(self) -> float:
        """What no pair undercuts."""
        assert self.best is not None, "only asked once there is a pair"
        least = min((bound for bound, *_ in self.open), default=self.best.cost)
        return min(self.best.cost, least)

    def run(self) -> None:
        """Branches by what they can cost at least, until none is left or the tries are spent."""
        for _ in range(TRIES):
            if not self.open:
                return
            bound, _n, first, exclusion = heapq.heappop(self.open)
            if self.best is not None and bound >= self.best.cost * (1 - 1e-9):
                self.open.clear()
                return
            sites = frozenset(first.sites)
            links = frozenset(link for hop in first.hops for link in hop)
            found = self._place(self.second, (sites, links))
            if found is not None:
                cost = first.cost + found.cost
                if self.best is None or cost < self.best.cost:
                    self.best = replace(first, backup=found, cost=cost)
            for site in sorted(sites):
                self._branch((exclusion[0] | {site}, exclusion[1]))
            for link in sorted(links):
                self._branch((exclusion[0], exclusion[1] | {link}))

    def _branch(self, exclusion: Exclusion) -> None:
        if exclusion in self.seen:
            return
        self.seen.add(exclusion)
        first = self._place(self.chain, exclusion)
        if first is not None:
            self.push(first, exclusion)

    def _place(self, chain: ChainDemand, exclusion: Exclusion) -> Placement | None:
        from isthmus.placement.online import place

        sites, links = exclusion
        usage = self.usage.copy() if links else self.usage
        for link in sorted(links):
            usage.fail_link(link)
        demand = replace(chain, forbidden_sites=chain.forbidden_sites | sites)
        found = place(usage, demand, work=self.work, proof=False)
        if isinstance(found, Placement):
            return found
        self.against = self.against or found.text
        return None
