"""One watch per range, however many look (issue 4; GOALS: 20 subscribers of one identity cost one watch).

Each consumer gets the port's own contract: an empty batch once it stands, then whole revisions in order,
from where it asked to begin. What differs is the price: a message that wakes one watch costs the client
some 300 us, handing it on a few. Consumers read a bounded ring at their own pace; one that asks for older
history than the ring has, or falls out of it, goes on with a watch of its own. Only consumers of one
identity may share: the rights were checked once, for the store behind this.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

from isthmus.kv.errors import FutureRevision, InvalidRequest
from isthmus.kv.port import Get, KeyValueStore, Txn, WatchBatch

KEPT_BATCHES = 1024
"""Of one range. A batch is at most one catch-up; live ones hold an event or a few."""


class SharedWatches:
    """Use :meth:`watch` in the place of the store's own."""

    def __init__(self, store: KeyValueStore, *, kept_batches: int = KEPT_BATCHES) -> None:
        if kept_batches < 1:
            raise InvalidRequest(f"kept_batches={kept_batches}: at least one must be kept")
        self._store = store
        self._kept_batches = kept_batches
        self._shared: dict[str, _Shared] = {}

    @property
    def open_ranges(self) -> int:
        """Watches that are open on behalf of everybody."""
        return len(self._shared)

    async def watch(
        self, prefix: str, *, start_revision: int = 0
    ) -> AsyncGenerator[WatchBatch, None]:
        """As :meth:`isthmus.kv.port.KeyValueStore.watch`."""
        if start_revision < 0:
            raise InvalidRequest(f"watch from revision {start_revision}: it cannot be negative")
        now = (await self._store.txn(Txn(then=(Get(prefix),)))).revision
        if now < start_revision - 1:
            raise FutureRevision(
                f"watch of {prefix} from revision {start_revision}: the store is at {now}; "
                "it was restored from a backup",
                revision=now,
            )
        next_revision = start_revision or now + 1
        shared = self._join(prefix, next_revision)
        stands = False
        try:
            async with aclosing(shared.follow(next_revision)) as batches:
                async for batch in batches:
                    stands = True
                    yield batch
                    next_revision = batch.revision + 1
            return
        except _OutOfReach:
            pass  # go on alone
        finally:
            await self._leave(prefix, shared)
        async with aclosing(self._store.watch(prefix, start_revision=next_revision)) as alone:
            async for batch in alone:
                if batch.events or batch.resumed or not stands:
                    yield batch
                stands = True

    def _join(self, prefix: str, next_revision: int) -> _Shared:
        shared = self._shared.get(prefix)
        if shared is None or shared.over:
            shared = _Shared(self._store, prefix, next_revision, self._kept_batches)
            self._shared[prefix] = shared
        shared.consumers += 1
        return shared

    async def _leave(self, prefix: str, shared: _Shared) -> None:
        shared.consumers -= 1
        if shared.consumers:
            return
        if self._shared.get(prefix) is shared:
            del self._shared[prefix]
        await shared.stop()


class _OutOfReach(Exception):
    """The ring does not have what this consumer needs (any more)."""


class _Shared:
    """One watch and the ring of its latest batches."""

    def __init__(
        self, store: KeyValueStore, prefix: str, start_revision: int, kept_batches: int
    ) -> None:
        self.consumers = 0
        self._covers_from = start_revision
        self._error: Exception | None = None
        self._ended = False
        self._stands = False
        self._ring: deque[WatchBatch] = deque()
        self._dropped = 0
        self._kept_batches = kept_batches
        self._changed = asyncio.Event()
        self._pump = asyncio.create_task(
            self._run(store.watch(prefix, start_revision=start_revision)),
            name=f"shared watch of {prefix}",
        )

    @property
    def over(self) -> bool:
        """Has the watch behind this ended?"""
        return self._ended

    async def stop(self) -> None:
        """Close the watch behind this."""
        self._pump.cancel()
        with suppress(asyncio.CancelledError):
            await self._pump

    async def _run(self, watch: AsyncGenerator[WatchBatch, None]) -> None:
        try:
            async with aclosing(watch) as batches:
                async for batch in batches:
                    self._stands = True
                    if batch.events or batch.resumed:
                        self._keep(batch)
                    self._wake()
        except Exception as error:
            self._error = error
        finally:
            self._ended = True
            self._wake()

    def _keep(self, batch: WatchBatch) -> None:
        self._ring.append(batch)
        while len(self._ring) > self._kept_batches:
            self._covers_from = self._ring.popleft().revision + 1
            self._dropped += 1

    def _wake(self) -> None:
        """All who wait now; who comes later waits for the next change."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def follow(self, next_revision: int) -> AsyncGenerator[WatchBatch, None]:
        """From ``next_revision`` on, until the watch ends; _OutOfReach when the ring cannot serve it."""
        if next_revision < self._covers_from:
            raise _OutOfReach
        position = self._dropped  # before the first wait: what is kept from now on is ours
        while not self._stands:
            if not await self._more():
                return
        yield WatchBatch(next_revision - 1, ())
        while True:
            if position < self._dropped:
                raise _OutOfReach
            if position == self._dropped + len(self._ring):
                if not await self._more():
                    return
                continue
            batch = self._ring[position - self._dropped]
            position += 1
            events = tuple(event for event in batch.events if event.revision >= next_revision)
            if events:
                next_revision = batch.revision + 1
                yield WatchBatch(batch.revision, events)
            elif batch.resumed:
                yield WatchBatch(next_revision - 1, (), resumed=True)

    async def _more(self) -> bool:
        """Wait for a change; False when the watch ended, its refusal when it was refused."""
        if self._error is not None:
            raise self._error
        if not self._ended:
            await self._changed.wait()
            return True
        return False
