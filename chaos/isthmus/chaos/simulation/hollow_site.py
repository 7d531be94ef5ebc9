"""A site without packets: what the real controllers need around them, as memory that outlives their processes.

A hollow infrastructure, a patch panel that remembers, a signer that signs nothing, and a stand-in VNF ("pretend
agent") that does what every VNF does towards the store: it applies its configuration and says so.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from functools import cache

from isthmus.contract import ContractError, Stamp, seal, unseal
from isthmus.contract.chain import FunctionSpec
from isthmus.contract.families import APPLIED, CONFIG, RUNTIME, STATE
from isthmus.contract.instance import (
    Applied,
    CatalogEntry,
    InstanceConfig,
    InstanceRuntime,
    InstanceState,
)
from isthmus.contract.roles import Role
from isthmus.functions import catalog_entries, shipped
from isthmus.infrastructure.hollow import HollowCompute, HollowFabric
from isthmus.kv.port import KeyValueStore
from isthmus.microcontroller import Microcontroller
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
class HollowHost:
    """One NFV host."""

    facts: HostFacts
    compute: HollowCompute = field(default_factory=HollowCompute)
    panel: HollowPanel = field(default_factory=HollowPanel)
    shares: HollowShares = field(default_factory=HollowShares)
    fabric: HollowFabric = field(default_factory=HollowFabric)

    def controllers(self) -> list[Microcontroller]:
        """One of each that is pinned to the host."""
        host, address = self.facts.host, self.facts.underlay_address
        return [
            Watcher(self.facts, self.compute),
            Launcher(host, self.compute, self.shares),
            Chaining(host, address, self.panel, self.fabric),  # type: ignore[arg-type]
        ]


def site_controllers(
    site: str, users: HollowUsers, *, period_s: float, delegations: Sequence[Delegation]
) -> list[Microcontroller]:
    """One of each that a site has once."""
    return [
        Intake(site, delegations, _catalog(), _check()),
        Placer(),
        Configurator(),
        Credentials(HollowSigner(), users),
        Monitor(),
        Healer(),
        Reporter(site, period_s=period_s),
        Summarizer(site, period_s=period_s),
    ]


@cache
def _catalog() -> tuple[CatalogEntry, ...]:
    """Made once a process: the schemas of configurations take longer than a virtual second."""
    return catalog_entries()


@cache
def _check() -> Callable[[FunctionSpec], None]:
    return check_with(shipped())


def check_with(registry: Registry) -> Callable[[FunctionSpec], None]:
    """What intake asks of a configuration."""

    def check(function: FunctionSpec) -> None:
        try:
            registry.find(function.type, function.version).descriptor.check(function.config)
        except (ConfigRefused, TypeUnknown) as error:
            raise ValueError(str(error)) from None

    return check


async def pretend_agent(store: KeyValueStore) -> None:
    """Apply every configuration of every running instance, as a VNF does."""
    async for _ in changes(store):
        snapshot = await store.snapshot("/isthmus/v1/")
        entries = {entry.key: entry for entry in snapshot.entries}
        for key, entry in entries.items():
            if RUNTIME.parse(key) is None:
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


async def changes(store: KeyValueStore) -> AsyncIterator[None]:
    """Once per change of the store."""
    async for batch in store.watch("/isthmus/v1/"):
        if not batch.events or any(
            RUNTIME.parse(event.key) or CONFIG.parse(event.key) for event in batch.events
        ):
            yield
