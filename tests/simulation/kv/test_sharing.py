"""Watches shared by many: the price of one, the contract of each.

The conformance suite runs over shared watches, too; here is what only sharing can get wrong.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
from tests.support import eventually

from isthmus.kv import WatchBatch
from isthmus.kv.errors import FutureRevision, InvalidRequest, PermissionDenied
from isthmus.kv.grants import Access, Grant
from isthmus.kv.memory import MemoryStore
from isthmus.kv.sharing import SharedWatches

Batches = AsyncGenerator[WatchBatch, None]


async def keys_of(watch: Batches, count: int) -> list[str]:
    """The keys of the next ``count`` events."""
    keys: list[str] = []
    async with asyncio.timeout(5):
        while len(keys) < count:
            keys += [event.key for event in (await anext(watch)).events]
    return keys


async def test_twenty_look_through_one_watch() -> None:
    """GOALS; and the last one to leave closes it."""
    store = MemoryStore()
    together = SharedWatches(store)
    watches = [together.watch("a/") for _ in range(20)]
    for watch in watches:
        assert (await anext(watch)).events == ()
    await store.put("a/1", b"")
    assert [await keys_of(watch, 1) for watch in watches] == [["a/1"]] * 20
    assert store.watch_count == 1
    for watch in watches:
        assert store.watch_count == 1
        await watch.aclose()
    assert store.watch_count == 0
    assert together.open_ranges == 0


async def test_ranges_are_not_mixed() -> None:
    """A key and the prefix below it are two ranges."""
    store = MemoryStore()
    together = SharedWatches(store)
    prefix, key = together.watch("a/"), together.watch("a")
    await anext(prefix)
    await anext(key)
    assert store.watch_count == 2
    await store.put("a/1", b"")
    await store.put("a", b"")
    assert await keys_of(prefix, 1) == ["a/1"]
    assert await keys_of(key, 1) == ["a"]
    await prefix.aclose()
    await key.aclose()


async def test_a_late_comer_sees_what_it_asked_for_and_no_more() -> None:
    """From now: nothing the others have seen; from a revision: everything since."""
    store = MemoryStore()
    together = SharedWatches(store)
    early = together.watch("a/")
    await anext(early)
    first = await store.put("a/1", b"")
    await store.put("a/2", b"")
    assert await keys_of(early, 2) == ["a/1", "a/2"]
    from_now, from_first = together.watch("a/"), together.watch("a/", start_revision=first)
    assert (await anext(from_now)).revision == store.revision
    assert await anext(from_first) == WatchBatch(first - 1, ())
    await store.put("a/3", b"")
    assert await keys_of(from_now, 1) == ["a/3"]
    assert await keys_of(from_first, 3) == ["a/1", "a/2", "a/3"]
    assert store.watch_count == 1
    for watch in (early, from_now, from_first):
        await watch.aclose()


async def test_older_history_than_the_ring_costs_a_watch_of_its_own() -> None:
    """Correct before cheap."""
    store = MemoryStore()
    old = await store.put("a/old", b"")
    together = SharedWatches(store)
    young = together.watch("a/")
    await anext(young)
    watch = together.watch("a/", start_revision=old)
    assert await anext(watch) == WatchBatch(old - 1, ())
    assert await keys_of(watch, 1) == ["a/old"]
    assert store.watch_count == 2
    await store.put("a/new", b"")
    assert await keys_of(watch, 1) == await keys_of(young, 1) == ["a/new"]
    await watch.aclose()
    await young.aclose()


async def test_a_slow_consumer_falls_out_and_misses_nothing() -> None:
    """Memory is bounded by the ring, not by the slowest."""
    store = MemoryStore()
    together = SharedWatches(store, kept_batches=3)
    slow, fast = together.watch("a/"), together.watch("a/")
    await anext(slow)
    await anext(fast)
    for number in range(20):
        await store.put(f"a/{number:02}", b"")
        assert await keys_of(fast, 1) == [f"a/{number:02}"]
    assert await keys_of(slow, 20) == [f"a/{number:02}" for number in range(20)]
    await store.put("a/last", b"")
    assert await keys_of(slow, 1) == await keys_of(fast, 1) == ["a/last"]
    await slow.aclose()
    await fast.aclose()
    assert store.watch_count == 0


async def test_a_cut_is_told_to_each() -> None:
    """Whoever checks its history after a cut must hear of every cut."""
    store = MemoryStore()
    together = SharedWatches(store)
    watches = [together.watch("a/") for _ in range(3)]
    for watch in watches:
        await anext(watch)
    store.cut()
    for watch in watches:
        batch = await asyncio.wait_for(anext(watch), 5)
        assert batch.resumed
        assert not batch.events
        await watch.aclose()


async def test_a_refusal_reaches_each_and_the_next_one_begins_anew() -> None:
    """A restored store: nobody is left waiting, and nobody inherits the refusal."""
    store = MemoryStore()
    backup = store.backup()
    together = SharedWatches(store)
    watches = [together.watch("a/") for _ in range(3)]
    for watch in watches:
        await anext(watch)
    await store.put("a/lost", b"")
    assert [await keys_of(watch, 1) for watch in watches] == [["a/lost"]] * 3
    waiting = [asyncio.ensure_future(keys_of(watch, 1)) for watch in watches]
    await asyncio.sleep(0)
    store.restore(backup)
    for one in waiting:
        with pytest.raises(FutureRevision):
            await one
    fresh = together.watch("a/")
    await anext(fresh)
    await store.put("a/1", b"")
    assert await keys_of(fresh, 1) == ["a/1"]
    await fresh.aclose()


async def test_wrong_starts_and_missing_rights_are_refused() -> None:
    """The port's refusals, one by one."""
    store = MemoryStore()
    together = SharedWatches(store)
    with pytest.raises(FutureRevision):
        await anext(together.watch("a/", start_revision=100))
    with pytest.raises(InvalidRequest):
        await anext(together.watch("a/", start_revision=-1))
    with pytest.raises(InvalidRequest):
        SharedWatches(store, kept_batches=0)
    stranger = SharedWatches(store.as_user("x", [Grant.of("b/", Access.READ)]))
    with pytest.raises(PermissionDenied):
        await anext(stranger.watch("a/"))
    assert stranger.open_ranges == 0


async def test_a_cancelled_consumer_leaves_the_others_alone() -> None:
    """Listeners of an event stream come and go."""
    store = MemoryStore()
    together = SharedWatches(store)
    stays = together.watch("a/")
    await anext(stays)
    goes = together.watch("a/")
    await anext(goes)
    waiting = asyncio.ensure_future(anext(goes))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await goes.aclose()
    await store.put("a/1", b"")
    assert await keys_of(stays, 1) == ["a/1"]
    await stays.aclose()
    await eventually(lambda: store.watch_count == 0, "the watch is closed")
