"""Chaining on one host: patches the hops of all plans that touch it, on the manager's own panel (R15).

Fail closed: a hop is patched only when every instance at its ends has written ``applied`` for this very
incarnation; a rebuilt sandbox never forwards before its rules are in force. The whole panel is compared with
the kernel each time, so a restart, a lost device or a foreign hand are all the same case.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from isthmus.contract.chain import ChainPlan, ChainRecord, Hop, HopEnd, WirePeer, WireRef
from isthmus.contract.families import (
    APPLIED,
    CORDS,
    DESIRED,
    ENDPOINTS,
    INVENTORY,
    PLANS,
    REMOTE,
    RUNTIME,
    SPECS,
)
from isthmus.contract.instance import ChainCords, WireEndpoint
from isthmus.contract.quarantine import marked_peer, quarantined
from isthmus.failpoint import afailpoint
from isthmus.infrastructure.ports import AttachmentSpec, DeliverySpec, FabricPort
from isthmus.microcontroller import Context, Listener, Traits
from isthmus.policy.keys import ROOT
from isthmus.vswitch import Cord, InvalidPanel, Panel, PatchPanel, WireSpec

PANEL = "*panel"


class NotYet(Exception):
    """This end of a hop has no device yet; the message says what is missing."""


@dataclass(slots=True)
class Wanted:
    """The panel under construction: what is patched, and why the rest is not."""

    cords: list[Cord] = field(default_factory=list)
    wires: dict[str, WireSpec] = field(default_factory=dict)
    attachments: set[str] = field(default_factory=set)
    connected: dict[str, list[int]] = field(default_factory=dict)
    waiting: dict[str, dict[str, str]] = field(default_factory=dict)
    _used: set[str] = field(default_factory=set)

    def add_cord(self, a: str, b: str) -> None:
        """Join two devices; NotYet when one of them serves another hop."""
        for device in (a, b):
            if device in self._used:
                raise NotYet(f"device {device} serves another hop already")
        cord = Cord(a, b)
        self._used.update(cord.ends)
        self.cords.append(cord)

    def add_wire(self, spec: WireSpec) -> None:
        """Ask for a wire; NotYet when its id or number is another wire's."""
        for other in self.wires.values():
            same_number = (other.vni, other.udp_port) == (spec.vni, spec.udp_port)
            if other != spec and (other.wire_id == spec.wire_id or same_number):
                raise NotYet(f"wire {spec.wire_id}: id or number {spec.vni} is another wire's")
        self.wires[spec.wire_id] = spec


@dataclass(slots=True)
class Chaining:
    """One per host. ``mtu`` is what fits through a wire."""

    host: str
    underlay_address: str
    panel: PatchPanel
    fabric: FabricPort
    mtu: int = 1450
    traits: Traits = field(default_factory=Traits)
    standing_items: tuple[str, ...] = (PANEL,)
    _delivered: set[str] = field(default_factory=set)
    _devices: dict[str, str] = field(default_factory=dict)

    @property
    def component(self) -> str:
        """``chaining.<host>``."""
        return f"chaining.{self.host}"

    @property
    def watches(self) -> Sequence[str]:
        """Plans, this host's instances, what their VNFs applied, peers' wire ends, and its own keys."""
        return (
            SPECS.prefix(),
            PLANS.prefix(),
            DESIRED.prefix(host=self.host),
            RUNTIME.prefix(host=self.host),
            f"{ROOT}instances/",
            INVENTORY.prefix(),
            REMOTE.prefix(),
            CORDS.prefix(host=self.host),
            ENDPOINTS.prefix(host=self.host),
        )

    def items_for(self, key: str) -> Iterable[str]:
        """Everything that can change a device or its readiness concerns the one panel; counters do not."""
        families = (APPLIED, PLANS, RUNTIME, DESIRED, INVENTORY, SPECS)
        remote = REMOTE.parse(key)
        wires = remote is not None and remote["rest"].startswith("wires/")
        if (
            wires
            or marked_peer(key) is not None
            or any(family.parse(key) is not None for family in families)
        ):
            yield PANEL

    async def listen(self, add: Listener) -> None:
        """A device that vanished from the fabric is a reason to look."""
        async for _ in self.fabric.watch():
            add(PANEL)

    async def reconcile(self, item: str, context: Context) -> float | None:
        """Make the host's panel what the plans say, as far as the VNFs are ready for it."""
        wanted = Wanted()
        plans = [
            (known.variables["tenant"], known.variables["chain"], known.envelope.body)
            for known in context.state.items(PLANS)
        ]
        await self._attachments(plans, wanted)
        await afailpoint("chaining.attachments_made")
        for tenant, chain, plan in plans:
            self._chain(context, f"{tenant}/{chain}", tenant, chain, plan, wanted)
        panel = Panel(cords=tuple(wanted.cords), wires=tuple(wanted.wires.values()))
        report = await self.panel.reconcile(panel)
        await afailpoint("chaining.panel_reconciled")
        await self._endpoints(plans, context)
        await afailpoint("chaining.endpoints_written")
        await self._report(plans, wanted, set(report.missing), context)
        await afailpoint("chaining.cords_written")
        return 0.2 if report.missing else None

    async def _attachments(
        self, plans: Sequence[tuple[str, str, ChainPlan]], wanted: Wanted
    ) -> None:
        names = {
            end.name
            for _, _, plan in plans
            for hop in plan.hops
            for end in (hop.left, hop.right)
            if end.kind == "attachment" and end.host == self.host
        }
        for name in sorted(names):
            await self.fabric.ensure_attachment(AttachmentSpec(name, self.host, mtu=self.mtu))
            if name not in self._delivered:
                await self.fabric.ensure_delivery(DeliverySpec(name, self.host))
                self._delivered.add(name)
            wanted.attachments.add(name)
        for state in await self.fabric.list_attachments():
            if state.node == self.host and state.attachment_id not in names:
                await self.fabric.remove_attachment(state.attachment_id)
                self._delivered.discard(state.attachment_id)
        self._devices = {
            state.attachment_id: state.device
            for state in await self.fabric.list_attachments()
            if state.node == self.host
        }

    def _chain(
        self,
        context: Context,
        item: str,
        tenant: str,
        chain: str,
        plan: ChainPlan,
        wanted: Wanted,
    ) -> None:
        record = context.state.get(SPECS, tenant=tenant, chain=chain)
        if record is None:
            return
        for index, hop in enumerate(plan.hops):
            if self.host not in (hop.left.host, hop.right.host):
                continue
            wanted.connected.setdefault(item, [])
            try:
                a = self._device(context, record, plan, hop, hop.left, wanted)
                b = self._device(context, record, plan, hop, hop.right, wanted)
                wanted.add_cord(a, b)
            except (NotYet, InvalidPanel) as reason:
                # One chain's mistake (or a peer's) waits by itself; the other chains are patched.
                wanted.waiting.setdefault(item, {})[str(index)] = str(reason)
                continue
            wanted.connected[item].append(index)

    def _device(
        self,
        context: Context,
        record: ChainRecord,
        plan: ChainPlan,
        hop: Hop,
        end: HopEnd,
        wanted: Wanted,
    ) -> str:
        """The device on this host that stands for one end of a hop; raises NotYet."""
        if end.host != self.host:
            assert hop.local_wire is not None
            return self._local_wire(context, hop.local_wire, end.host, wanted)
        if end.kind == "attachment":
            device = self._devices.get(end.name, "")
            if not device:
                raise NotYet(f"attachment {end.name} has no device")
            return device
        if end.kind == "wire":
            return self._wire(context, record, plan, end.name, wanted)
        return self._leg(context, plan, end)

    def _leg(self, context: Context, plan: ChainPlan, end: HopEnd) -> str:
        planned = next((f for f in plan.functions if f.instance == end.name), None)
        if planned is None:
            raise NotYet(f"instance {end.name} is not in the plan")
        launched = RUNTIME.key(host=self.host, instance=end.name)
        runtime = context.state.get(RUNTIME, host=self.host, instance=end.name)
        if runtime is None or runtime.incarnation != planned.incarnation:
            raise NotYet(f"instance {end.name}: life {planned.incarnation} is not launched")
        if runtime.phase != "running":
            raise NotYet(f"instance {end.name}: {runtime.phase} {runtime.error}".strip())
        applied = context.state.get(APPLIED, instance=end.name)
        if applied is None or applied.incarnation != planned.incarnation:
            raise NotYet(f"instance {end.name}: configuration not applied in this life")
        if _older(context, APPLIED.key(instance=end.name), launched):
            # A chain deleted and asked for again counts lives anew: the word of the earlier one is no word of this.
            raise NotYet(f"instance {end.name}: configuration not applied in this sandbox")
        if applied.config_revision == 0:
            raise NotYet(f"instance {end.name}: {applied.error or 'no configuration in force'}")
        device = runtime.legs.get(end.leg, "")
        if not device:
            raise NotYet(f"instance {end.name}: no leg {end.leg}")
        return str(device)

    def _wire(
        self, context: Context, record: ChainRecord, plan: ChainPlan, name: str, wanted: Wanted
    ) -> str:
        wire = next((wire for wire in plan.wires if wire.wire == name), None)
        if wire is None:
            raise NotYet(f"wire {name} has no network identifier")
        far = self._far_address(context, record, wire)
        if not far:
            raise NotYet(f"wire {name}: its far end is not known yet")
        return self._add_wire(wanted, wire, far)

    def _far_address(self, context: Context, record: ChainRecord, wire: WireRef) -> str:
        """As the peer says, else as it said last: it takes a far end back only after the segment, so one that is gone
        while the segment is in force was lost, or is held with it by the brake (attack 19). Of a quarantined peer as it
        said last: no packets move on its word (G9)."""
        key = f"{REMOTE.key(peer=record.source)}wires/{wire.wire}"
        peer = context.state.body(key, WirePeer)
        doubt = quarantined(context.state, record.source)
        if peer is not None and peer.address and doubt is None:
            return peer.address
        told = context.state.get(ENDPOINTS, host=self.host, wire=wire.wire)
        same = (
            told is not None
            and (told.vni, told.udp_port, told.source) == (wire.vni, wire.udp_port, record.source)
            and (told.tenant, told.chain) == (record.segment.tenant, record.segment.chain)
        )
        return str(told.far_address) if same else ""

    def _local_wire(self, context: Context, wire: WireRef, other_host: str, wanted: Wanted) -> str:
        inventory = context.state.get(INVENTORY, host=other_host)
        if inventory is None or not inventory.underlay_address:
            raise NotYet(f"host {other_host} has no underlay address")
        return self._add_wire(wanted, wire, inventory.underlay_address)

    def _add_wire(self, wanted: Wanted, wire: WireRef, remote: str) -> str:
        spec = WireSpec(
            wire_id=wire.wire,
            vni=wire.vni,
            local_ip=self.underlay_address,
            remote_ip=remote,
            udp_port=wire.udp_port,
            mtu=self.mtu,
        )
        wanted.add_wire(spec)
        return spec.device

    async def _endpoints(
        self, plans: Sequence[tuple[str, str, ChainPlan]], context: Context
    ) -> None:
        """Say where this host's ends of wires between sites are, before the far ends are known."""
        wanted: set[str] = set()
        for tenant, chain, plan in plans:
            record = context.state.get(SPECS, tenant=tenant, chain=chain)
            here = {
                end.name
                for hop in plan.hops
                for end in (hop.left, hop.right)
                if end.kind == "wire" and end.host == self.host
            }
            for wire in plan.wires:
                if record is None or wire.wire not in here:
                    continue
                key = ENDPOINTS.key(host=self.host, wire=wire.wire)
                wanted.add(key)
                await context.writer.put(
                    key,
                    WireEndpoint(
                        wire=wire.wire,
                        vni=wire.vni,
                        address=self.underlay_address,
                        udp_port=wire.udp_port,
                        tenant=tenant,
                        chain=chain,
                        source=record.source,
                        far_address=self._far_address(context, record, wire),
                    ),
                )
        for known in list(context.state.items(ENDPOINTS, host=self.host)):
            if known.key not in wanted:
                await context.writer.delete(known.key)

    async def _report(
        self,
        plans: Sequence[tuple[str, str, ChainPlan]],
        wanted: Wanted,
        missing: set[str],
        context: Context,
    ) -> None:
        kept = set()
        for tenant, chain, _ in plans:
            item = f"{tenant}/{chain}"
            if item not in wanted.connected:
                continue
            key = CORDS.key(host=self.host, tenant=tenant, chain=chain)
            kept.add(key)
            await context.writer.put(
                key,
                ChainCords(
                    connected=tuple(wanted.connected[item]) if not missing else (),
                    waiting=wanted.waiting.get(item, {})
                    if not missing
                    else {"*": f"devices vanished: {', '.join(sorted(missing))}"},
                ),
            )
        for known in list(context.state.items(CORDS, host=self.host)):
            if known.key not in kept:
                await context.writer.delete(known.key)


def _older(context: Context, key: str, launched: str) -> bool:
    """True when ``key`` was last written before ``launched`` was created."""
    entry, born = context.state.entry(key), context.state.entry(launched)
    return entry is not None and born is not None and entry.mod_revision < born.create_revision
