"""The tier's sites as it may believe them now: registered facts, and summaries with their age (G12) and marks (G9)."""

from __future__ import annotations

from isthmus.contract.families import G_SITES
from isthmus.contract.instance import SiteSummary
from isthmus.contract.quarantine import quarantined
from isthmus.contract.scopes import site_summary_key
from isthmus.global_tier.orders import SiteView
from isthmus.microcontroller import Context


def site_views(context: Context) -> list[SiteView]:
    """Every registered site; without a summary where the last one is too old, or quarantined."""
    now = context.now()
    views = []
    for known in context.state.items(G_SITES):
        site = known.variables["site"]
        key = site_summary_key(site)
        envelope = context.state.envelope(key, SiteSummary)
        believable = (
            envelope is not None
            and not envelope.expired(now)
            and quarantined(context.state, site) is None
        )
        views.append(
            SiteView(
                known.envelope.body,
                envelope.body if envelope is not None and believable else None,
                envelope.age_s(now) if envelope is not None else 0.0,
            )
        )
    return views
