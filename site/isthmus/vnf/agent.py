"""The agent of a host: one process that gives each instance its relay socket, and runs kernel-ruleset functions.

It is no microcontroller (DESIGN section 5): it knows no chain and no other host, and speaks to the store only as
the instances it serves, each with its own certificate. A folder that appears starts an instance, one that goes
away ends it, one that is replaced by a new life starts anew; renewed credentials alone only renew the relay. Trouble
of one instance never touches another: its task is started again after a pause.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from isthmus.contract.envelope import Stamp
from isthmus.kv.backoff import Backoff
from isthmus.vnf.client import ClientSettings, VnfClient, connect
from isthmus.vnf.descriptor import Registry
from isthmus.vnf.errors import FolderRefused
from isthmus.vnf.folder import InstanceFolder, identity_in, scan
from isthmus.vnf.inotify import FolderWatch
from isthmus.vnf.kernel import NamespaceKernel
from isthmus.vnf.kernel_vnf import KernelVnf, VnfIdentity, VnfSettings
from isthmus.vnf.relay import Relay, RelayLimits, Upstream

_LOG = logging.getLogger(__name__)
NETNS_FOLDER = Path("/run/netns")


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """``scan_interval_s`` is the safety net behind inotify. ``tools``: nft and tc processes at once (more only
    queue on the kernel's locks); ``threads`` read counters."""

    instances: Path
    upstream: Upstream
    netns_folder: Path = NETNS_FOLDER
    scan_interval_s: float = 2.0
    settle_s: float = 0.01
    tools: int = 4
    threads: int = 2
    restart_max_s: float = 5.0
    vnf: VnfSettings = field(default_factory=VnfSettings)
    client: ClientSettings = field(default_factory=ClientSettings)
    relay: RelayLimits = field(default_factory=RelayLimits)


@dataclass(slots=True)
class _Running:
    folder: InstanceFolder
    task: asyncio.Task[None]
    relay: Relay | None = None


class Agent:
    """Run with :meth:`run`; cancel it to stop: rulesets stay in force, sockets are removed."""

    def __init__(
        self,
        settings: AgentSettings,
        registry: Registry,
        *,
        life: str,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        chance: random.Random,
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._life = life
        self._clock = clock
        self._monotonic = monotonic
        self._chance = chance
        self._running: dict[str, _Running] = {}
        self._complaints: dict[str, str] = {}
        self._tools = asyncio.Semaphore(settings.tools)
        self._threads = ThreadPoolExecutor(settings.threads, thread_name_prefix="netns")

    @property
    def instances(self) -> tuple[str, ...]:
        """Ids of the instances that are served now."""
        return tuple(sorted(self._running))

    async def run(self) -> None:
        """For ever: look at the folder whenever it changed, and now and then anyway."""
        self._settings.instances.mkdir(parents=True, exist_ok=True)
        watch = FolderWatch(self._settings.instances)
        try:
            while True:
                watch.changed.clear()
                await self.reconcile()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._settings.scan_interval_s):
                        await watch.changed.wait()
                        await asyncio.sleep(self._settings.settle_s)  # a rename is two notices
        finally:
            watch.close()
            await self._stop(tuple(self._running))
            self._threads.shutdown(wait=False)

    async def reconcile(self) -> None:
        """Make what runs equal to what the folder says. Looking at it is what the scan is for: level-triggered."""
        found, refused = scan(self._settings.instances)
        self._complain(refused)
        await self._stop(
            tuple(
                name
                for name, running in self._running.items()
                if name not in found or found[name].life != running.folder.life
            )
        )
        for name, folder in found.items():
            if name not in self._running:
                self._start(name, folder)
            elif folder.credentials != self._running[name].folder.credentials:
                self._renew(self._running[name], folder)

    def revoke(self, instance: str) -> None:
        """Cut the instance off from the store now; a new life or new credentials let it in again."""
        running = self._running.get(instance)
        if running is not None and running.relay is not None:
            running.relay.cut()

    # ---- one instance

    def _start(self, name: str, folder: InstanceFolder) -> None:
        task = asyncio.create_task(self._keep_running(name, folder), name=f"instance {name}")
        self._running[name] = _Running(folder, task)

    async def _stop(self, names: tuple[str, ...]) -> None:
        tasks = [self._running.pop(name).task for name in names]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=5.0)

    def _renew(self, running: _Running, folder: InstanceFolder) -> None:
        running.folder = folder
        if running.relay is None:
            return
        try:
            running.relay.admit()
        except FolderRefused as error:
            _LOG.warning("%s: renewed credentials: %s", folder.path.name, error)

    async def _keep_running(self, name: str, folder: InstanceFolder) -> None:
        backoff = Backoff(0.1, self._settings.restart_max_s, self._chance)
        while True:
            try:
                await self._serve(name, folder)
            except FolderRefused as error:
                _LOG.warning("%s", error)
            except Exception:
                _LOG.exception("instance %s: failed; it is started again", name)
            await asyncio.sleep(backoff.next_s())

    async def _serve(self, name: str, folder: InstanceFolder) -> None:
        """Relay and, for form ``kernel``, the function's own logic; until cancelled."""
        relay = Relay(
            folder.socket,
            self._settings.upstream,
            folder.cert_file,
            folder.key_file,
            self._settings.relay,
        )
        try:
            await relay.start()
            if name in self._running:
                self._running[name].relay = relay
            if folder.document.form == "kernel":
                await self._run_kernel_vnf(folder)
            else:
                await asyncio.get_running_loop().create_future()
        finally:
            await relay.aclose()

    async def _run_kernel_vnf(self, folder: InstanceFolder) -> None:
        document = folder.document
        store = connect(folder.socket, chance=self._chance)
        namespace = self._settings.netns_folder / (document.netns or document.instance)
        held = _hold(namespace)
        try:
            client = VnfClient(
                store,
                document.instance,
                stamp=Stamp(
                    origin=identity_in(folder.cert_file.read_text()), incarnation=self._life
                ),
                clock=self._clock,
                chance=self._chance,
                settings=self._settings.client,
            )
            kernel = NamespaceKernel(
                namespace,
                tools=self._tools,
                threads=self._threads,
            )
            identity = VnfIdentity(
                document.instance, document.incarnation, document.type, document.version
            )
            await KernelVnf(
                identity,
                self._registry,
                kernel,
                client,
                monotonic=self._monotonic,
                settings=self._settings.vnf,
            ).run()
        finally:
            if held is not None:
                os.close(held)
            await store.aclose()

    def _complain(self, refused: dict[str, FolderRefused]) -> None:
        """Say each complaint once, not at each scan."""
        now = {name: str(error) for name, error in refused.items()}
        for name, complaint in now.items():
            if self._complaints.get(name) != complaint:
                _LOG.warning("instance folder not used: %s", complaint)
        self._complaints = now


def _hold(namespace: Path) -> int | None:
    """Keep a namespace alive while its function runs: a dying one drops its rules before its devices, and forwards."""
    try:
        return os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
