"""What a patch panel should look like, as plain data.

Chaining is the manager's own work (white paper: "the manager ... is responsible for chaining";
R15): a *cord* joins two devices of one node in both directions, a *wire* is one point-to-point
VXLAN tunnel to another node, a *split* spreads the flows of one device over several instances and
a *gated cord* forwards only while its lease is alive in the kernel. Nothing here knows what
a network function is.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from isthmus.vswitch.errors import InvalidPanel
from isthmus.vswitch.naming import MAX_DEVICE_NAME, device_name

__all__ = ["Cord", "GateSpec", "Panel", "Split", "WireSpec"]

_DEVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_IDENTITY = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
MAX_VNI = (1 << 24) - 1
MAX_BUCKETS = 256


def check_device(device: str) -> None:
    """Refuse what the kernel would refuse, or worse, what a batch line would read as an option."""
    if len(device) > MAX_DEVICE_NAME or not _DEVICE.fullmatch(device):
        raise InvalidPanel(f"device name {device!r}: 1 to {MAX_DEVICE_NAME} of [A-Za-z0-9._-]")


def check_identity(what: str, identity: str) -> None:
    """Refuse an identity outside the grammar of a key segment (DESIGN section 4)."""
    if not _IDENTITY.fullmatch(identity):
        raise InvalidPanel(f"{what} {identity!r}: 1 to 63 of [a-z0-9._-], first a letter or digit")


@dataclass(frozen=True, slots=True)
class Cord:
    """Two devices joined in both directions; the order of the two ends means nothing."""

    a: str
    b: str

    def __post_init__(self) -> None:
        check_device(self.a)
        check_device(self.b)
        if self.a == self.b:
            raise InvalidPanel(f"a cord from {self.a!r} to itself")

    @property
    def ends(self) -> tuple[str, str]:
        """Both ends, sorted, so that two spellings of one cord are equal."""
        return (self.a, self.b) if self.a < self.b else (self.b, self.a)


@dataclass(frozen=True, slots=True)
class WireSpec:
    """One end of a point-to-point VXLAN wire (RFC 7348); one VNI per wire, nothing is learned."""

    wire_id: str
    vni: int
    local_ip: str
    remote_ip: str
    udp_port: int = 4789
    mtu: int = 1450

    def __post_init__(self) -> None:
        check_identity("wire", self.wire_id)
        if not 1 <= self.vni <= MAX_VNI:
            raise InvalidPanel(f"wire {self.wire_id!r}: vni {self.vni} is not in 1..{MAX_VNI}")
        if not 1 <= self.udp_port <= 65535:
            raise InvalidPanel(f"wire {self.wire_id!r}: udp_port {self.udp_port}")
        if not 576 <= self.mtu <= 65000:
            raise InvalidPanel(f"wire {self.wire_id!r}: mtu {self.mtu} is not in 576..65000")
        for field, address in (("local_ip", self.local_ip), ("remote_ip", self.remote_ip)):
            try:
                ipaddress.ip_address(address)
            except ValueError:
                raise InvalidPanel(f"wire {self.wire_id!r}: {field} {address!r}") from None

    @property
    def device(self) -> str:
        """The name of the tunnel device on this node."""
        return wire_device(self.wire_id)


def wire_device(wire_id: str) -> str:
    """The name of a wire's tunnel device, on whichever node."""
    return device_name("x", wire_id)


@dataclass(frozen=True, slots=True)
class Split:
    """The flows of ``source`` spread over ``targets`` by the client's address.

    A target is ``(key, device)``: the key names the instance, so that both of its legs get the
    same share of the clients.
    ``client`` says where the client's address stands in packets that arrive at ``source``:
    "src" on the way there, "dst" on the way back. Both directions then choose the same instance.
    ``buckets`` is a power of two; each bucket belongs to one target.
    """

    source: str
    targets: tuple[tuple[str, str], ...]
    client: str = "src"
    buckets: int = 16

    def __post_init__(self) -> None:
        for device in (self.source, *(device for _, device in self.targets)):
            check_device(device)
        for column in zip(*self.targets, strict=True):
            _refuse_twins(f"target in the split of {self.source!r}", list(column))
        if not self.targets:
            raise InvalidPanel(f"split of {self.source!r}: no targets")
        if self.client not in ("src", "dst"):
            raise InvalidPanel(f"split of {self.source!r}: client is 'src' or 'dst'")
        if not 2 <= self.buckets <= MAX_BUCKETS or self.buckets & (self.buckets - 1):
            raise InvalidPanel(f"split of {self.source!r}: buckets {self.buckets}, a power of two")


@dataclass(frozen=True, slots=True)
class GateSpec:
    """A cord whose direction ``source`` to ``target`` needs a living lease of ``epoch``."""

    gate_id: str
    source: str
    target: str
    epoch: int

    def __post_init__(self) -> None:
        check_identity("gate", self.gate_id)
        Cord(self.source, self.target)
        if self.epoch < 1:
            raise InvalidPanel(f"gate {self.gate_id!r}: epoch {self.epoch} is not positive")


@dataclass(frozen=True, slots=True)
class Panel:
    """Everything that should be patched on one node; what is ours and not in here goes away.

    ``returns`` are one-way deliveries ``(from, to)``: the way back behind a split, where several
    instances hand their packets to one device.
    """

    cords: tuple[Cord, ...] = ()
    wires: tuple[WireSpec, ...] = ()
    splits: tuple[Split, ...] = ()
    returns: tuple[tuple[str, str], ...] = ()
    gates: tuple[GateSpec, ...] = ()

    def __post_init__(self) -> None:
        sources: dict[str, str] = {}
        for source, what in self._claims():
            if source in sources:
                raise InvalidPanel(f"device {source!r} is patched by {sources[source]} and {what}")
            sources[source] = what
        _refuse_twins("wire", [wire.wire_id for wire in self.wires])
        _refuse_twins("vni and port", [(wire.vni, wire.udp_port) for wire in self.wires])
        _refuse_twins("gate", [gate.gate_id for gate in self.gates])

    def _claims(self) -> list[tuple[str, str]]:
        claims = [(end, f"cord {cord.a}-{cord.b}") for cord in self.cords for end in cord.ends]
        claims += [(split.source, f"split of {split.source}") for split in self.splits]
        claims += [(source, f"return {source}-{target}") for source, target in self.returns]
        for gate in self.gates:
            claims += [(gate.source, f"gate {gate.gate_id}"), (gate.target, f"gate {gate.gate_id}")]
        return claims


def _refuse_twins(what: str, values: list[object] | list[str] | list[tuple[int, int]]) -> None:
    seen: set[object] = set()
    for value in values:
        if value in seen:
            raise InvalidPanel(f"two entries with the same {what}: {value}")
        seen.add(value)
