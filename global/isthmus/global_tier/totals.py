"""All sites of a tier as if they were one: from what they told to what the tier tells (DESIGN section 6; pure).

Sums are sums, the largest free slot is the largest of any site, attachments and function types are a union, the price
of a core is the mean of the sites' prices weighted by their cores. A figure comes with the bound under which the site
told it; bounds add up by :mod:`isthmus.federation.summaries`, and the tier adds its own dead band. What is too old
to be believed is left out and counted (G12). Only sites *below* count: what a tier beside us has is not ours to offer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from isthmus.contract.families import G_SITE_SUMMARY
from isthmus.contract.figures import Told
from isthmus.contract.instance import SiteSummary
from isthmus.contract.summaries import rules_of
from isthmus.contract.world import Placement
from isthmus.federation.summaries import Figure, figure_of, number, tell
from isthmus.global_tier.orders import LOCAL, SiteView

RULES = rules_of(G_SITE_SUMMARY)
PRICE, OWN = "price_milli", "tier"
_CPU = frozenset({"cpu_milli_free", "largest_free_cpu_milli"})
_MEMORY = frozenset({"memory_mib_free"})

Used = Mapping[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class TierFacts:
    """``used`` is CPU and memory per site that the tier's *own* chains hold: a peer knows by itself what it holds.
    ``held`` is how many deletions the tier's own brake holds."""

    views: Sequence[SiteView]
    used: Used
    held: int = 0


def used_by_own(placements: Iterable[Placement]) -> dict[str, tuple[int, int]]:
    """CPU and memory per site of chains that nobody above asked for."""
    used: dict[str, tuple[int, int]] = {}
    for placement in placements:
        if placement.source != LOCAL:
            continue
        for placed in placement.segments:
            cpu, memory = used.get(placed.site, (0, 0))
            needs = [function.resources for function in placed.segment.functions]
            used[placed.site] = (
                cpu + sum(one.cpu_milli for one in needs),
                memory + sum(one.memory_mib for one in needs),
            )
    return used


def summary(facts: TierFacts, before: Mapping[str, Told], now_s: float) -> SiteSummary:
    """What the tier tells now; ``before`` is what it told last, kept while it holds."""
    below = [view for view in facts.views if view.spec.relation == "below"]
    believed = {view.spec.site: view.summary for view in below if view.summary is not None}
    told = {
        field: tell(summarized.rule, before.get(field), _members(field, believed, facts), now_s)
        for field, summarized in RULES.items()
    }
    seen = Counter(name for one in believed.values() for name in set(one.attachments))
    fences = {one.fence for one in believed.values()}
    return SiteSummary(
        **{field: round(one.values[0]) for field, one in told.items()},
        attachments=tuple(sorted(name for name, sites in seen.items() if sites == 1)),
        function_types=tuple(sorted({t for one in believed.values() for t in one.function_types})),
        fence="kernel" if fences == {"kernel"} else "none",
        told=told,
        sites=len(believed),
        sites_unknown=len(below) - len(believed),
    )


def _members(
    field: str, believed: Mapping[str, SiteSummary], facts: TierFacts
) -> dict[str, Figure]:
    if field == PRICE:
        return {OWN: _price(believed)}
    members = {
        site: _figure(field, one, facts.used.get(site, (0, 0))) for site, one in believed.items()
    }
    if field == "chains_held":
        members[OWN] = number(facts.held)
    return members


def _figure(field: str, told: SiteSummary, used: tuple[int, int]) -> Figure:
    """What the site told, less what our own chains hold there. A slot of which nobody knows the host they are on is
    reckoned to have lost all of it: a told slot always fits."""
    figure = figure_of(told.told[field]) if field in told.told else number(getattr(told, field))
    less = used[0] if field in _CPU else used[1] if field in _MEMORY else 0
    return number(max(0.0, figure.value - less), figure.bound)


def _price(believed: Mapping[str, SiteSummary]) -> Figure:
    cores = sum(one.cpu_milli_total for one in believed.values())
    if not cores:
        return number(min((one.price_milli for one in believed.values()), default=0))
    return number(
        sum(one.price_milli * one.cpu_milli_total for one in believed.values()) / cores,
        max((one.told[PRICE].bound for one in believed.values() if PRICE in one.told), default=0.0),
    )
