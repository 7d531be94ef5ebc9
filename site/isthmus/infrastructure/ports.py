"""The only two things asked of an infrastructure: compute, and connectivity with delivery.

The white paper keeps the infrastructure narrow: "computation, connectivity between
computations, and delivery of packets to them", and the two parts must be replaceable separately
(R14-R17, R22). So there is no chain, no function, no health and no configuration in here: an
instance is an opaque id with legs, an attachment an opaque id with a device. A test records every
call and searches it for names of functions (R16).

All ``ensure_*`` are idempotent and level-triggered: the infrastructure is the state, the key-value
store the intent. ``list_*`` tells what is really there and carries our mark, so a plug-in that
restarts adopts it. What carries no mark of ours is never touched.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from isthmus.infrastructure.errors import Refused

__all__ = [
    "AttachmentSpec",
    "AttachmentState",
    "Capability",
    "Change",
    "ComputePort",
    "DeliverySpec",
    "FabricPort",
    "Form",
    "InstanceSpec",
    "InstanceState",
    "Phase",
    "Resources",
]

Form = Literal["kernel", "process"]
"""``kernel``: forwarding and rulesets only, no process; ``process``: something runs inside."""
Phase = Literal["starting", "running", "lost", "failed"]
"""As in the contract's InstanceRuntime; ``lost`` means: was complete once, parts are gone."""
_IDENTITY = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


def _check(what: str, value: str) -> None:
    if not _IDENTITY.fullmatch(value):
        raise Refused(f"{what} {value!r}: 1 to 63 of [a-z0-9._-], first a letter or digit")


@dataclass(frozen=True, slots=True)
class Resources:
    """What an instance may use of its node."""

    cpu_milli: int = 0
    memory_mib: int = 0


@dataclass(frozen=True, slots=True)
class InstanceSpec:
    """One sandbox with legs. ``incarnation`` counts its lives: a higher one replaces the lower.

    ``share_dir`` is a folder of the node that the inside sees as well (the way to the key-value
    store goes through it). ``image`` is an opaque reference, of no meaning to form ``kernel``.
    Legs pair up by suffix: "in"/"out", and "in2"/"out2" for an instance shared by two users.
    """

    instance_id: str
    incarnation: int
    node: str
    form: Form = "kernel"
    legs: tuple[str, ...] = ("in", "out")
    resources: Resources = Resources()
    share_dir: str = ""
    mtu: int = 1450
    image: str = ""

    def __post_init__(self) -> None:
        _check("instance_id", self.instance_id)
        _check("node", self.node)
        if self.incarnation < 1:
            raise Refused(f"instance {self.instance_id!r}: incarnation {self.incarnation} < 1")
        if not 576 <= self.mtu <= 9000:
            raise Refused(f"instance {self.instance_id!r}: mtu {self.mtu} is not in 576..9000")
        if not self.legs or len(set(self.legs)) != len(self.legs):
            raise Refused(f"instance {self.instance_id!r}: legs {self.legs} repeat or are empty")


@dataclass(frozen=True, slots=True)
class InstanceState:
    """A sandbox as it is. ``sandbox`` changes whenever it was built anew, even under the same
    incarnation, so that nobody mistakes a rebuilt one for the one that was configured."""

    instance_id: str
    incarnation: int
    node: str
    phase: Phase
    netns: str = ""
    legs: Mapping[str, str] = field(default_factory=dict)
    sandbox: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class AttachmentSpec:
    """An interface between ``node`` and the outside, known by an id the operator gave it."""

    attachment_id: str
    node: str
    mtu: int = 1450

    def __post_init__(self) -> None:
        _check("attachment_id", self.attachment_id)
        _check("node", self.node)


@dataclass(frozen=True, slots=True)
class AttachmentState:
    """An attachment as it is; ``device`` is its interface on the node."""

    attachment_id: str
    node: str
    phase: Phase
    device: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class DeliverySpec:
    """Send flows of an attachment to ``node``.

    ``prefixes`` are the destinations meant (empty: all). One attachment serves one user of it at
    a time; steering by prefix to several nodes is the room left in this record, and a plug-in
    that cannot do it refuses a non-empty list.
    """

    attachment_id: str
    node: str
    prefixes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Capability:
    """What a probe found by trying, with the reasons in plain words.

    ``dataplane``: can packets be carried, and by which right; ``fence``: can an nft gate with
    a timed element stop them; ``hollow`` stands for a plug-in that only pretends.
    """

    dataplane: Literal["kernel", "kernel-userns", "hollow", "none"]
    fence: Literal["kernel", "none"] = "none"
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """A reason to look. ``subject`` is an instance or attachment id; empty: look at everything."""

    subject: str
    reason: str


@runtime_checkable
class ComputePort(Protocol):
    """Compute: sandboxes with legs on NFV nodes."""

    async def ensure_instance(self, spec: InstanceSpec) -> InstanceState:
        """Make the sandbox complete, replacing lower incarnations; nothing if it is."""

    async def remove_instance(self, instance_id: str) -> None:
        """Take every incarnation of the sandbox away; absent is fine."""

    async def list_instances(self) -> tuple[InstanceState, ...]:
        """Everything that carries our mark, complete or not."""

    async def probe(self) -> Capability:
        """Find out by trying what this infrastructure can do."""

    def watch(self) -> AsyncIterator[Change]:
        """Yield a reason to look soon after a sandbox or a leg is gone."""


@runtime_checkable
class FabricPort(Protocol):
    """Connectivity and delivery between NFV nodes and the outside."""

    async def ensure_attachment(self, spec: AttachmentSpec) -> AttachmentState:
        """Join the outside interface of that id to the node; nothing if it is."""

    async def remove_attachment(self, attachment_id: str) -> None:
        """Take the attachment away; absent is fine."""

    async def list_attachments(self) -> tuple[AttachmentState, ...]:
        """Every attachment that carries our mark."""

    async def ensure_delivery(self, spec: DeliverySpec) -> None:
        """Let the attachment's packets arrive at the node."""

    async def probe(self) -> Capability:
        """Find out by trying what this infrastructure can do."""

    def watch(self) -> AsyncIterator[Change]:
        """Yield a reason to look soon after an attachment is gone."""
