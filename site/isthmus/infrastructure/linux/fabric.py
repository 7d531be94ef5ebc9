"""FabricPort on one machine: an attachment is a line from a customer's namespace to a node.

The customer's end is made once: address, permanent neighbour, routes. It does not know whether
traffic enters or leaves here, so the same line can begin one chain and end another. For now one
attachment serves one user at a time; steering by destination prefix would split on the node side.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

from isthmus.infrastructure.errors import BuildFailed, Refused
from isthmus.infrastructure.linux.names import attachment_alias, attachment_device, attachment_of
from isthmus.infrastructure.linux.probing import probe_kernel
from isthmus.infrastructure.linux.recipe import DEVICE_MTU, LINE_MAC
from isthmus.infrastructure.linux.settings import AttachmentPlace, LinuxSettings
from isthmus.infrastructure.linux.watching import watch_kernel
from isthmus.infrastructure.ports import (
    AttachmentSpec,
    AttachmentState,
    Capability,
    Change,
    DeliverySpec,
)
from isthmus.vswitch import Node, NodeGone, VSwitchError
from isthmus.vswitch.observed import Link, json_documents, links_from

__all__ = ["LinuxFabric", "customer_lines"]

GATEWAY = "169.254.1.9"
Answers = list[list[dict[str, object]]]


def customer_lines(place: AttachmentPlace, mtu: int, answers: Answers) -> list[str]:
    """What the customer's end lacks, pure; ``answers`` are its links, routes and neighbours."""
    links, routes, neighbours = answers
    device, lines = place.interface, []
    link = next((item for item in links if item.get("ifname") == device), {})
    right = link.get("address") == LINE_MAC and "UP" in str(link.get("flags"))
    if not any("UP" in str(item.get("flags")) for item in links if item.get("ifname") == "lo"):
        lines.append("link set lo up")
    if not right:
        lines.append(f"link set {device} address {LINE_MAC} up")
    if place.host_address.partition("/")[0] not in {i.get("local") for i in _infos(link)}:
        lines.append(f"addr add {place.host_address} dev {device}")
    if not right or not any(_permanent(item) for item in neighbours):
        lines.append(f"neigh replace {GATEWAY} lladdr {LINE_MAC} dev {device} nud permanent")
    for route in place.routes:
        if not right or not any(_leads(item, route, mtu) for item in routes):
            lines.append(f"route replace {route} via {GATEWAY} dev {device} onlink mtu {mtu}")
    return lines


def _infos(item: dict[str, object]) -> list[dict[str, object]]:
    infos = item.get("addr_info")
    return infos if isinstance(infos, list) else []


def _permanent(item: dict[str, object]) -> bool:
    state = item.get("state")
    return item.get("dst") == GATEWAY and isinstance(state, list) and "PERMANENT" in state


def _leads(item: dict[str, object], route: str, mtu: int) -> bool:
    spelled = {"default"} if route == "0.0.0.0/0" else {route, route.removesuffix("/32")}
    metrics = item.get("metrics")
    first = metrics[0] if isinstance(metrics, list) and metrics else {}
    return item.get("dst") in spelled and item.get("gateway") == GATEWAY and first.get("mtu") == mtu


class LinuxFabric:
    """Attachments of the nodes of one machine. The kernel holds all state."""

    def __init__(self, settings: LinuxSettings) -> None:
        self.settings = settings
        self._turn = asyncio.Lock()

    async def ensure_attachment(self, spec: AttachmentSpec) -> AttachmentState:
        """Plug the customer's line into the node; out of another node if it was there."""
        place = self.settings.place(spec.attachment_id)
        node = self.settings.node(spec.node)
        if place.node and place.node != spec.node:
            raise Refused(
                f"attachment {spec.attachment_id!r} is fixed to node {place.node!r}, "
                f"not {spec.node!r}"
            )
        async with self._turn:
            try:
                return await self._plug(spec, place, node)
            except VSwitchError as error:
                raise BuildFailed(f"attachment {spec.attachment_id!r}: {error}") from error

    async def remove_attachment(self, attachment_id: str) -> None:
        """Pull the line out of whatever node it is in."""
        async with self._turn:
            for node in self.settings.nodes:
                await self._unplug(attachment_id, node)

    async def list_attachments(self) -> tuple[AttachmentState, ...]:
        """Read the kernel: links whose alias carries our mark."""
        found = []
        for node in self.settings.nodes:
            for link in (await self._links(self.settings.node(node))).values():
                attachment_id = attachment_of(link.alias, self.settings.scope)
                if attachment_id is not None:
                    found.append(_state(attachment_id, node, link))
        return tuple(sorted(found, key=lambda state: state.attachment_id))

    async def ensure_delivery(self, spec: DeliverySpec) -> None:
        """The line ends on the node, so its packets are there; anything finer is refused."""
        if spec.prefixes:
            raise Refused(
                f"attachment {spec.attachment_id!r}: prefixes {spec.prefixes} ask for steering by "
                "destination, which this plug-in does not do; leave them empty"
            )
        for state in await self.list_attachments():
            if (state.attachment_id, state.node) == (spec.attachment_id, spec.node):
                return
        raise BuildFailed(
            f"attachment {spec.attachment_id!r} is not on node {spec.node!r}; "
            "ask for ensure_attachment first"
        )

    async def probe(self) -> Capability:
        """Build the essentials in a throw-away namespace and say what failed."""
        return await probe_kernel()

    def watch(self) -> AsyncGenerator[Change, None]:
        """Yield a change when an attachment's link is gone or down."""
        return watch_kernel(self.settings, "attachment")

    async def _plug(
        self, spec: AttachmentSpec, place: AttachmentPlace, node: Node
    ) -> AttachmentState:
        scope, customer = self.settings.scope, Node(place.netns)
        device = attachment_device(scope, spec.attachment_id)
        for other in self.settings.nodes:
            if other != spec.node:
                await self._unplug(spec.attachment_id, other)
        link = (await self._links(node)).get(device)
        answers = await self._inspect(customer)
        inside = any(item.get("ifname") == place.interface for item in answers[0])
        if link is not None and not inside:
            await node.ip([f"link del dev {device}"])
            link = None
        if link is None:
            await node.ip(_line_lines(spec, place, device, scope))
            answers = await self._inspect(customer)
        elif not link.up:
            await node.ip([f"link set dev {device} up"])
        await customer.ip(customer_lines(place, spec.mtu, answers))
        return _state(spec.attachment_id, spec.node, (await self._links(node))[device])

    async def _inspect(self, customer: Node) -> Answers:
        text = "addr show\nroute show\nneigh show\n"
        return json_documents(await customer.run("ip", "-j", "-batch", "-", stdin=text))

    async def _unplug(self, attachment_id: str, node_name: str) -> None:
        node = self.settings.node(node_name)
        for link in (await self._links(node)).values():
            if attachment_of(link.alias, self.settings.scope) == attachment_id:
                with contextlib.suppress(NodeGone):
                    await node.ip([f"link del dev {link.name}"])

    async def _links(self, node: Node) -> dict[str, Link]:
        try:
            return links_from(await node.run("ip", "-d", "-j", "link", "show"))
        except NodeGone:
            return {}


def _line_lines(spec: AttachmentSpec, place: AttachmentPlace, device: str, scope: str) -> list[str]:
    return [
        f"link add name {device} mtu {DEVICE_MTU} type veth "
        f"peer name {place.interface} mtu {DEVICE_MTU} netns {place.netns}",
        f"link set dev {device} alias {attachment_alias(scope, spec.attachment_id)} up",
    ]


def _state(attachment_id: str, node: str, link: Link) -> AttachmentState:
    return AttachmentState(
        attachment_id=attachment_id,
        node=node,
        phase="running" if link.up else "lost",
        device=link.name,
        reason="" if link.up else f"device {link.name} is down",
    )
