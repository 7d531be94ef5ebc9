"""One region's watcher: which of its sites are heard of, and what they have together (DESIGN section 7).

Never an actor per site: a region of about 25 sites is one component, and what it knows is in the store.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from isthmus.contract.families import G_LIVENESS, G_REGIONS, G_REMOTE, G_SITES
from isthmus.contract.instance import SiteSummary
from isthmus.contract.scopes import site_summary_key
from isthmus.contract.world import RegionSummary, SiteLiveness
from isthmus.microcontroller import Context, Traits

ITEM = "*region"


@dataclass(slots=True)
class Region:
    """Looks once per ``period_s`` and when a summary arrives."""

    region: str
    runtime: str = "in-process"
    period_s: float = 2.0
    traits: Traits = field(default_factory=Traits)
    standing_items: tuple[str, ...] = (ITEM,)

    @property
    def component(self) -> str:
        """``region.<region>``."""
        return f"region.{self.region}"

    @property
    def watches(self) -> Sequence[str]:
        """Sites, their summaries, and its own verdicts."""
        return (G_SITES.prefix(), G_REMOTE.prefix(), G_LIVENESS.prefix(region=self.region))

    def items_for(self, key: str) -> Iterable[str]:
        """Everything is looked at together."""
        remote = G_REMOTE.parse(key)
        if G_SITES.parse(key) is not None or (
            remote is not None and remote["rest"] == "summary/site"
        ):
            yield ITEM

    async def reconcile(self, item: str, context: Context) -> float | None:
        """Judge the region's sites and sum them up."""
        now = context.now()
        alive, cpu, memory, count = 0, 0, 0, 0
        for known in context.state.items(G_SITES):
            if known.envelope.body.region != self.region:
                continue
            count += 1
            site = known.variables["site"]
            envelope = context.state.envelope(site_summary_key(site), SiteSummary)
            state: Literal["alive", "silent", "unknown"] = "unknown"
            age_s = 0.0
            if envelope is not None:
                age_s = envelope.age_s(now)
                state = "silent" if envelope.expired(now) else "alive"
                if state == "alive":
                    alive += 1
                    cpu += envelope.body.cpu_milli_free
                    memory += envelope.body.memory_mib_free
            key = G_LIVENESS.key(region=self.region, site=site)
            before = context.state.body(key, SiteLiveness)
            # The age is written only when the verdict changes: an age in a key is old when it is read.
            if before is None or before.state != state:
                body = SiteLiveness(site=site, state=state, age_s=round(age_s, 1))
                await context.writer.put(key, body)
                severity: Literal["info", "warning"] = "info" if state == "alive" else "warning"
                await context.event("site-" + state, site, f"last word {age_s:.0f} s ago", severity)
        await context.writer.put(
            G_REGIONS.key(region=self.region),
            RegionSummary(
                region=self.region,
                sites=count,
                alive=alive,
                cpu_milli_free=cpu,
                memory_mib_free=memory,
                runtime=self.runtime,
                actor_incarnation=context.writer.stamp.incarnation,
            ),
        )
        return self.period_s
