"""Customers of the simulated carrier: they ask for chains, replace them, change them, take them back (G3).

One works per pair of circuits and one per site for itself. Each remembers what was acknowledged to it, and when a
store comes back from a backup it asks again for what it wants, as who keeps his wishes in files does.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from isthmus.chaos.simulation.carriage import TIER
from isthmus.chaos.simulation.hollow_site import STAMP
from isthmus.chaos.simulation.stores import SimStore
from isthmus.contract import seal
from isthmus.contract.chain import ChainRequest, ChainSpec
from isthmus.contract.families import G_REQUESTS, REQUESTS, STATUS
from isthmus.kv.errors import NoSpace, StoreError, Unavailable

if TYPE_CHECKING:
    from isthmus.chaos.simulation.world_carrier import CarrierWorld

TENANT = "acme"
PAIRS = (("milan", "paris"), ("paris", "zurich"), ("milan", "zurich"), ("zurich", "milan"))
FUNCTIONS = {
    "fw": {"name": "fw", "type": "firewall", "config": {"default_policy": "accept"}},
    "nat": {"name": "nat", "type": "nat", "config": {"address": "203.0.113.10"}},
}


@dataclass
class Slot:
    """One pair of circuits. ``wants`` is what its customer has last asked for, by name (None: nothing)."""

    name: str
    tier: str
    ingress: tuple[str, str]
    egress: tuple[str, str]
    pause_s: float
    wants: dict[str, ChainSpec | None] = field(default_factory=dict)
    unsure: bool = False
    """Was the last answer none, or no?"""


class Customers:
    """All of a world. ``moods`` is what one with a standing chain may do next."""

    moods: ClassVar[Sequence[str]] = ("change", "replace", "replace", "delete")

    def __init__(self, world: CarrierWorld) -> None:
        self._world = world
        self._ops = 0
        self._again: set[str] = set()
        self.slots = [
            Slot(f"c{n}", TIER, (a, f"{a[0]}-{n}"), (b, f"{b[0]}-{n}"), 4.0)
            for n, (a, b) in enumerate(PAIRS)
        ] + [
            Slot(f"own-{site}", site, (site, f"{site[0]}-in"), (site, f"{site[0]}-out"), 6.0)
            for site in ("milan", "paris", "zurich")
        ]

    def work(self) -> list[Coroutine[Any, Any, None]]:
        """What they do until the faults end."""
        return [self._customer(slot) for slot in self.slots]

    def store_restored(self, name: str) -> None:
        """What was asked there may be forgotten."""
        self._again.add(name)

    async def last_words(self) -> None:
        """Whoever's store was restored, or who is not sure, asks again."""
        for slot in self.slots:
            if slot.unsure or slot.tier in self._again:
                await self._ask_again(slot)
        self._again.clear()

    async def _ask_again(self, slot: Slot) -> None:
        for chain, spec in sorted(slot.wants.items()):
            await self._ask(slot, chain, spec)

    async def _customer(self, slot: Slot) -> None:
        chance = self._world.chance(f"customer {slot.tier} {slot.name}")
        await asyncio.sleep(chance.uniform(0.1, slot.pause_s))
        told = self._world.servers[slot.tier].restores
        while True:
            restores = self._world.servers[slot.tier].restores
            if restores != told:
                told = restores
                await self._ask_again(slot)
            await self._change_mind(slot, chance)
            await asyncio.sleep(chance.expovariate(1 / slot.pause_s) + 0.05)

    async def _change_mind(self, slot: Slot, chance: random.Random) -> None:
        """Ask, change, replace (delete one, put another on the same circuits), take back."""
        standing = next((name for name, spec in slot.wants.items() if spec is not None), None)
        if standing is None:
            await self._ask(
                slot, chance.choice((slot.name, f"{slot.name}x")), self._spec(slot, chance)
            )
            return
        what = chance.choice(self.moods)
        if what == "change":
            await self._ask(slot, standing, self._spec(slot, chance))
            return
        await self._ask(slot, standing, None)
        if what == "replace":
            other = slot.name if standing != slot.name else f"{slot.name}x"
            await self._ask(slot, other, self._spec(slot, chance))

    def _spec(self, slot: Slot, chance: random.Random) -> ChainSpec:
        names = chance.choice((("fw",), ("fw", "nat"), ("nat",)))
        site = chance.choice((slot.ingress[0], slot.egress[0], ""))
        return ChainSpec.model_validate(
            {
                "tenant": TENANT,
                "chain": slot.name,
                "ingress": {"site": slot.ingress[0], "attachment": slot.ingress[1]},
                "egress": {"site": slot.egress[0], "attachment": slot.egress[1]},
                "functions": [FUNCTIONS[name] for name in names],
                "latency_budget_ms": 30,
                "constraints": {"sites": [site] if site else []},
            }
        )

    async def _ask(self, slot: Slot, chain: str, spec: ChainSpec | None) -> None:
        """One operation, as the API does it."""
        self._ops += 1
        op, who = str(self._ops), f"client.{slot.name}"
        verb: Literal["put", "delete"] = "delete" if spec is None else "put"
        named = {"op": op, "verb": verb, "tier": slot.tier, "chain": f"{TENANT}/{chain}"}
        record = self._world.record
        record.note(who, "ask", {**named, "phase": "sent"})
        store = SimStore(self._world.servers[slot.tier], None)
        family = G_REQUESTS if slot.tier == TIER else REQUESTS
        key = family.key(tenant=TENANT, chain=chain)
        revision: int | None = None
        local = STATUS.key(tenant=TENANT, chain=chain)
        what = "delete" if spec is None else "change" if slot.wants.get(chain) else "place"
        began_s = self._world.now_s()
        slot.wants[chain] = spec
        try:
            if spec is None:
                await store.delete(key)
            else:
                mine = spec.model_copy(update={"chain": chain})
                as_of = self._world.clocks[slot.tier].wall_s()
                value = seal(ChainRequest(spec=mine), STAMP, as_of=as_of)
                revision = await store.put(key, value)
            phase = "acked"
        except (Unavailable, NoSpace):
            phase = "refused"
        except StoreError:
            phase = "unknown"
        if slot.tier != TIER and phase == "acked":
            self._world.local.asked(slot.tier, local, what, revision, began_s)
        elif slot.tier != TIER:
            self._world.local.given_up(slot.tier, local)
        slot.unsure = slot.unsure or phase != "acked"
        if self._world.servers[slot.tier].restores:
            revision = None  # of another history: it orders nothing
        record.note(who, "ask", {**named, "phase": phase, "revision": revision})
