"""Instances, hosts, summaries: what a site's own microcontrollers tell each other, and what it tells its peers."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from isthmus.contract.alarms import Alarm
from isthmus.contract.chain import FunctionSpec, Name, Resources
from isthmus.contract.envelope import Body
from isthmus.contract.figures import Told


class CatalogEntry(Body):
    """A VNF type a site can run: form factor, JSON Schema of its configuration, indicators it publishes."""

    type: Name
    version: Name
    form: Literal["kernel", "process", "container", "vm"] = "kernel"
    config_schema: dict[str, Any] = Field(default_factory=dict)
    indicators: tuple[str, ...] = ()
    resources: Resources = Resources()


class Attachment(Body):
    """A customer's circuit as the fabric knows it, and the host where it can be delivered."""

    name: Name
    host: Name


class HostInventory(Body):
    """One NFV node: what it has, where its wires end, whether it can carry packets and fence them."""

    host: Name
    cpu_milli: int = Field(ge=0)
    memory_mib: int = Field(ge=0)
    underlay_address: str = ""
    dataplane: Literal["kernel", "kernel-userns", "hollow", "none"] = "kernel"
    fence: Literal["kernel", "none"] = "none"
    attachments: tuple[Name, ...] = ()
    reason: str = ""


class InstanceDesired(Body):
    """The placer's order to one host. A higher ``incarnation`` means: this life anew."""

    instance: Name
    incarnation: int = Field(ge=1)
    tenant: Name
    chain: Name
    function: FunctionSpec
    form: str = "kernel"


class SigningRequest(Body):
    """The launcher's request for an instance's certificate; the private key never leaves the host."""

    instance: Name
    csr_pem: str


class InstanceCertificate(Body):
    """The certificate that credentials signed for an instance."""

    instance: Name
    certificate_pem: str
    ca_pem: str


class InstanceRuntime(Body):
    """What the launcher sees of an instance: ``legs`` maps leg to the device on its host."""

    instance: Name
    incarnation: int = Field(ge=0)
    phase: Literal["starting", "running", "lost", "failed"]
    netns: str = ""
    legs: dict[str, str] = Field(default_factory=dict)
    error: str = ""


class HealRequest(Body):
    """The healer asks for a new life of an instance whose life ``lost_incarnation`` ended."""

    instance: Name
    lost_incarnation: int = Field(ge=1)
    reason: str


class ConfigOwner(Body):
    """Who configures an instance: ``configurator`` or an EMS; moves live (R31-R37)."""

    owner: Name = "configurator"


class InstanceConfig(Body):
    """Configuration of an instance from one owner; ``parameters`` is the VNF type's own business."""

    type: Name
    version: Name = "1"
    parameters: dict[str, Any] = Field(default_factory=dict)


class Applied(Body):
    """The VNF says which configuration is in force in which life; only then is a cord connected (fail closed).

    ``config_revision`` 0: nothing is in force, all packets are dropped. With ``error``, the configuration at
    ``refused_revision`` was not accepted, and what ``config_revision`` names is still in force.
    """

    incarnation: int = Field(ge=0)
    config_generation: int = 0
    config_revision: int = 0
    owner: str = "configurator"
    error: str = ""
    refused_generation: int = 0
    refused_revision: int = 0


class InstanceState(Body):
    """Operational state the VNF publishes of itself (R25)."""

    healthy: bool
    detail: str = ""
    facts: dict[str, Any] = Field(default_factory=dict)


class InstanceStats(Body):
    """Counters of one instance, whoever counted them (R38); ``source`` is ``vnf`` or ``vswitch``."""

    source: Literal["vnf", "vswitch"]
    incarnation: int = 0
    packets_forward: int = 0
    packets_reverse: int = 0
    packets_dropped: int = 0
    bytes_forward: int = 0
    bytes_reverse: int = 0


class ChainCords(Body):
    """Which hops of a chain are patched on one host; ``waiting`` says why the others are not."""

    connected: tuple[int, ...] = ()
    waiting: dict[str, str] = Field(default_factory=dict)


class WireEndpoint(Body):
    """Where a wire ends at this site: goes up to the tier that asked for it, without the host's name. ``far_address``,
    where its other end was last said to be, stays here: a chain that goes on must not lose its wires because the tier
    above does not tell them any more (attack 19)."""

    wire: Name
    vni: int
    address: str
    udp_port: int = 4789
    tenant: Name
    chain: Name
    source: Name = "global"
    far_address: str = ""


class WireHeard(Body):
    """Packets that came over a wire from its far end; written while they come, every few seconds."""

    wire: Name
    rx_packets: int = Field(ge=0)
    heard_at: float
    """UTC seconds of this host's clock."""


class SiteSummary(Body):
    """All that another tier learns of a site's insides: totals, headroom, price; never an inventory.

    ``told`` says of each summarized field how wrong it may be, of how many members it is, and when and why it was told
    (rules: :mod:`isthmus.contract.summaries`); a reader that does not know it loses nothing else."""

    cpu_milli_total: int
    cpu_milli_free: int
    memory_mib_total: int
    memory_mib_free: int
    largest_free_cpu_milli: int = 0
    free_cpu_slots: tuple[int, ...] = ()
    """Hosts by how much of their cores is free, bin by bin of the contract's histogram; empty from an older release."""
    hottest_host_permille: int = 0
    hosts_up: int
    chains: int
    chains_held: int = 0
    attachments: tuple[Name, ...] = ()
    function_types: tuple[str, ...] = ()
    price_milli: int = 1000
    fence: Literal["kernel", "none"] = "none"
    alarms: tuple[Alarm, ...] = ()
    """The worst, worst first; never a name of a host, a tenant or a chain."""
    told: dict[str, Told] = Field(default_factory=dict)
    sites: int = 0
    """Of a tier that stands for its sites: how many are in these totals; a site itself says 0."""
    sites_unknown: int = 0
    """How many are left out, because what they said last is too old to be believed (G12)."""


class OperationalEvent(Body):
    """One line of ``isthmus events``: what happened, to what, why."""

    kind: Name
    subject: str
    message: str
    severity: Literal["info", "warning", "error"] = "info"


class Leadership(Body):
    """Who leads a role; the key's create revision is the epoch."""

    holder: str
