"""Sites as a tier knows them: the global tier by registration, liveness and summary; a site by its own hosts (R44).

A summary past its time to live is not shown as if it were true: the site's state is then "unknown" (G12). Nor is one
that is quarantined (G9).
"""

from __future__ import annotations

from typing import Any

from isthmus.api.desk import Desk
from isthmus.api.facts import Fact, fact
from isthmus.api.models import SiteList, SiteRow
from isthmus.contract import Tier, families
from isthmus.contract.instance import HostInventory, SiteSummary
from isthmus.contract.quarantine import CONSTRAINT, Quarantine, mark_key
from isthmus.contract.scopes import site_summary_key
from isthmus.contract.world import SiteLiveness, SiteSpec
from isthmus.kv.port import Entry


async def listing(desk: Desk) -> SiteList:
    """Every site of this tier."""
    if desk.tier is Tier.SITE:
        return await _itself(desk)
    return await _registered(desk)


async def _itself(desk: Desk) -> SiteList:
    hosts = await desk.snapshot(families.INVENTORY.prefix())
    _, found = await desk.gets((families.SITE_SUMMARY.key(),))
    now = desk.clock()
    summary = fact(found.get(families.SITE_SUMMARY.key()), SiteSummary)
    inventories = [fact(entry, HostInventory) for entry in hosts.entries]
    row = SiteRow(
        site=desk.name,
        state="alive",
        reason=_held(summary, now),
        age_s=summary.envelope.age_s(now) if summary else None,
        summary=_believed(summary, now),
        hosts=tuple(_host(item, now) for item in inventories if item is not None),
    )
    return SiteList(tier=desk.tier.value, revision=hosts.revision, sites=(row,))


def _host(inventory: Fact[HostInventory], now: float) -> dict[str, Any]:
    view = inventory.body.model_dump(mode="json")
    view["state"] = "unknown" if inventory.envelope.expired(now) else "up"
    view["age_s"] = inventory.envelope.age_s(now)
    return view


async def _registered(desk: Desk) -> SiteList:
    specs, liveness = await desk.snapshots(
        (families.G_SITES.prefix(), families.G_LIVENESS.prefix())
    )
    named = [(parts["site"], fact(entry, SiteSpec)) for parts, entry in _sites(specs.entries)]
    keys = [key for site, _ in named for key in (site_summary_key(site), mark_key(site))]
    _, found = await desk.gets(keys)
    alive: dict[str, Fact[SiteLiveness]] = {}
    for entry in liveness.entries:
        parts, item = families.G_LIVENESS.parse(entry.key), fact(entry, SiteLiveness)
        if parts is not None and item is not None:
            alive[parts["site"]] = item
    now = desk.clock()
    rows = tuple(
        _row(site, spec, alive.get(site), fact(found.get(site_summary_key(site)), SiteSummary), now)
        if (mark := found.get(mark_key(site))) is None
        else _marked(site, spec, fact(found.get(site_summary_key(site)), SiteSummary), mark, now)
        for site, spec in named
    )
    return SiteList(tier=desk.tier.value, revision=specs.revision, sites=rows)


def _sites(entries: tuple[Entry, ...]) -> list[tuple[dict[str, str], Entry]]:
    parsed = ((families.G_SITES.parse(entry.key), entry) for entry in entries)
    return [(parts, entry) for parts, entry in parsed if parts is not None]


def _marked(
    site: str,
    spec: Fact[SiteSpec] | None,
    summary: Fact[SiteSummary] | None,
    mark: Entry,
    now: float,
) -> SiteRow:
    """Its link was cut: nothing that it told is shown as true, whatever the region's watcher wrote before."""
    why = fact(mark, Quarantine)
    return SiteRow(
        site=site,
        state="unknown",
        reason=f"{CONSTRAINT}: {why.body.reason if why else 'its mark cannot be read'}",
        age_s=summary.envelope.age_s(now) if summary else None,
        spec=spec.body.model_dump(mode="json") if spec else None,
    )


def _row(
    site: str,
    spec: Fact[SiteSpec] | None,
    liveness: Fact[SiteLiveness] | None,
    summary: Fact[SiteSummary] | None,
    now: float,
) -> SiteRow:
    state, reason = "unknown", "nothing was ever heard of it"
    if summary is not None:
        age, ttl = summary.envelope.age_s(now), summary.envelope.ttl_s
        if summary.envelope.expired(now):
            reason = f"last summary is {age:.0f} s old, believed for {ttl:.0f} s"
        else:
            state, reason = "alive", _held(summary, now)
    if liveness is not None and summary is not None and not liveness.envelope.expired(now):
        if state == "alive":
            state = liveness.body.state
        elif liveness.body.state not in ("alive", "unknown"):
            # The word of the neighbours: on another way than the link that is silent.
            state, reason = liveness.body.state, f"{reason}; {liveness.body.reason}".rstrip("; ")
    return SiteRow(
        site=site,
        state=state,
        reason=reason,
        age_s=summary.envelope.age_s(now) if summary else None,
        spec=spec.body.model_dump(mode="json") if spec else None,
        summary=_believed(summary, now),
    )


def _held(summary: Fact[SiteSummary] | None, now: float) -> str:
    """Somebody has to go and look: only the site's own operator releases its brake."""
    if summary is None or summary.envelope.expired(now) or not summary.body.chains_held:
        return ""
    return f"brake: {summary.body.chains_held} deletions held until confirmed at the site"


def _believed(summary: Fact[SiteSummary] | None, now: float) -> dict[str, Any] | None:
    if summary is None or summary.envelope.expired(now):
        return None
    return summary.body.model_dump(mode="json")
