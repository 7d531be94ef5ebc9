"""A site and a tier with an etcd each, a gateway, and a fault proxy between them: real processes, real mTLS.

Everything belongs to one test, listens on 127.0.0.1 and dies with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from tests.federation_support import HUB, SITE, until
from tests.integration.kv.server import EtcdServer, free_port, serves

from isthmus.deploy.binaries import find
from isthmus.federation import (
    GatewaySettings,
    LinkLimits,
    LinkStatus,
    PeerSettings,
    SiteLinkSettings,
    run_gateway,
    run_site_link,
)
from isthmus.identity import Identity, LeafRequest, TrustDomain
from isthmus.kv.etcd import EtcdStore
from isthmus.trust import AuthorityStore, Enrolment

CARRIER, PARTNER = TrustDomain("carrier.example"), TrustDomain("partner.example")
GATEWAY = Identity.of_global(CARRIER, "gateway")
AGENT = Identity.of_site(CARRIER, SITE, "federation")
QUICK = LinkLimits(
    beat_s=0.3, lost_after_s=2.5, proof_every_s=0.3, cursor_every_s=0.1, check_every_s=1.0
)


class Toxiproxy:
    """One fault proxy; ``fault`` and ``heal`` act on the one link ``site``."""

    def __init__(self, upstream: int) -> None:
        self.api, self.port, self._upstream = free_port(), free_port(), upstream
        self.process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        program = str((await find("toxiproxy-server")).path)
        self._launch([program, "-host", "127.0.0.1", "-port", str(self.api)])
        await until(self._answers, "toxiproxy answers")
        body = {
            "name": "site",
            "listen": f"127.0.0.1:{self.port}",
            "upstream": f"127.0.0.1:{self._upstream}",
            "enabled": True,
        }
        await self._call("POST", "/proxies", body)

    def _launch(self, argv: list[str]) -> None:
        self.process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    async def _answers(self) -> bool:
        try:
            await self._call("GET", "/version")
        except httpx.TransportError:
            return False
        return True

    async def _call(self, verb: str, path: str, body: object = None) -> Any:
        async with httpx.AsyncClient(trust_env=False, timeout=5.0) as client:
            answer = await client.request(verb, f"http://127.0.0.1:{self.api}{path}", json=body)
            answer.raise_for_status()
            return answer

    async def fault(self, kind: str, stream: str, **attributes: int) -> str:
        """Add a toxic; its name, for :meth:`heal`."""
        name = f"{kind}-{stream}"
        body = {"name": name, "type": kind, "stream": stream, "attributes": attributes}
        await self._call("POST", "/proxies/site/toxics", body)
        return name

    async def heal(self, *names: str) -> None:
        for name in names:
            await self._call("DELETE", f"/proxies/site/toxics/{name}")

    async def silent(self) -> tuple[str, str]:
        """Both directions at once, lossless: as a WAN that swallows packets."""
        return (
            await self.fault("bandwidth", "upstream", rate=0),
            await self.fault("bandwidth", "downstream", rate=0),
        )

    async def enabled(self, on: bool) -> None:
        """Refuse connections, or take them again."""
        await self._call("POST", "/proxies/site", {"enabled": on})

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)


@dataclass
class Lab:
    """One carrier with a hub and a site; ``folder`` holds everything."""

    folder: Path
    limits: LinkLimits = QUICK
    site_etcd: EtcdServer = field(init=False, repr=False)
    hub_etcd: EtcdServer = field(init=False, repr=False)
    site: EtcdStore = field(init=False, repr=False)
    hub: EtcdStore = field(init=False, repr=False)
    proxy: Toxiproxy = field(init=False, repr=False)
    port: int = field(default_factory=free_port)
    tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    seen: dict[str, LinkStatus] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.site_etcd = EtcdServer(self.folder / "site-etcd")
        self.hub_etcd = EtcdServer(self.folder / "hub-etcd")
        self.authorities = {
            domain: AuthorityStore(self.folder / "ca" / domain.name, domain)
            for domain in (CARRIER, PARTNER)
        }

    async def start(self) -> None:
        await asyncio.gather(self.site_etcd.start(), self.hub_etcd.start())
        self.site, self.hub = self.site_etcd.store(), self.hub_etcd.store()
        await asyncio.gather(serves(self.site), serves(self.hub))
        self.enroll(GATEWAY, AGENT)
        self.proxy = Toxiproxy(self.port)
        await self.proxy.start()

    def enroll(self, *identities: Identity) -> None:
        """A directory of credentials for each, and the bundles of both domains."""
        now_s = time.time()
        for identity in identities:
            wanted = [Enrolment(LeafRequest(identity), self.credentials(identity))]
            self.authorities[identity.trust_domain].enroll(wanted, now_s=now_s)
        for domain, store in self.authorities.items():
            store.root(now_s=now_s)
            self.bundle(domain).write_bytes(store.bundle_pem())
            self.bundle(domain).chmod(0o644)

    def credentials(self, identity: Identity) -> Path:
        return (
            self.folder / "credentials" / str(identity).removeprefix("spiffe://").replace("/", "_")
        )

    def bundle(self, domain: TrustDomain) -> Path:
        return self.folder / f"{domain.name}.pem"

    @property
    def bundles(self) -> dict[str, Path]:
        return {domain.name: self.bundle(domain) for domain in (CARRIER, PARTNER)}

    def gateway_settings(self, **more: Any) -> GatewaySettings:
        settings = GatewaySettings(
            name=HUB,
            credentials=self.credentials(GATEWAY),
            bundles=self.bundles,
            listen=f"127.0.0.1:{self.port}",
            peers=(PeerSettings(name=SITE, identity=str(AGENT)),),
            limits=self.limits,
            store=self.hub_etcd.settings(),
            status_every_s=0.05,
        )
        return settings.model_copy(update=more)

    def site_settings(self, **more: Any) -> SiteLinkSettings:
        base: dict[str, Any] = {
            "name": SITE,
            "credentials": self.credentials(AGENT),
            "bundles": self.bundles,
            "dial": (f"127.0.0.1:{self.proxy.port}",),
            "peer": {"name": HUB, "identity": str(GATEWAY)},
            "limits": self.limits,
            "store": self.site_etcd.settings(),
            "connect_timeout_s": 1.5,
            "backoff_max_s": 0.5,
            "refused_backoff_s": 0.5,
            "status_every_s": 0.05,
        }
        return SiteLinkSettings(**{**base, **more})

    def run_gateway(self, **more: Any) -> None:
        def told(links: tuple[LinkStatus, ...]) -> None:
            self.seen.update({f"hub:{link.peer}": link for link in links})

        work = run_gateway(self.gateway_settings(**more), self.hub, on_status=told)
        self.tasks["gateway"] = asyncio.create_task(work)

    def run_site(self, **more: Any) -> None:
        def told(links: tuple[LinkStatus, ...]) -> None:
            self.seen["site"] = links[0]

        work = run_site_link(self.site_settings(**more), self.site, on_status=told)
        self.tasks["site"] = asyncio.create_task(work)

    async def end(self, name: str) -> None:
        """Cancel one side, as its process being killed."""
        task = self.tasks.pop(name)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    def connected(self) -> bool:
        """Both ends say so."""
        for name, task in self.tasks.items():
            if task.done():
                raise AssertionError(f"{name} ended: {task}") from task.exception()
        ends = (self.seen.get("site"), self.seen.get(f"hub:{SITE}"))
        return all(end is not None and end.connected for end in ends)

    async def stop(self) -> None:
        for name in list(self.tasks):
            await self.end(name)
        for store in (self.site, self.hub):
            await store.aclose()
        self.proxy.stop()
        self.site_etcd.kill()
        self.hub_etcd.kill()


@contextlib.asynccontextmanager
async def lab(folder: Path, *, linked: bool = True, **options: Any) -> AsyncIterator[Lab]:
    """A running lab, with the link up unless ``linked`` is False."""
    made = Lab(folder, **options)
    try:
        await made.start()
        if linked:
            made.run_gateway()
            made.run_site()
            await until(made.connected, "the link stands")
        yield made
    finally:
        await made.stop()
