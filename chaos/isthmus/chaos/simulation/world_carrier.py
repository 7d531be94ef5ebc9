"""The world "carrier": three sites and the global tier with the real runtime and every real controller on real links.

Each component is a process of its own with its own store user (the contract's roles), so a crash, a freeze or a
failpoint hits one of them between any two steps. Customers ask for chains, replace and take them back, above and at
the sites. When the faults are over, every chain that is asked for must run exactly once, with wires that meet, and
nothing else may be left anywhere, and every mirror must equal its source. Judged: G1, G3 to G6, G8 and G12; what must
be at rest is checked here and named as a problem.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, ClassVar

from isthmus.chaos.simulation.carriage import LIMITS, TIER, Gateway, SiteDialer
from isthmus.chaos.simulation.chain_observer import ChainObserver
from isthmus.chaos.simulation.customers import Customers
from isthmus.chaos.simulation.hollow_site import (
    STAMP,
    HollowHost,
    HollowUsers,
    pretend_agent,
    site_controllers,
)
from isthmus.chaos.simulation.local_work import LocalWork
from isthmus.chaos.simulation.loop import VirtualLoop
from isthmus.chaos.simulation.processes import Process
from isthmus.chaos.simulation.schedule import Schedule
from isthmus.chaos.simulation.stores import SimStore, StoreServer
from isthmus.chaos.simulation.world import SITES, World
from isthmus.contract import Body, seal
from isthmus.contract.families import G_LINKS, G_SITES
from isthmus.contract.family import Tier
from isthmus.contract.roles import role
from isthmus.contract.world import LinkSpec, SiteSpec
from isthmus.global_tier.group import controller
from isthmus.kv.grants import Access, Grant
from isthmus.kv.port import Event
from isthmus.microcontroller import Microcontroller, Runner
from isthmus.microcontroller.clock import Surroundings
from isthmus.site.intake import Delegation
from isthmus.site.watcher import HostFacts

SLOTS = 4
"""Pairs of circuits between sites; each carries at most one chain at a time."""
GLOBAL_COMPONENTS = ("intake", "placer", "wiring", "reporter", "region.europe")
SITE_COMPONENTS = (
    "intake", "placer", "configurator", "credentials", "monitor", "healer", "reporter",
    "summarizer", "watcher.h1", "launcher.h1", "chaining.h1",
)  # fmt: skip
GATEWAYS = (f"{TIER}.gateway1", f"{TIER}.gateway2")
TICK_S = 0.5
PLANT_S = 4.0
PERIOD_S = 2.0
"""Of the sites' reports: they age after three of them."""
Make = Callable[[], Microcontroller]


class CarrierWorld(World):
    """See the module."""

    name = "carrier"
    lasts_s = 20.0
    settles_s = 90.0
    process_names = (
        *GATEWAYS,
        *(f"{TIER}.{name}" for name in GLOBAL_COMPONENTS),
        *(f"{site}.{name}" for site in SITES for name in (*SITE_COMPONENTS, "link")),
    )
    promises = ("G1", "G3", "G4", "G5", "G6", "G8", "G12")
    brake_floor: ClassVar[int] = 100
    """Of a peer's chains a site lets go at once: here all, since customers of a faulty tier may mean it."""

    def __init__(self, schedule: Schedule, commit: str = "") -> None:
        super().__init__(schedule, commit)
        self.hosts = {site: _host(index, site) for index, site in enumerate(SITES)}
        self.users = {site: HollowUsers() for site in SITES}
        self.customers = Customers(self)
        self.chains = ChainObserver(self)
        self.local = LocalWork(self)

    # ---- who is there

    def populate(self) -> Iterator[Process]:
        self.mirrors.observer.begin()
        self._register()
        self.scopes.plant()
        for server in self.servers.values():
            server.take_backup()
        self._tick()
        for name in GATEWAYS:
            yield Process(name, self._gateway, self.failed)
        for component in GLOBAL_COMPONENTS:
            yield self._component(TIER, component, _global(component))
        for site in SITES:
            for component in SITE_COMPONENTS:
                yield self._component(site, component, self._site(site, component))
            yield Process(f"{site}.vnf", self._agent(site), self.failed)
            yield Process(f"{site}.link", self._dialer(site), self.failed)

    def _register(self) -> None:
        """What the operator tells the tier."""
        tier = self.servers[TIER].mvcc
        for index, site in enumerate(SITES):
            spec = SiteSpec(
                site=site,
                region="europe",
                country=("it", "fr", "ch")[index],
                price_milli=1000 + 100 * index,
                attachments=self.hosts[site].facts.attachments,
            )
            tier.put(G_SITES.key(site=site), _sealed(spec))
        for a in SITES:
            for b in SITES:
                if a != b:
                    link = LinkSpec(source=a, target=b, latency_us=5_000, capacity_kbps=100_000)
                    tier.put(G_LINKS.key(source=a, target=b), _sealed(link))

    def _tick(self) -> None:
        """Stores look at their clocks, so that leases end also when nobody calls."""
        for server in self.servers.values():
            server.tick()
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop.at(loop.time() + TICK_S, self._tick)

    def _component(self, machine: str, component: str, make: Make) -> Process:
        tier = Tier.GLOBAL if machine == TIER else Tier.SITE
        rights = role(tier, component)
        grants = tuple(
            Grant.of(grant.target, _ACCESS[grant.access.value]) for grant in rights.grants
        )

        async def main(process: Process) -> None:
            ids = self.ids_of(process.name)
            surroundings = Surroundings(
                now=self.clocks[machine].wall_s,
                random=ids.random,
                new_id=lambda: f"{ids.getrandbits(64):016x}",
            )
            store = SimStore(
                self.servers[machine], process, None if rights.root else grants, component
            )
            runner = Runner(make(), store, f"sim/{machine}/{component}", surroundings)
            await runner.run()

        return Process(f"{machine}.{component}", main, self.failed)

    def _site(self, site: str, component: str) -> Make:
        def make() -> Microcontroller:
            made = [
                *site_controllers(
                    site,
                    self.users[site],
                    period_s=PERIOD_S,
                    delegations=[Delegation(TIER, brake_floor=self.brake_floor)],
                ),
                *self.hosts[site].controllers(),
            ]
            return next(one for one in made if one.component == component)

        return make

    def _agent(self, site: str) -> Callable[[Process], Coroutine[Any, Any, None]]:
        async def main(process: Process) -> None:
            while True:
                try:
                    await pretend_agent(SimStore(self.servers[site], None))
                except Exception as error:
                    self.stats.transitions[f"vnf.{type(error).__name__}"] += 1
                await asyncio.sleep(0.5)

        return main

    async def _gateway(self, process: Process) -> None:
        self.gateways[process.name] = Gateway(self, process, LIMITS)

    def _dialer(self, site: str) -> Callable[[Process], Coroutine[Any, Any, None]]:
        async def main(process: Process) -> None:
            self.dialers[site] = SiteDialer(self, site, process, list(GATEWAYS), LIMITS)
            await self.dialers[site].run()

        return main

    def lose_instance(self, site: str, pick: float) -> bool:
        compute = self.hosts[site].compute
        running = [name for name, one in compute._instances.items() if one.phase == "running"]
        if running:
            name = running[int(pick * len(running))]
            self.local.lost(site, name)
            compute.lose_instance(name)
        return bool(running)

    # ---- customers and observers

    def load(self) -> Sequence[Coroutine[Any, Any, None]]:
        return [*self.customers.work(), self._plant()]

    async def _plant(self) -> None:
        """Whatever is followed meets what must not cross, not only what is read from its beginning."""
        while True:
            await asyncio.sleep(PLANT_S)
            self.scopes.plant()

    def on_events(self, server: StoreServer, revision: int, events: tuple[Event, ...]) -> None:
        self.mirrors.observer.committed(server, events)
        self.chains.committed(server, events)
        self.local.committed(server, events)

    def restored(self, name: str) -> None:
        self.mirrors.observer.restored(self.servers[name])
        self.customers.store_restored(name)
        self.local.restored(name)

    def healed(self) -> None:
        self.mirrors.healed()

    async def rest(self) -> None:
        await self.customers.last_words()

    async def settled(self) -> bool:
        """Every chain is right and every mirror equal at one moment: the sites' reports go on crossing for ever."""
        equal = self.mirrors.equal()
        self.wrong = self.chains.wrong()
        return equal and not self.wrong

    def unsettled(self) -> None:
        for one in (*self.wrong[:5], *self.mirrors.differences()):
            self.problem(f"rest: {one}")

    async def conclude(self) -> None:
        self.local.conclude()
        self.chains.tell_end()
        self.scopes.conclude()
        self.mirrors.conclude()


_ACCESS = {
    "read": Access.READ,
    "write": Access.WRITE,
    "readwrite": Access.READ_WRITE,
}


def _sealed(body: Body) -> bytes:
    return seal(body, STAMP, as_of=0.0)


def _global(component: str) -> Make:
    return lambda: controller(component, "simulation")


def _host(index: int, site: str) -> HollowHost:
    names = [f"{site[0]}-{slot}" for slot in range(SLOTS)]
    attachments = (*names, f"{site[0]}-in", f"{site[0]}-out")
    return HollowHost(HostFacts("h1", 4000, 4096, f"10.{index + 1}.0.1", attachments))
