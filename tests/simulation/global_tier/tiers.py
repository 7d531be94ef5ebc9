"""Tiers without packets, stacked and side by side: the real controllers on twins, joined by stand-ins for links.

A tier may have sites and other tiers below it (or beside it); a tier that is asked has one more link, upwards, which is
the same stand-in with the same roots as a site's. Every link can be cut, every tier stopped and started anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.simulation.global_tier.world import STAMP, HollowLink
from tests.simulation.site.world import HollowSite
from tests.support import eventually

from isthmus.contract import Body, seal, unseal
from isthmus.contract.chain import ChainRequest, ChainSpec, ChainStatus
from isthmus.contract.families import G_LINKS, G_REQUESTS, G_SITES, G_STATUS
from isthmus.contract.instance import SiteSummary
from isthmus.contract.peering import Delegation
from isthmus.contract.scopes import (
    representative_exports,
    site_exports,
    site_summary_key,
    tier_exports,
)
from isthmus.contract.world import LinkSpec, SiteSpec
from isthmus.global_tier.carrying import Policy
from isthmus.global_tier.group import controller
from isthmus.global_tier.numbers import Numbers
from isthmus.global_tier.reporter import Reporter
from isthmus.global_tier.representative import Representative
from isthmus.kv.memory import MemoryStore
from isthmus.microcontroller import Microcontroller, Runner
from isthmus.site.summarizer import Summarizer

COMPONENTS = ("intake", "placer", "wiring", "reporter", "representative")
PERIOD_S = 1.0
"""What is told is believed for three of these: long enough for a busy machine, short enough to wait for its end."""


class SteadySite(HollowSite):
    """A site whose word lasts."""

    def controllers(self) -> list[Microcontroller]:
        """One of each."""
        made = super().controllers()
        for one in made:
            if isinstance(one, Summarizer):
                one.period_s = PERIOD_S
        return made


@dataclass
class HollowTier:
    """One tier: its store, what is below it, what it lets peers ask."""

    name: str
    numbers: Numbers
    delegations: tuple[Delegation, ...] = ()
    store: MemoryStore = field(default_factory=MemoryStore)
    sites: dict[str, HollowSite] = field(default_factory=dict)
    links: dict[str, tuple[HollowLink, HollowLink]] = field(default_factory=dict)
    tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    @property
    def policy(self) -> Policy:
        """Who may ask; nobody leaves no mark."""
        tier = f"{self.name}.example" if self.delegations else ""
        return Policy(tier, self.delegations, self.numbers)

    def start(self) -> None:
        """Run the tier's controllers."""
        for component in COMPONENTS:
            made = controller(component, "test", name=self.name, policy=self.policy)
            if isinstance(made, Reporter | Representative):
                made.period_s = PERIOD_S
            runner = Runner(made, self.store, f"{self.name}/{component}")
            self.tasks[component] = asyncio.create_task(runner.run())

    async def kill(self) -> None:
        """End the tier's controllers without a goodbye."""
        for component in COMPONENTS:
            task = self.tasks.pop(component, None)
            if task is not None:
                await _end(task)

    async def stop(self) -> None:
        """End everything of this tier."""
        for name in list(self.tasks):
            await _end(self.tasks.pop(name))
        for site in self.sites.values():
            await site.stop()

    async def add_site(
        self,
        name: str,
        *,
        hosts: tuple[str, ...] = ("h1",),
        tenants: tuple[str, ...] = (),
        **more: object,
    ) -> HollowSite:
        """A site that hangs directly below; it takes chains of ``tenants`` only (empty: all)."""
        allowed = (Delegation("global", tenants),)
        site = SteadySite(MemoryStore(), hosts=hosts, name=name, delegations=allowed)
        self.sites[name] = site
        attachments = more.pop("attachments", (f"{name}-a", f"{name}-b"))
        assert isinstance(attachments, tuple)
        await self.register(name, attachments, **more)
        site.start()
        self._join(
            name,
            site.store,
            HollowLink(site.store, site_exports("global"), self.store, name),
            "global",
        )
        return site

    async def add_tier(
        self, lower: HollowTier, attachments: tuple[str, ...], *, as_name: str = "", **more: object
    ) -> None:
        """A tier that stands for its sites here; it knows us by our name."""
        name = as_name or lower.name
        await self.register(name, attachments, **more)
        up = HollowLink(lower.store, representative_exports(self.name), self.store, name)
        self._join(name, lower.store, up, self.name)

    def _join(self, name: str, below: MemoryStore, up: HollowLink, we: str) -> None:
        down = HollowLink(self.store, tier_exports(name), below, we)
        self.links[name] = (up, down)
        self.tasks[f"{name}.up"] = asyncio.create_task(up.run())
        self.tasks[f"{name}.down"] = asyncio.create_task(down.run())

    async def register(self, name: str, attachments: tuple[str, ...], **more: object) -> None:
        """As the operator does; every pair of sites is linked."""
        others = [
            entry.key.rsplit("/", 1)[1]
            for entry in (await self.store.snapshot(G_SITES.prefix())).entries
        ]
        document = {"site": name, "region": "all", "attachments": attachments, **more}
        await self.put(G_SITES.key(site=name), SiteSpec.model_validate(document))
        for other in others:
            for a, b in ((name, other), (other, name)):
                link = LinkSpec(source=a, target=b, latency_us=5_000, capacity_kbps=100_000)
                await self.put(G_LINKS.key(source=a, target=b), link)

    async def register_again(self, name: str, attachments: tuple[str, ...], **more: object) -> None:
        """The operator changes what is registered; links between sites stay."""
        document = {"site": name, "region": "all", "attachments": attachments, "relation": "beside"}
        await self.put(G_SITES.key(site=name), SiteSpec.model_validate({**document, **more}))

    def cut(self, name: str) -> None:
        """Nothing crosses the link to ``name`` any more."""
        for link in self.links[name]:
            link.connected.clear()

    def heal(self, name: str) -> None:
        """It does again."""
        for link in self.links[name]:
            link.connected.set()

    async def put(self, key: str, body: Body) -> None:
        """Write as the operator."""
        await self.store.put(key, seal(body, STAMP, as_of=time.time()))

    async def apply(self, spec: ChainSpec) -> None:
        """What the API does."""
        await self.put(
            G_REQUESTS.key(tenant=spec.tenant, chain=spec.chain), ChainRequest(spec=spec)
        )

    async def delete(self, chain: str) -> None:
        """What the API does."""
        await self.store.delete(G_REQUESTS.key(tenant="acme", chain=chain))

    async def heard(
        self, name: str, told: Callable[[SiteSummary], bool] = lambda _: True
    ) -> SiteSummary:
        """Wait for a summary."""

        async def there() -> SiteSummary | None:
            entry = await self.store.get(site_summary_key(name))
            if entry is None:
                return None
            body = unseal(entry.value, SiteSummary).body
            return body if told(body) else None

        found = await eventually(there, f"{self.name} hears of {name}", timeout_s=40)
        assert found is not None
        return found

    async def status(self, chain: str) -> ChainStatus | None:
        """The tier's report."""
        entry = await self.store.get(G_STATUS.key(tenant="acme", chain=chain))
        return None if entry is None else unseal(entry.value, ChainStatus).body

    async def until(
        self, chain: str, phase: str, also: Callable[[ChainStatus], bool] = lambda _: True
    ) -> ChainStatus:
        """Wait for the tier's report."""

        async def reached() -> ChainStatus | None:
            status = await self.status(chain)
            return status if status and status.phase.value == phase and also(status) else None

        try:
            found = await eventually(reached, f"{self.name}: {chain} {phase}", timeout_s=40)
        except AssertionError as late:
            raise AssertionError(f"{late}; it says {await self.status(chain)}") from None
        assert found is not None
        return found

    async def keys(self, *words: str) -> list[str]:
        """All keys of the tier's store with one of ``words``."""
        entries = (await self.store.snapshot("/isthmus/v1/")).entries
        return [entry.key for entry in entries if any(word in entry.key for word in words)]


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def chain(
    name: str, ingress: tuple[str, str], egress: tuple[str, str], **more: object
) -> ChainSpec:
    """A firewall and a NAT between two attachments."""
    document: dict[str, object] = {
        "tenant": "acme",
        "chain": name,
        "ingress": {"site": ingress[0], "attachment": ingress[1]},
        "egress": {"site": egress[0], "attachment": egress[1]},
        "functions": [
            {"name": "fw", "type": "firewall", "config": {"default_policy": "accept"}},
            {"name": "nat", "type": "nat", "config": {"address": "203.0.113.10"}},
        ],
        "latency_budget_ms": 60,
    }
    return ChainSpec.model_validate({**document, **more})


async def values_of(store: MemoryStore, below: str = "/isthmus/v1/") -> dict[str, bytes]:
    """Everything that is stored below."""
    return {entry.key: entry.value for entry in (await store.snapshot(below)).entries}
