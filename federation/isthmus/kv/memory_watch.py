"""A watch of the in-memory twin: what reaches a consumer, in which pieces, and what ends it.

As with a real server, what happened while the watch stood is the consumer's even when it is compacted
before the consumer looks (the server has sent it); after a broken connection the history decides.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import dataclass, field

from isthmus.kv.errors import Compacted, FutureRevision
from isthmus.kv.mvcc import MvccStore
from isthmus.kv.port import Event, WatchBatch
from isthmus.kv.ranges import KeyRange

CATCH_UP_REVISIONS = 1000
"""Of one batch, as etcd's catch-up."""


@dataclass(slots=True)
class Wiring:
    """What the watches of one memory share: the history, and how often connections broke."""

    mvcc: MvccStore
    connection: int = 0
    watches: dict[MemoryWatch, None] = field(default_factory=dict)
    """In the order in which they stood up: a set would wake them in another order in each process (G13)."""
    _by_place: dict[str, dict[MemoryWatch, None]] = field(default_factory=dict)
    """The same by what they watch: a site has a hundred watches, and each change concerns a few of them."""
    _stood: int = 0
    _told: int = 0

    def add(self, watch: MemoryWatch) -> None:
        """It is woken from now on."""
        self._stood += 1
        watch.stood = self._stood
        self.watches[watch] = None
        self._by_place.setdefault(watch.place, {})[watch] = None

    def drop(self, watch: MemoryWatch) -> None:
        """No more."""
        if self.watches.pop(watch, watch) is None:
            del self._by_place[watch.place][watch]

    def changed(self) -> None:
        """The store has committed something: wake those whom it concerns."""
        log = self.mvcc.log_after(self._told)
        self._told = self.mvcc.revision
        for _, events in log:
            for event in events:
                for watch in self._concerned(event.key):
                    watch.waker.set()

    def _concerned(self, key: str) -> list[MemoryWatch]:
        """Who watches ``key`` or a prefix of it, in the order in which they stood up."""
        found: list[MemoryWatch] = [*self._by_place.get(key, ())]
        end = key.find("/") + 1
        while end:
            found += self._by_place.get(key[:end], ())
            end = key.find("/", end) + 1
        found.sort(key=_stood)
        return found

    def wake(self) -> None:
        """Everybody looks again."""
        self._told = self.mvcc.revision
        for watch in self.watches:
            watch.waker.set()

    def cut(self) -> None:
        """Break every connection."""
        self.connection += 1
        self.wake()

    def compact(self, revision: int) -> None:
        """Compact; what standing watches have been sent already stays theirs."""
        for watch in self.watches:
            watch.receive()
        self.mvcc.compact(revision)
        self.wake()


def _stood(watch: MemoryWatch) -> int:
    return watch.stood


class MemoryWatch:
    """One range from ``next_revision`` on. ``closed`` ends it; ``enter`` is asked again after a cut."""

    def __init__(
        self,
        wiring: Wiring,
        keys: KeyRange,
        next_revision: int,
        closed: asyncio.Event,
        enter: Callable[[], Coroutine[object, object, None]],
    ) -> None:
        self.waker = asyncio.Event()
        self.stood = 0
        self._wiring = wiring
        self.keys = keys
        self.place = keys.start.decode()
        """The watched key, or the prefix with its slash: a range is never anything else here."""
        self._next_revision = next_revision
        self._seen = next_revision - 1
        self._received: list[Event] = []
        self._connection = wiring.connection
        self._closed = closed
        self._enter = enter

    async def batches(self) -> AsyncGenerator[WatchBatch, None]:
        """Until it or the store is closed, or a refusal."""
        self._wiring.add(self)
        resumed = False
        try:
            while True:
                self._stand()
                yield WatchBatch(self._next_revision - 1, (), resumed)
                while self._connection == self._wiring.connection:
                    if batch := self._take():
                        yield batch
                    elif not await self._woken():
                        return
                self._connection, resumed = self._wiring.connection, True
                await self._enter()
        finally:
            self._wiring.drop(self)

    def _stand(self) -> None:
        self._received.clear()
        self._seen = self._next_revision - 1
        revision = self._wiring.mvcc.revision
        if revision < self._seen:
            raise FutureRevision(
                f"watch of {self.keys} from revision {self._next_revision}: the store is at "
                f"{revision}; it was restored from a backup",
                revision=revision,
            )

    def receive(self) -> None:
        """Take over what the store has for us by now, unless it is compacted already."""
        mvcc = self._wiring.mvcc
        if self._connection != self._wiring.connection or self._seen + 1 < mvcc.compacted:
            return
        place, below = self.place, bool(self.keys.end)
        for revision, events in mvcc.log_after(self._seen):
            self._seen = revision
            for event in events:  # thousands of times a second: no generator, nothing encoded
                if event.key.startswith(place) if below else event.key == place:
                    self._received.append(event)

    def _take(self) -> WatchBatch | None:
        self.waker.clear()
        self.receive()
        if self._received:
            events = self._cut_at_a_revision()
            self._next_revision = events[-1].revision + 1
            return WatchBatch(events[-1].revision, events)
        compacted = self._wiring.mvcc.compacted
        if self._seen + 1 < compacted:
            raise Compacted(
                f"watch of {self.keys} from revision {self._next_revision}: "
                f"compacted up to {compacted}",
                revision=compacted,
            )
        return None

    def _cut_at_a_revision(self) -> tuple[Event, ...]:
        """The oldest received events, whole revisions only."""
        end = min(CATCH_UP_REVISIONS, len(self._received))
        while (
            end < len(self._received)
            and self._received[end].revision == self._received[end - 1].revision
        ):
            end += 1
        events = tuple(self._received[:end])
        del self._received[:end]
        return events

    async def _woken(self) -> bool:
        """Wait for a change; False when the store was closed meanwhile."""
        if not self._closed.is_set():
            await self.waker.wait()
        return not self._closed.is_set()
