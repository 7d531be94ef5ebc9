"""Leadership by lease as a small world: the real acquisition and the real Writer, one store call at a time.

Two controllers want to lead; each writes as long as it believes to. Between any two of its store calls a controller
may stand still for as long as it takes: its lease expires, another leads, writes, and then the old one goes on
where it stood (attack 14). A store may also be restored from a backup in between.

Promise (G2', seen at the store): whoever's write is accepted is the leader at that very revision; and no accepted
write is lost under another that did not know it.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, replace

from isthmus.chaos.exploration.explorer import Broken
from isthmus.chaos.exploration.stepped import Stepped, SteppedStore
from isthmus.contract.envelope import Stamp, unseal
from isthmus.contract.instance import Leadership
from isthmus.kv.errors import Conflict
from isthmus.kv.mvcc import Backup, MvccStore
from isthmus.kv.port import KeyValueStore
from isthmus.microcontroller.clock import Surroundings
from isthmus.microcontroller.errors import NotLeader
from isthmus.microcontroller.leadership import try_to_lead
from isthmus.microcontroller.state import State
from isthmus.microcontroller.writer import Fence, Writer

LEADER, TARGET = "/isthmus/v1/leaders/placer", "/isthmus/v1/plans/t/c"
TTL_S = 3.0
Acquire = Callable[[KeyValueStore, str, int, Stamp, Surroundings], Awaitable[Fence | None]]


def _now() -> float:
    return 0.0


SURROUNDINGS = Surroundings(now=_now, random=random.Random(0).random, new_id=lambda: "id")


@dataclass(frozen=True, slots=True)
class LeaseScene:
    """How much may happen. ``writes`` of each controller, ``expiries`` and ``restarts`` of both together."""

    controllers: tuple[str, ...] = ("A", "B")
    writes: int = 2
    expiries: int = 1
    restarts: int = 0
    restores: int = 0


@dataclass(slots=True)
class _Controller:
    """One life of a controller."""

    name: str
    life: int
    lease_id: int
    work: Stepped
    seen: tuple[Hashable, ...] = ()

    @property
    def incarnation(self) -> str:
        return f"{self.name}{self.life}"


class LeaseWorld:
    """See the module; ``acquire`` and ``writer`` are where a test plants its mutants."""

    def __init__(
        self,
        scene: LeaseScene,
        acquire: Acquire = try_to_lead,
        writer: type[Writer] = Writer,
    ) -> None:
        self.story: list[str] = []
        self._scene = self._left = scene
        self._acquire = acquire
        self._writer = writer
        self._backup: Backup | None = None
        self._saved: Hashable = None
        self.mvcc = MvccStore()
        self._store = SteppedStore(self.mvcc)
        self._leading: set[str] = set()
        self._controllers = {name: self._born(name, 1) for name in scene.controllers}

    def _born(self, name: str, life: int) -> _Controller:
        lease_id = self.mvcc.grant_lease(TTL_S, 0.0)
        stamp = Stamp(origin="placer", incarnation=f"{name}{life}")
        work = Stepped(self._live(stamp, lease_id))
        return _Controller(name, life, lease_id, work)

    async def _live(self, stamp: Stamp, lease_id: int) -> None:
        """Lead, then write until told that it is over."""
        fence = None
        while fence is None:
            fence = await self._acquire(self._store, LEADER, lease_id, stamp, SURROUNDINGS)
        self._leading.add(stamp.incarnation)
        writer = self._writer(self._store, State(), stamp, SURROUNDINGS, fence)
        for number in range(self._scene.writes):
            try:
                await writer.put(TARGET, Leadership(holder=f"{stamp.incarnation}-{number}"))
            except Conflict:
                continue
            except NotLeader:
                return

    # -- moves

    def moves(self) -> Sequence[str]:
        """What may happen next."""
        found = []
        for name, controller in self._controllers.items():
            if not controller.work.ended:
                found.append(f"step {name}")
            if self._left.expiries and self._holds_lease(controller):
                found.append(f"expire {name}")
            if self._left.restarts:
                found.append(f"restart {name}")
        if self._left.restores:
            found.append("backup" if self._backup is None else "restore")
        return found

    def _holds_lease(self, controller: _Controller) -> bool:
        return controller.lease_id in self.mvcc._leases

    def step(self, move: str) -> None:
        """Let it happen."""
        name, _, who = move.partition(" ")
        said = getattr(self, f"_do_{name}")(*([self._controllers[who]] if who else []))
        self.story.append(f"{move}: {said}")

    def _do_step(self, controller: _Controller) -> str:
        call = controller.work.next_call
        before = self.mvcc.get(TARGET)
        controller.work.step()
        after = self.mvcc.get(TARGET)
        if controller.incarnation in self._leading:  # before that, it only tries again
            outcome = f"{self.mvcc.revision}:{controller.work.next_call}:{controller.work.failed}"
            controller.seen = (*controller.seen, outcome)
        if after is None or after == before:
            return (
                f"{call}, store at {self.mvcc.revision}, next {controller.work.next_call or 'none'}"
            )
        leader = self.mvcc.get(LEADER)
        holder = unseal(leader.value, Leadership).body.holder if leader is not None else "nobody"
        told = f"{controller.incarnation} writes at {after.mod_revision}, {holder} leads"
        if holder != controller.incarnation:
            raise Broken(f"G2': {told}")
        generation = unseal(after.value, Leadership).generation
        known = 0 if before is None else unseal(before.value, Leadership).generation
        if generation != known + 1:
            raise Broken(f"lost update: {told}, generation {generation} after {known}")
        return told

    def _do_expire(self, controller: _Controller) -> str:
        self._left = replace(self._left, expiries=self._left.expiries - 1)
        self.mvcc.revoke_lease(controller.lease_id)
        return f"the lease of {controller.incarnation} runs out"

    def _do_restart(self, controller: _Controller) -> str:
        self._left = replace(self._left, restarts=self._left.restarts - 1)
        controller.work.close()
        self._controllers[controller.name] = self._born(controller.name, controller.life + 1)
        return f"{controller.name} is killed and lives again"

    def _do_backup(self) -> str:
        self._backup = self.mvcc.backup()
        self._saved = (self.mvcc.revision, self.mvcc.get(LEADER), self.mvcc.get(TARGET))
        return f"at revision {self.mvcc.revision}"

    def _do_restore(self) -> str:
        assert self._backup is not None
        self._left = replace(self._left, restores=self._left.restores - 1)
        self.mvcc.restore(self._backup)
        return f"the store is at revision {self.mvcc.revision} again"

    # -- what must hold

    def settle(self) -> None:
        """Safety only: a controller whose lease is gone ends, and its supervisor is not in this world."""

    def state(self) -> Hashable:
        """A coroutine's inside is what it has seen."""
        return (
            self._left,
            self._saved,
            self.mvcc.revision,
            self.mvcc.get(LEADER),
            self.mvcc.get(TARGET),
            tuple(sorted(self.mvcc._leases)),
            tuple((c.life, c.work.next_call, c.seen) for c in self._controllers.values()),
        )
