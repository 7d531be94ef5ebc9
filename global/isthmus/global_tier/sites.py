"""The world as the placement engine sees it, from registered facts and summaries with their age (DESIGN section 7).

Pure translation. A site whose summary is too old to be believed takes nothing new, but keeps what stands (G12).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from isthmus.contract.chain import ChainSpec, FunctionSpec, Segment, Terminal
from isthmus.contract.ids import wire_id
from isthmus.contract.world import (
    LinkSpec,
    PlacedFunction,
    PlacedSegment,
    PlacedWire,
)
from isthmus.contract.world import Placement as PlacementRecord
from isthmus.global_tier.orders import Order, SiteView, order_of, segment_name
from isthmus.placement import ChainDemand, Function, Link, Network, Placement, Site

__all__ = [
    "SiteView",
    "Standing",
    "demand",
    "network",
    "record",
    "segment_name",
    "standing_placement",
]

MONEY = 1e-6
"""Prices are thousandths of a unit per core: per thousandth of a core that is a millionth of it."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A chain that stands: its intent and its placement."""

    spec: ChainSpec | Order
    record: PlacementRecord


def network(
    sites: Iterable[SiteView], links: Iterable[LinkSpec], standing: Sequence[Standing]
) -> Network:
    """Sites and links with at least the capacity that standing chains already hold there."""
    cpu, memory, traffic = _held(standing)
    nodes = []
    for view in sites:
        name = view.spec.site
        summary = view.summary
        nodes.append(
            Site(
                name=name,
                capacity={
                    "cpu_milli": max(summary.cpu_milli_free if summary else 0, cpu.get(name, 0)),
                    "memory_mib": max(
                        summary.memory_mib_free if summary else 0, memory.get(name, 0)
                    ),
                },
                price={"cpu_milli": view.spec.price_milli * MONEY},
                region=view.spec.region,
                country=view.spec.country,
                owner=view.spec.owner,
                features=frozenset(
                    {f"type:{name}" for name in (summary.function_types if summary else ())}
                ),
            )
        )
    known = {node.name for node in nodes}
    edges = tuple(
        Link(
            link.source,
            link.target,
            link.latency_us * 1000,
            max(link.capacity_kbps, traffic.get((link.source, link.target), 0)),
            link.price_milli * MONEY,
        )
        for link in links
        if link.source in known and link.target in known
    )
    return Network(tuple(nodes), edges)


def demand(
    spec: ChainSpec | Order,
    unknown_sites: Iterable[str],
    current: PlacementRecord | None,
    own: Iterable[str] | None = None,
) -> ChainDemand:
    """A chain as the engine takes it. ``own``: the traffic may cross these sites only."""
    order = order_of(spec)
    names = [function.name for function in order.functions]
    limits = order.constraints
    stands = None
    if current is not None and [f.function for f in current.functions] == names:
        stands = tuple(function.site for function in current.functions)
    return ChainDemand(
        id=f"{order.tenant}/{order.chain}",
        functions=tuple(_function(function) for function in order.functions),
        ingress=order.ingress,
        egress=order.egress,
        bandwidth_kbps=(order.bandwidth_kbps,) * (len(names) + 1),
        latency_budget_ns=int(order.latency_budget_ms * 1_000_000),
        priority=float(order.priority),
        allowed_sites=frozenset(limits.sites) or None,
        forbidden_sites=frozenset(unknown_sites),
        countries=frozenset(limits.countries) or None,
        owners=frozenset(limits.owners) or None,
        transit_sites=None if own is None else frozenset(own),
        affinity=tuple((names.index(a), names.index(b)) for a, b in limits.affinity),
        anti_affinity=tuple((names.index(a), names.index(b)) for a, b in limits.anti_affinity),
        current=stands,
        migration_price=0.01 if stands else 0.0,
    )


def standing_placement(one: Standing) -> Placement:
    """A stored placement as the engine's answer, to charge what it holds."""
    hops = tuple(
        tuple(f"{a}>{b}" for a, b in itertools.pairwise(route)) for route in one.record.routes
    )
    return Placement(
        chain=f"{one.spec.tenant}/{one.spec.chain}",
        sites=tuple(function.site for function in one.record.functions),
        hops=hops,
        routes=one.record.routes,
        latency_ns=one.record.latency_us * 1000,
        cost=one.record.cost_milli / 1000,
        lower_bound=0.0,
    )


def record(
    spec: ChainSpec | Order,
    answer: Placement,
    *,
    epoch: int,
    intent_revision: int,
    decided_by: str,
    tier: str = "",
) -> PlacementRecord:
    """The engine's answer as the record that wiring works from: segments per site, wires between them. ``tier`` is who
    we are, where peers ask us: it keeps our names apart from theirs, and marks what we pass on."""
    order = order_of(spec)
    segments, wires = _segments(order, answer, epoch, tier)
    return PlacementRecord(
        epoch=epoch,
        functions=tuple(
            PlacedFunction(function=function.name, site=site)
            for function, site in zip(order.functions, answer.sites, strict=True)
        ),
        wires=tuple(wires),
        segments=tuple(segments),
        routes=answer.routes,
        latency_us=answer.latency_us,
        latency_budget_us=int(order.latency_budget_ms * 1000),
        bandwidth_kbps=order.bandwidth_kbps,
        cost_milli=round(answer.cost * 1000),
        intent_revision=intent_revision,
        decided_by=decided_by,
        source=order.source,
        source_epoch=order.source_epoch,
    )


def _segments(
    order: Order, answer: Placement, epoch: int, tier: str
) -> tuple[list[PlacedSegment], list[PlacedWire]]:
    """Cut the chain where it changes site. A site that is visited twice gets two segments with names of their own."""
    start = answer.routes[0][0] if answer.routes and answer.routes[0] else order.ingress[0]
    end = answer.routes[-1][-1] if answer.routes and answer.routes[-1] else order.egress[0]
    stops: list[tuple[str, FunctionSpec | None]] = [(start, None)]
    stops += list(zip(answer.sites, order.functions, strict=True))
    stops.append((end, None))
    runs: list[tuple[str, list[FunctionSpec]]] = []
    wires: list[PlacedWire] = []
    for index, (site, function) in enumerate(stops):
        if not runs or runs[-1][0] != site:
            if runs:
                wires.append(
                    PlacedWire(
                        wire=wire_id(order.tenant, order.chain, epoch, len(wires), tier),
                        left_site=runs[-1][0],
                        right_site=site,
                        route=answer.routes[index - 1],
                    )
                )
            runs.append((site, []))
        if function is not None:
            runs[-1][1].append(function)
    return _name_runs(order, runs, wires, epoch, tier), wires


def _name_runs(
    order: Order,
    runs: Sequence[tuple[str, list[FunctionSpec]]],
    wires: Sequence[PlacedWire],
    epoch: int,
    tier: str,
) -> list[PlacedSegment]:
    visits: dict[str, int] = {}
    segments = []
    for index, (site, functions) in enumerate(runs):
        visits[site] = visits.get(site, 0) + 1
        left = order.left if index == 0 else Terminal(kind="wire", name=wires[index - 1].wire)
        last = index == len(runs) - 1
        right = order.right if last else Terminal(kind="wire", name=wires[index].wire)
        ends = {end.name for end in (left, right) if end.kind == "wire"}
        names = {function.name for function in functions}
        segment = Segment(
            tenant=order.tenant,
            chain=segment_name(order.chain, visits[site], tier),
            functions=tuple(functions),
            left=left,
            right=right,
            wires=tuple(wire for wire in order.wires if wire.wire in ends),
            bandwidth_kbps=order.bandwidth_kbps,
            priority=order.priority,
            partition=order.partition,
            affinity=(),
            anti_affinity=tuple(
                pair for pair in order.constraints.anti_affinity if set(pair) <= names
            ),
            epoch=epoch,
            trail=order.trail_through(tier),
        )
        segments.append(PlacedSegment(site=site, segment=segment))
    return segments


def _function(function: FunctionSpec) -> Function:
    needs = function.resources
    return Function(
        function.name,
        {"cpu_milli": needs.cpu_milli, "memory_mib": needs.memory_mib},
        frozenset({f"type:{function.type}/{function.version}"}),
    )


def _held(
    standing: Sequence[Standing],
) -> tuple[Mapping[str, int], Mapping[str, int], Mapping[tuple[str, str], int]]:
    cpu: dict[str, int] = {}
    memory: dict[str, int] = {}
    traffic: dict[tuple[str, str], int] = {}
    for one in standing:
        needs = {function.name: function.resources for function in one.spec.functions}
        for placed in one.record.functions:
            resources = needs.get(placed.function)
            if resources is not None:
                cpu[placed.site] = cpu.get(placed.site, 0) + resources.cpu_milli
                memory[placed.site] = memory.get(placed.site, 0) + resources.memory_mib
        for route in one.record.routes:
            for a, b in itertools.pairwise(route):
                traffic[(a, b)] = traffic.get((a, b), 0) + one.record.bandwidth_kbps
    return cpu, memory, traffic
