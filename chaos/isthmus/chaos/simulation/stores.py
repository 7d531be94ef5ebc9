"""Stores of the simulation: the in-memory twin behind a server that is slow, away, full, forgetful or restored.

:class:`StoreServer` is one etcd; :class:`SimStore` is one process's connection to it. A call takes time on its way and
on its way back, so the world moves in between; what happens to a call when its server is away is what the real client
does (:mod:`isthmus.kv.errors`). A dead process's connection does nothing any more, whoever still calls it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Any

from isthmus.chaos.simulation.processes import Process
from isthmus.kv.errors import AmbiguousOutcome, DeadlineExceeded, NoSpace, Unavailable
from isthmus.kv.grants import Access, Grant
from isthmus.kv.memory import MemoryLease, MemoryStore
from isthmus.kv.mvcc import Backup
from isthmus.kv.port import Event, Txn, TxnResult, WatchBatch
from isthmus.kv.ranges import KeyRange

PATIENCE_S = 3.0
"""How long a client waits for a server that is away before it says so."""
LATENCY_S = 0.001
"""Median time of one way; every fourth call takes its time, the others none."""
RECONNECT_S = 0.4
"""At most, until a watch whose connection broke stands again; the store moves meanwhile."""
OnEvents = Callable[["StoreServer", int, tuple[Event, ...]], None]


class StoreServer:
    """One store; ``chance`` gives latencies and lost answers. ``on_events`` sees each change as it is committed."""

    def __init__(
        self, name: str, clock_s: Callable[[], float], chance: random.Random, on_events: OnEvents
    ) -> None:
        self.name = name
        self.memory = MemoryStore(clock=clock_s)
        self.chance = chance
        self.incarnation = 1
        self.slow_s = 0.0
        self.lost_answers = 0.0
        self.full = False
        self.restores = 0
        self._away = 0
        self._up = asyncio.Event()
        self._up.set()
        self._on_events = on_events
        self._told = self.mvcc.revision
        self._backup: Backup = self.mvcc.backup()
        self.backup_incarnation = 1
        self.mvcc.on_change.append(self._tell)

    @property
    def mvcc(self) -> Any:
        """The history itself, for observers."""
        return self.memory._world.mvcc

    @property
    def up(self) -> bool:
        """Does it answer?"""
        return self._up.is_set()

    async def wait_up(self) -> None:
        """Until it answers again."""
        await self._up.wait()

    def _tell(self) -> None:
        for revision, events in self.mvcc.log_after(self._told):
            self._told = revision
            self._on_events(self, revision, events)

    # ---- what can happen to it

    def go_away(self) -> None:
        """Too few members are left: nobody is answered."""
        self._away += 1
        self._up.clear()
        self.memory.cut()

    def come_back(self) -> None:
        """The members are back."""
        self._away -= 1
        if not self._away:
            self._up.set()

    def compact(self, keep: int) -> None:
        """Forget all but the newest ``keep`` revisions."""
        revision = self.mvcc.revision - keep
        if revision > self.mvcc.compacted:
            self.memory._world.wiring.compact(revision)

    def take_backup(self) -> None:
        """As ``etcdctl snapshot save``; restores go back to the newest one."""
        self._backup = self.mvcc.backup()
        self.backup_incarnation = self.incarnation

    @property
    def backup_revision(self) -> int:
        """Where the newest backup stands."""
        return self._backup.revision

    def restore(self, *, bump: int = 0) -> None:
        """Come back from the newest backup; everybody's connection breaks."""
        self.incarnation += 1
        self.restores += 1
        self.memory.restore(self._backup, bump_revision=bump)
        self._told = self.mvcc.revision

    def tick(self) -> None:
        """Leases that nobody renews end, while the store has its members."""
        if self.up:
            self.memory.tick()


class _SimLease(MemoryLease):
    """Kept alive and given back only by a process that lives and runs."""

    check_alive: Callable[[], None]
    process: Process | None = None
    _kept = True

    @property
    def renewing(self) -> bool:
        """Does its holder say so, and can he?"""
        return self._kept and (self.process is None or not self.process.frozen)

    @renewing.setter
    def renewing(self, value: bool) -> None:
        self._kept = value

    async def revoke(self, *, timeout_s: float = 5.0) -> None:
        self.check_alive()
        await super().revoke(timeout_s=timeout_s)


class SimStore(MemoryStore):
    """One process's connection. ``grants`` None: everything is allowed."""

    def __init__(
        self,
        server: StoreServer,
        process: Process | None,
        grants: Iterable[Grant] | None = None,
        user: str = "root",
    ) -> None:
        shared = server.memory
        self._world = shared._world
        self._grants = None if grants is None else tuple(grants)
        self._closed = asyncio.Event()
        self._leases = []
        self._user = user
        self.faults = shared.faults
        self._server = server
        self._process = process
        self._life = 0 if process is None else process.lives
        self._outside = process is not None and not process.name.startswith(f"{server.name}.")
        self._allowed: set[tuple[bytes, bytes, Access]] = set()
        if process is not None:
            process.on_death(self._let_go)

    def _let_go(self) -> None:
        for lease in self._leases:
            lease.renewing = False

    def _check_allowed(self, call: str, keys: KeyRange, access: Access) -> None:
        asked = (keys.start, keys.end, access)
        if asked not in self._allowed:  # rights do not change within one connection
            super()._check_allowed(call, keys, access)
            self._allowed.add(asked)

    # ---- on the way there

    async def _enter(self, call: str, keys: KeyRange | None, access: Access) -> None:
        server = self._server
        if server.slow_s or server.chance.random() < 0.25:
            await asyncio.sleep(self._way_s())
        if call == "watch" and self._world.wiring.connection and server.chance.random() < 0.5:
            await asyncio.sleep(server.chance.random() * RECONNECT_S)
        if not server.up:
            await self._wait(call, writes=access is Access.WRITE)
        self._check_alive()
        if self._outside and self._process is not None:
            self._process.outside_calls += 1
        await super()._enter(call, keys, access)
        self._check_alive()
        if not server.up:
            raise Unavailable(f"{server.name} went away")
        if server.full and call in ("put", "txn", "grant_lease"):
            raise NoSpace(f"{server.name} is full")

    def _check_alive(self) -> None:
        process = self._process
        if process is not None and not (process.alive and process.lives == self._life):
            raise Unavailable("this process is dead")

    async def _wait(self, call: str, *, writes: bool) -> None:
        if call == "watch":
            await self._server.wait_up()
            return
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._server.wait_up()
        except TimeoutError:
            if writes:
                raise DeadlineExceeded(
                    f"{call}: no answer from {self._server.name}", maybe_applied=True
                ) from None
            raise Unavailable(f"{call}: {self._server.name} does not answer") from None

    def _way_s(self) -> float:
        server = self._server
        return server.chance.expovariate(1.0) * (LATENCY_S + server.slow_s)

    # ---- on the way back

    async def _answer(self) -> None:
        server = self._server
        if server.lost_answers and server.chance.random() < server.lost_answers:
            raise AmbiguousOutcome(f"the connection to {server.name} broke after a write")
        if server.slow_s or server.chance.random() < 0.25:
            await asyncio.sleep(self._way_s())

    async def put(
        self, key: str, value: bytes, *, lease_id: int = 0, timeout_s: float = 5.0
    ) -> int:
        revision = await super().put(key, value, lease_id=lease_id)
        await self._answer()
        return revision

    async def delete(self, key: str, *, timeout_s: float = 5.0) -> bool:
        there = await super().delete(key)
        await self._answer()
        return there

    async def txn(self, txn: Txn, *, timeout_s: float = 5.0) -> TxnResult:
        result = await super().txn(txn)
        await self._answer()
        return result

    async def watch(
        self, prefix: str, *, start_revision: int = 0
    ) -> AsyncGenerator[WatchBatch, None]:
        server = self._server
        watch = super().watch(prefix, start_revision=start_revision)
        try:
            async for batch in watch:
                if batch.events and (server.slow_s or server.chance.random() < 0.25):
                    await asyncio.sleep(self._way_s())
                yield batch
        finally:
            await watch.aclose()

    async def grant_lease(self, ttl_s: int, *, timeout_s: float = 5.0) -> MemoryLease:
        lease = await super().grant_lease(ttl_s)
        lease.__class__ = _SimLease
        assert isinstance(lease, _SimLease)
        lease.check_alive, lease.process = self._check_alive, self._process
        return lease
