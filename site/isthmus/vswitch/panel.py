"""The patch panel of one NFV node: observe, plan, apply.

Chaining uses it the same way on a Linux host, in a VM and in a pod (DESIGN section 5). Every
``ensure_*`` looks first and issues only what is missing, so that asking twenty times costs the
node nothing but the looking.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from isthmus.vswitch.commands import Node
from isthmus.vswitch.errors import CommandFailed, DeviceMissing
from isthmus.vswitch.gate import Gate
from isthmus.vswitch.model import Cord, Panel, WireSpec
from isthmus.vswitch.observed import Counters, Link, Observed, links_from, observed_from
from isthmus.vswitch.plan import DeviceLines, device_lines, plan_panel, wire_lines
from isthmus.vswitch.rules import CATCH_ALL, delete_line, deliveries

__all__ = ["CordState", "PatchPanel", "Report", "WireState"]

ATTEMPTS = 3
"""A device may vanish between looking and acting; looking again settles it."""


@dataclass(frozen=True, slots=True)
class CordState:
    """A cord as it is. ``problem`` is empty, or says why packets do not pass it."""

    a: str
    b: str
    problem: str = ""


@dataclass(frozen=True, slots=True)
class WireState:
    """One end of a wire as the kernel has it."""

    wire_id: str
    device: str
    vni: int
    local_ip: str
    remote_ip: str
    udp_port: int
    mtu: int
    up: bool


@dataclass(frozen=True, slots=True)
class Report:
    """What a reconciliation issued (empty: nothing to do) and which devices are not there yet."""

    commands: tuple[str, ...]
    missing: tuple[str, ...]


class PatchPanel:
    """Cords and wires of one node. Safe for concurrent tasks; one writer per node is assumed."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.gate = Gate(node)
        self._turn = asyncio.Lock()

    async def ensure_cord(self, a: str, b: str) -> bool:
        """Join two devices in both directions; return whether anything had to be issued."""
        cord = Cord(a, b)
        async with self._turn:
            for attempt in range(ATTEMPTS):
                seen = await self._observe_devices(cord.ends)
                work = DeviceLines()
                for device, rules in deliveries(Panel(cords=(cord,))).items():
                    work += device_lines(device, rules, seen)
                if await self._applied(work.all, last=attempt == ATTEMPTS - 1):
                    return bool(work.all)
        raise AssertionError("unreachable: the last attempt applies or raises")

    async def remove_cord(self, device: str) -> None:
        """Take our cord off ``device`` and off the device it led to; absent is fine."""
        async with self._turn:
            seen = await self._observe()
            ends = {device}
            ends |= {r.target for r in seen.rules.get(device, ()) if r.ours and r.target}
            await self.node.tc(
                [
                    delete_line(end, rule.node)
                    for end in sorted(ends)
                    for rule in seen.rules.get(end, ())
                    if rule.ours and (end == device or rule.target in (device, None))
                ]
            )

    async def ensure_wire(self, wire: WireSpec) -> str:
        """Make this end of a wire and return its device name."""
        async with self._turn:
            seen = Observed(await self._links(), frozenset(), {})
            await self.node.ip(wire_lines(wire, seen))
        return wire.device

    async def remove_wire(self, wire_id: str) -> None:
        """Take this end of a wire away; absent is fine."""
        async with self._turn:
            for link in (await self._links()).values():
                if link.wire_id == wire_id:
                    await self.node.ip([f"link del dev {link.name}"])

    async def list_cords(self) -> tuple[CordState, ...]:
        """Every catch-all of ours as a cord, with what is wrong with it."""
        return _cords(await self._observe())

    async def list_wires(self) -> tuple[WireState, ...]:
        """Every wire end of ours."""
        return tuple(
            _wire_state(link.wire_id, link)
            for link in (await self._links()).values()
            if link.wire_id is not None
        )

    async def counters(self) -> dict[str, Counters]:
        """Packets and bytes of every veth and tunnel of the node."""
        return {name: link.counters for name, link in (await self._links()).items() if link.kind}

    async def reconcile(self, panel: Panel) -> Report:
        """Make the node match the whole panel; what carries our mark and is not in it goes."""
        async with self._turn:
            for attempt in range(ATTEMPTS):
                seen = await self._observe()
                plan = plan_panel(panel, seen)
                try:
                    await self.node.ip(plan.make_links)
                    gates = await self._reconcile_gates(panel, set(plan.missing))
                    await self.node.tc(plan.patch)
                    await self.node.tc(plan.unpatch)
                    await self.node.ip(plan.remove_links)
                except (CommandFailed, DeviceMissing):
                    if attempt == ATTEMPTS - 1:
                        raise
                else:
                    return Report(plan.commands + gates, plan.missing)
        raise AssertionError("unreachable: the last attempt applies or raises")

    async def observe(self) -> Observed:
        """Read devices and filters of the node."""
        async with self._turn:
            return await self._observe()

    async def _reconcile_gates(self, panel: Panel, missing: set[str]) -> tuple[str, ...]:
        """Gates before filters: a packet meets a closed gate rather than an open cord."""
        done = []
        for spec in panel.gates:
            if not {spec.source, spec.target} & missing and await self.gate.ensure_gate(spec):
                done.append(f"gate {spec.gate_id} from {spec.source} to {spec.target}")
        keep = {spec.gate_id for spec in panel.gates}
        for state in await self.gate.list_gates():
            if state.gate_id not in keep:
                await self.gate.remove_gate(state.gate_id)
                done.append(f"remove gate {state.gate_id}")
        return tuple(done)

    async def _applied(self, lines: list[str], *, last: bool) -> bool:
        try:
            await self.node.tc(lines)
        except CommandFailed:
            if last:
                raise
            return False
        return True

    async def _links(self) -> dict[str, Link]:
        return links_from(await self.node.run("ip", "-s", "-d", "-j", "link", "show"))

    async def _observe(self) -> Observed:
        for attempt in range(ATTEMPTS):
            links = await self._links()
            devices = tuple(link.name for link in links.values() if link.kind)
            try:
                return await self._read_filters(links, devices)
            except CommandFailed:  # a device vanished between the two looks
                if attempt == ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _observe_devices(self, devices: tuple[str, ...]) -> Observed:
        """Look at a few devices only: one process instead of two."""
        try:
            return await self._read_filters({}, devices)
        except CommandFailed as failure:
            links = await self._links()
            missing = tuple(device for device in devices if device not in links)
            if missing:
                raise DeviceMissing(missing) from failure
            raise

    async def _read_filters(self, links: dict[str, Link], devices: tuple[str, ...]) -> Observed:
        questions = ["qdisc show", *(f"filter show dev {device} ingress" for device in devices)]
        text = "".join(f"{question}\n" for question in questions)
        answer = await self.node.run("tc", "-s", "-j", "-batch", "-", stdin=text)
        return observed_from(links, devices, answer)


def _cords(seen: Observed) -> tuple[CordState, ...]:
    leads = {
        device: rule.target
        for device, rules in seen.rules.items()
        for rule in rules
        if rule.ours and rule.node == CATCH_ALL
    }
    found = []
    for device, target in sorted(leads.items()):
        if target is None:
            found.append(CordState(device, "", f"{device} leads to a device that is gone"))
        elif leads.get(target) == device:
            if device < target:
                found.append(CordState(device, target))
        else:
            found.append(CordState(device, target, f"{target} does not lead back to {device}"))
    return tuple(found)


def _wire_state(wire_id: str, link: Link) -> WireState:
    tunnel = link.tunnel
    return WireState(
        wire_id=wire_id,
        device=link.name,
        vni=int(tunnel.get("id", 0)),
        local_ip=str(tunnel.get("local") or tunnel.get("local6") or ""),
        remote_ip=str(tunnel.get("remote") or tunnel.get("remote6") or ""),
        udp_port=int(tunnel.get("port", 0)),
        mtu=link.mtu,
        up=link.up,
    )
