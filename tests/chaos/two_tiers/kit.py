"""Two own sites, a partner and the tier above, on real packets: hands and eyes for experiments on them.

    c-milan-*  milan ---.                 .--- paris  c-paris-*
                         wan (toxiproxy)
    c-zurich-* zurich --'                 '--- global
    (helvetia, its own authority)

The stores are looked into by the admin's key through a Unix socket that a small splice holds inside each tier's
namespace: no component of ours has such a door.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support import eventually

from isthmus.chaos.demo import chains
from isthmus.chaos.demo.facts import Facts
from isthmus.chaos.demo.stage import Stage
from isthmus.chaos.proving.doors import door
from isthmus.chaos.toxics import Toxics
from isthmus.contract.families import SPECS
from isthmus.contract.scopes import site_exports, tier_exports
from isthmus.deploy.lab.addresses import TOXIPROXY_API
from isthmus.deploy.lab.engine import Lab
from isthmus.deploy.lab.spec import GLOBAL, LabLink, LabSite, LabSpec
from isthmus.deploy.lab.wan import link_name
from isthmus.federation.digest import digest, imported
from isthmus.federation.status import LinkStatus, read_status
from isthmus.kv.etcd import EtcdStore

MILAN, PARIS, ZURICH = "milan", "paris", "zurich"
SITES = (MILAN, PARIS, ZURICH)
TENANT = "acme"
ROOT = "/isthmus/v1/"
WEB, SWISS = "web", "swiss"
ROGUE = ".rogue"
"""A process that a test started; nobody brings it back."""

GLOBAL_PROCESSES = ("etcd", "gateway", "controllers", "api")


def spec() -> LabSpec:
    """Small: one host per site; letters name circuits."""
    return LabSpec(
        name="two-tiers",
        taps=True,
        sites=(
            LabSite(site=MILAN, country="it", attachments=_circuits(MILAN)),
            LabSite(site=PARIS, country="fr", attachments=_circuits(PARIS)),
            LabSite(
                site=ZURICH,
                country="ch",
                owner="helvetia",
                trust_domain="helvetia.example",
                attachments=_circuits(ZURICH),
                tenants=(TENANT,),
            ),
        ),
        links=(
            LabLink(a=MILAN, b=PARIS, latency_us=3000),
            LabLink(a=MILAN, b=ZURICH, latency_us=2000),
            LabLink(a=ZURICH, b=PARIS, latency_us=2500),
        ),
    )


def _circuits(site: str) -> tuple[str, ...]:
    return tuple(f"{site}-{letter}" for letter in "abcdef")


@dataclass
class World:
    """The running lab, its stores and what was measured."""

    lab: Lab
    stage: Stage
    stores: dict[str, EtcdStore]
    toxics: Toxics
    figures: dict[str, float] = field(default_factory=dict)

    # ---- chains

    def chain(
        self, name: str, ingress: str, egress: str, *, tenant: str = TENANT, **constraints: Any
    ) -> dict[str, Any]:
        """A firewall, and a NAT at the other end when the chain leaves its site."""
        address = self.lab.addresses.customer(ingress)
        functions = [chains.firewall("fw", address)]
        if ingress.partition("-")[0] != egress.partition("-")[0]:
            functions.append(chains.nat("nat", "203.0.113.9"))
            constraints.setdefault("anti_affinity", [["fw", "nat"]])
        made = chains.chain(name, ingress, egress, functions, **constraints)
        return {**made, "tenant": tenant}

    async def run(self, document: dict[str, Any], tier: str = GLOBAL) -> dict[str, Any]:
        """Apply and wait until it runs."""
        await self.stage.apply(document, tier)
        return await self.stage.phase(document["chain"], "running", tier=tier)

    async def remove(self, name: str, tier: str = GLOBAL) -> None:
        """Delete a chain and wait until the tier knows nothing of it."""
        await self.stage.api(tier).delete(f"/v1/chains/{TENANT}/{name}")

        async def gone() -> bool:
            return not await self.stage.chain(name, tier)

        await eventually(gone, f"{name} is gone from {tier}")

    async def passes(self, ingress: str, egress: str) -> None:
        """Packets go through, there and back."""
        address = self.lab.addresses.customer(egress)

        async def answered() -> bool:
            return await self.stage.ping(ingress, address, count=1) is not None

        await eventually(answered, f"a packet from {ingress} to {egress} is answered")

    # ---- stores

    async def keys(self, tier: str, prefix: str = ROOT) -> dict[str, bytes]:
        """What stands in a store."""
        snapshot = await self.stores[tier].snapshot(prefix)
        return {entry.key: entry.value for entry in snapshot.entries}

    async def text(self, tier: str) -> str:
        """A whole store as text, to be searched."""
        keys = await self.keys(tier)
        return "\n".join(f"{key} {value.decode(errors='replace')}" for key, value in keys.items())

    async def compact(self, tier: str) -> int:
        """Make a store forget its history up to now; the revision."""
        revision = await self.stores[tier].put(f"{ROOT}experiment/compacted", b"now")
        await self.stores[tier].compact(revision)
        return revision

    # ---- links

    def link(self, tier: str, peer: str = GLOBAL) -> LinkStatus:
        """What a tier says about its link to ``peer``."""
        path = self.lab.files.path(tier, "links.json")
        found = [one for one in read_status(path) if one.peer == peer]
        assert found, f"{tier} says nothing about {peer}"
        return found[0]

    async def equal(self, site: str) -> bool:
        """Do both mirrors equal their sources?"""
        pairs = (
            (self.stores[site], site_exports(GLOBAL), self.stores[GLOBAL], site),
            (self.stores[GLOBAL], tier_exports(site), self.stores[site], GLOBAL),
        )
        for source, roots, target, peer in pairs:
            if (await digest(source, roots)).hex != (await digest(target, imported(peer))).hex:
                return False
        return True

    async def converged(self, *sites: str, timeout_s: float = 30.0) -> float:
        """Wait until the links of ``sites`` are synced and their digests agree; seconds it took."""
        began = time.monotonic()
        for site in sites or SITES:

            async def agree(site: str = site) -> bool:
                fresh = self.link(site).as_of > time.time() - 5
                return fresh and self.link(site).synced and await self.equal(site)

            await eventually(agree, f"{site} and the tier agree", timeout_s=timeout_s, every_s=0.1)
        return time.monotonic() - began

    async def whole(self) -> None:
        """Every link synced, both standing chains run."""
        await self.converged()
        for name in (WEB, SWISS):
            await self.stage.phase(name, "running")

    async def repair(self) -> None:
        """Take every fault off; what a test asked for is taken back."""
        for site in SITES:
            await self.toxics.heal(link_name(site))
        for status in self.lab.supervisor.status():
            if status.state in ("stopped", "ended") and not status.name.endswith(ROGUE):
                await self.lab.supervisor.restart(status.name)
            elif status.state == "paused":
                self.lab.supervisor.resume(status.name)
        await self.answers()
        for tier in (GLOBAL, *SITES):
            for row in (await self.stage.api(tier).get("/v1/chains")).json()["chains"]:
                if row["source"] == "local" and row["chain"] not in (WEB, SWISS):
                    path = f"/v1/chains/{row['tenant']}/{row['chain']}"
                    await self.stage.api(tier).delete(path)
        await eventually(self.bare, "only the standing chains are left", timeout_s=60, every_s=0.1)

    async def bare(self) -> bool:
        """Nothing of any chain but the standing two, in any store."""
        rooms = ("requests/", "specs/", "plans/", "intents/", "placements/", "outbox/")
        for tier in (GLOBAL, *SITES):
            for room in rooms:
                for key in await self.keys(tier, ROOT + room):
                    if not key.endswith((f"/{WEB}", f"/{SWISS}")) and "/wires/" not in key:
                        return False
        running = [len(await self.keys(site, f"{ROOT}runtime/")) for site in SITES]
        wires = await self.keys(GLOBAL, f"{ROOT}wires/")
        return (sum(running), len(wires)) == (4, 2)

    async def answers(self) -> None:
        """Every API and store answers."""
        for tier in (GLOBAL, *SITES):

            async def there(tier: str = tier) -> bool:
                with contextlib.suppress(Exception):
                    await self.stores[tier].get(f"{ROOT}nothing", timeout_s=2)
                    answer = await self.stage.api(tier).get("/v1/chains", timeout=3)
                    return answer.status_code == 200
                return False

            await eventually(there, f"store and API of {tier} answer", timeout_s=30)

    # ---- processes

    def kill(self, name: str) -> None:
        """SIGKILL; its supervisor brings it back."""
        assert self.lab.supervisor.kill(name, signal.SIGKILL), f"{name} was not running"

    async def away(self, name: str) -> None:
        """SIGKILL, and it does not come back."""
        self.kill(name)
        await self.lab.supervisor.stop(name, 0)

    def measured(self, name: str, value_s: float) -> None:
        """A figure for the record, shown with ``-rP`` and by the last line of a run."""
        self.figures[name] = round(value_s, 2)
        print(f"figure: {name} {value_s:.2f} s")


@asynccontextmanager
async def world(base: Path) -> AsyncIterator[World]:
    """Bring it up, with two chains."""
    async with AsyncExitStack() as stack:
        lab = await stack.enter_async_context(Lab(spec(), base))
        stage = Stage(lab, Facts(lambda _: None))
        stack.push_async_callback(stage.close)
        stores = {
            tier: await stack.enter_async_context(door(lab, tier)) for tier in lab.addresses.tiers
        }
        running = World(lab, stage, stores, Toxics(TOXIPROXY_API))
        await running.run(running.chain(WEB, "milan-a", "paris-a", sites=[MILAN, PARIS]))
        await running.run(running.chain(SWISS, "paris-b", "zurich-a"))
        try:
            yield running
        finally:
            await lab.supervisor.stop_all(0)  # the world ends anyway
            path = base.parent / "isthmus-two-tiers.json"
            with contextlib.suppress(OSError):
                path.write_text(json.dumps(running.figures, indent=1) + "\n")


class Watched:
    """Every deletion below a prefix of a store, for as long as the block lasts."""

    def __init__(self, store: EtcdStore, prefix: str) -> None:
        self._store, self._prefix = store, prefix
        self.deleted: list[str] = []
        self.seen = 0
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Watched:
        snapshot = await self._store.snapshot(self._prefix)
        assert snapshot.entries, f"nothing below {self._prefix}: watching it proves nothing"
        self._task = asyncio.create_task(self._run(snapshot.revision + 1))
        return self

    async def __aexit__(self, *_: object) -> None:
        """Up to the present moment: a marker of our own must have come by."""
        marker = f"{self._prefix}zz/marker"
        await self._store.put(marker, b"{}")
        await self._store.delete(marker)
        await eventually(lambda: marker in self.deleted, "the watch has come to the present")
        self.deleted.remove(marker)
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self, revision: int) -> None:
        watch = self._store.watch(self._prefix, start_revision=revision)
        try:
            async for batch in watch:
                for event in batch.events:
                    self.seen += 1
                    if event.entry is None:
                        self.deleted.append(event.key)
        finally:
            await watch.aclose()


def specs_of(two: World, site: str) -> Watched:
    """The segments a site has admitted: they must never vanish because of a link."""
    return Watched(two.stores[site], SPECS.prefix())


def names(items: Iterable[Any]) -> str:
    """For messages."""
    return ", ".join(sorted(map(str, items)))
