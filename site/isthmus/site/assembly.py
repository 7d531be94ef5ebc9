"""Puts the site's microcontrollers together from its settings (DESIGN section 5).

Each keeps its own certificate and its own channel to the store, also when all run in one process.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from isthmus.contract.chain import FunctionSpec
from isthmus.functions import catalog_entries, shipped
from isthmus.identity import Identity
from isthmus.infrastructure.hollow import HollowCompute, HollowFabric
from isthmus.infrastructure.linux import AttachmentPlace, LinuxCompute, LinuxFabric, LinuxSettings
from isthmus.infrastructure.ports import ComputePort, FabricPort
from isthmus.infrastructure.recording import RecordingCompute, RecordingFabric
from isthmus.kv.admin import EtcdAdmin
from isthmus.kv.etcd import EtcdStore
from isthmus.kv.settings import EtcdSettings
from isthmus.kv.space import EtcdSpace
from isthmus.microcontroller import Microcontroller, Runner, Surroundings
from isthmus.microcontroller.janitor import Janitor
from isthmus.microcontroller.maintenance import Maintenance
from isthmus.site.chaining import Chaining
from isthmus.site.configurator import Configurator
from isthmus.site.credentials import Credentials
from isthmus.site.edges import AuthoritySigner, EtcdUsers, FileShares
from isthmus.site.healer import Healer
from isthmus.site.intake import Delegation, Intake
from isthmus.site.launcher import Launcher
from isthmus.site.monitor import Monitor
from isthmus.site.placer import Placer
from isthmus.site.reporter import Reporter
from isthmus.site.settings import HostSettings, SiteSettings
from isthmus.site.statistics import Statistics
from isthmus.site.summarizer import Summarizer
from isthmus.site.watcher import HostFacts, Watcher
from isthmus.trust.store import random_serial
from isthmus.vnf.errors import ConfigRefused, TypeUnknown
from isthmus.vswitch import Node, PatchPanel

SITE_WIDE = (
    "intake", "placer", "configurator", "monitor", "healer", "reporter", "summarizer",
    "credentials", "janitor", "maintenance",
)  # fmt: skip
PER_HOST = ("watcher", "launcher", "chaining", "statistics")


def component_names(settings: SiteSettings) -> tuple[str, ...]:
    """Every microcontroller of this site, as named in its certificates."""
    hosts = tuple(f"{name}.{host.host}" for host in settings.hosts for name in PER_HOST)
    return SITE_WIDE + hosts


@dataclass(slots=True)
class Assembly:
    """Builds runners; plug-ins and panels are shared between the controllers of one host. ``calls`` records what the
    infrastructure was asked (R16). Plug-ins of other makers are handed in by host; compute and fabric are replaced
    separately (R22)."""

    settings: SiteSettings
    surroundings: Surroundings = field(default_factory=Surroundings)
    calls: list[dict[str, Any]] | None = None
    computes: dict[str, ComputePort] = field(default_factory=dict)
    fabrics: dict[str, FabricPort] = field(default_factory=dict)
    _panels: dict[str, PatchPanel] = field(default_factory=dict)

    def runner(self, component: str) -> Runner:
        """The component with a store connection of its own."""
        settings = self.settings
        store = EtcdStore.connect(self._store_settings(component))
        identity = Identity.of_site(settings.trust_domain, settings.site, component)
        return Runner(
            controller=self._controller(component, store),
            store=store,
            origin=str(identity),
            surroundings=self.surroundings,
        )

    def _store_settings(self, component: str) -> EtcdSettings:
        folder = self.settings.certificates / component
        return EtcdSettings(
            endpoints=self.settings.store.endpoints,
            server_name=self.settings.store.server_name,
            ca_file=folder / "ca.pem",
            cert_file=folder / "cert.pem",
            key_file=folder / "key.pem",
        )

    def _controller(self, component: str, store: EtcdStore) -> Microcontroller:
        name, _, host_name = component.partition(".")
        if host_name:
            return self._host_controller(name, host_name)
        settings = self.settings
        simple: dict[str, Callable[[], Microcontroller]] = {
            "intake": self._intake,
            "placer": Placer,
            "configurator": Configurator,
            "monitor": Monitor,
            "healer": Healer,
            "reporter": lambda: Reporter(settings.site),
            "summarizer": lambda: Summarizer(settings.site, settings.price_milli),
            "credentials": lambda: self._credentials(store),
            "janitor": Janitor,
            "maintenance": lambda: Maintenance(EtcdSpace(self._store_settings(component))),
        }
        return simple[name]()

    def _intake(self) -> Intake:
        registry = shipped()

        def check(function: FunctionSpec) -> None:
            try:
                found = registry.find(function.type, function.version)
                found.descriptor.check(function.config)
            except (ConfigRefused, TypeUnknown) as error:
                raise ValueError(str(error)) from None

        delegations = [Delegation(**peer.model_dump()) for peer in self.settings.peers]
        return Intake(self.settings.site, delegations, catalog_entries(), check)

    def _credentials(self, store: EtcdStore) -> Credentials:
        settings = self.settings
        signer = AuthoritySigner(
            settings.site,
            settings.trust_domain,
            settings.authority,
            self.surroundings.now,
            random_serial,
        )
        return Credentials(signer, EtcdUsers(EtcdAdmin(store)))

    def _host_controller(self, name: str, host_name: str) -> Microcontroller:
        settings = self.settings
        host = next(host for host in settings.hosts if host.host == host_name)
        if name == "watcher":
            facts = HostFacts(
                host.host,
                host.cpu_milli,
                host.memory_mib,
                host.underlay_address,
                tuple(sorted(host.attachments)),
            )
            return Watcher(facts, self._compute_of(host))
        if name == "launcher":
            shares = FileShares(
                settings.site, settings.trust_domain, settings.instances_dir(host.host)
            )
            return Launcher(host.host, self._compute_of(host), shares, settings.mtu)
        if name == "chaining":
            return Chaining(
                host.host,
                host.underlay_address,
                self._panel_of(host),
                self._fabric_of(host),
                settings.mtu,
            )
        return Statistics(host.host, self._panel_of(host))

    def _panel_of(self, host: HostSettings) -> PatchPanel:
        if host.host not in self._panels:
            self._panels[host.host] = PatchPanel(Node(host.netns))
        return self._panels[host.host]

    def _linux(self, host: HostSettings) -> LinuxSettings:
        return LinuxSettings(
            scope=f"{self.settings.site}-{host.host}",
            nodes={host.host: host.netns},
            attachments={
                name: AttachmentPlace(place.netns, place.address, place.interface, node=host.host)
                for name, place in host.attachments.items()
            },
        )

    def _compute_of(self, host: HostSettings) -> ComputePort:
        if host.host not in self.computes:
            port: ComputePort = (
                HollowCompute()
                if self.settings.plugin == "hollow"
                else LinuxCompute(self._linux(host))
            )
            self.computes[host.host] = (
                port if self.calls is None else RecordingCompute(port, self.calls)
            )
        return self.computes[host.host]

    def _fabric_of(self, host: HostSettings) -> FabricPort:
        if host.host not in self.fabrics:
            port: FabricPort = (
                HollowFabric(tuple(host.attachments))
                if self.settings.plugin == "hollow"
                else LinuxFabric(self._linux(host))
            )
            self.fabrics[host.host] = (
                port if self.calls is None else RecordingFabric(port, self.calls)
            )
        return self.fabrics[host.host]
