"""A kernel of a few lines: it applies the batches a plan issues and shows what a node would show.

It is as strict as the real one where it matters: a filter needs its qdisc, its device and its
target; deleting what is not there fails; a deleted device takes its filters along and leaves
filters that point to it without a target.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from isthmus.vswitch.observed import Link, Observed, ObservedRule


@dataclass
class ModelKernel:
    """Devices, qdiscs and filters of one node."""

    links: dict[str, Link] = field(default_factory=dict)
    clsact: set[str] = field(default_factory=set)
    rules: dict[str, dict[int, ObservedRule]] = field(default_factory=dict)
    next_index: int = 1

    def add(self, *names: str, kind: str = "veth", alias: str = "") -> None:
        for name in names:
            self.links[name] = Link(name, self.next_index, kind, alias, 9000, True)
            self.next_index += 1

    def drop(self, name: str) -> None:
        del self.links[name]
        self.clsact.discard(name)
        self.rules.pop(name, None)
        for rules in self.rules.values():
            for node, rule in rules.items():
                if rule.target == name:
                    rules[node] = replace(rule, target=None)

    def observed(self) -> Observed:
        rules = {d: tuple(r[n] for n in sorted(r)) for d, r in self.rules.items() if r}
        return Observed(dict(self.links), frozenset(self.clsact), rules)

    def apply(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.apply_one(line)

    def apply_one(self, line: str) -> None:
        for pattern, action in _ACTIONS:
            match = re.fullmatch(pattern, line)
            if match:
                action(self, **match.groupdict())
                return
        raise AssertionError(f"the kernel does not know {line!r}")

    def qdisc(self, dev: str) -> None:
        assert dev in self.links, f"no device {dev}"
        assert dev not in self.clsact, f"{dev} has a clsact qdisc already"
        self.clsact.add(dev)

    def filter_replace(self, dev: str, node: str, to: str, cookie: str, **_: str) -> None:
        assert dev in self.clsact, f"{dev} has no clsact qdisc"
        assert to in self.links, f"no device {to}"
        rule = ObservedRule(int(node, 16), cookie, to)
        self.rules.setdefault(dev, {})[int(node, 16)] = rule

    def filter_del(self, dev: str, node: str) -> None:
        del self.rules[dev][int(node, 16)]

    def wire_add(self, dev: str, mtu: str, vni: str, local: str, remote: str, port: str) -> None:
        assert dev not in self.links, f"{dev} exists"
        twins = [link.tunnel for link in self.links.values() if link.tunnel]
        assert not any((t["id"], t["port"]) == (int(vni), int(port)) for t in twins), "VNI in use"
        tunnel = {"id": int(vni), "local": local, "remote": remote, "port": int(port)}
        self.links[dev] = Link(dev, self.next_index, "vxlan", "", int(mtu), False, tunnel=tunnel)
        self.next_index += 1

    def link_up(self, dev: str, alias: str | None) -> None:
        link = self.links[dev]
        self.links[dev] = replace(link, alias=alias or link.alias, up=True)

    def link_mtu(self, dev: str, mtu: str) -> None:
        self.links[dev] = replace(self.links[dev], mtu=int(mtu))

    def wire_set(self, dev: str, vni: str, local: str, remote: str) -> None:
        link = self.links[dev]
        assert link.tunnel["id"] == int(vni), "a VNI cannot change"
        tunnel = {**link.tunnel, "local": local, "remote": remote}
        self.links[dev] = replace(link, tunnel=tunnel)

    def link_del(self, dev: str) -> None:
        self.drop(dev)


_ACTIONS = (
    (r"qdisc add dev (?P<dev>\S+) clsact", ModelKernel.qdisc),
    (
        r"filter replace dev (?P<dev>\S+) ingress prio 1 handle 800::(?P<node>[0-9a-f]+) protocol "
        r"all u32 (?P<match>match .*) action mirred egress redirect dev (?P<to>\S+) "
        r"cookie (?P<cookie>[0-9a-f]{24})",
        ModelKernel.filter_replace,
    ),
    (
        r"filter del dev (?P<dev>\S+) ingress prio 1 handle 800::(?P<node>[0-9a-f]+) protocol all "
        r"u32",
        ModelKernel.filter_del,
    ),
    (
        r"link add name (?P<dev>\S+) mtu (?P<mtu>\d+) type vxlan id (?P<vni>\d+) local "
        r"(?P<local>\S+) remote (?P<remote>\S+) dstport (?P<port>\d+) nolearning ttl 64",
        ModelKernel.wire_add,
    ),
    (r"link set dev (?P<dev>\S+)(?: alias (?P<alias>\S+))? up", ModelKernel.link_up),
    (r"link set dev (?P<dev>\S+) mtu (?P<mtu>\d+)", ModelKernel.link_mtu),
    (
        r"link set dev (?P<dev>\S+) type vxlan id (?P<vni>\d+) local (?P<local>\S+) "
        r"remote (?P<remote>\S+)",
        ModelKernel.wire_set,
    ),
    (r"link del dev (?P<dev>\S+)", ModelKernel.link_del),
)
