"""The link between two real etcds over real mutual TLS, through a real fault proxy."""

from __future__ import annotations

import asyncio
from pathlib import Path

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
)
from tests.integration.federation.lab import Lab, lab

from isthmus.contract.scopes import import_root, site_exports, tier_exports
from isthmus.federation import digest, imported
from isthmus.kv.port import EventKind, Put, Txn

pytestmark = pytest.mark.etcd


async def agree(world: Lab) -> bool:
    """Both directions: the destination's digest is the source's."""
    down = await digest(world.hub, tier_exports(SITE)) == await digest(world.site, imported(HUB))
    up = await digest(world.site, site_exports(HUB)) == await digest(world.hub, imported(SITE))
    return down and up


async def fill(world: Lab, count: int, value: bytes = b"v") -> None:
    """``count`` intents in the hub's outbox, a hundred a write."""
    for start in range(0, count, 100):
        numbers = range(start, min(start + 100, count))
        puts = tuple(Put(outbox(f"intents/acme/c{number}"), value) for number in numbers)
        await world.hub.txn(Txn((), puts))


async def test_copy_changes_and_deletions_over_mutual_tls(tmp_path: Path) -> None:
    """The whole stack: stores, TLS, HTTP/2, proxy."""
    async with lab(tmp_path, linked=False) as world:
        await fill(world, 250)
        await world.site.put(summary("chains/acme/web"), b"up")
        world.run_gateway()
        world.run_site()
        await until(lambda: holds_keys(intents_at_site(world.site), 250), "first copy")
        await until(
            lambda: holds_exactly(summary_at_hub(world.hub), {"summary/chains/acme/web": b"up"}),
            "summary arrives",
        )
        await world.hub.put(outbox("intents/acme/c1"), b"changed")
        await world.hub.delete(outbox("intents/acme/c2"))
        await world.site.delete(summary("chains/acme/web"))
        await until(
            lambda: holds_value(intents_at_site(world.site), "intents/acme/c1", b"changed"),
            "change arrives",
        )
        await until(lambda: agree(world), "digests agree")
        assert await summary_at_hub(world.hub) == {}


async def test_silent_cut_through_the_proxy_heals_and_resumes(tmp_path: Path) -> None:
    """G4: bandwidth 0 both ways, long enough to be lost; churn on both sides meanwhile; then equal digests."""
    async with lab(tmp_path) as world:
        await fill(world, 200)
        await until(lambda: agree(world), "first copy")
        toxics = await world.proxy.silent()
        await until(lambda: not world.seen["site"].connected, "the site notices")
        await until(lambda: not world.seen[f"hub:{SITE}"].connected, "the hub notices")
        await world.hub.put(outbox("intents/acme/c1"), b"changed in the dark")
        await world.hub.delete(outbox("intents/acme/c2"))
        await world.site.put("/isthmus/v1/summary/site", b"changed in the dark, too")
        before = await intents_at_site(world.site)
        assert before["intents/acme/c1"] == b"v"
        await world.proxy.heal(*toxics)
        await until(lambda: agree(world), "digests agree after the heal")
        assert world.seen["site"].resyncs == 0, "a held token must not copy the set again"


async def test_short_silence_is_ridden_out_on_the_same_connection(tmp_path: Path) -> None:
    """A hiccup shorter than the verdict "lost" costs nothing: no reconnect, nothing lost."""
    async with lab(tmp_path) as world:
        await until(lambda: agree(world), "empty and equal")
        toxics = await world.proxy.silent()
        await fill(world, 50)
        await world.proxy.heal(*toxics)
        await until(lambda: agree(world), "digests agree")
        assert world.seen["site"].reconnects == 0


async def test_compaction_during_a_cut_resyncs_without_blanking(tmp_path: Path) -> None:
    """G6 against the real server: history is gone, and no reader of the mirror sees a key vanish that exists."""
    async with lab(tmp_path) as world:
        await fill(world, 300)
        await until(lambda: agree(world), "first copy")
        await until(
            lambda: world.site.get(import_root(HUB) + "meta.cursor"), "the cursor is written"
        )
        await world.proxy.enabled(False)
        await until(lambda: not world.seen["site"].connected, "cut")
        await world.hub.delete(outbox("intents/acme/c7"))
        revision = await world.hub.put(outbox("intents/acme/c8"), b"new")
        await world.hub.compact(revision)
        gone: list[str] = []

        async def watch_deletions() -> None:
            async for batch in world.site.watch(import_root(HUB)):
                gone.extend(e.key for e in batch.events if e.kind is EventKind.DELETE)

        watching = asyncio.create_task(watch_deletions())
        await world.proxy.enabled(True)
        await until(lambda: agree(world), "digests agree")
        await until(lambda: gone, "the deletion is seen")
        watching.cancel()
        assert gone == [import_root(HUB) + "intents/acme/c7"]
        await until(lambda: world.seen["site"].resyncs == 1, "one resync is told")
        status = world.seen["site"]
        assert status.items_received < 50, "only the sets that differ cross again"


async def test_either_etcd_killed_and_started_again(tmp_path: Path) -> None:
    """kill -9 of the source's and of the destination's store: the link comes back, nothing is missing."""
    async with lab(tmp_path) as world:
        await fill(world, 50)
        await until(lambda: agree(world), "first copy")
        for etcd in (world.hub_etcd, world.site_etcd):
            etcd.kill()
            await etcd.start()
            await fill(world, 60, value=str(etcd.port).encode())
            await until(lambda: agree(world), "digests agree again", timeout_s=30.0)


async def test_gateway_and_site_agent_killed_in_turn(tmp_path: Path) -> None:
    """Neither process holds a fact: each may die at any time, and the copy goes on where it stood."""
    async with lab(tmp_path) as world:
        await fill(world, 100)
        await until(lambda: agree(world), "first copy")
        for name, start in (("gateway", world.run_gateway), ("site", world.run_site)):
            await world.end(name)
            await world.hub.put(outbox("intents/acme/c1"), name.encode())
            await world.hub.delete(
                outbox("intents/acme/c2" if name == "site" else "intents/acme/c3")
            )
            start()
            await until(lambda: agree(world), f"digests agree after {name} came back")
        assert len(await intents_at_site(world.site)) == 98
