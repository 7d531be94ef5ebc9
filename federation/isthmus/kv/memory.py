"""The store port without a server: the in-memory twin for simulations and unit tests.

One conformance suite and a state machine hold it to a real etcd. Several stores may share one memory:
:meth:`MemoryStore.as_user` gives another identity's view, with its grants. Time is an injected clock,
never the wall's; failures are injected by hooks; nothing happens by chance. A twin call suspends once,
as a real one would, so tasks interleave as they do in production.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from isthmus.kv.errors import InvalidRequest, PermissionDenied
from isthmus.kv.grants import Access, Grant, covered
from isthmus.kv.memory_watch import MemoryWatch, Wiring
from isthmus.kv.mvcc import Backup, MvccStore
from isthmus.kv.port import (
    Delete,
    Entry,
    Get,
    Put,
    Snapshot,
    StoreStatus,
    Txn,
    TxnResult,
    WatchBatch,
)
from isthmus.kv.ranges import KeyRange
from isthmus.kv.rules import check_key, check_size

Clock = Callable[[], float]
Hook = Callable[[str, str], None]
"""Gets the call's name (``get``, ``put``, ``txn``, ...) and its key; raises a StoreError to inject it."""

_CHUNK_KEYS = 1000


class ManualClock:
    """Seconds that pass when a test says so."""

    def __init__(self, now_s: float = 0.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


def _nothing(call: str, key: str) -> None:
    """No fault."""


@dataclass(slots=True)
class Faults:
    """``before`` refuses a call; ``after`` loses the answer of one that was applied."""

    before: Hook = _nothing
    after: Hook = _nothing


@dataclass(slots=True)
class _World:
    """What all views of one memory share."""

    mvcc: MvccStore
    clock: Clock
    wiring: Wiring
    leases: dict[int, MemoryLease] = field(default_factory=dict)


class MemoryLease:
    """Renewed whenever time is looked at, until :attr:`renewing` is taken away (a frozen holder)."""

    def __init__(self, world: _World, lease_id: int, ttl_s: float) -> None:
        self._world = world
        self._lease_id = lease_id
        self._ttl_s = ttl_s
        self._ended = asyncio.Event()
        self.renewing = True

    @property
    def lease_id(self) -> int:
        return self._lease_id

    @property
    def ttl_s(self) -> float:
        return self._ttl_s

    @property
    def lost(self) -> bool:
        return self._ended.is_set()

    async def wait_lost(self) -> None:
        await self._ended.wait()

    async def revoke(self, *, timeout_s: float = 5.0) -> None:
        await asyncio.sleep(0)
        if not self.lost:
            self._world.mvcc.revoke_lease(self._lease_id)

    def end(self) -> None:
        """Count it as lost from now on."""
        self.renewing = False
        self._ended.set()


class MemoryStore:
    """See :class:`isthmus.kv.port.KeyValueStore`. ``grants`` None: everything is allowed (root)."""

    def __init__(
        self, *, clock: Clock | None = None, retention: int = 0, faults: Faults | None = None
    ) -> None:
        mvcc = MvccStore(retention=retention)
        self._world = _World(mvcc, clock or ManualClock(), Wiring(mvcc))
        mvcc.on_change.append(self._world.wiring.changed)
        mvcc.on_lease_end.append(self._lease_ended)
        self._grants: tuple[Grant, ...] | None = None
        self._closed = asyncio.Event()
        self._leases: list[MemoryLease] = []
        self._user = "root"
        self.faults = faults or Faults()

    def as_user(self, user: str, grants: Iterable[Grant]) -> MemoryStore:
        """The same memory as ``user`` sees it; closed and disturbed on its own."""
        view = MemoryStore.__new__(MemoryStore)
        view._world = self._world
        view._grants = tuple(grants)
        view._closed = asyncio.Event()
        view._leases = []
        view._user = user
        view.faults = Faults()
        return view

    # ---- the world's levers

    @property
    def revision(self) -> int:
        """Of the store, now."""
        return self._world.mvcc.revision

    @property
    def watch_count(self) -> int:
        """Open watches of all views."""
        return len(self._world.wiring.watches)

    def advance(self, seconds: float) -> None:
        """Let time pass on the manual clock; leases nobody renews end."""
        clock = self._world.clock
        if not isinstance(clock, ManualClock):
            raise InvalidRequest("advance: this twin has a clock of its own; call tick instead")
        clock.now_s += seconds
        self.tick()

    def tick(self) -> None:
        """Look at the clock: renew what is renewed, end what ran out."""
        now_s = self._world.clock()
        for lease_id, lease in self._world.leases.items():
            if lease.renewing:
                self._world.mvcc.renew_lease(lease_id, now_s)
        self._world.mvcc.tick(now_s)

    def cut(self) -> None:
        """Break every connection once; watches stand again by themselves."""
        self._world.wiring.cut()

    def backup(self) -> Backup:
        """As ``etcdctl snapshot save``."""
        return self._world.mvcc.backup()

    def restore(self, backup: Backup, *, bump_revision: int = 0) -> None:
        """As a store that comes back from a backup: connections break, history may be shorter, and leases granted since
        then are lost."""
        self._world.mvcc.restore(backup, bump_revision=bump_revision)
        for lease_id in sorted(self._world.leases.keys() - self._world.mvcc.lease_ids):
            self._lease_ended(lease_id)
        self.cut()

    def _lease_ended(self, lease_id: int) -> None:
        lease = self._world.leases.pop(lease_id, None)
        if lease is not None:
            lease.end()

    # ---- before and after each call

    async def _enter(self, call: str, keys: KeyRange | None, access: Access) -> None:
        if self._closed.is_set():
            raise InvalidRequest("the store was closed; open a new one")
        await asyncio.sleep(0)
        self.tick()
        self.faults.before(call, "" if keys is None else str(keys))
        if keys is not None:
            self._check_allowed(call, keys, access)

    def _check_allowed(self, call: str, keys: KeyRange, access: Access) -> None:
        if self._grants is not None and not covered(keys, access, self._grants):
            raise PermissionDenied(
                f"{call} {keys}: user {self._user!r} may not {access.value} it", range_=str(keys)
            )

    # ---- the port

    async def get(self, key: str, *, revision: int = 0, timeout_s: float = 5.0) -> Entry | None:
        check_key(key)
        await self._enter("get", KeyRange.of_key(key), Access.READ)
        return self._world.mvcc.get(key, revision)

    async def put(
        self, key: str, value: bytes, *, lease_id: int = 0, timeout_s: float = 5.0
    ) -> int:
        check_key(key)
        check_size(key, len(key) + len(value))
        await self._enter("put", KeyRange.of_key(key), Access.WRITE)
        revision = self._world.mvcc.put(key, value, lease_id)
        self.faults.after("put", key)
        return revision

    async def delete(self, key: str, *, timeout_s: float = 5.0) -> bool:
        check_key(key)
        await self._enter("delete", KeyRange.of_key(key), Access.WRITE)
        there = self._world.mvcc.delete(key)
        self.faults.after("delete", key)
        return there

    async def txn(self, txn: Txn, *, timeout_s: float = 5.0) -> TxnResult:
        await self._enter("txn", None, Access.WRITE)
        for compare in txn.compares:
            self._check_allowed("txn", KeyRange.of_key(compare.key), Access.READ)
        for operation in (*txn.then, *txn.otherwise):
            access = Access.READ if isinstance(operation, Get) else Access.WRITE
            self._check_allowed("txn", KeyRange.of_key(operation.key), access)
        result = self._world.mvcc.txn(txn)
        if any(isinstance(operation, Put | Delete) for operation in (*txn.then, *txn.otherwise)):
            self.faults.after("txn", "")
        return result

    async def snapshot(
        self, prefix: str, *, revision: int = 0, timeout_s: float = 30.0
    ) -> Snapshot:
        await self._enter("snapshot", KeyRange.of_prefix(prefix), Access.READ)
        return self._world.mvcc.snapshot(prefix, revision)

    async def stream_snapshot(
        self, prefix: str, *, revision: int = 0, timeout_s: float = 30.0
    ) -> AsyncGenerator[tuple[int, Sequence[Entry]], None]:
        await self._enter("stream_snapshot", KeyRange.of_prefix(prefix), Access.READ)
        whole = self._world.mvcc.snapshot(prefix, revision)
        for start in range(0, max(1, len(whole.entries)), _CHUNK_KEYS):
            if start:
                await self._enter("stream_snapshot", None, Access.READ)
                if whole.revision < self._world.mvcc.compacted:
                    self._world.mvcc.check_revision(whole.revision)
            yield whole.revision, whole.entries[start : start + _CHUNK_KEYS]

    async def watch(
        self, prefix: str, *, start_revision: int = 0
    ) -> AsyncGenerator[WatchBatch, None]:
        if start_revision < 0:
            raise InvalidRequest(f"watch from revision {start_revision}: it cannot be negative")
        keys = KeyRange.of(prefix)
        await self._enter("watch", keys, Access.READ)
        watch = MemoryWatch(
            self._world.wiring,
            keys,
            start_revision or self._world.mvcc.revision + 1,
            self._closed,
            lambda: self._enter("watch", keys, Access.READ),
        )
        async with aclosing(watch.batches()) as batches:
            async for batch in batches:
                yield batch

    async def grant_lease(self, ttl_s: int, *, timeout_s: float = 5.0) -> MemoryLease:
        if ttl_s < 1:
            raise InvalidRequest(f"ttl_s={ttl_s}: a lease lives at least one second")
        await self._enter("grant_lease", None, Access.WRITE)
        lease_id = self._world.mvcc.grant_lease(ttl_s, self._world.clock())
        lease = self._world.leases[lease_id] = MemoryLease(self._world, lease_id, float(ttl_s))
        self._leases.append(lease)
        return lease

    async def compact(self, revision: int, *, timeout_s: float = 5.0) -> None:
        await self._enter("compact", None, Access.WRITE)
        self._world.wiring.compact(revision)

    async def status(self, *, timeout_s: float = 5.0) -> StoreStatus:
        await self._enter("status", None, Access.READ)
        return StoreStatus("memory", self._world.mvcc.revision)

    async def aclose(self) -> None:
        """Ends this view's watches; its leases are renewed no longer, as those of a process that ended."""
        self._closed.set()
        for lease in self._leases:
            lease.renewing = False
        self._world.wiring.wake()
