"""A prefix of a store, kept as a dictionary: never blank, never silently wrong (DESIGN section 6).

Four phases, as in the best mirror we know (Cilium's watchstore): mark all known keys stale, stream a
snapshot at one revision, sweep what is still stale, then follow. A reconnect changes nothing that is
still true; only keys that differ are reported.

When a watch stands again after a cut, the history behind it may be another one: a store restored by
hand keeps its ids and may have written past our revision again (measured: old watches resume silently).
So the mirror holds a *witness*, the very change that its revision is the revision of, and asks for it at
that revision; if the store does not say exactly the same, or there is no such change (the last one was a
snapshot's), it takes a snapshot again (G6, attack 15).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from types import MappingProxyType

from isthmus.kv.errors import (
    Compacted,
    DeadlineExceeded,
    FutureRevision,
    InvalidRequest,
    StoreError,
    Unavailable,
)
from isthmus.kv.port import Entry, Event, KeyValueStore, WatchBatch

Callback = Callable[[Sequence[str]], None]

RETRY_S = 0.2
"""Pause before the next attempt when the store could not be reached: the store waits and jitters itself."""


@dataclass(slots=True)
class MirrorCounters:
    """Only ever grow."""

    snapshots: int = 0
    events: int = 0
    resumes: int = 0
    diverged: int = 0
    """Resumes whose witness was not confirmed: the store had another history."""


@dataclass(frozen=True, slots=True)
class _Witness:
    """The change at :attr:`Mirror.revision`: ``after`` is None for a deletion of ``before``."""

    key: str
    revision: int
    before: Entry | None
    after: Entry | None


class Mirror:
    """Run :meth:`run` as a task; read :attr:`entries`; be told by :meth:`subscribe`."""

    def __init__(self, store: KeyValueStore, prefix: str, *, retry_s: float = RETRY_S) -> None:
        if not prefix.endswith("/"):
            raise InvalidRequest(f"mirror of {prefix!r}: the prefix must end in '/'")
        self._store = store
        self._prefix = prefix
        self._retry_s = retry_s
        self._entries: dict[str, Entry] = {}
        self._view = MappingProxyType(self._entries)
        self._revision = 0
        self._witness: _Witness | None = None
        self._callbacks: dict[int, Callback] = {}
        self._next_callback = 0
        self._synced = asyncio.Event()
        self._ended = asyncio.Event()
        self._failure: StoreError | None = None
        self._problem: StoreError | None = None
        self._moved = asyncio.Condition()
        self.counters = MirrorCounters()

    # ---- what is known

    @property
    def prefix(self) -> str:
        return self._prefix

    @property
    def entries(self) -> Mapping[str, Entry]:
        """Read-only and live; do not keep an iterator over an ``await``."""
        return self._view

    @property
    def revision(self) -> int:
        """Everything up to here is in :attr:`entries`; 0 before the first snapshot."""
        return self._revision

    @property
    def synced(self) -> bool:
        """Was a whole snapshot taken once? Tells "empty" from "not yet"."""
        return self._synced.is_set()

    @property
    def problem(self) -> StoreError | None:
        """Why the mirror is not following just now; None while it does."""
        return self._problem

    async def wait_synced(self, timeout_s: float) -> None:
        """Return once synced. DeadlineExceeded after ``timeout_s``; at once what ended :meth:`run`."""
        await self._until(self._synced, "not synced", timeout_s)

    async def wait_revision(self, revision: int, timeout_s: float) -> None:
        """Return once a change at or behind ``revision`` was seen (such as one's own write's)."""
        try:
            async with asyncio.timeout(timeout_s), self._moved:
                await self._moved.wait_for(lambda: self._revision >= revision or self._failure)
        except TimeoutError:
            raise self._late(f"revision {revision} not seen", timeout_s) from None
        if self._failure is not None:
            raise self._failure

    async def _until(self, event: asyncio.Event, what: str, timeout_s: float) -> None:
        waits = [asyncio.ensure_future(one.wait()) for one in (event, self._ended)]
        try:
            await asyncio.wait(waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if event.is_set():
            return
        raise self._failure or self._late(what, timeout_s)

    def _late(self, what: str, timeout_s: float) -> DeadlineExceeded:
        why = f" ({self._problem})" if self._problem else ""
        return DeadlineExceeded(
            f"mirror of {self._prefix}: {what} within {timeout_s} s{why}", maybe_applied=False
        )

    # ---- who is told

    def subscribe(self, callback: Callback) -> Callable[[], None]:
        """``callback`` gets the keys that changed, on the loop, after :attr:`entries` has them. It must
        not block or await. Returns what ends the subscription."""
        number = self._next_callback
        self._next_callback += 1
        self._callbacks[number] = callback
        return lambda: void(self._callbacks.pop(number, None))

    def changes(self) -> Changes:
        """The same as a coalescing iterator, for consumers slower than the store."""
        return Changes(self)

    def _tell(self, keys: Sequence[str]) -> None:
        if keys:
            for callback in list(self._callbacks.values()):
                callback(keys)

    # ---- the task

    async def run(self) -> None:
        """Until cancelled, the store is closed, or a refusal (permission, identity): that is raised,
        also to those who wait."""
        try:
            while await self._sync_and_follow():
                pass
        except StoreError as error:
            self._failure = self._problem = error
            raise
        finally:
            self._ended.set()
            await self._announce()

    async def _sync_and_follow(self) -> bool:
        """True: try again. False: the store was closed."""
        try:
            await self._sync()
            async with aclosing(
                self._store.watch(self._prefix, start_revision=self._revision + 1)
            ) as batches:
                await self._follow(batches)
                return False
        except (Unavailable, DeadlineExceeded, Compacted, FutureRevision) as error:
            self._problem = error
            await asyncio.sleep(self._retry_s)
            return True

    async def _sync(self) -> None:
        """Mark, stream, sweep. Keys change one chunk at a time; the revision moves at the end."""
        self.counters.snapshots += 1
        stale = set(self._entries)
        newest: Entry | None = None
        revision = 0
        async with aclosing(self._store.stream_snapshot(self._prefix)) as chunks:
            async for pinned, entries in chunks:
                revision = pinned
                stale.difference_update(entry.key for entry in entries)
                newest = _newer(newest, entries)
                self._tell(self._take(entries))
        self._tell([key for key in sorted(stale) if self._entries.pop(key, None)])
        self._witness = None
        if newest is not None and newest.mod_revision == revision:
            self._witness = _Witness(newest.key, revision, None, newest)
        self._revision = revision
        self._synced.set()
        await self._announce()

    def _take(self, entries: Iterable[Entry]) -> list[str]:
        changed = []
        for entry in entries:
            if self._entries.get(entry.key) != entry:
                self._entries[entry.key] = entry
                changed.append(entry.key)
        return changed

    async def _follow(self, batches: AsyncGenerator[WatchBatch, None]) -> None:
        async for batch in batches:
            if batch.resumed:
                self.counters.resumes += 1
                await self._check_same_history()
            self._problem = None
            if batch.events:
                self._apply(batch.events)
                self._revision = batch.revision
                await self._announce()

    def _apply(self, events: Iterable[Event]) -> None:
        changed: dict[str, None] = {}
        for event in events:
            self.counters.events += 1
            changed[event.key] = None
            before = self._entries.pop(event.key, None) if event.entry is None else None
            if event.entry is not None:
                self._entries[event.key] = event.entry
            self._witness = _Witness(event.key, event.revision, before, event.entry)
        self._tell(list(changed))

    async def _check_same_history(self) -> None:
        """Ask for the last change we know, at its own revision; anything else than it is a restore."""
        if self._witness is not None and await self._confirms(self._witness):
            return
        self.counters.diverged += 1
        raise FutureRevision(
            f"mirror of {self._prefix}: the store's history is not the one followed so far",
            revision=0,
        )

    async def _confirms(self, witness: _Witness) -> bool:
        after = await self._store.get(witness.key, revision=witness.revision)
        if after is not None or witness.after is not None:
            return after == witness.after
        before = await self._store.get(witness.key, revision=witness.revision - 1)
        return before is not None and before == witness.before

    async def _announce(self) -> None:
        async with self._moved:
            self._moved.notify_all()


class Changes:
    """Keys that changed since last asked, each once: bounded by the number of keys, not of events.

    ``async with mirror.changes() as changes: async for keys in changes: ...`` begins with all keys known.
    """

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror
        self._pending: dict[str, None] = {}
        self._ready = asyncio.Event()
        self._unsubscribe: Callable[[], None] | None = None

    async def __aenter__(self) -> Changes:
        self._unsubscribe = self._mirror.subscribe(self._add)
        self._add(list(self._mirror.entries))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._unsubscribe is not None:
            self._unsubscribe()

    def _add(self, keys: Sequence[str]) -> None:
        self._pending.update(dict.fromkeys(keys))
        if self._pending:
            self._ready.set()

    def __len__(self) -> int:
        return len(self._pending)

    def __aiter__(self) -> Changes:
        return self

    async def __anext__(self) -> Sequence[str]:
        await self._ready.wait()
        return self.take()

    def take(self) -> Sequence[str]:
        """All pending keys now; maybe none."""
        keys = list(self._pending)
        self._pending.clear()
        self._ready.clear()
        return keys


def _newer(newest: Entry | None, entries: Iterable[Entry]) -> Entry | None:
    for entry in entries:
        if newest is None or entry.mod_revision > newest.mod_revision:
            newest = entry
    return newest


def void(_: object) -> None:
    """For a lambda that must return nothing."""
