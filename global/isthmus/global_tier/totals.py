"""All sites of a tier as if they were one: from what they told to what the tier tells (DESIGN section 6; pure).

Sums are sums, the largest free slot is the largest of any site, attachments and function types are a union, the price
of a core is the mean of the sites' prices weighted by their cores. A figure comes with the bound under which the site
told it; bounds add up by :mod:`isthmus.federation.summaries`, and the tier adds its own dead band. What is too old
to be believed is left out and counted (G12). Only sites *below* count: what a tier beside us has is not ours to offer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from isthmus.contract.alarms import (
    DELETIONS_HELD,
    SITES_SILENT,
    UNTOLD,
    WORST,
    Alarm,
    alarm,
    badness,
    listed,
    raised,
)
from isthmus.contract.families import G_SITE_SUMMARY
from isthmus.contract.instance import SiteSummary
from isthmus.contract.summaries import ALARMS, FREE_SLOTS, HOTTEST, rules_of
from isthmus.contract.world import Placement
from isthmus.federation.summaries import Figure, figure_of, number, plain, tell
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
    functions: Mapping[str, int] = field(default_factory=dict)
    """How many functions of our own chains are at each site: so many hosts may be in another bin than told."""


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


def functions_of_own(placements: Iterable[Placement]) -> dict[str, int]:
    """Functions per site of chains that nobody above asked for."""
    return Counter(
        placed.site
        for placement in placements
        if placement.source == LOCAL
        for placed in placement.functions
    )


def summary(facts: TierFacts, before: SiteSummary | None, now_s: float) -> SiteSummary:
    """What the tier tells now; ``before`` is what it told last, kept while it holds."""
    below = [view for view in facts.views if view.spec.relation == "below"]
    believed = {view.spec.site: view.summary for view in below if view.summary is not None}
    alarms = _alarms(below, facts.held)
    old = before.told if before is not None else {}
    told = {
        name: tell(summarized.rule, old.get(name), _members(name, believed, facts, alarms), now_s)
        for name, summarized in RULES.items()
    }
    worst = listed(
        told[ALARMS],
        {name: one for name, (one, _) in alarms.items()},
        before.alarms if before is not None else (),
        told[ALARMS] is not old.get(ALARMS),
        now_s,
    )
    seen = Counter(name for one in believed.values() for name in set(one.attachments))
    fences = {one.fence for one in believed.values()}
    return SiteSummary(
        **plain(told),
        alarms=worst,
        attachments=tuple(sorted(name for name, sites in seen.items() if sites == 1)),
        function_types=tuple(sorted({t for one in believed.values() for t in one.function_types})),
        fence="kernel" if fences == {"kernel"} else "none",
        told=told,
        sites=len(believed),
        sites_unknown=len(below) - len(believed),
    )


def _members(
    name: str,
    believed: Mapping[str, SiteSummary],
    facts: TierFacts,
    alarms: Mapping[str, tuple[Alarm, float]],
) -> dict[str, Figure]:
    if name == PRICE:
        return {OWN: _price(believed)}
    if name == ALARMS:
        return {inner: number(badness(one), bound) for inner, (one, bound) in alarms.items()}
    if name == FREE_SLOTS:
        return {site: slots_of(one, facts.functions.get(site, 0)) for site, one in believed.items()}
    if name == HOTTEST:
        return {site: hottest_of(one) for site, one in believed.items()}
    members = {
        site: _figure(name, one, facts.used.get(site, (0, 0))) for site, one in believed.items()
    }
    if name == "chains_held":
        members[OWN] = number(facts.held)
    return members


def slots_of(told: SiteSummary, functions: int = 0) -> Figure:
    """Hosts by free slot. Each function of ours may have moved the one host it is on to another bin; of a site that
    tells none (an older release) as many hosts as it has are in no bin."""
    one = told.told.get(FREE_SLOTS)
    if one is None or len(one.values) != RULES[FREE_SLOTS].rule.width:
        return Figure((0.0,) * RULES[FREE_SLOTS].rule.width, float(told.hosts_up))
    hosts = sum(one.values) + one.bound
    return Figure(one.values, min(one.bound + functions, hosts))


def hottest_of(told: SiteSummary) -> Figure:
    """Of a site that does not tell it (an older release) it may be anything."""
    one = told.told.get(HOTTEST)
    return figure_of(one) if one is not None else number(0.0, 1000.0)


def alarms_of(label: str, told: SiteSummary) -> Iterator[tuple[str, Alarm, float]]:
    """A site's alarms under ``label``, each with the bound of its badness."""
    one = told.told.get(ALARMS)
    if one is None:
        name = f"{label}.{UNTOLD}"
        yield name, alarm(UNTOLD, 1, 1).model_copy(update={"name": name}), WORST
        return
    for inner in told.alarms:
        name = f"{label}.{inner.name}"
        yield name, inner.model_copy(update={"name": name}), one.bound


def _alarms(below: Sequence[SiteView], held: int) -> dict[str, tuple[Alarm, float]]:
    """Those of the sites, with a number for the site: names of sites do not cross. And the tier's own."""
    found: dict[str, tuple[Alarm, float]] = {}
    silent = 0
    for place, view in enumerate(sorted(below, key=lambda one: one.spec.site), 1):
        if view.summary is None:
            silent += 1
            continue
        for name, one, bound in alarms_of(str(place), view.summary):
            found[name] = (one, bound)
    own = raised({SITES_SILENT: (silent, len(below)), DELETIONS_HELD: (held, held)})
    return found | {name: (one, 0.0) for name, one in own.items()}


def _figure(name: str, told: SiteSummary, used: tuple[int, int]) -> Figure:
    """What the site told, less what our own chains hold there. A slot of which nobody knows the host they are on is
    reckoned to have lost all of it: a told slot always fits."""
    figure = figure_of(told.told[name]) if name in told.told else number(getattr(told, name))
    less = used[0] if name in _CPU else used[1] if name in _MEMORY else 0
    return number(max(0.0, figure.value - less), figure.bound)


def _price(believed: Mapping[str, SiteSummary]) -> Figure:
    cores = sum(one.cpu_milli_total for one in believed.values())
    if not cores:
        return number(min((one.price_milli for one in believed.values()), default=0))
    return number(
        sum(one.price_milli * one.cpu_milli_total for one in believed.values()) / cores,
        max((one.told[PRICE].bound for one in believed.values() if PRICE in one.told), default=0.0),
    )
