"""What if a site, a link or a partner is lost; and where a little more capacity would pay.

A scenario runs on a copy of the state: fail, repair, count. Scenarios are independent of each
other, so the global tier may run one each on Ray (``scenarios`` and ``run`` are all it needs; the
measured break-even is 40 ms of work a task, research page section 3). Survivability of a scenario
is the share of the affected priority that found a place again.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from isthmus.placement.incremental import by_importance, repair
from isthmus.placement.model import ChainDemand, Network, Placement
from isthmus.placement.online import place
from isthmus.placement.usage import Usage


@dataclass(frozen=True)
class Scenario:
    """What is lost together."""

    name: str
    sites: tuple[str, ...] = ()
    links: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What a scenario does to the chains that stood."""

    scenario: Scenario
    affected: int
    restored: int
    lost: tuple[str, ...]
    priority_affected: float
    priority_lost: float

    @property
    def survivability(self) -> float:
        """Share of the affected priority that found a place again (1 when nothing was hit)."""
        if self.priority_affected == 0:
            return 1.0
        return 1.0 - self.priority_lost / self.priority_affected


def scenarios(
    network: Network,
    kinds: Iterable[str] = ("site", "link", "partner"),
    *,
    pairs: int = 0,
    seed: int = 1,
) -> tuple[Scenario, ...]:
    """N-1 of the kinds asked for, and ``pairs`` N-2 losses of two sites drawn from ``seed``.

    A link is lost in both directions when the other direction exists; a partner is an owner.
    """
    kinds = tuple(kinds)
    found: list[Scenario] = []
    if "site" in kinds:
        found += [Scenario(f"site {s.name}", (s.name,)) for s in network.sites]
    if "link" in kinds:
        both: dict[frozenset[str], list[str]] = {}
        for link in network.links:
            both.setdefault(frozenset((link.source, link.target)), []).append(link.id)
        found += [Scenario(f"link {ids[0]}", (), tuple(ids)) for ids in both.values()]
    if "partner" in kinds:
        for owner in sorted({s.owner for s in network.sites if s.owner}):
            sites = tuple(s.name for s in network.sites if s.owner == owner)
            found.append(Scenario(f"partner {owner}", sites))
    rng = random.Random(f"pairs {seed}")
    names = [s.name for s in network.sites]
    for _ in range(pairs if len(names) > 1 else 0):
        two = tuple(sorted(rng.sample(names, 2)))
        found.append(Scenario(f"sites {two[0]} and {two[1]}", two))
    return tuple(found)


def run(usage: Usage, scenario: Scenario, *, work: int = 2_000) -> Outcome:
    """Fail, repair, count, on a copy of ``usage``."""
    trial = usage.copy()
    lost: dict[str, None] = {}
    for site in scenario.sites:
        lost.update(dict.fromkeys(trial.fail_site(site)))
    for link in scenario.links:
        lost.update(dict.fromkeys(trial.fail_link(link)))
    hit = {c: trial.placed[c][0] for c in lost}
    result = repair(trial, lost, work=work, proof=False)
    gone = tuple(sorted(result.refused))
    return Outcome(
        scenario,
        len(hit),
        len(result.moved),
        gone,
        sum(c.priority for c in hit.values()),
        sum(hit[c].priority for c in gone),
    )


@dataclass(frozen=True)
class Advice:
    """So much more of one thing lets these chains in (each was placed to say so)."""

    where: str
    resource: str
    amount: int
    admits: tuple[str, ...]
    worth: float
    shadow_price: float

    @property
    def text(self) -> str:
        """One sentence."""
        return (
            f"{self.amount} more {self.resource} at {self.where} admit {len(self.admits)} "
            f"chains worth {self.worth:.6g}"
        )


def advice(
    usage: Usage,
    refused: Sequence[ChainDemand],
    prices: dict[tuple[str, str], float],
    *,
    share: float = 0.1,
    top: int = 5,
    work: int = 2_000,
) -> tuple[Advice, ...]:
    """Where capacity pays most: the dearest shadow prices, each tried with ``share`` more."""
    network = usage.network
    capacity = {(s.name, r): v for s in network.sites for r, v in s.capacity.items()}
    capacity |= {(k.id, "kbit/s"): k.capacity_kbps for k in network.links}
    ranked = sorted(
        ((price * capacity.get(key, 0) * share, key) for key, price in prices.items()),
        key=lambda row: (-row[0], row[1]),
    )
    found = []
    for _, (where, resource) in ranked[:top]:
        amount = max(1, int(capacity[where, resource] * share))
        admits = _admitted(_richer(usage, where, resource, amount), refused, work)
        worth = sum(chain.value - placement.cost for chain, placement in admits)
        ids = tuple(chain.id for chain, _ in admits)
        found.append(Advice(where, resource, amount, ids, worth, prices[where, resource]))
    return tuple(sorted(found, key=lambda a: (-a.worth, a.where)))


def _richer(usage: Usage, where: str, resource: str, amount: int) -> Usage:
    richer = usage.copy()
    if resource == "kbit/s":
        richer.link_room[richer.compiled.link_index[where]] += amount
        return richer
    at = richer.compiled.resources.index(resource) * len(richer.network.sites)
    richer.site_room[at + richer.compiled.site_index[where]] += amount
    return richer


def _admitted(
    usage: Usage, refused: Sequence[ChainDemand], work: int
) -> list[tuple[ChainDemand, Placement]]:
    admitted = []
    for chain in by_importance(refused):
        answer = place(usage, chain, work=work, proof=False)
        if isinstance(answer, Placement) and answer.cost <= chain.value:
            usage.apply(chain, answer)
            admitted.append((chain, answer))
    return admitted
