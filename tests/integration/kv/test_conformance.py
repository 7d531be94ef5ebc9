"""What the store port promises, asked of the real etcd and of the in-memory twin alike.

Whatever a simulation concludes on the twin is worth exactly as much as these tests.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
from tests.support import eventually

from isthmus.kv import (
    Compare,
    Delete,
    EventKind,
    Get,
    KeyValueStore,
    Put,
    Target,
    Txn,
    WatchBatch,
)
from isthmus.kv.errors import (
    Compacted,
    Conflict,
    FutureRevision,
    InvalidRequest,
    LeaseLost,
    TooLarge,
)
from isthmus.kv.transactions import Transaction
from isthmus.kv.writes import write_batches

Batches = AsyncGenerator[WatchBatch, None]


async def standing(store: KeyValueStore, prefix: str, start_revision: int = 0) -> Batches:
    """A watch whose first, empty batch was taken."""
    watch = store.watch(prefix, start_revision=start_revision)
    first = await anext(watch)
    assert first.events == ()
    assert not first.resumed
    return watch


async def test_get_answers_what_was_put(store: KeyValueStore, prefix: str) -> None:
    """The least that is asked of a store; each number of the entry has a meaning to somebody."""
    first = await store.put(prefix + "a", b"one")
    second = await store.put(prefix + "a", b"two")
    entry = await store.get(prefix + "a")
    assert entry is not None
    assert (entry.key, entry.value) == (prefix + "a", b"two")
    assert (entry.create_revision, entry.mod_revision, entry.version) == (first, second, 2)
    assert entry.lease_id == 0
    assert second == first + 1


async def test_absent_is_none_and_not_an_error(store: KeyValueStore, prefix: str) -> None:
    """Level-triggered code asks for keys that are gone all the time."""
    assert await store.get(prefix + "nothing") is None
    assert await store.delete(prefix + "nothing") is False


async def test_get_reaches_back_to_a_revision(store: KeyValueStore, prefix: str) -> None:
    """Explanations and witnesses are asked for at the revision they speak of."""
    first = await store.put(prefix + "a", b"one")
    await store.put(prefix + "a", b"two")
    await store.delete(prefix + "a")
    entry = await store.get(prefix + "a", revision=first)
    assert entry is not None
    assert entry.value == b"one"
    assert await store.get(prefix + "a") is None
    assert await store.get(prefix + "a", revision=first - 1) is None


async def test_a_new_life_of_a_key_starts_at_version_one(store: KeyValueStore, prefix: str) -> None:
    """The create revision is what leadership and epochs are keyed by: it must not survive a delete."""
    first = await store.put(prefix + "a", b"one")
    assert await store.delete(prefix + "a") is True
    again = await store.put(prefix + "a", b"two")
    entry = await store.get(prefix + "a")
    assert entry is not None
    assert (entry.create_revision, entry.version) == (again, 1)
    assert again > first


async def test_an_empty_value_is_a_value(store: KeyValueStore, prefix: str) -> None:
    """Marker keys carry nothing and must not read as absent."""
    await store.put(prefix + "a", b"")
    entry = await store.get(prefix + "a")
    assert entry is not None
    assert entry.value == b""


async def test_empty_key_is_refused(store: KeyValueStore) -> None:
    """An empty key means "everything" to some stores (attack 7)."""
    with pytest.raises(InvalidRequest):
        await store.get("")
    with pytest.raises(InvalidRequest):
        await store.put("", b"x")
    with pytest.raises(InvalidRequest):
        await store.delete("")


async def test_revision_in_the_future_is_refused(store: KeyValueStore, prefix: str) -> None:
    """Attack 16: a store that was restored is older than its clients; that must be said."""
    revision = await store.put(prefix + "a", b"one")
    with pytest.raises(FutureRevision):
        await store.get(prefix + "a", revision=revision + 1000)
    with pytest.raises(FutureRevision):
        await store.snapshot(prefix, revision=revision + 1000)


# ---- transactions


async def test_then_runs_when_all_compares_hold(store: KeyValueStore, prefix: str) -> None:
    """Optimistic concurrency is how every controller writes."""
    a, b = prefix + "a", prefix + "b"
    revision = await store.put(a, b"one")
    result = await store.txn(
        Txn(
            (
                Compare(a, Target.MOD_REVISION, revision),
                Compare(a, Target.VALUE, b"one"),
                Compare(a, Target.VERSION, 1),
                Compare(a, Target.CREATE_REVISION, revision),
                Compare(a, Target.LEASE, 0),
                Compare(b, Target.VERSION, 0),
            ),
            (Put(a, b"two"), Put(b, b"new"), Get(a)),
            (Get(a),),
        )
    )
    assert result.succeeded
    assert result.revision == revision + 1
    assert [entry and entry.value for entry in result.gets] == [b"two"]


async def test_otherwise_runs_and_nothing_of_then(store: KeyValueStore, prefix: str) -> None:
    """A refused write must leave no trace, and may read why."""
    a = prefix + "a"
    revision = await store.put(a, b"one")
    result = await store.txn(
        Txn(
            (Compare(a, Target.VALUE, b"one"), Compare(a, Target.VERSION, 7)),
            (Put(a, b"two"),),
            (Get(a), Get(prefix + "b")),
        )
    )
    assert not result.succeeded
    assert result.revision == revision
    assert [entry and entry.value for entry in result.gets] == [b"one", None]


@pytest.mark.parametrize(
    ("operator", "expected", "holds"),
    [
        ("<", 3, True),
        ("<", 2, False),
        (">", 1, True),
        (">", 2, False),
        ("!=", 1, True),
        ("!=", 2, False),
        ("==", 2, True),
    ],
)
async def test_compare_operators(
    store: KeyValueStore, prefix: str, operator: str, expected: int, holds: bool
) -> None:
    """Each operator, on both sides of its boundary."""
    await store.put(prefix + "a", b"1")
    await store.put(prefix + "a", b"2")
    txn = Txn((Compare(prefix + "a", Target.VERSION, expected, operator),))
    assert (await store.txn(txn)).succeeded is holds


@pytest.mark.parametrize("operator", ["==", "!=", "<", ">"])
async def test_value_of_a_missing_key_never_compares(
    store: KeyValueStore, prefix: str, operator: str
) -> None:
    """etcd's corner: not even "differs from x" holds for what is not there."""
    txn = Txn((Compare(prefix + "missing", Target.VALUE, b"x", operator),))
    assert not (await store.txn(txn)).succeeded


async def test_all_writes_of_a_transaction_share_one_revision(
    store: KeyValueStore, prefix: str
) -> None:
    """Atomic to readers, too: a mirror applies them at once."""
    await store.put(prefix + "old", b"")
    watch = await standing(store, prefix)
    txn = Txn(then=(Put(prefix + "a", b"1"), Delete(prefix + "old"), Put(prefix + "b", b"2")))
    revision = (await store.txn(txn)).revision
    batch = await anext(watch)
    assert [(event.kind, event.key, event.revision) for event in batch.events] == [
        (EventKind.PUT, prefix + "a", revision),
        (EventKind.DELETE, prefix + "old", revision),
        (EventKind.PUT, prefix + "b", revision),
    ]
    assert batch.revision == revision
    await watch.aclose()


async def test_transaction_that_changes_nothing_takes_no_revision(
    store: KeyValueStore, prefix: str
) -> None:
    """Otherwise a polling reader would push everybody else's history out of the window."""
    revision = await store.put(prefix + "a", b"1")
    result = await store.txn(Txn(then=(Get(prefix + "a"), Delete(prefix + "nothing"))))
    assert result.revision == revision


async def test_one_key_twice_in_a_branch_is_refused(store: KeyValueStore, prefix: str) -> None:
    """Which of the two wins would be an accident."""
    for twice in (Put(prefix + "a", b"2"), Delete(prefix + "a")):
        with pytest.raises(InvalidRequest, match="twice"):
            await store.txn(Txn(then=(Put(prefix + "a", b"1"), twice)))


async def test_too_many_operations_are_refused_with_the_limit(
    store: KeyValueStore, prefix: str
) -> None:
    """Everything has a limit, and its error names it; 128 pass, 129 do not."""
    puts = tuple(Put(f"{prefix}{number}", b"") for number in range(129))
    assert (await store.txn(Txn(then=puts[:128]))).succeeded
    with pytest.raises(TooLarge, match="128"):
        await store.txn(Txn(then=puts))


async def test_compare_of_the_wrong_type_is_refused(store: KeyValueStore, prefix: str) -> None:
    """A bug of the caller gets one sentence naming the field."""
    with pytest.raises(InvalidRequest, match="bytes"):
        await store.txn(Txn((Compare(prefix + "a", Target.VALUE, 1),)))
    with pytest.raises(InvalidRequest, match="operator"):
        await store.txn(Txn((Compare(prefix + "a", Target.VERSION, 1, ">="),)))


async def test_builder_says_conflict(store: KeyValueStore, prefix: str) -> None:
    """The readable way to write: refused as a typed error, with what did not hold."""
    create = Transaction().when_absent(prefix + "a").put(prefix + "a", b"1")
    await create.run(store)
    with pytest.raises(Conflict, match="version of"):
        await create.run(store)
    assert not (await create.attempt(store)).succeeded


# ---- snapshots


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


# ---- watches


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


# ---- leases


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


# ---- bulk writes, status


async def test_bulk_write_writes_everything_once(store: KeyValueStore, prefix: str) -> None:
    """Batches in flight must neither lose nor repeat."""
    puts = [Put(f"{prefix}{number:04}", b"v") for number in range(1001)]
    revision = await write_batches(store, puts)
    snapshot = await store.snapshot(prefix)
    assert [entry.key for entry in snapshot.entries] == [put.key for put in puts]
    assert {entry.version for entry in snapshot.entries} == {1}
    assert max(entry.mod_revision for entry in snapshot.entries) == revision


async def test_bulk_write_keeps_the_order_of_a_repeated_key(
    store: KeyValueStore, prefix: str
) -> None:
    """The last word on a key is the last one given."""
    writes: list[Put | Delete] = []
    for number in range(5):
        writes += [Put(prefix + "a", b"%d" % number), Put(f"{prefix}{number}", b"")]
    writes.append(Delete(prefix + "0"))
    await write_batches(store, writes)
    entries = {entry.key: entry for entry in (await store.snapshot(prefix)).entries}
    assert entries[prefix + "a"].value == b"4"
    assert prefix + "0" not in entries


async def test_bulk_write_stops_when_a_guard_does_not_hold(
    store: KeyValueStore, prefix: str
) -> None:
    """A leader that is no leader any more must not go on writing."""
    guard = Compare(prefix + "leader", Target.VALUE, b"me")
    with pytest.raises(Conflict):
        await write_batches(store, [Put(prefix + "a", b"")], guards=[guard])
    assert await store.get(prefix + "a") is None


async def test_status_names_version_and_revision(store: KeyValueStore, prefix: str) -> None:
    """What doctor and the dashboards show."""
    revision = await store.put(prefix + "a", b"")

    async def caught_up() -> bool:
        return (await store.status()).revision >= revision

    _: bool = await eventually(caught_up, "status shows the revision")
    assert (await store.status()).version
