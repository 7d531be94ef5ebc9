"""A site without packets: the real controllers on the in-memory twin, a hollow infrastructure, a stand-in VNF.

The stand-in ("pretend agent") does what every VNF does towards the store: it applies its configuration and says so.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from tests.support import eventually

from isthmus.contract import Body, ContractError, Stamp, seal, unseal
from isthmus.contract.chain import ChainRequest, ChainSpec, ChainStatus, FunctionSpec
from isthmus.contract.families import APPLIED, CONFIG, REQUESTS, RUNTIME, STATE, STATUS
from isthmus.contract.instance import Applied, InstanceConfig, InstanceRuntime, InstanceState
from isthmus.contract.roles import Role
from isthmus.functions import catalog_entries, shipped
from isthmus.infrastructure.hollow import HollowCompute, HollowFabric
from isthmus.kv.memory import MemoryStore
from isthmus.kv.port import KeyValueStore
from isthmus.microcontroller import Microcontroller, Runner
from isthmus.site.chaining import Chaining
from isthmus.site.configurator import Configurator
from isthmus.site.credentials import Credentials
from isthmus.site.healer import Healer
from isthmus.site.intake import Delegation, Intake
from isthmus.site.launcher import Launcher
from isthmus.site.monitor import Monitor
from isthmus.site.placer import Placer
from isthmus.site.ports import InstanceFolder, SignedCertificate
from isthmus.site.reporter import Reporter
from isthmus.site.summarizer import Summarizer
from isthmus.site.watcher import HostFacts, Watcher
from isthmus.vnf.descriptor import Registry
from isthmus.vnf.errors import ConfigRefused, TypeUnknown
from isthmus.vswitch import Panel
from isthmus.vswitch.panel import Report

STAMP = Stamp(origin="test", incarnation="test")


class HollowPanel:
    """Stands for a patch panel: remembers what was asked, and how often."""

    def __init__(self) -> None:
        self.panel = Panel()
        self.history: list[Panel] = []

    async def reconcile(self, panel: Panel) -> Report:
        """Take the panel as it is."""
        if panel != self.panel:
            self.history.append(panel)
        self.panel = panel
        return Report((), ())


class HollowSigner:
    """Signs nothing and says so."""

    def sign(self, csr_pem: str, component: str) -> SignedCertificate:
        """A text that names the component."""
        return SignedCertificate(f"hollow certificate of {component}", "hollow authority")


@dataclass
class HollowUsers:
    """Remembers the users of a store that has none."""

    names: set[str] = field(default_factory=set)

    async def ensure(self, role: Role) -> None:
        """Remember."""
        self.names.add(role.name)

    async def remove(self, name: str) -> None:
        """Forget."""
        self.names.discard(name)


@dataclass
class HollowShares:
    """Folders in memory."""

    folders: dict[str, InstanceFolder] = field(default_factory=dict)

    def signing_request(self, instance: str) -> str:
        """A text that stands for a request."""
        return f"hollow request of {instance}"

    def path(self, instance: str) -> str:
        """No path at all."""
        return f"/hollow/{instance}"

    def publish(self, instance: str, folder: InstanceFolder) -> bool:
        """Put in place."""
        fresh = self.folders.get(instance) != folder
        self.folders[instance] = folder
        return fresh

    def withdraw(self, instance: str) -> None:
        """Take away."""
        self.folders.pop(instance, None)

    forget = withdraw

    def published(self) -> set[str]:
        """What is in place."""
        return set(self.folders)


@dataclass
class HollowSite:
    """One running site; ``stop`` ends it."""

    store: MemoryStore
    hosts: Sequence[str] = ("h1", "h2")
    name: str = "milan"
    compute: dict[str, HollowCompute] = field(default_factory=dict)
    panels: dict[str, HollowPanel] = field(default_factory=dict)
    shares: dict[str, HollowShares] = field(default_factory=dict)
    users: HollowUsers = field(default_factory=HollowUsers)
    runners: dict[str, Runner] = field(default_factory=dict)
    tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    def controllers(self) -> list[Microcontroller]:
        """One of each."""
        check = check_with(shipped())
        made: list[Microcontroller] = [
            Intake(
                self.name,
                [Delegation("global")],
                catalog_entries(),
                check,
            ),
            Placer(),
            Configurator(),
            Credentials(HollowSigner(), self.users),
            Monitor(),
            Healer(),
            Reporter(self.name, period_s=0.05),
            Summarizer(self.name, period_s=0.05),
        ]
        for index, host in enumerate(self.hosts):
            compute = self.compute.setdefault(host, HollowCompute())
            panel = self.panels.setdefault(host, HollowPanel())
            shares = self.shares.setdefault(host, HollowShares())
            prefix = host if self.name == "milan" and len(self.hosts) > 1 else self.name
            attachments = (f"{prefix}-a", f"{prefix}-b")
            address = f"10.{sum(self.name.encode()) % 200}.0.{index + 1}"
            facts = HostFacts(host, 1000, 1024, address, attachments)
            made += [
                Watcher(facts, compute),
                Launcher(host, compute, shares),
                Chaining(host, facts.underlay_address, panel, HollowFabric()),  # type: ignore[arg-type]
            ]
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


def check_with(registry: Registry) -> Callable[[FunctionSpec], None]:
    """What intake asks of a configuration."""

    def check(function: FunctionSpec) -> None:
        try:
            registry.find(function.type, function.version).descriptor.check(function.config)
        except (ConfigRefused, TypeUnknown) as error:
            raise ValueError(str(error)) from None

    return check


async def pretend_agent(store: MemoryStore) -> None:
    """Apply every configuration of every running instance, as a VNF does."""
    async for _ in changes(store):
        snapshot = await store.snapshot("/isthmus/v1/")
        entries = {entry.key: entry for entry in snapshot.entries}
        for key, entry in entries.items():
            where = RUNTIME.parse(key)
            if where is None:
                continue
            try:
                runtime = unseal(entry.value, InstanceRuntime).body
            except ContractError:
                continue
            config = entries.get(CONFIG.key(owner="configurator", instance=runtime.instance))
            if config is None or runtime.phase != "running":
                continue
            applied = Applied(
                incarnation=runtime.incarnation,
                config_generation=unseal(config.value, InstanceConfig).generation,
                config_revision=config.mod_revision,
            )
            for target, body in (
                (APPLIED.key(instance=runtime.instance), applied),
                (STATE.key(instance=runtime.instance), InstanceState(healthy=True)),
            ):
                value = seal(body, STAMP, as_of=0.0)
                known = entries.get(target)
                if known is None or known.value != value:
                    await store.put(target, value)


async def changes(store: MemoryStore) -> AsyncIterator[None]:
    """Once per change of the store."""
    async for batch in store.watch("/isthmus/v1/"):
        if not batch.events or any(
            RUNTIME.parse(event.key) or CONFIG.parse(event.key) for event in batch.events
        ):
            yield
