"""What the store port promises, asked of the real etcd and of the in-memory twin alike.

Whatever a simulation concludes on the twin is worth exactly as much as these tests.
"""

from __future__ import annotations

import pytest
from tests.integration.kv.watching import standing
from tests.support import eventually

from isthmus.kv import Compare, Delete, EventKind, Get, KeyValueStore, Put, Target, Txn
from isthmus.kv.errors import Conflict, FutureRevision, InvalidRequest, TooLarge
from isthmus.kv.transactions import Transaction
from isthmus.kv.writes import write_batches


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
