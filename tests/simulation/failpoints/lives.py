"""One site (or two tiers) of mortal controllers, the four paths of a chain's life, and what must be true after each."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from tests.simulation.failpoints.kit import LIFE, Killer, Life, MortalStore, soon, walk
from tests.simulation.site.world import HollowSite

from isthmus.contract import unseal
from isthmus.contract.chain import ChainSpec
from isthmus.contract.families import (
    CERTIFICATES,
    CONFIG,
    CONFIG_OWNERS,
    CORDS,
    DESIRED,
    HEAL_REQUESTS,
    PLANS,
    REQUESTS,
    RUNTIME,
    SIGNING_REQUESTS,
    SPECS,
    STATUS,
)
from isthmus.contract.ids import instance_id
from isthmus.contract.instance import InstanceRuntime
from isthmus.kv.memory import MemoryStore
from isthmus.kv.port import KeyValueStore
from isthmus.microcontroller import Microcontroller, Runner

TENANT, CHAIN = "acme", "web"
ROOT = "/isthmus/v1/"
PER_INSTANCE = (DESIRED, RUNTIME, SIGNING_REQUESTS, CERTIFICATES, CONFIG, CONFIG_OWNERS)
PER_CHAIN = (SPECS, PLANS, STATUS, CORDS)
FIREWALL = {"name": "fw", "type": "firewall", "config": {"default_policy": "accept"}}
NAT = {"name": "nat", "type": "nat", "config": {"address": "203.0.113.10"}}
LIMITER = {"name": "lim", "type": "limiter", "config": {"rate_kbps": 1000}}


def chain(*functions: dict[str, Any], **more: Any) -> ChainSpec:
    """From one circuit of h1 to the other."""
    document: dict[str, Any] = {
        "tenant": TENANT,
        "chain": CHAIN,
        "ingress": {"attachment": "h1-a"},
        "egress": {"attachment": "h1-b"},
        "functions": list(functions or (FIREWALL, NAT)),
    }
    return ChainSpec.model_validate({**document, **more})


@dataclass
class MortalSite(HollowSite):
    """A hollow site whose controllers die alone; ``store`` must run on the loop's time."""

    lives: list[Life] = field(default_factory=list)
    buried: list[asyncio.Task[None]] = field(default_factory=list)

    def controllers(self) -> list[Microcontroller]:
        """Calmer ones: a period of five virtual hundredths would be all that this measures."""
        made = super().controllers()
        for one in made:
            if hasattr(one, "period_s"):
                one.period_s = 2.0
        return made

    def start_one(self, controller: Microcontroller, store: KeyValueStore | None = None) -> None:
        """In a life of its own."""
        life = Life(controller.component, self.store)
        self.lives.append(life)
        runner = Runner(controller, MortalStore(life), origin=f"test/{controller.component}")
        self.runners[controller.component] = runner
        token = LIFE.set(life)
        self.tasks[controller.component] = asyncio.create_task(runner.run())
        LIFE.reset(token)

    def next_life(self, dead: Life) -> None:
        """Its supervisor brings it back; the dead one stays where it fell."""
        self.buried.append(self.tasks.pop(dead.name))
        self.start_component(dead.name)

    async def stop(self) -> None:
        """End all, the dead included."""
        everybody = [*self.tasks.values(), *self.buried]
        for life in self.lives:
            life.over = True
        for task in everybody:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*everybody, return_exceptions=True)
        await self.store.aclose()

    # ---- facts

    async def keys(self) -> dict[str, bytes]:
        """Everything."""
        snapshot = await self.store.snapshot(ROOT)
        return {entry.key: entry.value for entry in snapshot.entries}

    async def carries(self, spec: ChainSpec, lives: dict[str, int]) -> object:
        """True when the chain runs once: each function in the life that ``lives`` names, nothing beside it."""
        status = await self.status(TENANT, CHAIN)
        if (
            status is None
            or status.phase.value != "running"
            or status.hops != len(spec.functions) + 1
        ):
            return f"status {status}"
        wanted = {instance_id(TENANT, CHAIN, name): life for name, life in lives.items()}
        keys = await self.keys()
        for family in PER_INSTANCE:
            there = [v["instance"] for key in keys if (v := family.parse(key)) is not None]
            if sorted(there) != sorted(wanted):
                return f"{family.name}: {sorted(there)}, not {sorted(wanted)}"
        running = {
            body.instance: body.incarnation
            for key, value in keys.items()
            if RUNTIME.parse(key) is not None
            for body in [unseal(value, InstanceRuntime).body]
        }
        sandboxes = {
            state.instance_id: state.incarnation
            for compute in self.compute.values()
            for state in await compute.list_instances()
        }
        folders = {name for share in self.shares.values() for name in share.published()}
        users = {name.removeprefix("instance.") for name in self.users.names}
        if not (running == sandboxes == wanted and folders == users == set(wanted)):
            return f"runtime {running}, sandboxes {sandboxes}, folders {folders}, users {users}"
        cords = sum(len(panel.panel.cords) for panel in self.panels.values())
        return True if cords == len(spec.functions) + 1 else f"{cords} cords"

    async def bare(self) -> object:
        """True when nothing of any chain is left anywhere."""
        keys = await self.keys()
        families = (*PER_INSTANCE, *PER_CHAIN, HEAL_REQUESTS)
        left = [key for key in keys for family in families if family.parse(key) is not None]
        left += [key for key in keys if "/explain/" in key or "/instances/" in key]
        for name, compute in self.compute.items():
            left += [f"sandbox {s.instance_id} on {name}" for s in await compute.list_instances()]
        left += [f"folder {f}" for share in self.shares.values() for f in share.published()]
        left += [f"user {name}" for name in self.users.names]
        left += [f"cord {cord}" for panel in self.panels.values() for cord in panel.panel.cords]
        return left or True


Step = Callable[[MortalSite], Awaitable[None]]


async def ask(site: MortalSite) -> None:
    """Somebody asks for the chain."""
    await site.apply(chain())


async def change(site: MortalSite) -> None:
    """Another configuration, one function less, another one more."""
    await site.apply(CHANGED)


CHANGED = chain({**FIREWALL, "config": {"default_policy": "drop"}}, LIMITER)


async def lose(site: MortalSite) -> None:
    """A sandbox vanishes."""
    site.compute["h1"].lose_instance(instance_id(TENANT, CHAIN, "fw"))


async def delete(site: MortalSite) -> None:
    """The chain is taken back."""
    await site.store.delete(REQUESTS.key(tenant=TENANT, chain=CHAIN))


async def again(site: MortalSite) -> None:
    """Taken back and asked for again before everybody has noticed."""
    await delete(site)
    await asyncio.sleep(0.01)
    await ask(site)


async def refuse(site: MortalSite) -> None:
    """A change that cannot be: what runs stays in force, and the refusal is told."""
    await site.apply(chain({**FIREWALL, "config": {"default_policy": "maybe"}}))


async def return_all(site: MortalSite) -> None:
    """Every controller dies between two items and comes back."""
    for life in [life for life in site.lives if not life.dead]:
        life.die()
        site.next_life(life)


async def _refused(site: MortalSite) -> object:
    status = await site.status(TENANT, CHAIN)
    told = status is not None and "maybe" in status.reason
    return await _asked(site) if told else f"status {status}"


async def _asked(site: MortalSite) -> object:
    return await site.carries(chain(), {"fw": 1, "nat": 1})


async def _asked_again(site: MortalSite) -> object:
    """Whoever died between the sandbox and its key finds the new order's life lost, and heals it: that is one more."""
    once = await site.carries(chain(), {"fw": 1, "nat": 1})
    if once is True:
        return True
    lives = [{"fw": fw, "nat": nat} for fw in (1, 2) for nat in (1, 2)]
    return True if True in [await site.carries(chain(), one) for one in lives] else once


async def _returned(site: MortalSite) -> object:
    return await _asked(site) if await _ready(site) else "not every controller is back"


async def _changed(site: MortalSite) -> object:
    return await site.carries(CHANGED, {"fw": 1, "lim": 1})


async def _healed(site: MortalSite) -> object:
    return await site.carries(chain(), {"fw": 2, "nat": 1})


async def _gone(site: MortalSite) -> object:
    return await site.bare()


PATHS: dict[str, tuple[tuple[str, ...], Step, Callable[[MortalSite], Awaitable[object]]]] = {
    "apply": ((), ask, _asked),
    "change": (("apply",), change, _changed),
    "heal": (("apply",), lose, _healed),
    "delete": (("apply",), delete, _gone),
    "again": (("apply",), again, _asked_again),
    "refuse": (("apply",), refuse, _refused),
    "return": (("apply",), return_all, _returned),
}
"""Name -> what comes before, the step, and what is true after it."""


def clean_site() -> MortalSite:
    """On the loop's own time."""
    loop = asyncio.get_running_loop()
    return MortalSite(MemoryStore(clock=loop.time), hosts=("h1",), name="h1")


async def live(path: str, killer: Killer, life: str = "", point: str = "") -> set[tuple[str, str]]:
    """Walk ``path``; kill ``life`` at ``point`` on the way (empty: nobody); then take everything back.

    What was reached on the way, by whom.
    """
    before, step, after = PATHS[path]
    site = clean_site()
    with killer.listening():
        site.start()
        try:
            await soon(lambda: _ready(site), "every controller is ready")
            for earlier in before:
                _, first, then = PATHS[earlier]
                await first(site)
                await soon(lambda then=then: then(site), f"{path}: {earlier}")  # type: ignore[misc]
            return await walk(site, (path, step, after), delete, killer, life, point)
        finally:
            await site.stop()


async def _ready(site: MortalSite) -> object:
    return all(runner.health.ready for runner in site.runners.values())
