"""Brings a lab up inside a private world, and down again (DESIGN section 8).

    spec -> namespaces -> certificates -> stores (users, roles) -> processes -> ready

One supervisor owns every process by its id. Progress is told step by step; whatever fails is named with the log
that says why. Leaving the context ends everything; the world's end would do it, too.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from isthmus.contract.family import Tier
from isthmus.deploy.binaries import find
from isthmus.deploy.etcd_process import EtcdMember, EtcdTls, etcd_spec
from isthmus.deploy.lab import agreements, network, wan
from isthmus.deploy.lab import tier as tier_files
from isthmus.deploy.lab.addresses import TOXIPROXY_API, WAN, Addresses
from isthmus.deploy.lab.files import STORE, LabFiles
from isthmus.deploy.lab.spec import GLOBAL, LabSite, LabSpec
from isthmus.deploy.lab.trust import LabTrust
from isthmus.deploy.process_spec import ProcessSpec
from isthmus.deploy.supervisor import Supervisor
from isthmus.failpoint import VARIABLE as FAILPOINTS
from isthmus.vswitch import Node

READY_S = 60.0
Tell = Callable[[str], None]


def quiet(_: str) -> None:
    """Tell nobody."""


@dataclass(slots=True)
class Lab:
    """A running lab. ``base`` is a short path of mode 0700 (Unix sockets have 107 bytes)."""

    spec: LabSpec
    base: Path
    tell: Tell = quiet
    supervisor: Supervisor = field(default_factory=Supervisor)
    fallible: bool = False
    """Processes obey orders in :meth:`failpoints`; only a proving ground asks for it."""
    addresses: Addresses = field(init=False)
    trust: LabTrust = field(init=False)
    files: LabFiles = field(init=False)
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    def __post_init__(self) -> None:
        self.addresses = Addresses(self.spec)
        self.trust = LabTrust(self.base, self.spec)
        self.files = LabFiles(self.base, self.trust, self.addresses)

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.supervisor)
        try:
            await self._up()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _up(self) -> None:
        await self._step("namespaces and lines", network.build(self.spec))
        await self._step("certificates", asyncio.to_thread(self.trust.enroll, time.time()))
        agreements.write_all(self.files, self.spec, time.time())
        await self._step(
            f"stores: {', '.join(self.addresses.tiers)}",
            _all(self._store(tier) for tier in self.addresses.tiers),
        )
        for site in self.spec.sites:
            self._site_processes(site)
        await self._step("sites", _all(self._site_ready(site) for site in self.spec.sites))
        if self.spec.tier:
            await self._step("wan: toxiproxy and distances", self._wan())
            await self._step("global tier and links", self._tier())

    async def _step(self, what: str, work: Awaitable[object]) -> None:
        started = time.monotonic()
        await work
        self.tell(f"{what} ({time.monotonic() - started:.1f} s)")

    async def _store(self, tier: str) -> None:
        folder = self.trust.folder(tier, "etcd")
        member = EtcdMember(
            data_dir=self.base / tier / "etcd",
            client_port=2379,
            name=tier,
            tls=EtcdTls(
                ca_file=folder / "authority.pem",
                cert_file=folder / "cert.pem",
                key_file=folder / "key.pem",
            ),
            netns=tier,
            log_file=self.files.log(tier, "etcd"),
        )
        binary = await find("etcd")
        spec = etcd_spec(member, binary.path, name=f"{tier}.etcd")
        self.files.log(tier, "etcd").parent.mkdir(parents=True, exist_ok=True)
        self.supervisor.start(spec)
        await self.supervisor.wait_ready(spec.name, READY_S)
        await self.first_light(tier)

    async def first_light(self, tier: str) -> None:
        """Users and roles of one store; from the tier's own namespace, for there is no other way in."""
        await self.run_python(
            tier, "isthmus.deploy.lab.light", str(self.base), tier, self.spec.model_dump_json()
        )

    async def run_python(self, tier: str, module: str, *arguments: str) -> str:
        """Run one of our modules inside a tier's namespace; its output."""
        return await Node(tier).run(sys.executable, "-m", module, *arguments, timeout_s=READY_S)

    def _site_processes(self, site: LabSite) -> None:
        settings = self.files.site(site)
        self.start(
            site.site, "controllers", "isthmus.site.main", "--settings", str(settings), "--all"
        )
        for host in site.host_names:
            self.start(
                site.site,
                f"agent.{host}",
                "isthmus.functions.agent",
                f"--instances={self.base / site.site / host / 'instances'}",
                f"--etcd={STORE}",
                f"--ca={self.trust.folder(site.site, 'api') / 'ca.pem'}",
                f"--server-name={self.trust.store_name(site.site)}",
                "--stats-interval-s=0.5",
            )
        self.start(
            site.site, "api", "isthmus.api.main", "--settings", str(self.files.api(site.site))
        )

    async def _wan(self) -> None:
        binary = await find("toxiproxy-server")
        host, port = TOXIPROXY_API.split(":")
        self._start_argv(WAN, "toxiproxy", (str(binary.path), "-host", host, "-port", port))
        await self.eventually_async(wan.answers, "toxiproxy answers")
        await wan.populate(self.addresses)
        if self.spec.delays:
            for netns, device in wan.site_devices(self.addresses):
                await self.run_python(netns, "isthmus.deploy.wan_relay", "tx-off", device)
            path = wan.relay_config(self.spec, self.addresses, self.base / WAN / "relay.json")
            self.start(WAN, "relay", "isthmus.deploy.wan_relay", "run", "--config", str(path))

    async def _tier(self) -> None:
        await self.run_python(
            GLOBAL, "isthmus.deploy.lab.tier", str(self.base), self.spec.model_dump_json()
        )
        self.start_gateway()
        self.start_global()
        self.start(GLOBAL, "api", "isthmus.api.main", "--settings", str(self.files.api(GLOBAL)))
        for site in self.spec.sites:
            self.start_link(site)
        await self.eventually(
            lambda: self.files.api_socket(GLOBAL).exists(),
            f"the global API listens (see {self.files.log(GLOBAL, 'api')})",
        )

    def start_gateway(self) -> None:
        """The tier's end of every link."""
        path = tier_files.write(
            self.files.path(GLOBAL, "gateway.json"),
            tier_files.gateway_settings(self.files, self.spec),
        )
        self.start(GLOBAL, "gateway", "isthmus.federation.gateway_main", str(path))

    def start_link(self, site: LabSite) -> None:
        """A site's end of its link."""
        path = tier_files.write(
            self.files.path(site.site, "link.json"), tier_files.link_settings(self.files, site)
        )
        tap = ("--tap", str(self.files.path(site.site, "tap.jsonl"))) if self.spec.taps else ()
        self.start(site.site, "link", "isthmus.federation.site_main", str(path), *tap)

    def start_global(self) -> None:
        """The global microcontrollers. Ray lives in a pid namespace of its own: ending that ends all of it."""
        alone = (
            ("unshare", "--pid", "--fork", "--kill-child=KILL", "--mount-proc")
            if self.spec.runtime == "ray"
            else ()
        )
        settings = self.files.tier(self.spec.runtime)
        python = (sys.executable, "-m", "isthmus.global_tier.main", "--settings", str(settings))
        self._start_argv(GLOBAL, "controllers", (*alone, *python))

    def start(self, tier: str, process: str, module: str, *arguments: str) -> str:
        """Start one of our modules in a tier's namespace; the supervised name."""
        return self._start_argv(tier, process, (sys.executable, "-m", module, *arguments))

    def _start_argv(self, tier: str, process: str, argv: tuple[str, ...]) -> str:
        name = f"{tier}.{process}"
        env = {FAILPOINTS: f"@{self.failpoints(name)}"} if self.fallible else {}
        self.supervisor.start(
            ProcessSpec(
                name=name, argv=argv, env=env, netns=tier, log_file=self.files.log(tier, process)
            )
        )
        return name

    def failpoints(self, process: str) -> Path:
        """The file whose orders a process obeys at its failpoints, if the lab is ``fallible``."""
        folder = self.base / "failpoints"
        folder.mkdir(exist_ok=True)
        return folder / process

    async def _site_ready(self, site: LabSite) -> None:
        await self.eventually(
            lambda: self.files.api_socket(site.site).exists(),
            f"the API of {site.site} listens (see {self.files.log(site.site, 'api')})",
        )

    async def eventually(
        self, condition: Callable[[], bool], what: str, timeout_s: float = READY_S
    ) -> None:
        """Wait for a fact; TimeoutError names it."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {timeout_s:.0f} s: {what}")
            await asyncio.sleep(0.05)

    async def eventually_async(
        self, condition: Callable[[], Awaitable[bool]], what: str, timeout_s: float = READY_S
    ) -> None:
        """The same for a question that has to be awaited."""
        deadline = time.monotonic() + timeout_s
        while not await condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {timeout_s:.0f} s: {what}")
            await asyncio.sleep(0.05)


async def _all(work: object) -> None:
    async with asyncio.TaskGroup() as group:
        for each in work:  # type: ignore[attr-defined]
            group.create_task(each)


def kind_of(tier: str) -> Tier:
    """Which contract a tier's store keeps."""
    return Tier.GLOBAL if tier == GLOBAL else Tier.SITE
