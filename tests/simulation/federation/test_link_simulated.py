"""The whole link over the in-memory twin: what a reader of ``remote/<peer>/`` may rely on."""

from __future__ import annotations

import asyncio

import pytest
from tests.federation_support import (
    HUB,
    SITE,
    holds_exactly,
    holds_keys,
    holds_value,
    intents_at_site,
    outbox,
    summary,
    summary_at_hub,
    until,
    wire,
)

from isthmus.contract.scopes import ExportRoot, import_root, site_exports, tier_exports
from isthmus.federation.destination import synced_key
from isthmus.federation.digest import digest
from isthmus.federation.errors import LinkLost
from isthmus.kv.memory import MemoryStore
from isthmus.kv.port import EventKind


async def test_first_copy_then_changes_then_deletions_cross_both_ways() -> None:
    """The whole purpose: a snapshot, then deltas, then what goes away, up and down at once."""
    site, hub = MemoryStore(), MemoryStore()
    await hub.put(outbox("intents/acme/web"), b"one")
    await site.put("/isthmus/v1/summary/site", b"totals")
    await site.put(summary("chains/acme/web"), b"up")
    async with wire(site, hub):
        await until(
            lambda: holds_exactly(intents_at_site(site), {"intents/acme/web": b"one"}),
            "intent arrives",
        )
        await until(
            lambda: holds_exactly(
                summary_at_hub(hub), {"summary/site": b"totals", "summary/chains/acme/web": b"up"}
            ),
            "summary arrives",
        )
        await hub.put(outbox("intents/acme/web"), b"two")
        await hub.put(outbox("wires/w-1"), b"wire")
        await site.delete(summary("chains/acme/web"))
        await until(
            lambda: holds_exactly(
                intents_at_site(site), {"intents/acme/web": b"two", "wires/w-1": b"wire"}
            ),
            "changes arrive",
        )
        await until(
            lambda: holds_exactly(summary_at_hub(hub), {"summary/site": b"totals"}),
            "deletion arrives",
        )


async def test_synced_marker_tells_empty_from_not_yet() -> None:
    """A reader must not take "nothing yet" for "nothing": the marker comes after the whole first snapshot."""
    site, hub = MemoryStore(), MemoryStore()
    assert await site.get(synced_key(HUB)) is None
    async with wire(site, hub):
        await until(lambda: site.get(synced_key(HUB)), "marker although the outbox is empty")


async def test_cut_link_resumes_with_changes_and_deletions_only() -> None:
    """After a cut only what changed crosses again (the token holds), and deletions are not forgotten."""
    site, hub = MemoryStore(), MemoryStore()
    for number in range(300):
        await hub.put(outbox(f"intents/acme/c{number}"), b"old")
    async with wire(site, hub) as link:
        await until(lambda: holds_keys(intents_at_site(site), 300), "first copy")
        await until(lambda: site.get(import_root(HUB) + "meta.cursor"), "cursor written")
        ends = await link.cut()
        assert all(isinstance(end, LinkLost) for end in ends)
        await hub.put(outbox("intents/acme/c1"), b"new")
        await hub.delete(outbox("intents/acme/c2"))
        link.join()
        await until(
            lambda: holds_value(intents_at_site(site), "intents/acme/c1", b"new"), "change arrives"
        )
        await until(lambda: holds_keys(intents_at_site(site), 299), "deletion arrives")
        status = link.site.status()
        assert status.resyncs == 0
        assert status.items_received < 10, "a resume must not copy the set again"


async def test_compaction_during_a_cut_leads_to_a_resync_without_blanking() -> None:
    """History is gone: the set is compared, nothing is removed before it is known to be gone (G6)."""
    site, hub = MemoryStore(), MemoryStore()
    for number in range(50):
        await hub.put(outbox(f"intents/acme/c{number}"), b"old")
    async with wire(site, hub) as link:
        await until(lambda: holds_keys(intents_at_site(site), 50), "first copy")
        await until(lambda: site.get(import_root(HUB) + "meta.cursor"), "cursor written")
        await link.cut()
        await hub.delete(outbox("intents/acme/c7"))
        for _ in range(5):
            await hub.put(outbox("intents/acme/c8"), b"new")
        await hub.compact(hub.revision)
        deleted = asyncio.create_task(_deletions(site, until="intents/acme/c7"))
        link.join()
        assert await deleted == ["intents/acme/c7"]
        await until(
            lambda: holds_value(intents_at_site(site), "intents/acme/c8", b"new"), "change arrives"
        )
        assert link.site.status().resyncs == 1
        assert len(await intents_at_site(site)) == 49


async def test_restored_source_is_noticed_by_its_nonce() -> None:
    """A backup brings back old revisions that grow past the token: the nonce tells, ghosts go (attack 15)."""
    site, hub = MemoryStore(), MemoryStore()
    await hub.put(outbox("intents/acme/kept"), b"kept")
    backup = hub.backup()
    async with wire(site, hub) as link:
        await until(lambda: holds_keys(intents_at_site(site), 1), "first copy")
        await hub.put(outbox("intents/acme/ghost"), b"was never backed up")
        await until(lambda: holds_keys(intents_at_site(site), 2), "ghost arrives")
        await link.cut()
        hub.restore(backup)
        for number in range(50):
            await hub.put("/isthmus/v1/elsewhere", str(number).encode())
        link.join()
        await until(
            lambda: holds_exactly(intents_at_site(site), {"intents/acme/kept": b"kept"}),
            "ghost goes",
        )
        assert link.site.status().resyncs == 1


async def test_source_restored_under_an_open_link() -> None:
    """The store's connections come back by themselves after a restore; the link must not believe them."""
    site, hub = MemoryStore(), MemoryStore()
    await hub.put(outbox("intents/acme/kept"), b"kept")
    backup = hub.backup()
    async with wire(site, hub) as link:
        await until(lambda: holds_keys(intents_at_site(site), 1), "first copy")
        await hub.put(outbox("intents/acme/ghost"), b"was never backed up")
        await until(lambda: holds_keys(intents_at_site(site), 2), "ghost arrives")
        hub.restore(backup)
        for number in range(50):
            await hub.put(outbox("wires/w-1"), str(number).encode())
        await until(
            lambda: holds_exactly(
                intents_at_site(site), {"intents/acme/kept": b"kept", "wires/w-1": b"49"}
            ),
            "ghost goes",
        )
        assert not any(task.done() for task in link.tasks)


async def test_something_lost_at_the_destination_is_found_by_the_digest() -> None:
    """Whatever goes wrong behind our back, digests find it and only the sets that differ are sent again."""
    site, hub = MemoryStore(), MemoryStore()
    for number in range(500):
        await hub.put(outbox(f"intents/acme/c{number}"), b"v")
    async with wire(site, hub) as link:
        await until(lambda: holds_keys(intents_at_site(site), 500), "first copy")
        await until(lambda: site.get(import_root(HUB) + "meta.cursor"), "cursor written")
        await link.cut()
        await site.delete(import_root(HUB) + "intents/acme/c5")
        await site.put(import_root(HUB) + "intents/acme/c6", b"vandal")
        link.join()
        await until(lambda: link.site.status().digests_equal, "repaired")
        held = await intents_at_site(site)
        assert held["intents/acme/c6"] == b"v"
        assert len(held) == 500
        status = link.site.status()
        assert status.repairs == 1
        assert 0 < status.items_received < 50


async def test_digest_of_both_stores_is_equal_after_heal() -> None:
    """The figure the demo prints: both stores, asked independently, agree."""
    site, hub = MemoryStore(), MemoryStore()
    for number in range(20):
        await hub.put(outbox(f"intents/acme/c{number}"), str(number).encode())
        await site.put(summary(f"wires/w-{number}"), str(number).encode())
    async with wire(site, hub):
        await until(lambda: holds_keys(intents_at_site(site), 20), "down")
        await until(lambda: holds_keys(summary_at_hub(hub), 20), "up")
    down = await digest(hub, tier_exports(SITE))
    up = await digest(site, site_exports(HUB))
    assert down == await digest(site, [ExportRoot(import_root(HUB), "")])
    assert up == await digest(hub, [ExportRoot(import_root(SITE), "")])
    assert down != up


async def test_newer_link_fences_off_an_older_one_that_still_writes() -> None:
    """A link thought dead may wake up: its writes must fail, not overwrite (as attack 14, for mirrors)."""
    site, hub = MemoryStore(), MemoryStore()
    await hub.put(outbox("intents/acme/a"), b"1")
    async with wire(site, hub) as first:
        await until(lambda: holds_keys(intents_at_site(site), 1), "first copy")
        async with wire(site, hub) as second:
            await until(lambda: second.site.status().synced, "second link stands")
            await hub.put(outbox("intents/acme/a"), b"2")
            await until(lambda: any(task.done() for task in first.tasks), "the old one ends")
            await until(
                lambda: holds_value(intents_at_site(site), "intents/acme/a", b"2"), "change arrives"
            )
            assert not any(task.done() for task in second.tasks)


async def _deletions(store: MemoryStore, *, until: str) -> list[str]:
    """Relative keys whose deletion a watcher of the mirror sees, up to ``until``."""
    root = import_root(HUB)
    seen: list[str] = []
    async with asyncio.timeout(20):
        async for batch in store.watch(root):
            for event in batch.events:
                if event.kind is EventKind.DELETE:
                    seen.append(event.key[len(root) :])
            if until in seen:
                return seen
    pytest.fail("the watch ended")
