"""What sites do for their own chains, timed from the wish to the effect, and whether they were cut off meanwhile (G1).

A customer of a site asks at that site; a sandbox breaks. Each is one operation: it worked when its effect stood in the
site's store within :data:`LOCAL_S`. What else hit the site by then is read from the schedule, as is the cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from isthmus.chaos.simulation.faults import KINDS
from isthmus.chaos.simulation.schedule import Fault
from isthmus.chaos.simulation.stores import StoreServer
from isthmus.contract import ContractError, unseal
from isthmus.contract.chain import ChainStatus, Phase
from isthmus.contract.families import DESIRED, RUNTIME
from isthmus.contract.instance import InstanceRuntime
from isthmus.kv.port import Entry, Event

if TYPE_CHECKING:
    from isthmus.chaos.simulation.world_carrier import CarrierWorld

CUTS = frozenset({"line.cut", "line.half-open", "line.one-way"})
LOCAL_S = 3.0
"""Until then the effect is there; undisturbed it takes 0.01 to 1.1 s, the healing included."""
RECOVERY_S = 12.0
"""So long after another fault a site may still be busy with it: leases run out, controllers begin anew."""
Done = Callable[[Entry | None], bool | None]
"""Looks at the key that tells: True, it is done; None, nobody wants it any more."""


@dataclass(frozen=True, slots=True)
class _Work:
    op: str
    began_s: float
    outside: int
    done: Done


class LocalWork:
    """Of all sites of a world."""

    def __init__(self, world: CarrierWorld) -> None:
        self._world = world
        self._waiting: dict[tuple[str, str], _Work] = {}

    # ---- what begins

    def asked(self, site: str, key: str, op: str, revision: int | None, began_s: float) -> None:
        """``site`` acknowledged a wish at ``revision`` (None: the end of the chain) that ``key`` will tell about."""
        self.given_up(site, key)
        if revision is None and self._world.servers[site].mvcc.get(key) is None:
            return  # nothing had come of it yet
        self._begin(site, key, op, began_s, lambda entry: _told(entry, revision))

    def lost(self, site: str, instance: str) -> None:
        """A sandbox of ``site`` broke."""
        keys = self._keys_of(site, instance)
        if keys is None:
            return
        runtime = _runtime(self._world.servers[site].mvcc.get(keys[1]))
        if runtime is not None and runtime.phase == "running":
            life = runtime.incarnation
            server, desired = self._world.servers[site], keys[0]

            def healed(entry: Entry | None) -> bool | None:
                if entry is None or server.mvcc.get(desired) is None:
                    return None
                now = _runtime(entry)
                return now is not None and now.phase == "running" and now.incarnation > life

            self._begin(site, keys[1], "heal", self._world.now_s(), healed)

    def _keys_of(self, site: str, instance: str) -> tuple[str, str] | None:
        """Where its order and its life stand; None when nobody ordered it."""
        host = self._world.hosts[site].facts.host
        desired = DESIRED.key(host=host, instance=instance)
        if self._world.servers[site].mvcc.get(desired) is None:
            return None
        return desired, RUNTIME.key(host=host, instance=instance)

    def _begin(self, site: str, key: str, op: str, began_s: float, done: Done) -> None:
        self._waiting[site, key] = _Work(op, began_s, self._outside(site), done)
        self._look(site, key, self._world.servers[site].mvcc.get(key))

    # ---- what comes of it

    def committed(self, server: StoreServer, events: Iterable[Event]) -> None:
        """``server`` has committed these."""
        for event in events:
            if (server.name, event.key) in self._waiting:
                self._look(server.name, event.key, event.entry)

    def _look(self, site: str, key: str, entry: Entry | None) -> None:
        done = self._waiting[site, key].done(entry)
        if done is None:
            del self._waiting[site, key]
        elif done:
            self._tell(site, self._waiting.pop((site, key)))

    def given_up(self, site: str, key: str) -> None:
        """Another wish took its place, or the run ends: it counts when it should have been done by now."""
        work = self._waiting.pop((site, key), None)
        if work is not None and self._world.now_s() - work.began_s > LOCAL_S:
            self._tell(site, work)

    def restored(self, site: str) -> None:
        """The site itself went back in time: nothing that was under way says anything."""
        for place in [place for place in self._waiting if place[0] == site]:
            del self._waiting[place]

    def conclude(self) -> None:
        """What is still under way."""
        for site, key in list(self._waiting):
            self.given_up(site, key)

    def _tell(self, site: str, work: _Work) -> None:
        now_s = self._world.now_s()
        took_s = now_s - work.began_s
        faults = [
            one for one in self._world.schedule.faults if one.at_s <= now_s and _hits(one, site)
        ]
        cut = any(one.kind in CUTS and one.ends_s >= work.began_s for one in faults)
        other = any(
            KINDS[one.kind].hits != "line"
            and one.ends_s + RECOVERY_S >= work.began_s
            and not (work.op == "heal" and one.at_s == work.began_s)
            for one in faults
        )
        self._world.record.local(
            f"store.{site}",
            site=site,
            op=work.op,
            ok=took_s <= LOCAL_S,
            took_s=round(took_s, 6),
            cut=cut,
            outside_calls=self._outside(site) - work.outside,
            other_fault=other or None,
        )

    def _outside(self, site: str) -> int:
        """Calls of the site's processes to anybody else's store, ever."""
        return sum(process.outside_calls for process in self._world.on_machine(site))


def _hits(fault: Fault, site: str) -> bool:
    """The site's own link is no part of what it does for itself."""
    return fault.target == site or (
        fault.target.startswith(f"{site}.") and fault.target != f"{site}.link"
    )


def _told(entry: Entry | None, revision: int | None) -> bool:
    """Does the status say that the wish of ``revision`` runs (None: that the chain is gone)?"""
    if entry is None or revision is None:
        return entry is None and revision is None
    try:
        status = unseal(entry.value, ChainStatus).body
    except ContractError:
        return False
    return status.phase is Phase.RUNNING and status.request_revision >= revision


def _runtime(entry: Entry | None) -> InstanceRuntime | None:
    try:
        return None if entry is None else unseal(entry.value, InstanceRuntime).body
    except ContractError:
        return None
