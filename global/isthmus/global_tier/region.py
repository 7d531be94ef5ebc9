"""One region's watcher: which of its sites are heard of, and what they have together (DESIGN section 7).

Never an actor per site: a region of about 25 sites is one component, and what it knows is in the store.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from isthmus.contract import Envelope
from isthmus.contract.chain import WirePeer
from isthmus.contract.families import G_LIVENESS, G_REGIONS, G_REMOTE, G_SITES, G_WIRES
from isthmus.contract.instance import SiteSummary
from isthmus.contract.quarantine import QUARANTINE, quarantined
from isthmus.contract.scopes import site_summary_key, site_wire_prefix
from isthmus.contract.world import RegionSummary, SiteLiveness
from isthmus.global_tier.silence import Voucher, verdict
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
        """Sites, their summaries, the wires between them, and its own verdicts."""
        own = G_LIVENESS.prefix(region=self.region)
        return (G_SITES.prefix(), G_REMOTE.prefix(), G_WIRES.prefix(), own)

    def items_for(self, key: str) -> Iterable[str]:
        """Everything is looked at together."""
        remote = G_REMOTE.parse(key)
        if G_SITES.parse(key) is not None or (
            remote is not None and remote["rest"] in ("summary/site", QUARANTINE)
        ):
            yield ITEM  # what neighbours tell is looked at once a period

    async def reconcile(self, item: str, context: Context) -> float | None:
        """Judge the region's sites and sum them up."""
        alive, cpu, memory, count = 0, 0, 0, 0
        for known in context.state.items(G_SITES):
            if known.envelope.body.region != self.region:
                continue
            count += 1
            site = known.variables["site"]
            envelope = context.state.envelope(site_summary_key(site), SiteSummary)
            liveness = self._judged(site, envelope, context)
            if envelope is not None and liveness.state == "alive":
                alive += 1
                cpu += envelope.body.cpu_milli_free
                memory += envelope.body.memory_mib_free
            await self._tell(liveness, context)
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

    def _judged(
        self, site: str, envelope: Envelope[SiteSummary] | None, context: Context
    ) -> SiteLiveness:
        now = context.now()
        if envelope is None:
            return SiteLiveness(site=site, state="unknown", reason="it was never heard of")
        age_s = round(envelope.age_s(now), 1)
        doubt = quarantined(context.state, site)
        if doubt is not None:
            return SiteLiveness(site=site, state="unknown", age_s=age_s, reason=doubt)
        if not envelope.expired(now):
            return SiteLiveness(site=site, state="alive", age_s=age_s)
        state, reason = verdict(envelope.as_of, self._vouchers(site, context), now)
        return SiteLiveness(site=site, state=state, age_s=age_s, reason=reason)

    @staticmethod
    def _vouchers(site: str, context: Context) -> Iterator[Voucher]:
        """What neighbours that are heard of tell about their wires from ``site``."""
        for known in context.state.items(G_WIRES):
            wire = known.envelope.body
            ends = (wire.left_site, wire.right_site)
            if site not in ends or ends[0] == ends[1]:
                continue
            neighbour = ends[1] if ends[0] == site else ends[0]
            summary = context.state.envelope(site_summary_key(neighbour), SiteSummary)
            if summary is None or summary.expired(context.now()):
                continue
            if quarantined(context.state, neighbour) is not None:
                continue
            key = f"{site_wire_prefix(neighbour)}{wire.wire}"
            end = context.state.body(key, WirePeer)
            if end is not None:
                yield Voucher(neighbour, wire.wire, end.heard_at)

    async def _tell(self, liveness: SiteLiveness, context: Context) -> None:
        """Only a change of the verdict is written: an age in a key is old when it is read."""
        key = G_LIVENESS.key(region=self.region, site=liveness.site)
        before = context.state.body(key, SiteLiveness)
        if before is not None and _verdict(before) == _verdict(liveness):
            return
        await context.writer.put(key, liveness)
        text = f"last word {liveness.age_s:.0f} s ago"
        await context.event(
            f"site-{liveness.state}",
            liveness.site,
            f"{text}; {liveness.reason}" if liveness.reason else text,
            "info" if liveness.state == "alive" else "warning",
        )


def _verdict(liveness: SiteLiveness) -> tuple[str, str]:
    """What makes two of them differ: a site is unknown for lasting reasons, the others' reasons have ages in them."""
    return liveness.state, liveness.reason if liveness.state == "unknown" else ""
