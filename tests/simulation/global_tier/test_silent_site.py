"""The region's watcher asks the neighbours of a silent site, over the store only (issue 7: a three-way signal)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.support import eventually

from isthmus.contract import Body, Stamp, seal, unseal
from isthmus.contract.chain import WirePeer
from isthmus.contract.families import G_LIVENESS, G_SITES, G_WIRES
from isthmus.contract.instance import SiteSummary
from isthmus.contract.scopes import site_summary_key, site_wire_prefix
from isthmus.contract.world import SiteLiveness, SiteSpec, Wire
from isthmus.global_tier.region import Region
from isthmus.kv.memory import MemoryStore
from isthmus.microcontroller import Runner, Surroundings

STAMP = Stamp(origin="test", incarnation="test")
WIRE = "w-000000000001"


@dataclass
class Above:
    """The tier's store as the gateway leaves it, and a clock that the test moves."""

    store: MemoryStore = field(default_factory=MemoryStore)
    now_s: float = 1000.0

    async def put(self, key: str, body: Body, ttl_s: float = 0.0) -> None:
        """As of now."""
        await self.store.put(key, seal(body, STAMP, as_of=self.now_s, ttl_s=ttl_s))

    async def summary(self, site: str) -> None:
        """A site's link brings its summary."""
        body = SiteSummary(
            cpu_milli_total=1, cpu_milli_free=1, memory_mib_total=1, memory_mib_free=1,
            largest_free_cpu_milli=1, hosts_up=1, chains=1,
        )  # fmt: skip
        await self.put(site_summary_key(site), body, ttl_s=15)

    async def heard(self, site: str, at_s: float) -> None:
        """A site tells when packets last came over the wire."""
        end = WirePeer(wire=WIRE, vni=1000, address="10.0.0.1", heard_at=at_s)
        await self.put(f"{site_wire_prefix(site)}{WIRE}", end)

    async def becomes(self, site: str, state: str) -> SiteLiveness:
        """The watcher's verdict."""

        async def told() -> SiteLiveness | None:
            entry = await self.store.get(G_LIVENESS.key(region="europe", site=site))
            body = None if entry is None else unseal(entry.value, SiteLiveness).body
            return body if body is not None and body.state == state else None

        found = await eventually(told, f"{site} is {state}")
        assert found is not None
        return found


@asynccontextmanager
async def above() -> AsyncIterator[Above]:
    """Milan and Paris with a wire between them; both heard of."""
    made = Above()
    for site in ("milan", "paris"):
        spec = SiteSpec(site=site, region="europe", country="it", owner="carrier")
        await made.put(G_SITES.key(site=site), spec)
        await made.summary(site)
        await made.heard(site, made.now_s)
    wire = Wire(
        wire=WIRE, vni=1000, tenant="acme", chain="web", left_site="milan", right_site="paris"
    )
    await made.put(G_WIRES.key(wire=WIRE), wire)
    region = Region("europe", period_s=0.02)
    runner = Runner(region, made.store, "test/region", Surroundings(now=lambda: made.now_s))
    running = asyncio.create_task(runner.run())
    try:
        await made.becomes("milan", "alive")
        yield made
    finally:
        runner.stop()
        await running


async def test_a_neighbour_tells_cut_off_from_dead_and_it_comes_back() -> None:
    """Why: a site whose control link is cut carries its customers, a dead one does not. Only a second path tells."""
    async with above() as tier:
        tier.now_s += 20  # milan's summary is too old to be believed, paris goes on
        await tier.summary("paris")
        await tier.heard("paris", tier.now_s - 2)
        told = await tier.becomes("milan", "cut-off")
        assert told.reason == "paris got packets from it 2 s ago"
        tier.now_s += 20
        await tier.summary("paris")
        told = await tier.becomes("milan", "dead")
        assert "until 22 s ago" in told.reason
        await tier.summary("milan")
        await tier.becomes("milan", "alive")


async def test_a_neighbour_that_is_itself_silent_tells_nothing() -> None:
    """Why: when the tier's own line is cut, all sites are silent; none of them is dead for that."""
    async with above() as tier:
        tier.now_s += 40
        await tier.becomes("milan", "silent")
        told = await tier.becomes("paris", "silent")
        assert told.reason == "no neighbour has a wire with packets from it"
