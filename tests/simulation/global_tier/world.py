"""Two tiers without packets: three hollow sites and the real global controllers, joined by a stand-in for the link.

The stand-in ("hollow link") copies what the contract says may cross, key by key. It can be cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from tests.simulation.site.world import HollowSite
from tests.support import eventually

from isthmus.contract import Stamp, seal, unseal
from isthmus.contract.chain import ChainRequest, ChainSpec, ChainStatus
from isthmus.contract.families import (
    G_LINKS,
    G_REQUESTS,
    G_SITES,
    G_STATUS,
)
from isthmus.contract.scopes import (
    ExportRoot,
    import_root,
    site_exports,
    site_summary_key,
    tier_exports,
)
from isthmus.contract.world import LinkSpec, SiteSpec
from isthmus.global_tier.group import controller
from isthmus.kv.errors import FutureRevision
from isthmus.kv.memory import MemoryStore
from isthmus.microcontroller import Runner

STAMP = Stamp(origin="operator", incarnation="test")
SITES = ("milan", "paris", "partner")


class HollowLink:
    """Copies one direction between two stores for as long as it is not cut."""

    def __init__(
        self, source: MemoryStore, roots: tuple[ExportRoot, ...], target: MemoryStore, peer: str
    ) -> None:
        self._source, self._roots, self._target = source, roots, target
        self._into = import_root(peer)
        self.connected = asyncio.Event()
        self.connected.set()
        self.crossed: set[str] = set()

    async def run(self) -> None:
        """Level-triggered: at each change the whole scope is compared."""
        while True:
            with contextlib.suppress(FutureRevision):  # the source was restored: look again at all
                async for _ in self._source.watch("/isthmus/v1/"):
                    await self.connected.wait()
                    await self._copy()
                return

    async def _copy(self) -> None:
        wanted: dict[str, bytes] = {}
        for root in self._roots:
            for entry in (await self._source.snapshot("/isthmus/v1/")).entries:
                if entry.key == root.source or (
                    root.source.endswith("/") and entry.key.startswith(root.source)
                ):
                    relative = root.relative + entry.key.removeprefix(root.source)
                    wanted[self._into + relative] = entry.value
        known = {e.key: e.value for e in (await self._target.snapshot(self._into)).entries}
        for key in known.keys() - wanted.keys():
            await self._target.delete(key)
        for key, value in wanted.items():
            self.crossed.add(key)
            if known.get(key) != value:
                await self._target.put(key, value)


@dataclass
class HollowWorld:
    """Sites, the tier above, links."""

    store: MemoryStore = field(default_factory=MemoryStore)
    sites: dict[str, HollowSite] = field(default_factory=dict)
    links: dict[str, tuple[HollowLink, HollowLink]] = field(default_factory=dict)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def start(self) -> None:
        """Register sites and links, run everything."""
        for index, name in enumerate(SITES):
            site = HollowSite(MemoryStore(), hosts=("h1",), name=name)
            self.sites[name] = site
            spec = SiteSpec(
                site=name,
                region="europe",
                country=("it", "fr", "ch")[index],
                owner="partner" if name == "partner" else "carrier",
                price_milli=1000 + 100 * index,
                attachments=(f"{name}-a", f"{name}-b"),
            )
            await self.put(G_SITES.key(site=name), spec)
            site.start()
            up = HollowLink(site.store, site_exports("global"), self.store, name)
            down = HollowLink(self.store, tier_exports(name), site.store, "global")
            self.links[name] = (up, down)
            self.tasks += [asyncio.create_task(up.run()), asyncio.create_task(down.run())]
        for a in SITES:
            for b in SITES:
                if a != b:
                    link = LinkSpec(source=a, target=b, latency_us=5_000, capacity_kbps=100_000)
                    await self.put(G_LINKS.key(source=a, target=b), link)
        for component in ("intake", "placer", "wiring", "reporter", "region.europe"):
            runner = Runner(controller(component, "test"), self.store, f"test/{component}")
            self.tasks.append(asyncio.create_task(runner.run()))
        # A chain asked for before a site has spoken may rightly be placed elsewhere.
        for name in SITES:
            await eventually(partial(self.store.get, site_summary_key(name)), f"{name} heard of")

    async def stop(self) -> None:
        """End everything."""
        for task in self.tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        for site in self.sites.values():
            await site.stop()

    async def put(self, key: str, body: object) -> None:
        """Write as the operator."""
        await self.store.put(key, seal(body, STAMP, as_of=time.time()))  # type: ignore[arg-type]

    async def apply(self, spec: ChainSpec) -> None:
        """What the API does."""
        await self.put(
            G_REQUESTS.key(tenant=spec.tenant, chain=spec.chain), ChainRequest(spec=spec)
        )

    async def until(
        self, chain: str, phase: str, also: Callable[[ChainStatus], bool] = lambda _: True
    ) -> ChainStatus:
        """Wait for the global report."""

        async def reached() -> ChainStatus | None:
            entry = await self.store.get(G_STATUS.key(tenant="acme", chain=chain))
            if entry is None:
                return None
            status = unseal(entry.value, ChainStatus).body
            return status if status.phase.value == phase and also(status) else None

        found = await eventually(reached, f"{chain} {phase}", timeout_s=20)
        assert found is not None
        return found


def chain(name: str = "web", **more: object) -> ChainSpec:
    """A chain from Milan to Paris over a firewall and a NAT."""
    document: dict[str, object] = {
        "tenant": "acme",
        "chain": name,
        "ingress": {"site": "milan", "attachment": "milan-a"},
        "egress": {"site": "paris", "attachment": "paris-a"},
        "functions": [
            {"name": "fw", "type": "firewall", "config": {"default_policy": "accept"}},
            {"name": "nat", "type": "nat", "config": {"address": "203.0.113.10"}},
        ],
        "latency_budget_ms": 30,
    }
    return ChainSpec.model_validate({**document, **more})
