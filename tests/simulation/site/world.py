"""A site without packets in real time: the real controllers on the in-memory twin, started and killed by name.

What is around the controllers comes from :mod:`isthmus.chaos.simulation.hollow_site`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.support import eventually

from isthmus.chaos.simulation.hollow_site import (
    STAMP,
    HollowHost,
    HollowPanel,
    HollowShares,
    HollowSigner,
    HollowUsers,
    check_with,
    pretend_agent,
    site_controllers,
)
from isthmus.contract import Body, seal, unseal
from isthmus.contract.chain import ChainRequest, ChainSpec, ChainStatus
from isthmus.contract.families import REQUESTS, STATUS
from isthmus.infrastructure.hollow import HollowCompute
from isthmus.kv.memory import MemoryStore
from isthmus.kv.port import KeyValueStore
from isthmus.microcontroller import Microcontroller, Runner
from isthmus.site.intake import Delegation
from isthmus.site.watcher import HostFacts

__all__ = [
    "STAMP",
    "HollowPanel",
    "HollowShares",
    "HollowSigner",
    "HollowSite",
    "HollowUsers",
    "check_with",
    "pretend_agent",
]


@dataclass
class HollowSite:
    """One running site; ``stop`` ends it."""

    store: MemoryStore
    hosts: Sequence[str] = ("h1", "h2")
    name: str = "milan"
    delegations: Sequence[Delegation] = (Delegation("global"),)
    compute: dict[str, HollowCompute] = field(default_factory=dict)
    panels: dict[str, HollowPanel] = field(default_factory=dict)
    shares: dict[str, HollowShares] = field(default_factory=dict)
    users: HollowUsers = field(default_factory=HollowUsers)
    runners: dict[str, Runner] = field(default_factory=dict)
    tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    def controllers(self) -> list[Microcontroller]:
        """One of each."""
        made = site_controllers(self.name, self.users, period_s=0.05, delegations=self.delegations)
        for index, host in enumerate(self.hosts):
            prefix = host if self.name == "milan" and len(self.hosts) > 1 else self.name
            attachments = (f"{prefix}-a", f"{prefix}-b")
            address = f"10.{sum(self.name.encode()) % 200}.0.{index + 1}"
            around = HollowHost(
                HostFacts(host, 1000, 1024, address, attachments),
                self.compute.setdefault(host, HollowCompute()),
                self.panels.setdefault(host, HollowPanel()),
                self.shares.setdefault(host, HollowShares()),
            )
            made += around.controllers()
        return made

    def start(self) -> None:
        """Run every controller and the pretend agent."""
        for controller in self.controllers():
            self.start_one(controller)
        self.tasks["agent"] = asyncio.create_task(pretend_agent(self.store))

    def start_one(self, controller: Microcontroller, store: KeyValueStore | None = None) -> None:
        """Run one controller, perhaps on a store of its own."""
        runner = Runner(controller, store or self.store, origin=f"test/{controller.component}")
        self.runners[controller.component] = runner
        self.tasks[controller.component] = asyncio.create_task(runner.run())

    def start_component(self, component: str, store: KeyValueStore | None = None) -> None:
        """Run one controller by its name."""
        controllers = {controller.component: controller for controller in self.controllers()}
        self.start_one(controllers[component], store)

    async def kill(self, component: str) -> None:
        """End a controller without any goodbye (its lease stays until it runs out)."""
        task = self.tasks.pop(component)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def stop(self) -> None:
        """End everything."""
        for name in list(self.tasks):
            await self.kill(name)
        await self.store.aclose()

    async def put(self, key: str, body: Body) -> None:
        """Write as somebody else."""
        await self.store.put(key, seal(body, STAMP, as_of=0.0))

    async def apply(self, spec: ChainSpec) -> None:
        """What the API does for an apply."""
        await self.put(REQUESTS.key(tenant=spec.tenant, chain=spec.chain), ChainRequest(spec=spec))

    async def status(self, tenant: str, chain: str) -> ChainStatus | None:
        """The report of a chain."""
        entry = await self.store.get(STATUS.key(tenant=tenant, chain=chain))
        return None if entry is None else unseal(entry.value, ChainStatus).body

    async def until_ready(self) -> None:
        """Wait until every controller is synced and leads."""

        def ready() -> bool:
            return all(runner.health.ready for runner in self.runners.values())

        await eventually(ready, "every controller is ready")

    async def until(self, tenant: str, chain: str, phase: str) -> ChainStatus:
        """Wait until the report says ``phase``."""

        async def reached() -> ChainStatus | None:
            status = await self.status(tenant, chain)
            return status if status is not None and status.phase.value == phase else None

        found = await eventually(reached, f"{tenant}/{chain} {phase}", timeout_s=20)
        assert found is not None
        return found
