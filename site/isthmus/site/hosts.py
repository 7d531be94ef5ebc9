"""The site as the placement engine sees it: hosts are its "sites", joined by the site's own fabric.

Pure translation between the contract's models and :mod:`isthmus.placement`; the placer does the deciding.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence

from isthmus.contract.chain import (
    ChainPlan,
    FunctionSpec,
    Hop,
    HopEnd,
    PlannedFunction,
    Segment,
    Terminal,
    WireRef,
)
from isthmus.contract.ids import instance_id, local_wire_id
from isthmus.contract.instance import HostInventory
from isthmus.placement.model import ChainDemand, Function, Link, Network, Placement, Site

FABRIC_LATENCY_NS = 50_000
"""Between two hosts of a site; small against any link between sites, so it only breaks ties."""
FABRIC_CAPACITY_KBPS = 10_000_000
FABRIC_PRICE = 1e-6
"""Per kbit/s: staying on one host is better than crossing to another, if it fits."""
LOCAL_WIRE_PORT = 4790
"""Wires inside a site have a UDP port of their own, so their VNIs never meet those between sites."""


def network(inventories: Iterable[HostInventory]) -> Network:
    """Hosts that can carry packets, and a full mesh between them."""
    hosts = sorted((h for h in inventories if h.dataplane != "none"), key=lambda h: h.host)
    sites = tuple(
        Site(
            name=host.host,
            capacity={"cpu_milli": host.cpu_milli, "memory_mib": host.memory_mib},
            price={"cpu_milli": 0.001},
            features=frozenset({"fence"} if host.fence == "kernel" else ()),
        )
        for host in hosts
    )
    links = tuple(
        Link(a.host, b.host, FABRIC_LATENCY_NS, FABRIC_CAPACITY_KBPS, FABRIC_PRICE)
        for a in hosts
        for b in hosts
        if a.host != b.host and a.underlay_address and b.underlay_address
    )
    return Network(sites, links)


def demand(
    segment: Segment, inventories: Sequence[HostInventory], current: ChainPlan | None
) -> ChainDemand:
    """The segment as a demand; its terminals are the hosts where they can be delivered."""
    names = [function.name for function in segment.functions]
    kept = None
    if current is not None and [f.function for f in current.functions] == names:
        kept = tuple(function.host for function in current.functions)
    return ChainDemand(
        id=f"{segment.tenant}/{segment.chain}",
        functions=tuple(_function(function) for function in segment.functions),
        ingress=terminal_hosts(segment.left, inventories),
        egress=terminal_hosts(segment.right, inventories),
        bandwidth_kbps=(segment.bandwidth_kbps,) * (len(segment.functions) + 1),
        priority=float(segment.priority),
        affinity=_pairs(segment.affinity, names),
        anti_affinity=_pairs(segment.anti_affinity, names),
        current=kept,
        migration_price=1.0,
    )


def placed(segment: Segment, plan: ChainPlan) -> Placement:
    """A stored plan as the engine's own answer, to charge what it takes."""
    hosts = tuple(function.host for function in plan.functions)
    first = plan.hops[0].left.host if plan.hops else ""
    last = plan.hops[-1].right.host if plan.hops else ""
    stops = (first, *hosts, last)
    hops, routes = [], []
    for a, b in itertools.pairwise(stops):
        hops.append(() if a == b else (f"{a}>{b}",))
        routes.append((a,) if a == b else (a, b))
    return Placement(
        chain=f"{segment.tenant}/{segment.chain}",
        sites=hosts,
        hops=tuple(hops),
        routes=tuple(routes),
        latency_ns=0,
        cost=0.0,
        lower_bound=0.0,
    )


def plan(
    segment: Segment, answer: Placement, incarnations: Mapping[str, int], vnis: Mapping[str, int]
) -> ChainPlan:
    """The engine's answer as the hops that chaining patches. ``incarnations`` maps instance to its life, ``vnis``
    local wire ids to their numbers."""
    functions = tuple(
        PlannedFunction(
            function=function.name,
            type=function.type,
            version=function.version,
            instance=(instance := instance_id(segment.tenant, segment.chain, function.name)),
            host=host,
            incarnation=incarnations.get(instance, 1),
        )
        for function, host in zip(segment.functions, answer.sites, strict=True)
    )
    first, last = answer.routes[0][0], answer.routes[-1][-1]
    ends: list[tuple[HopEnd, HopEnd]] = []
    left = _end(segment.left, first)
    for function in functions:
        ends.append((left, _leg(function, "in")))
        left = _leg(function, "out")
    ends.append((left, _end(segment.right, last)))
    hops = tuple(
        Hop(left=a, right=b, local_wire=_local_wire(segment, index, a, b, vnis))
        for index, (a, b) in enumerate(ends)
    )
    return ChainPlan(
        epoch=segment.epoch,
        functions=functions,
        hops=hops,
        wires=segment.wires,
        bandwidth_kbps=segment.bandwidth_kbps,
    )


def local_wires_needed(segment: Segment, answer: Placement) -> list[str]:
    """Ids of the wires between hosts that the answer needs."""
    stops = (answer.routes[0][0], *answer.sites, answer.routes[-1][-1])
    return [
        local_wire_id(segment.tenant, segment.chain, index)
        for index, (a, b) in enumerate(itertools.pairwise(stops))
        if a != b
    ]


def _local_wire(
    segment: Segment, index: int, a: HopEnd, b: HopEnd, vnis: Mapping[str, int]
) -> WireRef | None:
    if a.host == b.host:
        return None
    wire = local_wire_id(segment.tenant, segment.chain, index)
    return WireRef(wire=wire, vni=vnis[wire], udp_port=LOCAL_WIRE_PORT)


def _function(function: FunctionSpec) -> Function:
    needs = function.resources
    return Function(function.name, {"cpu_milli": needs.cpu_milli, "memory_mib": needs.memory_mib})


def _pairs(pairs: Iterable[tuple[str, str]], names: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Pairs whose functions are both in this segment; the others were settled by the tier above."""
    return tuple((names.index(a), names.index(b)) for a, b in pairs if a in names and b in names)


def terminal_hosts(terminal: Terminal, inventories: Sequence[HostInventory]) -> tuple[str, ...]:
    """Hosts with a data plane where a segment may begin or end like this."""
    able = [h for h in inventories if h.dataplane != "none"]
    if terminal.kind == "attachment":
        able = [h for h in able if terminal.name in h.attachments]
    return tuple(sorted(h.host for h in able))


def _end(terminal: Terminal, host: str) -> HopEnd:
    return HopEnd(host=host, kind=terminal.kind, name=terminal.name)


def _leg(function: PlannedFunction, leg: str) -> HopEnd:
    return HopEnd(
        host=function.host,
        kind="instance",
        name=function.instance,
        leg="in" if leg == "in" else "out",
    )


def without_data_plane(inventories: Iterable[HostInventory]) -> str:
    """Which hosts live and yet carry no packets, and why, as the end of a sentence."""
    unable = sorted((h for h in inventories if h.dataplane == "none"), key=lambda h: h.host)
    return "".join(f"; host {h.host} has no data plane: {h.reason or 'unknown'}" for h in unable)
