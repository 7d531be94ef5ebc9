"""Two peers under one name at a site: neither takes the other's chain, neither hides it (attacks 18 and 19)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.simulation.site.wishes import INTENTS, admitted, ask, explained, record, segment
from tests.simulation.site.world import HollowSite
from tests.support import eventually

from isthmus.contract.chain import SegmentIntent
from isthmus.contract.peering import Delegation
from isthmus.kv.memory import MemoryStore

OTHERS = INTENTS.replace("/global/", "/partner/")


@pytest.fixture
async def site() -> AsyncIterator[HollowSite]:
    """The partner stands first in the settings; it may ask for acme and zeta, the tier for acme only."""
    peers = (Delegation("partner", ("acme", "zeta")), Delegation("global", ("acme",)))
    running = HollowSite(MemoryStore(), delegations=peers)
    running.start()
    yield running
    await running.stop()


async def source_is(site: HollowSite, name: str, peer: str) -> None:
    """Wait until ``name`` is carried for ``peer``."""

    async def carried() -> bool:
        found = await record(site, name)
        return found is not None and found.source == peer

    await eventually(carried, f"{name} is carried for {peer}")


async def test_a_peer_does_not_take_over_what_is_carried_for_another(site: HollowSite) -> None:
    """Why: a partner with a tenant in common could end the tier's chain, brake or no brake, by asking for its name."""
    await ask(site, segment("web"))
    await source_is(site, "web", "global")
    thief = segment("web", epoch=9, bandwidth_kbps=7)
    await site.put(f"{OTHERS}acme/web", SegmentIntent(segment=thief))
    await ask(site, segment("later"))
    await admitted(site, "later")  # asked after the thief: whatever the thief causes has happened
    await source_is(site, "web", "global")
    await ask(site, segment("web", epoch=2, bandwidth_kbps=99))

    async def followed() -> bool:
        found = await record(site, "web")
        return found is not None and found.segment.bandwidth_kbps == 99

    await eventually(followed, "the holder's newer wish is followed beside the thief's")
    await site.store.delete(f"{INTENTS}acme/web")
    await source_is(site, "web", "partner")


async def test_a_forbidden_wish_hides_no_lawful_one(site: HollowSite) -> None:
    """Why: the refusal of one peer would be the answer to another."""
    await site.stop()
    peers = (Delegation("partner", ("zeta",)), Delegation("global", ("acme",)))
    fresh = HollowSite(MemoryStore(), delegations=peers)
    fresh.start()
    try:
        await fresh.put(f"{OTHERS}acme/web", SegmentIntent(segment=segment("web")))

        async def refused() -> bool:
            why = await explained(fresh, "web")
            return why is not None and why.decision == "refused" and why.source == "partner"

        await eventually(refused, "who may not ask is told so")
        await ask(fresh, segment("web"))
        await source_is(fresh, "web", "global")
        why = await explained(fresh, "web")
        assert why is not None
        assert (why.decision, why.source) == ("accepted", "global")
    finally:
        await fresh.stop()
