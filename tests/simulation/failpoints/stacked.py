"""A tier that stands for its site towards a tier above, both of mortal controllers; the upper one has a site, too.

    global ── boston
       └───── europe ── milan

A chain from milan to boston crosses all of it: asked for above, carried by the region's own decision below, joined by
a wire whose number is the upper tier's. Only here the points of a tier that carries for a peer are come by.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from tests.simulation.failpoints.kit import LIFE, Fact, Killer, Life, MortalStore, Step, soon, walk
from tests.simulation.failpoints.lives import MortalSite
from tests.simulation.global_tier.tiers import COMPONENTS, PERIOD_S, HollowTier, chain
from tests.simulation.global_tier.world import HollowLink

from isthmus.contract.chain import ChainSpec, Phase
from isthmus.contract.peering import Delegation
from isthmus.contract.scopes import site_exports, site_summary_key
from isthmus.global_tier.group import controller
from isthmus.global_tier.numbers import Numbers
from isthmus.global_tier.reporter import Reporter
from isthmus.global_tier.representative import Representative
from isthmus.kv.memory import MemoryStore
from isthmus.microcontroller import Runner

NUMBERS = {"global": Numbers(1000, 1999), "europe": Numbers(2000, 2999)}


def _store() -> MemoryStore:
    """On the loop's own time: leases of the dead must run out."""
    return MemoryStore(clock=asyncio.get_running_loop().time)


@dataclass
class MortalTier(HollowTier):
    """Each controller is a life, named ``<tier>/<component>``."""

    lives: list[Life] = field(default_factory=list)

    def start(self) -> None:
        for component in COMPONENTS:
            self.start_component(component)

    def start_component(self, component: str) -> None:
        """In a life of its own."""
        life = Life(f"{self.name}/{component}", self.store)
        self.lives.append(life)
        made = controller(component, "test", name=self.name, policy=self.policy)
        if isinstance(made, Reporter | Representative):
            made.period_s = PERIOD_S
        runner = Runner(made, MortalStore(life), f"{self.name}/{component}")
        token = LIFE.set(life)
        self.tasks[f"{component} {len(self.lives)}"] = asyncio.create_task(runner.run())
        LIFE.reset(token)

    async def join_site(self, name: str) -> None:
        """A site of mortal controllers, directly below."""
        site = MortalSite(_store(), hosts=("h1",), name=name)
        self.sites[name] = site
        await self.register(name, (f"{name}-a", f"{name}-b"))
        site.start()
        up = HollowLink(site.store, site_exports("global"), self.store, name)
        self._join(name, site.store, up, "global")

    async def stop(self) -> None:
        for life in self.lives:
            life.over = True
        await super().stop()


class Stack:
    """Both tiers."""

    def __init__(self) -> None:
        self.top = MortalTier("global", NUMBERS["global"], store=_store())
        asked = (Delegation("global"),)
        self.region = MortalTier("europe", NUMBERS["europe"], asked, store=_store())

    async def start(self) -> None:
        """Everything runs, and the top has heard of both that are below it."""
        await self.region.join_site("milan")
        await self.top.join_site("boston")
        await self.top.add_tier(self.region, ("milan-a", "milan-b"))
        self.region.start()
        self.top.start()
        await soon(self._heard_of, "the top has heard of europe and boston")

    async def stop(self) -> None:
        """End everything."""
        await self.top.stop()
        await self.region.stop()

    def next_life(self, dead: Life) -> None:
        """Its supervisor brings it back."""
        tier = next(tier for tier in (self.top, self.region) if dead in tier.lives)
        tier.start_component(dead.name.partition("/")[2])

    async def _heard_of(self) -> object:
        keys = [site_summary_key(name) for name in ("europe", "boston")]
        return None not in [await self.top.store.get(key) for key in keys]

    def _sites(self) -> dict[str, MortalSite]:
        found = {**self.top.sites, **self.region.sites}
        return {name: site for name, site in found.items() if isinstance(site, MortalSite)}

    # ---- facts

    async def carries(self, spec: ChainSpec) -> object:
        """True when both tiers say that it runs, each function exists once, and one number joins both ends."""
        wanted = sorted(function.name for function in spec.functions)
        for tier in (self.top, self.region):
            status = await tier.status(spec.chain)
            if status is None or status.phase is not Phase.RUNNING:
                return f"{tier.name}: {status}"
        above = await self.top.status(spec.chain)
        functions = [one.function for one in above.functions] if above is not None else []
        if sorted(functions) != wanted:
            return f"functions {functions}"
        sites = self._sites().values()
        built = [
            state.instance_id
            for site in sites
            for compute in site.compute.values()
            for state in await compute.list_instances()
        ]
        if len(built) != len(set(built)) or len(built) != len(wanted):
            return f"sandboxes {built}"
        ends = [sorted(wire.vni for wire in site.panels["h1"].panel.wires) for site in sites]
        claims = [await tier.keys("/vnis/") for tier in (self.top, self.region)]
        wires = [await tier.keys("/v1/wires/") for tier in (self.top, self.region)]
        once = [*map(len, ends), len(claims[0]), *map(len, wires)] == [1, 1, 1, 1, 1]
        whole = once and ends[0] == ends[1] and not claims[1] and wires[0] == wires[1]
        return True if whole else f"ends {ends}, claims {claims}, wires {wires}"

    async def bare(self) -> object:
        """True when nothing of any chain is left at any level."""
        words = ("/web", "/w-", "/vnis/", "/explain/")
        left = [key for tier in (self.top, self.region) for key in await tier.keys(*words)]
        for name, site in self._sites().items():
            found = await site.bare()
            left += [] if found is True else [f"{name}: {found}"]
        return left or True


ENDS = (("europe", "milan-a"), ("boston", "boston-a"))
WEB = chain("web", *ENDS)
CHANGED = chain(
    "web",
    *ENDS,
    functions=[
        {"name": "fw", "type": "firewall", "config": {"default_policy": "drop"}},
        {"name": "lim", "type": "limiter", "config": {"rate_kbps": 1000}},
        {"name": "nat", "type": "nat", "config": {"address": "203.0.113.10"}},
    ],
)


async def _ask(stack: Stack) -> None:
    await stack.top.apply(WEB)


async def _change(stack: Stack) -> None:
    await stack.top.apply(CHANGED)


async def _delete(stack: Stack) -> None:
    await stack.top.delete("web")


async def _runs(stack: Stack) -> object:
    return await stack.carries(WEB)


async def _runs_changed(stack: Stack) -> object:
    return await stack.carries(CHANGED)


async def _gone(stack: Stack) -> object:
    return await stack.bare()


PATHS: dict[str, tuple[bool, Step[Stack], Fact[Stack]]] = {
    "apply": (False, _ask, _runs),
    "change": (True, _change, _runs_changed),
    "delete": (True, _delete, _gone),
}
"""Name -> does the chain run before, the step, what is true after it."""


async def live(path: str, killer: Killer, life: str = "", point: str = "") -> set[tuple[str, str]]:
    """As in ``lives``, over two tiers, one above the other."""
    runs_before, step, after = PATHS[path]
    stack = Stack()
    with killer.listening():
        try:
            await stack.start()
            if runs_before:
                await _ask(stack)
                await soon(lambda: _runs(stack), f"{path}: first it runs")
            return await walk(stack, (path, step, after), _delete, killer, life, point)
        finally:
            await stack.stop()
