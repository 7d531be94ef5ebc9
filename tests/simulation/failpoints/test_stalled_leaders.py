"""A leader stands still between deciding and writing, for longer than its lease; then it writes what was right once.

No death this time: SIGSTOP, a paused machine, a long swap. Meanwhile the chain is taken back and another life leads.
What the old one writes then nobody wants, and only the fence of its write says so (attack 14, G2').
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field

import pytest
from tests.simulation.failpoints.kit import Killer, reached, soon
from tests.simulation.failpoints.lives import MortalSite, ask, clean_site, delete, live

from isthmus.chaos.simulation.loop import run_virtually
from isthmus.contract.families import LEASES
from isthmus.kv.port import Entry
from isthmus.microcontroller import Fence

STILL_S = 12.0
"""Four times the lease; the next leader has looked at everything long since."""
LEADERS = ("configurator", "credentials", "intake", "placer", "reporter")


def _unheard() -> None:
    """The end of a lease is no news to who stands still."""


@dataclass
class Staller(Killer):
    """Who comes by the point stands still there, and is not told that its lease ran out."""

    def __call__(self, name: str) -> float | None:
        before = self.victim
        waits_s = super().__call__(name)
        if before is None and self.victim is not None:
            self.victim.dead = False
            for lease in self.victim.leases:
                lease.end = _unheard  # type: ignore[method-assign]
            return STILL_S
        return waits_s


@dataclass
class Fenced:
    """Every value that comes into a store, held against who led at that moment."""

    site: MortalSite
    seen: int = 0
    checked: int = 0
    stale: list[str] = field(default_factory=list)

    def committed(self) -> None:
        """The store has changed."""
        mvcc = self.site.store._world.mvcc
        for revision, events in mvcc.log_after(self.seen):
            self.seen = revision
            for event in events:
                if event.entry is not None:
                    self._look(event.entry)

    def _look(self, entry: Entry) -> None:
        try:
            said = json.loads(entry.value)
        except ValueError:
            return
        if not said.get("epoch"):
            return
        self.checked += 1
        component = said["origin"].partition("/")[2]
        leader = self.site.store._world.mvcc.get(LEASES.key(component=component))
        if leader is None or leader.create_revision != said["epoch"]:
            self.stale.append(f"{entry.key} by {component} of epoch {said['epoch']}")


async def stall(life: str) -> Fenced:
    """``life`` stands still before its first write for a chain, which is taken back meanwhile."""
    site, staller = clean_site(), Staller()
    fenced = Fenced(site)
    site.store._world.mvcc.on_change.append(fenced.committed)

    async def ready() -> object:
        return all(runner.health.ready for runner in site.runners.values())

    async def standing() -> object:
        return staller.victim is not None

    with staller.listening():
        site.start()
        try:
            await soon(ready, "every controller is ready")
            await asyncio.sleep(3)
            staller.next(life, "runtime.before_write")
            await ask(site)
            await soon(standing, f"{life} came by")
            assert staller.victim is not None
            site.next_life(staller.victim)
            await delete(site)
            await asyncio.sleep(STILL_S + 5)
            await soon(site.bare, f"{life} stood still: taken back")
            return fenced
        finally:
            await site.stop()


@pytest.mark.parametrize("life", LEADERS)
def test_a_leader_that_stood_still_writes_nothing(life: str) -> None:
    """Why: a process that was paused knows nothing of it; its next step is the write it had decided on."""
    assert (life, "runtime.before_write") in reached(live, "apply")
    fenced = run_virtually(stall(life))
    assert fenced.checked > 3, "values of leaders were seen"
    assert fenced.stale == []


def test_a_writer_without_a_fence_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Why: the mutant. Without the compare of the leader's key an order for a chain that is gone is written."""
    monkeypatch.setattr(Fence, "compares", lambda self: ())
    with pytest.raises(AssertionError, match="intake stood still: taken back"):
        run_virtually(stall("intake"))
    assert any("placer" in line for line in run_virtually(stall("placer")).stale)
