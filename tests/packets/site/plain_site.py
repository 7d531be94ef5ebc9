"""A site whose fabric knows attachments and nothing else (R15, R22): ``python -m tests.packets.site.plain_site FILE``.

No watch, no delivery, no notion of a chain: the least that an infrastructure can be. Its maker needs the operator's
list of premises and a few ``ip`` commands, and no module of the shipped plug-in's fabric.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from isthmus.infrastructure.ports import (
    AttachmentSpec,
    AttachmentState,
    Capability,
    Change,
    DeliverySpec,
)
from isthmus.site.assembly import Assembly, component_names
from isthmus.site.main import until_signalled
from isthmus.site.settings import HostSettings, load
from isthmus.vswitch import Node

GATEWAY, MAC = "169.254.7.7", "02:00:00:00:00:01"


class AttachmentsOnly:
    """One host's customers' lines: a veth each, named by the attachment."""

    def __init__(self, host: HostSettings) -> None:
        self._host = host
        self._node = Node(host.netns)

    async def ensure_attachment(self, spec: AttachmentSpec) -> AttachmentState:
        for state in await self.list_attachments():
            if state.attachment_id == spec.attachment_id:
                return state
        place, device = self._host.attachments[spec.attachment_id], f"line-{spec.attachment_id}"
        customer = Node(place.netns)
        await self._node.ip(
            [
                f"link add name {device} mtu 9000 type veth "
                f"peer name {place.interface} mtu 9000 netns {place.netns}",
                f"link set dev {device} up",
            ]
        )
        await customer.ip(
            [
                f"link set {place.interface} address {MAC} up",
                f"addr add {place.address} dev {place.interface}",
                f"neigh replace {GATEWAY} lladdr {MAC} dev {place.interface} nud permanent",
                f"route add default via {GATEWAY} dev {place.interface} onlink mtu {spec.mtu}",
            ]
        )
        return AttachmentState(spec.attachment_id, spec.node, "running", device)

    async def remove_attachment(self, attachment_id: str) -> None:
        await self._node.ip([f"link del dev line-{attachment_id}"], force=True)

    async def list_attachments(self) -> tuple[AttachmentState, ...]:
        """The kernel is the memory, so that a restart adopts."""
        text = await self._node.run("ip", "-br", "link")
        there = {line.split("@")[0] for line in text.splitlines()}
        return tuple(
            AttachmentState(name, self._host.host, "running", f"line-{name}")
            for name in self._host.attachments
            if f"line-{name}" in there
        )

    async def ensure_delivery(self, spec: DeliverySpec) -> None:
        """A line ends where it ends."""

    async def probe(self) -> Capability:
        return Capability("kernel")

    async def watch(self) -> AsyncIterator[Change]:
        """Never says anything."""
        await asyncio.Event().wait()
        yield Change("", "")


def main(path: str) -> int:
    settings = load(Path(path))
    assembly = Assembly(
        settings, fabrics={host.host: AttachmentsOnly(host) for host in settings.hosts}
    )
    return asyncio.run(until_signalled(settings, component_names(settings), assembly))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
