"""Two tiers of mortal controllers: the global ones, and two sites with one host each, joined by the hollow link."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field

from tests.simulation.failpoints.kit import LIFE, Fact, Killer, Life, MortalStore, Step, soon, walk
from tests.simulation.failpoints.lives import MortalSite
from tests.simulation.global_tier.world import HollowLink, chain

from isthmus.contract import Body, Stamp, seal, unseal, utc_seconds
from isthmus.contract.chain import ChainRequest, ChainSpec, ChainStatus
from isthmus.contract.families import (
    G_INTENTS,
    G_LINKS,
    G_PLACEMENTS,
    G_REQUESTS,
    G_SITES,
    G_STATUS,
    G_VNIS,
    G_WIRES,
)
from isthmus.contract.scopes import site_exports, site_summary_key, tier_exports
from isthmus.contract.world import LinkSpec, SiteSpec
from isthmus.global_tier.group import controller
from isthmus.kv.memory import MemoryStore
from isthmus.microcontroller import Runner

STAMP = Stamp(origin="operator", incarnation="test")
SITES = ("milan", "paris")
COMPONENTS = ("intake", "placer", "wiring", "reporter", "region.europe")
ROOT = "/isthmus/v1/"
GLOBAL = "global/"
"""Before the names of lives of the global tier."""


@dataclass
class MortalTiers:
    """Everything in one loop's virtual time."""

    store: MemoryStore
    sites: dict[str, MortalSite] = field(default_factory=dict)
    lives: list[Life] = field(default_factory=list)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    killer: Killer = field(default_factory=Killer)

    async def start(self) -> None:
        """Register sites and the link between them, run everything."""
        clock = asyncio.get_running_loop().time
        for name, country in zip(SITES, ("it", "fr"), strict=True):
            site = MortalSite(MemoryStore(clock=clock), hosts=("h1",), name=name)
            self.sites[name] = site
            circuits = (f"{name}-a", f"{name}-b")
            spec = SiteSpec(
                site=name, region="europe", country=country, owner="carrier", price_milli=1000,
                attachments=circuits,
            )  # fmt: skip
            await self.put(G_SITES.key(site=name), spec)
            site.start()
            up = HollowLink(site.store, site_exports("global"), self.store, name)
            down = HollowLink(self.store, tier_exports(name), site.store, "global")
            self.tasks += [asyncio.create_task(up.run()), asyncio.create_task(down.run())]
        for a, b in (SITES, SITES[::-1]):
            line = LinkSpec(source=a, target=b, latency_us=5_000, capacity_kbps=100_000)
            await self.put(G_LINKS.key(source=a, target=b), line)
        for component in COMPONENTS:
            self.start_component(component)
        await soon(self._heard_of, "the tier has heard of both sites")

    def start_component(self, component: str) -> None:
        """In a life of its own."""
        life = Life(GLOBAL + component, self.store)
        self.lives.append(life)
        runner = Runner(controller(component, "test"), MortalStore(life), f"test/{component}")
        token = LIFE.set(life)
        self.tasks.append(asyncio.create_task(runner.run()))
        LIFE.reset(token)

    def next_life(self, dead: Life) -> None:
        """Of whom the killer hit, in either tier."""
        if dead.name.startswith(GLOBAL):
            self.start_component(dead.name.removeprefix(GLOBAL))
            return
        site = next(one for one in self.sites.values() if dead in one.lives)
        site.next_life(dead)

    async def stop(self) -> None:
        """End all."""
        for life in self.lives:
            life.over = True
        for task in self.tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*self.tasks, return_exceptions=True)
        for site in self.sites.values():
            await site.stop()

    async def put(self, key: str, body: Body) -> None:
        """Write as the operator, or the API."""
        await self.store.put(key, seal(body, STAMP, as_of=utc_seconds()))

    async def apply(self, spec: ChainSpec) -> None:
        """What the API does."""
        await self.put(G_REQUESTS.key(tenant="acme", chain=spec.chain), ChainRequest(spec=spec))

    # ---- facts

    async def _heard_of(self) -> object:
        return None not in [await self.store.get(site_summary_key(name)) for name in SITES]

    async def carries(self, spec: ChainSpec) -> object:
        """True when the chain runs, each function once, over as many wires as the placement says, both ends equal."""
        entry = await self.store.get(G_STATUS.key(tenant="acme", chain=spec.chain))
        status = unseal(entry.value, ChainStatus).body if entry is not None else None
        if status is None or status.phase.value != "running":
            return f"status {status}"
        functions = sorted(f.function for f in status.functions)
        if functions != sorted(f.name for f in spec.functions):
            return f"functions {functions}"
        built = [
            state.instance_id
            for site in self.sites.values()
            for compute in site.compute.values()
            for state in await compute.list_instances()
        ]
        if len(built) != len(set(built)) or len(built) != len(spec.functions):
            return f"sandboxes {built}"
        numbers = [
            sorted(wire.vni for wire in site.panels["h1"].panel.wires)
            for site in self.sites.values()
        ]
        claims = [e.key for e in (await self.store.snapshot(G_VNIS.prefix())).entries]
        wires = [e.key for e in (await self.store.snapshot(G_WIRES.prefix())).entries]
        whole = numbers[0] == numbers[1] and len(claims) == len(wires) == len(numbers[0]) > 0
        return True if whole else f"numbers {numbers}, claims {claims}, wires {wires}"

    async def bare(self) -> object:
        """True when nothing of any chain is left in any store."""
        families = (G_INTENTS, G_PLACEMENTS, G_VNIS, G_WIRES, G_STATUS)
        keys = [entry.key for entry in (await self.store.snapshot(ROOT)).entries]
        left = [key for key in keys for family in families if family.parse(key) is not None]
        left += [key for key in keys if "/outbox/" in key or "/explain/" in key]
        for name, site in self.sites.items():
            found = await site.bare()
            left += [] if found is True else [f"{name}: {found}"]
        return left or True


WEB = chain(constraints={"anti_affinity": [["fw", "nat"]]})
CHANGED = chain(
    constraints={"anti_affinity": [["fw", "nat"]]},
    functions=[
        {"name": "fw", "type": "firewall", "config": {"default_policy": "drop"}},
        {"name": "nat", "type": "nat", "config": {"address": "203.0.113.10"}},
        {"name": "lim", "type": "limiter", "config": {"rate_kbps": 1000}},
    ],
)


async def _ask(tiers: MortalTiers) -> None:
    await tiers.apply(WEB)


async def _change(tiers: MortalTiers) -> None:
    await tiers.apply(CHANGED)


async def _delete(tiers: MortalTiers) -> None:
    await tiers.store.delete(G_REQUESTS.key(tenant="acme", chain="web"))


async def _runs(tiers: MortalTiers) -> object:
    return await tiers.carries(WEB)


async def _runs_changed(tiers: MortalTiers) -> object:
    return await tiers.carries(CHANGED)


async def _gone(tiers: MortalTiers) -> object:
    return await tiers.bare()


PATHS: dict[str, tuple[bool, Step[MortalTiers], Fact[MortalTiers]]] = {
    "apply": (False, _ask, _runs),
    "change": (True, _change, _runs_changed),
    "delete": (True, _delete, _gone),
}
"""Name -> does the chain run before, the step, what is true after it."""


async def live(path: str, killer: Killer, life: str = "", point: str = "") -> set[tuple[str, str]]:
    """As in ``lives``, over two tiers."""
    runs_before, step, after = PATHS[path]
    tiers = MortalTiers(MemoryStore(clock=asyncio.get_running_loop().time))
    with killer.listening():
        try:
            await tiers.start()
            if runs_before:
                await _ask(tiers)
                await soon(lambda: _runs(tiers), f"{path}: first it runs")
            return await walk(tiers, (path, step, after), _delete, killer, life, point)
        finally:
            await tiers.stop()
