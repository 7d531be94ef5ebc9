"""What the operator tells the plug-in of one machine: its nodes and where the outside begins."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from isthmus.infrastructure.errors import Refused, UnknownAttachment, UnknownNode
from isthmus.vswitch import Node

__all__ = ["AttachmentPlace", "LinuxSettings"]

_SCOPE = re.compile(r"[a-z0-9][a-z0-9.-]{0,30}")


@dataclass(frozen=True, slots=True)
class AttachmentPlace:
    """Where a customer's line ends: a namespace that stands for the customer's premises.

    The customer's end needs no knowledge of the direction: an attachment may be where traffic
    enters or where it leaves. ``routes`` are the destinations reached through it. ``node`` pins
    the line to one node; empty: it can be plugged in anywhere.
    """

    netns: str
    address: str
    interface: str = "eth0"
    routes: tuple[str, ...] = ("0.0.0.0/0",)
    node: str = ""

    def __post_init__(self) -> None:
        try:
            ipaddress.IPv4Interface(self.address)
            for route in self.routes:
                ipaddress.IPv4Network(route)
        except ValueError as error:
            raise Refused(f"attachment in {self.netns!r}: {error}; give IPv4 CIDR text") from None

    @property
    def host_address(self) -> str:
        """The customer's address alone, as /32: nothing is resolved on a point-to-point line."""
        return f"{ipaddress.IPv4Interface(self.address).ip}/32"


@dataclass(frozen=True, slots=True)
class LinuxSettings:
    """``nodes`` maps the name of an NFV node to its network namespace (None: where we run).

    ``workers``: building more than four at a time gained nothing on two cores (the kernel's
    rtnl lock serialises it). ``process_argv``: what a sandbox of form ``process`` runs inside;
    ``{share_dir}`` and ``{instance_id}`` are replaced; empty: this plug-in refuses the form.
    """

    scope: str
    nodes: Mapping[str, str | None]
    attachments: Mapping[str, AttachmentPlace] = field(default_factory=dict)
    workers: int = 4
    process_argv: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _SCOPE.fullmatch(self.scope):
            raise Refused(f"scope {self.scope!r}: 1 to 31 of [a-z0-9.-]")

    def node(self, name: str) -> Node:
        """Return the node of that name."""
        if name not in self.nodes:
            raise UnknownNode(name, tuple(sorted(self.nodes)))
        return Node(self.nodes[name])

    def place(self, attachment_id: str) -> AttachmentPlace:
        """Return where the attachment's outside end is."""
        if attachment_id not in self.attachments:
            raise UnknownAttachment(attachment_id, tuple(sorted(self.attachments)))
        return self.attachments[attachment_id]
