"""The world "links": three sites and their tier with the real link code, customers that write and take back keys.

Small on purpose: some ten keys a direction, tight limits in half of the seeds, so that every race is likely and a
thousand seeds take a minute. Judged: order, resync, convergence, memory, scope (G4-G8).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from typing import Any

from isthmus.chaos.simulation.carriage import LIMITS, TIER, TIGHT, Gateway, SiteDialer
from isthmus.chaos.simulation.mirrors import Direction
from isthmus.chaos.simulation.processes import Process
from isthmus.chaos.simulation.schedule import Schedule
from isthmus.chaos.simulation.scope_observer import FOREIGN
from isthmus.chaos.simulation.stores import SimStore, StoreServer
from isthmus.chaos.simulation.world import SITES, World
from isthmus.kv.errors import StoreError
from isthmus.kv.port import Event

GATEWAYS = (f"{TIER}.gateway1", f"{TIER}.gateway2")
MEMORY_BOUND_BYTES = 8 * 1024 * 1024
"""G7: at worst, per peer."""


class LinksWorld(World):
    """See the module."""

    name = "links"
    lasts_s = 8.0
    settles_s = 40.0
    process_names = (*GATEWAYS, *(f"{site}.link" for site in SITES))
    promises = ("G4", "G5", "G6", "G7", "G8")

    def __init__(self, schedule: Schedule, commit: str = "") -> None:
        super().__init__(schedule, commit)
        chance = self.chance("shape")
        self.limits = chance.choice((LIMITS, TIGHT))
        self.busy_s = chance.choice((0.15, 0.4, 1.0))
        self.keys = chance.choice((3, 8))
        self._written = 0

    # ---- who is there

    def populate(self) -> Iterator[Process]:
        self.mirrors.observer.begin()
        for name in GATEWAYS:
            yield Process(name, self._gateway, self.failed)
        for index, site in enumerate(SITES):
            yield Process(f"{site}.link", self._dialer(site, index), self.failed)

    async def _gateway(self, process: Process) -> None:
        self.gateways[process.name] = Gateway(self, process, self.limits)

    def _dialer(self, site: str, index: int) -> Any:
        order = [GATEWAYS[index % 2], GATEWAYS[1 - index % 2]]

        async def main(process: Process) -> None:
            self.dialers[site] = SiteDialer(self, site, process, order, self.limits)
            await self.dialers[site].run()

        return main

    # ---- customers

    def load(self) -> Sequence[Coroutine[Any, Any, None]]:
        return [*(self._customer(way) for way in self.mirrors.ways), self._meter()]

    async def _customer(self, way: Direction) -> None:
        """Puts and deletes what crosses on ``way``, now and then many at once."""
        chance = self.chance(f"customer {way.name}")
        store = SimStore(self.servers[way.source], None)
        keys = self._keys(way)
        while True:
            await asyncio.sleep(chance.expovariate(1 / self.busy_s) + 0.001)
            for _ in range(chance.choice((1, 1, 1, 6))):
                key = chance.choice(keys)
                self._written += 1
                value = b"%b%d" % (FOREIGN if "/secrets/" in key else b"", self._written)
                try:
                    if chance.random() < 0.3:
                        await store.delete(key)
                    else:
                        await store.put(key, value)
                except StoreError:
                    continue

    def _keys(self, way: Direction) -> list[str]:
        root = "/isthmus/v1/"
        if way.source == TIER:
            outbox = f"{root}outbox/{way.target}/"
            names = [f"{outbox}intents/t{n % 2}/c{n}" for n in range(self.keys)]
            return [*names, f"{outbox}wires/w-1", f"{outbox}wires/w-2", f"{outbox}secrets/no"]
        peers = f"{root}summary/peers/{TIER}/"
        names = [f"{peers}chains/t{n % 2}/c{n}" for n in range(self.keys)]
        return [*names, f"{peers}wires/w-1", f"{root}summary/site", f"{peers}secrets/no"]

    async def _meter(self) -> None:
        """What each peer costs its gateway, now and then."""
        while True:
            await asyncio.sleep(1.0)
            self._measure()

    def _measure(self) -> None:
        for gateway in self.gateways.values():
            for site, link in gateway.links.items():
                exporter = link._export.exporter
                self.record.memory(
                    gateway.process.name,
                    peer=site,
                    pending_keys=exporter.pending_keys,
                    pending_bytes=exporter._outbox.value_bytes + exporter.in_flight_bytes,
                    bound_bytes=MEMORY_BOUND_BYTES,
                )

    # ---- observers

    def on_events(self, server: StoreServer, revision: int, events: tuple[Event, ...]) -> None:
        self.mirrors.observer.committed(server, events)

    def restored(self, name: str) -> None:
        self.mirrors.observer.restored(self.servers[name])

    def healed(self) -> None:
        self.mirrors.healed()

    async def settled(self) -> bool:
        """Every mirror holds what its source does."""
        return self.mirrors.equal()

    async def conclude(self) -> None:
        self.mirrors.conclude()
        self.scopes.conclude()

    def unsettled(self) -> None:
        """The judges say it (G4, G6)."""
