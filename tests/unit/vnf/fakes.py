"""A kernel that only remembers, and the small world around one function for tests of its logic."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any

from isthmus.contract import Stamp, seal, unseal
from isthmus.contract.envelope import B
from isthmus.contract.families import APPLIED, CONFIG, CONFIG_OWNERS, STATE, VNF_STATS
from isthmus.contract.instance import (
    Applied,
    ConfigOwner,
    InstanceConfig,
    InstanceState,
    InstanceStats,
)
from isthmus.functions import shipped
from isthmus.kv.memory import MemoryStore
from isthmus.vnf.client import ClientSettings, VnfClient
from isthmus.vnf.errors import KernelRefused, NamespaceMissing
from isthmus.vnf.kernel import Reading
from isthmus.vnf.kernel_vnf import KernelVnf, VnfIdentity, VnfSettings
from isthmus.vnf.program import Mark, Program

INSTANCE = "i-0123456789ab"
STAMP = Stamp(origin="test", incarnation="1")
FAST = ClientSettings(least_pause_s=0.001, most_pause_s=0.01)


@dataclass
class FakeKernel:
    """``applied`` is everything that was put in force, in order. ``present``: the namespace is there."""

    present: bool = True
    refuse: str = ""
    now: Program | None = None
    applied: list[Program] = field(default_factory=list)
    reading: Reading = field(default_factory=Reading)

    async def apply(self, program: Program) -> None:
        self._check()
        await asyncio.sleep(0)
        if self.refuse and program.mark.open:
            raise KernelRefused(self.refuse)
        self.now = program
        self.applied.append(program)

    async def in_force(self) -> Mark | None:
        self._check()
        return None if self.now is None else self.now.mark

    async def read(self) -> Reading | None:
        self._check()
        return None if self.now is None else self.reading

    def rebuild(self) -> None:
        """The namespace was deleted and made anew: no rules."""
        self.now = None

    def _check(self) -> None:
        if not self.present:
            raise NamespaceMissing("no network namespace 'x'")


@dataclass
class Bench:
    """One firewall on a fake kernel and the in-memory store."""

    store: MemoryStore = field(default_factory=MemoryStore)
    kernel: FakeKernel = field(default_factory=FakeKernel)
    type_: str = "firewall"

    def client(self) -> VnfClient:
        return VnfClient(
            self.store,
            INSTANCE,
            stamp=STAMP,
            clock=lambda: 1000.0,
            chance=random.Random(1),
            settings=FAST,
        )

    def vnf(self, *, incarnation: int = 1, interval_s: float = 0.005) -> KernelVnf:
        return KernelVnf(
            VnfIdentity(INSTANCE, incarnation, self.type_, "1"),
            shipped(),
            self.kernel,
            self.client(),
            monotonic=asyncio.get_running_loop().time,
            settings=VnfSettings(stats_interval_s=interval_s, refresh_s=0.05, kernel_retry_s=0.005),
        )

    async def configure(
        self,
        parameters: dict[str, Any],
        *,
        owner: str = "configurator",
        type_: str = "",
        generation: int = 1,
    ) -> int:
        value = seal(
            InstanceConfig(type=type_ or self.type_, parameters=parameters),
            STAMP,
            as_of=1000.0,
            generation=generation,
        )
        return await self.store.put(CONFIG.key(owner=owner, instance=INSTANCE), value)

    async def hand_over(self, owner: str) -> None:
        value = seal(ConfigOwner(owner=owner), STAMP, as_of=1000.0)
        await self.store.put(CONFIG_OWNERS.key(instance=INSTANCE), value)

    async def applied(self) -> Applied | None:
        return await self._read(APPLIED.key(instance=INSTANCE), Applied)

    async def state(self) -> InstanceState | None:
        return await self._read(STATE.key(instance=INSTANCE), InstanceState)

    async def stats(self) -> InstanceStats | None:
        return await self._read(VNF_STATS.key(instance=INSTANCE), InstanceStats)

    async def _read(self, key: str, model: type[B]) -> B | None:
        entry = await self.store.get(key)
        return None if entry is None else unseal(entry.value, model).body
