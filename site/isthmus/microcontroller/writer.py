"""The one way a microcontroller writes: compare, then put; never twice the same; never as a past leader.

Each write is a transaction that compares the leader's key (fencing: an old leader's write is refused by the
store, attack 14) and the revision this controller last knew of the key (somebody else wrote: Conflict, look again).
An unchanged body is not written, so a level-triggered controller may say what it wants as often as it likes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from isthmus.contract import Body, Stamp, seal, unseal
from isthmus.contract.errors import ContractError
from isthmus.contract.registry import check_size
from isthmus.failpoint import afailpoint
from isthmus.kv.errors import Conflict
from isthmus.kv.port import Compare, Delete, Entry, KeyValueStore, Put, Target, Txn
from isthmus.microcontroller.clock import Surroundings
from isthmus.microcontroller.errors import NotLeader
from isthmus.microcontroller.state import State


@dataclass(frozen=True, slots=True)
class Fence:
    """The leader's key and the create revision it had when we won it: the epoch. ``value`` is what we wrote there: a
    store restored from a backup gives the same revision to the next leader, who writes another (found by exploring)."""

    key: str
    epoch: int
    value: bytes = b""

    def compares(self) -> tuple[Compare, ...]:
        """What must hold while we lead."""
        epoch = Compare(self.key, Target.CREATE_REVISION, self.epoch)
        return (epoch, Compare(self.key, Target.VALUE, self.value)) if self.value else (epoch,)

    def holds(self, leader: Entry | None) -> bool:
        """The same, of an entry that was read."""
        if leader is None or leader.create_revision != self.epoch:
            return False
        return not self.value or leader.value == self.value


@dataclass(slots=True)
class Writer:
    """Writes of one life of one component. ``fence`` is None for components that need no leader."""

    store: KeyValueStore
    state: State
    stamp: Stamp
    surroundings: Surroundings
    fence: Fence | None = None
    timeout_s: float = 5.0
    written: int = field(default=0)
    skipped: int = field(default=0)

    async def put(
        self,
        key: str,
        body: Body,
        *,
        ttl_s: float = 0.0,
        trace_id: str = "",
        refresh_s: float = 0.0,
    ) -> bool:
        """Make ``body`` the value of ``key``; True when a write was needed.

        A value that ages (``ttl_s``) is also written again when it is older than ``refresh_s``, or from the future: a
        clock that was an hour ahead once would leave it unbelieved for an hour. Raises Conflict,
        NotLeader, ValueRefused and the store's errors.
        """
        now = self.surroundings.now()
        current = await self._current(key)
        generation = 1
        if current is not None:
            same, generation, age_s = self._compare(current, body, now)
            if same and (refresh_s <= 0 or 0 <= age_s < refresh_s):
                self.skipped += 1
                return False
        value = seal(
            body,
            self._stamp(),
            as_of=now,
            generation=generation,
            ttl_s=ttl_s,
            trace_id=trace_id,
        )
        check_size(key, value)
        revision = await self._commit(key, current, Put(key, value))
        created = current.create_revision if current else revision
        version = current.version + 1 if current else 1
        self.state.wrote(key, revision, Entry(key, value, created, revision, version))
        self.written += 1
        return True

    async def delete(self, key: str) -> bool:
        """Remove ``key`` if it is known to be there; True when a write was needed."""
        current = await self._current(key)
        if current is None:
            return False
        revision = await self._commit(key, current, Delete(key))
        self.state.wrote(key, revision, None)
        self.written += 1
        return True

    async def create(self, key: str, body: Body) -> None:
        """Write a key that cannot be there yet (its last segment is a fresh id)."""
        value = seal(body, self._stamp(), as_of=self.surroundings.now())
        check_size(key, value)
        await self._commit(key, None, Put(key, value))
        self.written += 1

    async def _current(self, key: str) -> Entry | None:
        """As mirrored, or asked for where nothing is mirrored."""
        if self.state.covers(key):
            return self.state.entry(key)
        return await self.store.get(key, timeout_s=self.timeout_s)

    def _stamp(self) -> Stamp:
        return self.stamp.model_copy(update={"epoch": self.fence.epoch if self.fence else 0})

    async def _commit(self, key: str, current: Entry | None, operation: Put | Delete) -> int:
        known = current.mod_revision if current is not None else 0
        compares = [Compare(key, Target.MOD_REVISION, known)]
        if self.fence is not None:
            compares.extend(self.fence.compares())
        await afailpoint("runtime.before_write")
        result = await self.store.txn(Txn(tuple(compares), (operation,)), timeout_s=self.timeout_s)
        await afailpoint("runtime.after_write")
        if result.succeeded:
            return result.revision
        if self.fence is not None:
            leader = await self.store.get(self.fence.key, timeout_s=self.timeout_s)
            if not self.fence.holds(leader):
                raise NotLeader(f"epoch {self.fence.epoch} of {self.fence.key} is over")
        raise Conflict(f"{key} is not at revision {known} any more", revision=result.revision)

    @staticmethod
    def _compare(current: Entry, body: Body, now: float) -> tuple[bool, int, float]:
        try:
            old = unseal(current.value, type(body))
        except ContractError:
            return False, 1, 0.0
        if old.body == body:
            return True, old.generation, now - old.as_of
        return False, old.generation + 1, now - old.as_of
