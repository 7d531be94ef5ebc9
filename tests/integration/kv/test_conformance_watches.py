"""Snapshots, watches and leases of the store port, asked of the real etcd and of the in-memory twin alike."""

from __future__ import annotations

import asyncio

import pytest
from tests.integration.kv.watching import Batches, standing

from isthmus.kv import EventKind, KeyValueStore, Put, Txn, WatchBatch
from isthmus.kv.errors import Compacted, FutureRevision, InvalidRequest, LeaseLost
from isthmus.kv.writes import write_batches


async def test_snapshot_is_everything_below_and_nothing_beside(
    store: KeyValueStore, prefix: str
) -> None:
    """Attack 7: a prefix never reaches its neighbours."""
    root = prefix.rstrip("/")
    for key in ("/a", "/b/c", "0", "-x", "x/a"):
        await store.put(root + key, b"")
    snapshot = await store.snapshot(prefix)
    assert [entry.key for entry in snapshot.entries] == [root + "/a", root + "/b/c"]


async def test_snapshot_is_of_one_revision(store: KeyValueStore, prefix: str) -> None:
    """What was written after the revision is not seen, what was deleted after it still is."""
    await store.put(prefix + "a", b"1")
    revision = await store.put(prefix + "b", b"1")
    await store.put(prefix + "a", b"2")
    await store.delete(prefix + "b")
    await store.put(prefix + "c", b"2")
    then = await store.snapshot(prefix, revision=revision)
    assert then.revision == revision
    assert [(entry.key, entry.value) for entry in then.entries] == [
        (prefix + "a", b"1"),
        (prefix + "b", b"1"),
    ]
    now = await store.snapshot(prefix)
    assert [entry.key for entry in now.entries] == [prefix + "a", prefix + "c"]
    assert now.revision >= revision + 3


async def test_snapshot_of_nothing_has_a_revision(store: KeyValueStore, prefix: str) -> None:
    """A mirror of an empty prefix must know where to watch from."""
    revision = await store.put(prefix.rstrip("/") + "-beside", b"")
    snapshot = await store.snapshot(prefix)
    assert snapshot.entries == ()
    assert snapshot.revision >= revision
    chunks = [chunk async for chunk in store.stream_snapshot(prefix)]
    assert [list(entries) for _, entries in chunks] == [[]]


async def test_stream_is_the_same_in_chunks(store: KeyValueStore, prefix: str) -> None:
    """Bounded memory must not cost a key or show one twice."""
    await write_batches(store, [Put(f"{prefix}{number:05}", b"v" * 100) for number in range(2500)])
    revisions, keys = set(), []
    async for revision, entries in store.stream_snapshot(prefix):
        revisions.add(revision)
        keys += [entry.key for entry in entries]
    assert len(revisions) == 1
    assert keys == [f"{prefix}{number:05}" for number in range(2500)]


async def test_prefix_without_a_slash_is_refused(store: KeyValueStore, prefix: str) -> None:
    """It would cover the neighbours, too; the message says how to write it."""
    with pytest.raises(InvalidRequest, match="'/'"):
        await store.snapshot(prefix.rstrip("/"))


async def test_watch_sees_changes_in_order(store: KeyValueStore, prefix: str) -> None:
    """Each change once, as it was, in the order of revisions."""
    watch = await standing(store, prefix)
    revisions = [await store.put(prefix + "a", b"%d" % number) for number in range(5)]
    await store.delete(prefix + "a")
    seen: list[tuple[int, bytes | None]] = []
    while len(seen) < 6:
        batch = await anext(watch)
        seen += [
            (event.revision, None if event.entry is None else event.entry.value)
            for event in batch.events
        ]
        assert batch.revision == batch.events[-1].revision
    assert seen[:5] == [(revision, b"%d" % number) for number, revision in enumerate(revisions)]
    assert seen[5] == (revisions[-1] + 1, None)
    await watch.aclose()


async def test_watch_from_a_revision_replays(store: KeyValueStore, prefix: str) -> None:
    """Resuming is replaying: inclusive of the revision that is asked for."""
    first = await store.put(prefix + "a", b"1")
    second = await store.put(prefix + "b", b"2")
    watch = store.watch(prefix, start_revision=first)
    assert await anext(watch) == WatchBatch(first - 1, ())
    seen: list[int] = []
    while len(seen) < 2:
        seen += [event.revision for event in (await anext(watch)).events]
    assert seen == [first, second]
    await watch.aclose()


async def test_watch_of_one_key_sees_only_it(store: KeyValueStore, prefix: str) -> None:
    """Not what begins with it, not what is below it."""
    watch = await standing(store, prefix + "a")
    for key in ("a0", "a/b", "", "a"):
        await store.put(prefix + key, b"")
    batch = await anext(watch)
    assert [event.key for event in batch.events] == [prefix + "a"]
    await watch.aclose()


async def test_watch_from_now_sees_nothing_older(store: KeyValueStore, prefix: str) -> None:
    """And its first batch says where "now" was, so that nothing is lost between."""
    revision = await store.put(prefix + "a", b"1")
    watch = store.watch(prefix)
    first = await anext(watch)
    assert first.revision >= revision
    later = await store.put(prefix + "a", b"2")
    assert [event.revision for event in (await anext(watch)).events] == [later]
    await watch.aclose()


async def test_watch_from_a_compacted_revision_is_refused(
    store: KeyValueStore, prefix: str
) -> None:
    """Attack 16: never a silent wait; the refusal says what is still there."""
    first = await store.put(prefix + "a", b"1")
    last = first
    for number in range(5):
        last = await store.put(prefix + "a", b"%d" % number)
    await store.compact(last)
    watch = store.watch(prefix, start_revision=first)
    with pytest.raises(Compacted) as refusal:
        await asyncio.wait_for(exhaust(watch), 5)
    assert refusal.value.revision == last


async def exhaust(watch: Batches) -> None:
    """Read until it ends or refuses."""
    async for _ in watch:
        pass


async def test_reads_of_compacted_revisions_are_refused(store: KeyValueStore, prefix: str) -> None:
    """The compacted revision itself can still be read, the one before it not."""
    first = await store.put(prefix + "a", b"1")
    second = await store.put(prefix + "a", b"2")
    await store.put(prefix + "a", b"3")
    await store.compact(second)
    entry = await store.get(prefix + "a", revision=second)
    assert entry is not None
    assert entry.value == b"2"
    with pytest.raises(Compacted):
        await store.get(prefix + "a", revision=first)
    with pytest.raises(Compacted):
        await store.snapshot(prefix, revision=first)
    with pytest.raises(Compacted):
        await store.compact(second)
    with pytest.raises(FutureRevision):
        await store.compact(second + 1_000_000)


async def test_deletion_at_the_compacted_revision_is_still_replayed(
    store: KeyValueStore, prefix: str
) -> None:
    """A watcher that resumes exactly there must not keep a ghost (an etcd bug before 3.5.18)."""
    await store.put(prefix + "a", b"1")
    await store.delete(prefix + "a")
    revision = await store.put(prefix + "b", b"1") - 1
    await store.compact(revision)
    watch = await standing(store, prefix, revision)
    kinds: list[EventKind] = []
    while len(kinds) < 2:
        kinds += [event.kind for event in (await anext(watch)).events]
    assert kinds == [EventKind.DELETE, EventKind.PUT]
    await watch.aclose()


async def test_compaction_does_not_disturb_a_standing_watch(
    store: KeyValueStore, prefix: str
) -> None:
    """What was sent is the consumer's, however late it looks."""
    watch = await standing(store, prefix)
    revisions = [await store.put(prefix + "a", b"%d" % number) for number in range(10)]
    await eventually_compacted(store, revisions[-1])
    seen: list[int] = []
    while len(seen) < 10:
        seen += [event.revision for event in (await anext(watch)).events]
    assert seen == revisions
    await watch.aclose()


async def eventually_compacted(store: KeyValueStore, revision: int) -> None:
    """Compact after a turn of the loop, so that a real server has had the time to send."""
    await asyncio.sleep(0.2 if type(store).__name__ == "EtcdStore" else 0)
    await store.compact(revision)


async def test_watch_from_the_future_is_refused(store: KeyValueStore, prefix: str) -> None:
    """Attack 16, 15: etcd itself would wait in silence."""
    revision = await store.put(prefix + "a", b"1")
    with pytest.raises(FutureRevision) as refusal:
        await asyncio.wait_for(anext(store.watch(prefix, start_revision=revision + 1000)), 5)
    assert revision <= refusal.value.revision < revision + 1000


async def test_watch_from_the_very_next_revision_stands(store: KeyValueStore, prefix: str) -> None:
    """The boundary's other side: that is where every mirror begins to follow."""
    revision = (await store.snapshot(prefix)).revision
    watch = await standing(store, prefix, revision + 1)
    put = await store.put(prefix + "a", b"1")
    assert (await anext(watch)).revision == put
    await watch.aclose()


async def test_closing_the_store_ends_its_watches(store: KeyValueStore, prefix: str) -> None:
    """A consumer must not hang on a store that is gone."""
    watch = await standing(store, prefix)
    waiting = asyncio.ensure_future(exhaust(watch))
    await asyncio.sleep(0)
    await store.aclose()
    await asyncio.wait_for(waiting, 5)
    with pytest.raises(InvalidRequest, match="closed"):
        await store.get(prefix + "a")


async def test_keys_live_as_long_as_their_lease(store: KeyValueStore, prefix: str) -> None:
    """Leadership and presence end with their holder; in one revision, seen by watchers."""
    lease = await store.grant_lease(60)
    assert not lease.lost
    assert lease.ttl_s == 60
    await store.put(prefix + "b", b"", lease_id=lease.lease_id)
    await store.put(prefix + "a", b"", lease_id=lease.lease_id)
    await store.put(prefix + "stays", b"")
    entry = await store.get(prefix + "a")
    assert entry is not None
    assert entry.lease_id == lease.lease_id
    watch = await standing(store, prefix)
    await lease.revoke()
    batch = await anext(watch)
    assert [(event.kind, event.key) for event in batch.events] == [
        (EventKind.DELETE, prefix + "a"),
        (EventKind.DELETE, prefix + "b"),
    ]
    assert len({event.revision for event in batch.events}) == 1
    assert await store.get(prefix + "stays") is not None
    assert lease.lost
    await asyncio.wait_for(lease.wait_lost(), 5)
    await lease.revoke()
    await watch.aclose()


async def test_a_put_without_the_lease_takes_the_key_off_it(
    store: KeyValueStore, prefix: str
) -> None:
    """Whoever overwrites a leased key makes it permanent: writers must repeat the lease."""
    lease = await store.grant_lease(60)
    await store.put(prefix + "a", b"1", lease_id=lease.lease_id)
    await store.put(prefix + "a", b"2")
    await lease.revoke()
    entry = await store.get(prefix + "a")
    assert entry is not None
    assert entry.lease_id == 0


async def test_a_lease_that_is_gone_takes_no_keys(store: KeyValueStore, prefix: str) -> None:
    """A holder that lost its lease learns it with its next write."""
    lease = await store.grant_lease(60)
    await lease.revoke()
    with pytest.raises(LeaseLost):
        await store.put(prefix + "a", b"", lease_id=lease.lease_id)
    with pytest.raises(LeaseLost):
        await store.txn(Txn(then=(Put(prefix + "a", b"", lease.lease_id),)))
    assert await store.get(prefix + "a") is None


async def test_a_lease_of_no_time_is_refused(store: KeyValueStore) -> None:
    """The message names the field."""
    with pytest.raises(InvalidRequest, match="ttl_s"):
        await store.grant_lease(0)
