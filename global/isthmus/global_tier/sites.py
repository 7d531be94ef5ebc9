"""The world as the placement engine sees it, from registered facts and summaries with their age (DESIGN section 7).

Pure translation. A site whose summary is too old to be believed takes nothing new, but keeps what stands (G12).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from isthmus.contract.chain import ChainSpec, FunctionSpec, Segment, Terminal
from isthmus.contract.ids import wire_id
from isthmus.contract.instance import SiteSummary
from isthmus.contract.world import (
    LinkSpec,
    PlacedFunction,
    PlacedSegment,
    PlacedWire,
    SiteSpec,
)
from isthmus.contract.world import Placement as PlacementRecord
from isthmus.placement import ChainDemand, Function, Link, Network, Placement, Site

MONEY = 1e-6
"""Prices are thousandths of a unit per core: per thousandth of a core that is a millionth of it."""


@dataclass(frozen=True, slots=True)
class SiteView:
    """A registered site and the newest believable summary of it (None: unknown)."""

    spec: SiteSpec
    summary: SiteSummary | None
    age_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Standing:
    """A chain that stands: its intent and its placement."""

    spec: ChainSpec
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
    spec: ChainSpec, unknown_sites: Iterable[str], current: PlacementRecord | None
) -> ChainDemand:
    """A chain as the engine takes it."""
    names = [function.name for function in spec.functions]
    limits = spec.constraints
    stands = None
    if current is not None and [f.function for f in current.functions] == names:
        stands = tuple(function.site for function in current.functions)
    return ChainDemand(
        id=f"{spec.tenant}/{spec.chain}",
        functions=tuple(_function(function) for function in spec.functions),
        ingress=(str(spec.ingress.site),),
        egress=(str(spec.egress.site),),
        bandwidth_kbps=(spec.bandwidth_kbps,) * (len(names) + 1),
        latency_budget_ns=int(spec.latency_budget_ms * 1_000_000),
        priority=float(spec.priority),
        allowed_sites=frozenset(limits.sites) or None,
        forbidden_sites=frozenset(unknown_sites),
        countries=frozenset(limits.countries) or None,
        owners=frozenset(limits.owners) or None,
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
    spec: ChainSpec, answer: Placement, *, epoch: int, intent_revision: int, decided_by: str
) -> PlacementRecord:
    """The engine's answer as the record that wiring works from: segments per site, wires between them."""
    segments, wires = _segments(spec, answer, epoch)
    return PlacementRecord(
        epoch=epoch,
        functions=tuple(
            PlacedFunction(function=function.name, site=site)
            for function, site in zip(spec.functions, answer.sites, strict=True)
        ),
        wires=tuple(wires),
        segments=tuple(segments),
        routes=answer.routes,
        latency_us=answer.latency_us,
        latency_budget_us=int(spec.latency_budget_ms * 1000),
        bandwidth_kbps=spec.bandwidth_kbps,
        cost_milli=round(answer.cost * 1000),
        intent_revision=intent_revision,
        decided_by=decided_by,
    )


def _segments(
    spec: ChainSpec, answer: Placement, epoch: int
) -> tuple[list[PlacedSegment], list[PlacedWire]]:
    """Cut the chain where it changes site. A site that is visited twice gets two segments with names of their own."""
    stops: list[tuple[str, FunctionSpec | None]] = [(str(spec.ingress.site), None)]
    stops += list(zip(answer.sites, spec.functions, strict=True))
    stops.append((str(spec.egress.site), None))
    runs: list[tuple[str, list[FunctionSpec]]] = []
    wires: list[PlacedWire] = []
    for index, (site, function) in enumerate(stops):
        if not runs or runs[-1][0] != site:
            if runs:
                wires.append(
                    PlacedWire(
                        wire=wire_id(spec.tenant, spec.chain, epoch, len(wires)),
                        left_site=runs[-1][0],
                        right_site=site,
                        route=answer.routes[index - 1],
                    )
                )
            runs.append((site, []))
        if function is not None:
            runs[-1][1].append(function)
    return _name_runs(spec, runs, wires, epoch), wires


def _name_runs(
    spec: ChainSpec,
    runs: Sequence[tuple[str, list[FunctionSpec]]],
    wires: Sequence[PlacedWire],
    epoch: int,
) -> list[PlacedSegment]:
    visits: dict[str, int] = {}
    segments = []
    for index, (site, functions) in enumerate(runs):
        visits[site] = visits.get(site, 0) + 1
        left = (
            Terminal(kind="attachment", name=spec.ingress.attachment)
            if index == 0
            else Terminal(kind="wire", name=wires[index - 1].wire)
        )
        right = (
            Terminal(kind="attachment", name=spec.egress.attachment)
            if index == len(runs) - 1
            else Terminal(kind="wire", name=wires[index].wire)
        )
        names = {function.name for function in functions}
        segment = Segment(
            tenant=spec.tenant,
            chain=segment_name(spec.chain, visits[site]),
            functions=tuple(functions),
            left=left,
            right=right,
            bandwidth_kbps=spec.bandwidth_kbps,
            priority=spec.priority,
            partition=spec.partition,
            affinity=(),
            anti_affinity=tuple(
                pair for pair in spec.constraints.anti_affinity if set(pair) <= names
            ),
            epoch=epoch,
        )
        segments.append(PlacedSegment(site=site, segment=segment))
    return segments


def segment_name(chain: str, visit: int) -> str:
    """The name of a chain's segment at a site it visits for the ``visit``-th time."""
    return chain if visit == 1 else f"{chain}.{visit}"


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
