"""A second placement that shares neither site nor link with the first: the cheapest pair.

The cheapest first place may stand in the way of every second one (a trap), so pairs are searched
by branching: take the cheapest first place that is still allowed, seek the cheapest second one
disjoint from it, then forbid each site and each link of the first in turn. This misses no pair:
another first place either lacks one of these sites or links (a branch), or uses them all and is no
better beside any second. A branch whose first place, with the least that a second can cost, is no
cheaper than the best pair is dropped; so an empty list of branches proves the best pair the best.

Where there is no pair, the branches are the proof. Beside a first place that uses the sites S and
links L there is no second one; the least part of S and L that is enough for this is sought (the
*core*), and only its members are forbidden in turn, so a bridge that both need is one branch. Each
node of this tree carries a certificate that the checker knows, and the checker needs no search of
its own for the rest (:mod:`isthmus.placement.pair_checker`).
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from isthmus.placement.model import ChainDemand, Placement, Refusal, RefusalKind
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
    if not search.proved:
        said = f"backup: no pair among {TRIES} first places, and none ruled out; raise work"
        return Refusal(chain.id, "undecided", "backup", said, snapshot=usage.snapshot(), work=work)
    alone = _alone(usage, chain, work)
    kind: RefusalKind = "residual" if alone is None else "alone"
    where, proof = (usage, search) if alone is None else (usage.idle, alone)
    return Refusal(
        chain.id,
        kind,
        "backup",
        f"backup: no two places that share neither site nor link ({proof.against})",
        {"first_places": len(proof.nodes)},
        certificate={"proof": "pairs", "nodes": proof.nodes},
        snapshot=where.snapshot(),
        work=work,
    )


def _alone(usage: Usage, chain: ChainDemand, work: int) -> _Pairs | None:
    """The proof that no pair exists even on the empty network, or None."""
    from isthmus.placement.online import place

    search = _Pairs(usage.idle, replace(chain, backup=False), work)
    first = place(usage.idle, search.chain, work=work, proof=False)
    if not isinstance(first, Placement):
        return None  # the residual proof stands by itself
    search.push(first, (frozenset(), frozenset()))
    search.run()
    return search if search.proved else None


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
        self.nodes: list[dict[str, object]] = []  # the proof, while there is no pair
        self.decided = True
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
            if found is None:
                sites, links = self._core(sites, links)
                self._node(exclusion, self._why((sites, links)), (sites, links))
            elif self.best is None or first.cost + found.cost < self.best.cost:
                self.best = replace(first, backup=found, cost=first.cost + found.cost)
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
        elif self.best is None:
            self._node(exclusion, self._why(exclusion), None)

    @property
    def proved(self) -> bool:
        """Whether no pair exists, every branch of it decided."""
        return self.best is None and not self.open and self.decided

    def _core(self, sites: frozenset[str], links: frozenset[str]) -> Exclusion:
        """As few of these as are enough to leave no second place."""
        for site in sorted(sites):
            if self._place(self.second, (sites - {site}, links)) is None:
                sites -= {site}
        for link in sorted(links):
            if self._place(self.second, (sites, links - {link})) is None:
                links -= {link}
        return sites, links

    def _why(self, exclusion: Exclusion) -> Mapping[str, Any]:
        """The certificate that nothing is left once this is forbidden."""
        found = self._answer(self.second, exclusion, proof=True)
        assert isinstance(found, Refusal), "only asked where there is no place"
        self.against = self.against or found.text
        if found.kind == "undecided":
            self.decided = False
        return found.certificate

    def _node(self, exclusion: Exclusion, why: Mapping[str, Any], core: Exclusion | None) -> None:
        row: dict[str, object] = {"without": _row(exclusion), "certificate": dict(why)}
        self.nodes.append(row if core is None else row | {"core": _row(core)})

    def _place(self, chain: ChainDemand, exclusion: Exclusion) -> Placement | None:
        found = self._answer(chain, exclusion, proof=False)
        return found if isinstance(found, Placement) else None

    def _answer(
        self, chain: ChainDemand, exclusion: Exclusion, *, proof: bool
    ) -> Placement | Refusal:
        from isthmus.placement.online import place

        sites, links = exclusion
        usage = self.usage.copy() if links else self.usage
        for link in sorted(links):
            usage.fail_link(link)
        demand = replace(chain, forbidden_sites=chain.forbidden_sites | sites)
        return place(usage, demand, work=self.work, proof=proof, reasons=False)


def _row(exclusion: Exclusion) -> dict[str, list[str]]:
    return {"sites": sorted(exclusion[0]), "links": sorted(exclusion[1])}
