"""The mirror on the twin: what it shows, whom it tells, and what it must never show.

Each planted mistake of issue 4 has a test here that would fail with it: sweeping before the last chunk,
resuming an unproven history, blanking on a reconnect.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import pytest
from tests.support import eventually

from isthmus.kv import Entry, KeyValueStore, Put
from isthmus.kv.errors import (
    Compacted,
    DeadlineExceeded,
    InvalidRequest,
    PermissionDenied,
    Unavailable,
)
from isthmus.kv.grants import Access, Grant
from isthmus.kv.memory import Faults, MemoryStore
from isthmus.kv.mirror import Mirror
from isthmus.kv.writes import write_batches


@asynccontextmanager
async def following(store: KeyValueStore, prefix: str = "a/") -> AsyncIterator[Mirror]:
    """A synced mirror."""
    mirror = Mirror(store, prefix, retry_s=0.001)
    task = asyncio.create_task(mirror.run())
    try:
        await mirror.wait_synced(5)
        yield mirror
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def same(mirror: Mirror, store: MemoryStore) -> None:
    """Until the mirror equals the store."""

    async def equal() -> bool:
        entries = (await store.snapshot("a/")).entries
        return dict(mirror.entries) == {entry.key: entry for entry in entries}

    _: bool = await eventually(equal, "the mirror equals the store", timeout_s=5)


async def test_it_shows_what_is_there_and_follows() -> None:
    """The least: present keys, later changes, deletions; nothing beside the prefix."""
    store = MemoryStore()
    await store.put("a/1", b"1")
    await store.put("b/1", b"1")
    async with following(store) as mirror:
        assert list(mirror.entries) == ["a/1"]
        assert mirror.synced
        revision = await store.put("a/2", b"2")
        await mirror.wait_revision(revision, 5)
        assert mirror.revision == revision
        assert mirror.entries["a/2"].value == b"2"
        await store.delete("a/1")
        await same(mirror, store)
        assert mirror.counters.snapshots == 1


async def test_empty_is_told_from_not_yet() -> None:
    """A placer that took "not yet" for "no chains" would delete everything."""
    store = MemoryStore()
    mirror = Mirror(store, "a/")
    assert not mirror.synced
    with pytest.raises(DeadlineExceeded, match="not synced"):
        await mirror.wait_synced(0.01)
    async with following(store) as synced:
        assert synced.synced
        assert not synced.entries


async def test_prefix_must_end_in_a_slash() -> None:
    """The planted mistake "prefix without a slash" is refused at construction."""
    with pytest.raises(InvalidRequest):
        Mirror(MemoryStore(), "a")


async def test_entries_cannot_be_changed_from_outside() -> None:
    """It is the store's copy, not a scratch pad."""
    async with following(MemoryStore()) as mirror:
        with pytest.raises(TypeError):
            mirror.entries["a/1"] = Entry("a/1", b"", 1, 1, 1)  # type: ignore[index]


async def test_subscribers_are_told_after_the_fact_and_until_they_leave() -> None:
    """The callback sees the new state; one transaction is one call; leaving twice is harmless."""
    store = MemoryStore()
    await store.put("a/old", b"")
    async with following(store) as mirror:
        told: list[tuple[tuple[str, ...], frozenset[str]]] = []

        def note(keys: Sequence[str]) -> None:
            told.append((tuple(keys), frozenset(mirror.entries)))

        leave = mirror.subscribe(note)
        await write_batches(store, [Put("a/1", b""), Put("a/2", b"")])
        await mirror.wait_revision(store.revision, 5)
        assert told == [(("a/1", "a/2"), frozenset({"a/old", "a/1", "a/2"}))]
        leave()
        leave()
        await mirror.wait_revision(await store.put("a/3", b""), 5)
        assert len(told) == 1


async def test_many_subscribers_cost_one_watch() -> None:
    """GOALS: 20 in-process subscribers of one identity cost one watch."""
    store = MemoryStore()
    async with following(store) as mirror:
        told: list[int] = []
        for number in range(20):
            mirror.subscribe(lambda keys, number=number: told.append(number))  # type: ignore[misc]
        await mirror.wait_revision(await store.put("a/1", b""), 5)
        assert sorted(told) == list(range(20))
        assert store.watch_count == 1


async def test_changes_coalesce_per_key() -> None:
    """A slow consumer costs memory by keys, not by events, and sees the last state."""
    store = MemoryStore()
    await store.put("a/known", b"")
    async with following(store) as mirror, mirror.changes() as changes:
        assert list(changes.take()) == ["a/known"]
        for number in range(200):
            await store.put(f"a/{number % 3}", b"%d" % number)
        await mirror.wait_revision(store.revision, 5)
        assert len(changes) == 3
        assert sorted(await anext(changes)) == ["a/0", "a/1", "a/2"]
        assert len(changes) == 0
        assert list(changes.take()) == []
        waiting = asyncio.ensure_future(anext(changes))
        await store.delete("a/1")
        assert list(await asyncio.wait_for(waiting, 5)) == ["a/1"]
        assert "a/1" not in mirror.entries


async def test_a_cut_with_a_proven_history_costs_no_snapshot() -> None:
    """100,000 keys must not be read again because a connection broke."""
    store = MemoryStore()
    async with following(store) as mirror:
        await mirror.wait_revision(await store.put("a/1", b""), 5)
        store.cut()
        await eventually(lambda: mirror.counters.resumes == 1, "resumed")
        await mirror.wait_revision(await store.delete("a/1") and store.revision, 5)
        store.cut()
        await eventually(lambda: mirror.counters.resumes == 2, "resumed after a deletion")
        await mirror.wait_revision(await store.put("a/2", b""), 5)
        assert mirror.counters.snapshots == 1
        assert mirror.counters.diverged == 0
        await same(mirror, store)


async def test_a_cut_without_proof_costs_a_snapshot() -> None:
    """Nothing was seen since the snapshot, so nothing proves that the history is the same one."""
    store = MemoryStore()
    await store.put("a/1", b"")
    await store.put("b/later", b"")
    async with following(store) as mirror:
        store.cut()
        await eventually(lambda: mirror.counters.snapshots == 2, "a second snapshot")
        assert mirror.counters.diverged == 1
        await same(mirror, store)


@pytest.mark.parametrize("seed", range(60))
async def test_a_restored_store_is_followed_exactly(seed: int) -> None:
    """G6, attack 15: whatever was written before and after a restore by hand, cut or not, compacted or
    not: 0 missing, 0 ghosts, never blank, never a key that is in neither history."""
    chance = random.Random(seed)
    store = MemoryStore()
    names = [f"a/{number}" for number in range(6)] + ["b/other"]

    async def write(count: int) -> None:
        for _ in range(count):
            name = chance.choice(names)
            if chance.random() < 0.3:
                await store.delete(name)
            else:
                await store.put(name, b"%d" % chance.randrange(3))

    await store.put("a/always", b"")
    await write(chance.randrange(10))
    async with following(store) as mirror:
        least: list[int] = []
        mirror.subscribe(lambda keys: least.append(len(mirror.entries)))
        await write(chance.randrange(8))
        backup = store.backup()
        await write(chance.randrange(8))
        await asyncio.sleep(0)
        store.restore(backup, bump_revision=chance.choice([0, 0, 0, 1000]))
        await write(chance.randrange(20))
        if chance.random() < 0.3 and store.revision > store.backup().compacted:
            await store.compact(store.revision)
        await same(mirror, store)
        await write(5)
        await same(mirror, store)
        assert all(count >= 1 for count in least)


async def test_compaction_while_cut_reports_only_what_differs() -> None:
    """Consumers are told of three keys, not of a thousand."""
    store = MemoryStore()
    await write_batches(store, [Put(f"a/{number:04}", b"1") for number in range(1000)])
    async with following(store) as mirror:
        told: set[str] = set()
        mirror.subscribe(told.update)
        store.cut()
        for key in ("a/0001", "a/new"):
            await store.put(key, b"2")
        await store.delete("a/0002")
        await store.compact(store.revision)
        await same(mirror, store)
        assert told == {"a/0001", "a/0002", "a/new"}


class Torn(MemoryStore):
    """A store whose snapshot streams break after the first chunk, ``times`` times."""

    times = 0

    async def stream_snapshot(
        self, prefix: str, *, revision: int = 0, timeout_s: float = 30.0
    ) -> AsyncGenerator[tuple[int, Sequence[Entry]], None]:
        async for chunk in super().stream_snapshot(prefix, revision=revision):
            yield chunk
            if self.times:
                self.times -= 1
                raise Compacted("in the middle", revision=0)


async def test_nothing_is_swept_before_the_last_chunk() -> None:
    """A planted mistake: sweeping after a part of a snapshot deletes keys that are still there."""
    store = Torn()
    await write_batches(store, [Put(f"a/{number:04}", b"") for number in range(2500)])
    async with following(store) as mirror:
        gone: list[str] = []

        def note(keys: Sequence[str]) -> None:
            gone.extend(key for key in keys if key not in mirror.entries)

        mirror.subscribe(note)
        store.times = 3
        await store.delete("a/0000")
        store.cut()
        await store.compact(store.revision)
        await eventually(lambda: mirror.counters.snapshots == 5, "three torn snapshots and a whole")
        await same(mirror, store)
        assert gone == ["a/0000"]


async def test_an_unreachable_store_is_waited_for_and_named() -> None:
    """``problem`` says why, the deadline's message too; entries stay."""
    store = MemoryStore()

    def refuse(call: str, key: str) -> None:
        raise Unavailable("nobody is there")

    store.faults = Faults(before=refuse)
    mirror = Mirror(store, "a/", retry_s=0.001)
    task = asyncio.create_task(mirror.run())
    with pytest.raises(DeadlineExceeded, match="nobody is there"):
        await mirror.wait_synced(0.1)
    with pytest.raises(DeadlineExceeded, match="not seen"):
        await mirror.wait_revision(1, 0.01)
    assert isinstance(mirror.problem, Unavailable)
    store.faults = Faults()
    await mirror.wait_synced(5)
    await eventually(lambda: mirror.problem is None, "the problem is over")
    await store.aclose()
    await asyncio.wait_for(task, 5)


async def test_a_refusal_ends_it_and_everybody_waiting() -> None:
    """Waiting for a right that nobody granted would be a silent wait."""
    store = MemoryStore().as_user("x", [Grant.of("b/", Access.READ)])
    mirror = Mirror(store, "a/")
    task = asyncio.create_task(mirror.run())
    with pytest.raises(PermissionDenied):
        await mirror.wait_synced(5)
    with pytest.raises(PermissionDenied):
        await mirror.wait_revision(5, 5)
    with pytest.raises(PermissionDenied):
        await task
