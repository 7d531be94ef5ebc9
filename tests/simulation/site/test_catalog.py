"""A site's catalog is what it was started with: not what its store shows of it at the moment."""

from __future__ import annotations

from tests.simulation.site.test_site import chain
from tests.simulation.site.world import HollowSite
from tests.support import eventually

from isthmus.contract.families import CATALOG, EVENTS
from isthmus.contract.instance import CatalogEntry
from isthmus.kv.memory import MemoryStore


async def test_a_request_that_was_there_first_is_not_refused_for_its_type() -> None:
    """Why: intake met the request before its own catalog was written, and refused a firewall because there were only
    firewalls; a user reads that as final."""
    site = HollowSite(MemoryStore())
    await site.apply(chain())
    site.start()
    try:
        await site.until("acme", "web", "running")
        events = (await site.store.snapshot(EVENTS.prefix())).entries
        assert not [one for one in events if b"catalog" in one.value]
    finally:
        await site.stop()


async def test_a_type_of_an_earlier_catalog_is_withdrawn_and_refused() -> None:
    """Why: after an upgrade that drops a type, a chain of it would be admitted and never start."""
    site = HollowSite(MemoryStore())
    stale = CATALOG.key(type="quantum", version="1")
    await site.put(stale, CatalogEntry(type="quantum", version="1"))
    await site.apply(chain(functions=[{"name": "x", "type": "quantum", "config": {}}]))
    site.start()
    try:
        status = await site.until("acme", "web", "refused")
        assert "'quantum'" in status.reason

        async def withdrawn() -> bool:
            return await site.store.get(stale) is None

        await eventually(withdrawn, "the stale entry is gone")
    finally:
        await site.stop()
