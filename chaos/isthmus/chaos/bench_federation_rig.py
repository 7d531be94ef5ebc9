"""What the measurements of ``isthmus bench federation-*`` stand on: two etcds, both ends of a link, rows."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from isthmus.chaos.bench_kv_rig import VALUE, versions
from isthmus.contract.scopes import import_root
from isthmus.deploy.binaries import find
from isthmus.deploy.etcd_process import EtcdMember, free_port, run_etcd
from isthmus.federation import (
    GatewaySettings,
    LinkStatus,
    PeerSettings,
    SiteLinkSettings,
    run_gateway,
    run_site_link,
)
from isthmus.federation.settings import QuotaSettings
from isthmus.identity import Identity, LeafRequest, TrustDomain
from isthmus.kv.errors import StoreError
from isthmus.kv.etcd import EtcdStore
from isthmus.kv.port import Put
from isthmus.kv.settings import EtcdSettings
from isthmus.kv.writes import write_batches
from isthmus.trust.store import AuthorityStore, Enrolment

DOMAIN = TrustDomain("carrier.example")
HUB, SITE = "global", "bench"
GATEWAY = Identity.of_global(DOMAIN, "gateway")
OUTBOX = f"/isthmus/v1/outbox/{SITE}/intents/"
ARRIVED = f"{import_root(HUB)}intents/"
MIRRORED = "/isthmus/v1/mirrored/"


class NotMeasured(RuntimeError):
    """Something never happened; the figure would be a guess."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured; :meth:`small` is for tests."""

    keys: int = 50_000
    follow_s: float = 10.0
    rates: tuple[int, ...] = (1000, 3000)
    sites: int = 200
    fanin_changes_per_s: int = 25
    mirror_reference: bool = True
    dials_per_s: float = 100.0
    """Sites do not start in the same moment; both ends of all handshakes are this one process."""
    growth_sites: tuple[int, ...] = (10, 100, 200, 500, 1000)
    growth_changes_per_s: int = 5

    @classmethod
    def small(cls) -> Sizes:
        """Enough to see that every figure is produced."""
        return cls(500, 1.0, (100,), 4, 5, mirror_reference=False, growth_sites=(2,))


@dataclass(slots=True)
class Report:
    """The document of GOALS."""

    bench: str
    figures: list[dict[str, Any]] = field(default_factory=list)
    series: dict[str, Any] = field(default_factory=dict)

    def row(
        self,
        name: str,
        value: float,
        unit: str,
        goal: str = "",
        met: bool | None = None,
        reference: float | None = None,
    ) -> None:
        """One figure beside its reference."""
        self.figures.append(
            {
                "name": name,
                "value": round(value, 4),
                "unit": unit,
                "goal": goal,
                "met": met,
                "reference": None if reference is None else round(reference, 4),
                "ratio": round(value / reference, 4) if reference else None,
            }
        )

    def document(self, sizes: Sizes) -> dict[str, Any]:
        """Everything, with where it was measured."""
        return {
            "bench": self.bench,
            "commit": os.environ.get("ISTHMUS_COMMIT", ""),
            "seed": 0,
            "versions": versions("3.7"),
            "machine": {"cpus": os.cpu_count(), "load": os.getloadavg()[0]},
            "sizes": json.loads(json.dumps(asdict(sizes))),
            "figures": self.figures,
            "series": self.series,
        }


@dataclass
class Rig:
    """Two stores and the settings of both ends."""

    folder: Path
    site: EtcdStore
    hub: EtcdStore
    endpoints: tuple[str, str]
    gateway: GatewaySettings
    link: SiteLinkSettings


@asynccontextmanager
async def rig(folder: Path) -> AsyncIterator[Rig]:
    """Two etcds, and settings for both ends of a link."""
    authority = enroll(folder, [SITE])
    async with AsyncExitStack() as stack:
        settings = []
        for name in ("site", "hub"):
            member = EtcdMember(
                data_dir=folder / name, client_port=free_port(), quota_bytes=4 << 30,
                compaction_retention="2000000", name=name,
            )  # fmt: skip
            await stack.enter_async_context(run_etcd(member))
            settings.append(EtcdSettings(endpoints=(f"127.0.0.1:{member.client_port}",)))
        stores = [EtcdStore.connect(one) for one in settings]
        for store in stores:
            stack.push_async_callback(store.aclose)
        address = f"127.0.0.1:{free_port()}"
        yield Rig(
            folder, stores[0], stores[1], (settings[0].endpoints[0], settings[1].endpoints[0]),
            gateway_settings(folder, authority, [SITE], address, settings[1]),
            link_settings(folder, authority, SITE, address, settings[0]),
        )  # fmt: skip


def enroll(folder: Path, sites: list[str]) -> Path:
    """Credentials of a gateway and of ``sites``; the bundle."""
    authority = AuthorityStore(folder / "authorities", DOMAIN)
    identities = [GATEWAY, *(Identity.of_site(DOMAIN, site, "federation") for site in sites)]
    wanted = [Enrolment(LeafRequest(one), folder / one.peer) for one in identities]
    authority.enroll(wanted, now_s=time.time())
    bundle = folder / "bundle.pem"
    bundle.write_bytes(authority.bundle_pem())
    bundle.chmod(0o644)
    return bundle


def gateway_settings(
    folder: Path, bundle: Path, sites: list[str], listen: str, store: EtcdSettings | None
) -> GatewaySettings:
    """Of the tier's end."""
    return GatewaySettings(
        name=HUB, credentials=folder / HUB, bundles={DOMAIN.name: bundle}, listen=listen,
        store=store,
        peers=tuple(
            PeerSettings(name=site, identity=str(Identity.of_site(DOMAIN, site, "federation")))
            for site in sites
        ),
    )  # fmt: skip


def link_settings(
    folder: Path, bundle: Path, site: str, dial: str, store: EtcdSettings | None
) -> SiteLinkSettings:
    """Of a site's end, with room for a large copy."""
    quota = QuotaSettings(max_keys=10_000_000, max_total_bytes=1 << 40, max_changes_per_s=1e6)
    return SiteLinkSettings.model_validate(
        {
            "name": site, "credentials": folder / site, "bundles": {DOMAIN.name: bundle},
            "dial": (dial,), "store": store,
            "peer": {"name": HUB, "identity": str(GATEWAY), "quota": quota},
        }
    )  # fmt: skip


@asynccontextmanager
async def linked(world: Rig) -> AsyncIterator[None]:
    """Both ends running."""
    seen: dict[str, LinkStatus] = {}
    tasks = [
        asyncio.create_task(run_gateway(world.gateway, world.hub)),
        asyncio.create_task(
            run_site_link(
                world.link, world.site, on_status=lambda links: seen.update(site=links[0])
            )
        ),
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def fill(store: EtcdStore, prefix: str, keys: int) -> None:
    """``keys`` values of 200 bytes."""
    puts = [Put(f"{prefix}t{number % 50}/c{number:07}", VALUE) for number in range(keys)]
    await write_batches(store, puts, timeout_s=60)


async def make_mirror(world: Rig, sizes: Sizes) -> float:
    """Seconds that ``etcdctl make-mirror`` takes for the same keys between the same stores."""
    began = time.monotonic()
    last = f"{MIRRORED}t{(sizes.keys - 1) % 50}/c{sizes.keys - 1:07}"
    async with mirroring(world):
        await until(
            lambda: _mirrored(world.site, last, sizes.keys), "make-mirror is done", 600, 0.2
        )
        return time.monotonic() - began


@asynccontextmanager
async def mirroring(world: Rig) -> AsyncIterator[None]:
    """``etcdctl make-mirror`` runs beside the block, from the hub's outbox to the site's :data:`MIRRORED`."""
    program = str((await find("etcdctl")).path)
    process = await asyncio.create_subprocess_exec(
        program, f"--endpoints={world.endpoints[1]}", "make-mirror", f"--prefix={OUTBOX}",
        f"--dest-prefix={MIRRORED}", world.endpoints[0],
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield
    finally:
        process.kill()
        await process.wait()


async def _mirrored(store: EtcdStore, last: str, keys: int) -> bool:
    highest = f"{MIRRORED}t9/c{max(n for n in range(keys) if n % 50 == 9):07}"
    return await there(store, last) and await there(store, highest)


async def until(
    condition: Callable[[], Any], what: str, timeout_s: float = 120.0, every_s: float = 0.02
) -> None:
    """Wait for ``condition``; NotMeasured when it never comes."""
    deadline = time.monotonic() + timeout_s
    while not await condition():
        if time.monotonic() > deadline:
            raise NotMeasured(f"{what}: not within {timeout_s:g} s")
        await asyncio.sleep(every_s)


async def there(store: EtcdStore, key: str) -> bool:
    try:
        return await store.get(key) is not None
    except StoreError:
        return False


async def true(value: bool) -> bool:
    return value


def pss_bytes() -> int:
    """Proportional set size of this process."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0
