"""The twin's own levers: time that passes when told, cuts, restores, faults, identities.

The conformance suite holds the twin to etcd; these tests hold it to what simulations do with it.
"""

from __future__ import annotations

import asyncio

import pytest

from isthmus.kv import Put, Txn
from isthmus.kv.errors import (
    AmbiguousOutcome,
    Compacted,
    FutureRevision,
    InvalidRequest,
    PermissionDenied,
    Unavailable,
)
from isthmus.kv.grants import Access, Grant
from isthmus.kv.memory import Faults, ManualClock, MemoryStore


async def test_leases_end_when_nobody_renews_them() -> None:
    """A frozen holder's key goes exactly at the end of its time to live, not before."""
    store = MemoryStore()
    lease = await store.grant_lease(10)
    await store.put("leader", b"me", lease_id=lease.lease_id)
    store.advance(1000)
    assert await store.get("leader") is not None
    lease.renewing = False
    store.advance(9.999)
    assert await store.get("leader") is not None
    assert not lease.lost
    store.advance(0.001)
    assert await store.get("leader") is None
    assert lease.lost
    await asyncio.wait_for(lease.wait_lost(), 1)


async def test_leases_of_a_closed_view_run_out() -> None:
    """A process that ended renews nothing; its keys stay until the time to live is over."""
    store = MemoryStore()
    process = store.as_user("placer", [Grant.of("leases/", Access.READ_WRITE)])
    lease = await process.grant_lease(5)
    await process.put("leases/placer", b"", lease_id=lease.lease_id)
    await process.aclose()
    store.advance(4)
    assert await store.get("leases/placer") is not None
    store.advance(1)
    assert await store.get("leases/placer") is None


async def test_an_injected_clock_is_looked_at_by_every_call() -> None:
    """On a loop with virtual time nobody calls ``advance``."""
    clock = ManualClock(50.0)
    store = MemoryStore(clock=lambda: clock.now_s)
    lease = await store.grant_lease(5)
    lease.renewing = False
    await store.put("a", b"", lease_id=lease.lease_id)
    clock.now_s = 55.0
    assert await store.get("a") is None
    with pytest.raises(InvalidRequest, match="tick"):
        store.advance(1)


async def test_a_cut_is_seen_and_costs_nothing() -> None:
    """As with the adapter: an empty batch says that the watch stands again, then the gap comes."""
    store = MemoryStore()
    watch = store.watch("a/")
    await anext(watch)
    await store.put("a/1", b"")
    assert len((await anext(watch)).events) == 1
    store.cut()
    await store.put("a/2", b"")
    batch = await anext(watch)
    assert batch.resumed
    assert not batch.events
    assert [event.key for event in (await anext(watch)).events] == ["a/2"]
    await watch.aclose()
    assert store.watch_count == 0


async def test_after_a_cut_the_history_decides() -> None:
    """Compacted while cut: the watch cannot go on, and says so."""
    store = MemoryStore()
    watch = store.watch("a/")
    await anext(watch)
    for number in range(5):
        await store.put("a/1", b"%d" % number)
    store.cut()
    await store.compact(store.revision)
    assert (await anext(watch)).resumed
    with pytest.raises(Compacted):
        await anext(watch)


async def test_a_restored_store_is_older() -> None:
    """Attack 15 in a simulation."""
    store = MemoryStore()
    await store.put("a/1", b"")
    backup = store.backup()
    watch = store.watch("a/")
    await anext(watch)
    await store.put("a/2", b"")
    await anext(watch)
    store.restore(backup)
    assert await store.get("a/2") is None
    with pytest.raises(FutureRevision):
        await anext(watch)
    store.restore(backup, bump_revision=1000)
    assert store.revision == backup.revision + 1000
    assert await store.get("a/1") is not None
    with pytest.raises(Compacted):
        await store.get("a/1", revision=backup.revision)
    with pytest.raises(InvalidRequest):
        store.restore(backup, bump_revision=-1)


async def test_retention_forgets_by_itself() -> None:
    """A simulation of a million writes must not keep a million versions."""
    store = MemoryStore(retention=100)
    for number in range(1000):
        await store.put("a", b"%d" % number)
    with pytest.raises(Compacted):
        await store.get("a", revision=store.revision - 300)
    assert await store.get("a", revision=store.revision - 99) is not None


async def test_faults_before_and_after_a_call() -> None:
    """Before: nothing happened. After: it happened and the caller cannot know."""
    seen: list[tuple[str, str]] = []

    def refuse(call: str, key: str) -> None:
        seen.append((call, key))
        raise Unavailable("cut")

    def lose(call: str, key: str) -> None:
        raise AmbiguousOutcome("cut")

    store = MemoryStore(faults=Faults(before=refuse))
    with pytest.raises(Unavailable):
        await store.put("a", b"1")
    assert seen == [("put", "a")]
    store.faults = Faults(after=lose)
    with pytest.raises(AmbiguousOutcome):
        await store.put("a", b"1")
    with pytest.raises(AmbiguousOutcome):
        await store.txn(Txn(then=(Put("b", b""),)))
    with pytest.raises(AmbiguousOutcome):
        await store.delete("b")
    store.faults = Faults()
    assert await store.get("a") is not None
    assert await store.get("b") is None


async def test_views_share_the_memory_and_not_the_rights() -> None:
    """Two components of a simulated site."""
    store = MemoryStore()
    reader = store.as_user("reader", [Grant.of("a/", Access.READ)])
    await store.put("a/1", b"")
    assert await reader.get("a/1") is not None
    with pytest.raises(PermissionDenied, match="reader"):
        await reader.put("a/1", b"")
    await reader.aclose()
    with pytest.raises(InvalidRequest, match="closed"):
        await reader.get("a/1")
    assert await store.get("a/1") is not None


async def test_two_watchers_of_a_busy_store_do_not_starve_it() -> None:
    """A call suspends once, so that a tight loop of writes lets readers run."""
    store = MemoryStore()
    seen: list[str] = []

    async def read() -> None:
        async for batch in store.watch("a/"):
            seen.extend(event.key for event in batch.events)

    reading = asyncio.create_task(read())
    for number in range(50):
        await store.put(f"a/{number}", b"")
    assert len(seen) > 30
    reading.cancel()
