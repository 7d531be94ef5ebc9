"""Planted mistakes, each of which a test of this room must catch (issue 4, "done when").

A check that would pass with the mistake in place proves nothing; so each scenario runs twice, with our
code and with the mutant, and must tell them apart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress

import pytest
from tests.integration.kv.server import EtcdServer
from tests.support import eventually

from isthmus.kv import Put, WatchBatch, watching
from isthmus.kv import wire_pb2 as wire
from isthmus.kv.errors import Compacted
from isthmus.kv.memory import MemoryStore
from isthmus.kv.mirror import Mirror
from isthmus.kv.ranges import KeyRange
from isthmus.kv.watching import Watching
from isthmus.kv.writes import write_batches


async def lost_in_catch_up(server: EtcdServer) -> int:
    """How many events of a catch-up are lost when the connection breaks after its first batch."""
    async with server.store() as store:
        first = await store.put("a/begin", b"")
        await asyncio.gather(*(store.put(f"a/{number:05}", b"") for number in range(2500)))
        keys: set[str] = set()
        watch = store.watch("a/", start_revision=first)
        async for batch in watch:
            keys |= {event.key for event in batch.events}
            if batch.events:
                server.kill()
                await server.start()
                break
        last = await store.put("a/end", b"", timeout_s=15)
        async with asyncio.timeout(20):
            async for batch in watch:
                keys |= {event.key for event in batch.events}
                if batch.revision >= last and batch.events:
                    break
        await watch.aclose()
        return 2502 - len(keys)


class ResumesFromHeader(Watching):
    """The mutant, once found in a published client: resume behind the header's revision."""

    newest_header = 0

    def _batch(self, messages: Iterable[wire.Event]) -> WatchBatch:
        batch = super()._batch(messages)
        self._next_revision = max(self._next_revision, ResumesFromHeader.newest_header + 1)
        return batch


async def test_resume_from_the_header_is_caught(
    own_etcd: EtcdServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A catch-up's first message ends at revision 1,001 while its header says 2,502."""
    assert await lost_in_catch_up(own_etcd) == 0
    read = watching._Stream.read

    async def reading(self: watching._Stream) -> wire.WatchResponse:
        message = await read(self)
        ResumesFromHeader.newest_header = message.header.revision
        return message

    monkeypatch.setattr(watching._Stream, "read", reading)
    monkeypatch.setattr("isthmus.kv.etcd.Watching", ResumesFromHeader)
    assert await lost_in_catch_up(own_etcd) > 0


class TrustsItsRevision(Mirror):
    """The mutant: no witness; a store that stands again is taken for the same one."""

    async def _check_same_history(self) -> None:
        return


class SweepsEarly(Mirror):
    """The mutant: what the first chunk does not name is deleted."""

    async def _sync(self) -> None:
        seen: set[str] = set()
        async for revision, entries in self._store.stream_snapshot(self._prefix):
            seen |= {entry.key for entry in entries}
            self._take(entries)
            self._tell([key for key in set(self._entries) - seen if self._entries.pop(key)])
            self._revision = revision
        self._synced.set()


Make = Callable[[MemoryStore], Mirror]


async def missing_after_restore(make: Make) -> set[str]:
    """What a mirror lacks or has too much after a restore by hand whose new history ran past it."""
    store = MemoryStore()
    await store.put("a/1", b"")
    backup = store.backup()
    mirror = make(store)
    running = asyncio.create_task(mirror.run())
    await mirror.wait_synced(5)
    await mirror.wait_revision(await store.put("a/lost", b""), 5)
    store.restore(backup)
    for number in range(10):
        await store.put(f"a/new{number}", b"")
    await mirror.wait_revision(store.revision, 5)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    return set(mirror.entries) ^ {entry.key for entry in (await store.snapshot("a/")).entries}


async def test_missing_witness_is_caught() -> None:
    """G6: 0 missing, 0 ghosts."""
    assert await missing_after_restore(lambda store: Mirror(store, "a/")) == set()
    assert await missing_after_restore(lambda store: TrustsItsRevision(store, "a/")) != set()


async def told_of_living_keys(make: Make) -> int:
    """How many keys that never went a subscriber saw vanish during a second snapshot."""
    store = MemoryStore()
    await write_batches(store, [Put(f"a/{number:05}", b"") for number in range(3000)])
    mirror = make(store)
    running = asyncio.create_task(mirror.run())
    await mirror.wait_synced(5)
    vanished: set[str] = set()

    def note(keys: Iterable[str]) -> None:
        vanished.update(key for key in keys if key not in mirror.entries)
        vanished.update(f"a/{n:05}" for n in range(3000) if f"a/{n:05}" not in mirror.entries)

    mirror.subscribe(note)
    store.cut()
    await store.put("a/new", b"")
    await store.compact(store.revision)
    await eventually(lambda: "a/new" in mirror.entries, "the mirror follows", timeout_s=5)
    running.cancel()
    with suppress(asyncio.CancelledError, Compacted):
        await running
    return len(vanished)


async def test_sweeping_before_the_last_chunk_is_caught() -> None:
    """No transient delete-all, not even of a part."""
    assert await told_of_living_keys(lambda store: Mirror(store, "a/")) == 0
    assert await told_of_living_keys(lambda store: SweepsEarly(store, "a/")) > 0


def test_prefix_without_a_slash_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the mutant, ``sites/a`` reaches ``sites/ab``."""
    assert not KeyRange.of_prefix("sites/a/").holds(b"sites/ab/x")
    careless = KeyRange(b"sites/a", b"sites/b")
    assert careless.holds(b"sites/ab/x")
