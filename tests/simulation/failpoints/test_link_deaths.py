"""A link dies at each failpoint of export and import: the mirrors become equal, nothing is blanked (G4 to G6).

Both ends of the link die with it, as a link does; their stores live on. A key that a reader of the mirror has seen
may not vanish unless the source took it away.
"""

from __future__ import annotations

import asyncio

import pytest
from tests.federation_support import (
    HUB,
    SITE,
    Wire,
    below,
    intents_at_site,
    outbox,
    summary,
    summary_at_hub,
)
from tests.simulation.failpoints.kit import LIFE, Killer, Life, MortalStore, soon

from isthmus.chaos.simulation.loop import run_virtually
from isthmus.contract.scopes import import_root
from isthmus.failpoint import FAILPOINTS
from isthmus.kv.memory import MemoryStore
from isthmus.kv.port import EventKind

POINTS = sorted(name for name in FAILPOINTS if name.startswith(("export.", "import.")))
KEPT = [f"intents/acme/kept{number}" for number in range(5)]
PASSES = (1, 2, 4)
"""The point is let pass so often before the death: the first copy, then the changes."""


class Third(Killer):
    """Lets a point pass some times first."""

    passes = 0

    def __call__(self, name: str) -> float | None:
        if name == self.point and self.victim is None and LIFE.get() is not None:
            self.passes -= 1
            if self.passes > 0:
                return None
        return super().__call__(name)


async def churn(site: MemoryStore, hub: MemoryStore, round_: int) -> None:
    """Some keys come, some change, some go, in both directions."""
    value = b"%d" % round_
    await hub.put(outbox(f"intents/acme/c{round_}"), value)
    await hub.put(outbox("intents/acme/changes"), value)
    if round_ > 2:
        await hub.delete(outbox(f"intents/acme/c{round_ - 2}"))
    await site.put(summary(f"chains/acme/c{round_ % 3}"), value)


async def equal(site: MemoryStore, hub: MemoryStore) -> object:
    """True when both mirrors are."""
    down = await below(hub, f"/isthmus/v1/outbox/{SITE}/") == await intents_at_site(site)
    up = {k: v for k, v in (await summary_at_hub(hub)).items() if k.startswith("summary/chains/")}
    wanted = await below(site, f"/isthmus/v1/summary/peers/{HUB}/")
    return (
        down and up == {f"summary/{k}": v for k, v in wanted.items()}
    ) or f"down {down}, up {up}"


async def blanked(site: MemoryStore, found: list[str]) -> None:
    """Deletions of what the source never took away, as a reader of the mirror sees them."""
    root = import_root(HUB)
    async for batch in site.watch(root, start_revision=1):
        for event in batch.events:
            if event.kind is EventKind.DELETE and event.key.removeprefix(root) in KEPT:
                found.append(event.key)


async def die_at(point: str, passes: int) -> bool:
    """One link's life with a death in it; was the point reached?"""
    site, hub = MemoryStore(), MemoryStore()
    killer = Third(point)
    killer.passes = passes
    for key in KEPT:
        await hub.put(outbox(key), b"kept")
    found: list[str] = []
    watching = asyncio.create_task(blanked(site, found))
    lives: list[Life] = []
    wires: list[Wire] = []

    def join() -> None:
        here, there = Life("site", site), Life("hub", hub)
        lives.extend((here, there))
        wire = Wire(MortalStore(here), MortalStore(there))
        token = LIFE.set(here)
        wire.join()
        LIFE.reset(token)
        wires.append(wire)

    with killer.listening():
        try:
            join()
            for round_ in range(8):
                await churn(site, hub, round_)
                await asyncio.sleep(1.5)
                if killer.victim is not None and len(wires) == 1:
                    for life in lives:
                        life.die()
                    join()
            await soon(lambda: equal(site, hub), f"equal after a death at {point}")
        finally:
            for life in lives:
                life.over = True
            for wire in wires:
                await wire.kill()
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
    assert not found, f"blanked on the way: {found}"
    return killer.victim is not None


@pytest.mark.parametrize("point", POINTS)
def test_a_death_at_a_failpoint_of_a_link(point: str) -> None:
    """Why: between storing, acknowledging and writing down where we stand a link may lose or repeat, but never hide."""
    reached = [run_virtually(die_at(point, passes)) for passes in PASSES]
    assert any(reached), f"nobody came by {point}"


def test_there_are_points_on_both_sides() -> None:
    """Why: a table without one side would make the test above prove half."""
    assert {name.partition(".")[0] for name in POINTS} == {"export", "import"}
    assert len(POINTS) > 8
