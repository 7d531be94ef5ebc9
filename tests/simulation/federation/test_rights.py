"""The link needs no more than the contract gives it, and cannot do more (G8; etcd decides the same way)."""

from __future__ import annotations

import pytest
from tests.federation_support import (
    HUB,
    SITE,
    holds_exactly,
    intents_at_site,
    outbox,
    summary,
    summary_at_hub,
    until,
    wire,
)

from isthmus.contract.envelope import Stamp
from isthmus.contract.family import Tier
from isthmus.contract.roles import role
from isthmus.federation.destination import PeerDestination
from isthmus.federation.limits import LinkLimits
from isthmus.kv.errors import PermissionDenied
from isthmus.kv.grants import Access, Grant
from isthmus.kv.memory import MemoryStore

ACCESS = {"read": Access.READ, "write": Access.WRITE, "readwrite": Access.READ_WRITE}


def limited(store: MemoryStore, tier: Tier, component: str) -> MemoryStore:
    """The view of ``component`` with exactly the rights of the contract."""
    grants = role(tier, component).grants
    return store.as_user(component, [Grant.of(one.target, ACCESS[one.access]) for one in grants])


async def test_both_ends_work_with_the_rights_of_the_contract() -> None:
    """As ``federation`` at the site and ``gateway`` at the tier, in both directions."""
    site, hub = MemoryStore(), MemoryStore()
    await hub.put(outbox("intents/t/c"), b"down")
    await site.put("/isthmus/v1/summary/site", b"up")
    ends = limited(site, Tier.SITE, "federation"), limited(hub, Tier.GLOBAL, "gateway")
    async with wire(*ends) as link:
        await until(lambda: holds_exactly(intents_at_site(site), {"intents/t/c": b"down"}), "down")
        await until(lambda: holds_exactly(summary_at_hub(hub), {"summary/site": b"up"}), "up")
        await site.put(summary("wires/w"), b"more")
        await until(lambda: link.hub.status().digests_equal, "equal")


async def test_the_store_itself_refuses_the_agent_anything_else() -> None:
    """Should every filter of ours fail, etcd still has the last word."""
    site = limited(MemoryStore(), Tier.SITE, "federation")
    with pytest.raises(PermissionDenied):
        await site.put("/isthmus/v1/specs/t/c", b"x")
    with pytest.raises(PermissionDenied):
        await site.get("/isthmus/v1/specs/t/c")


async def test_relative_key_can_never_leave_the_peers_sub_tree() -> None:
    """The last step before the store checks again: a key is placed below the root, never joined blindly."""
    store = MemoryStore()
    destination = PeerDestination(
        store,
        HUB,
        session="s",
        stamp=Stamp(origin="x", incarnation="1"),
        limits=LinkLimits(),
        utc_s=lambda: 0.0,
    )
    for key in ("../specs/t/c", "/isthmus/v1/specs/t/c", "a//b", ""):
        with pytest.raises(ValueError, match="refused"):
            await destination.write([(key, b"x")], parallel=False)
    assert (await store.snapshot("/")).entries == ()
    assert SITE != HUB
