"""What the tier has to place, whoever asked: a chain of its own users, or a segment of a peer (DESIGN section 7; pure).

A chain ends at two attachments whose sites are named. A peer's segment may end at a wire, and a wire may end at any
site of the tier: which one is the tier's own decision, and the peer never learns it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, replace

from isthmus.contract.chain import (
    ChainSpec,
    Constraints,
    FunctionSpec,
    Partition,
    Terminal,
    WireRef,
)
from isthmus.contract.ids import tier_mark
from isthmus.contract.instance import SiteSummary
from isthmus.contract.peering import Refused
from isthmus.contract.world import CarriedSegment, Placement, SiteSpec

LOCAL = "local"
INNER_BUDGET_MS = 1_000.0
"""A segment tells no latency budget: who cut the chain reckons with the tier as with one site."""

_VISIT = re.compile(r"(.+)\.([0-9]+)(?:-[0-9a-f]{4})?")


@dataclass(frozen=True, slots=True)
class SiteView:
    """A registered site and the newest believable summary of it (None: unknown)."""

    spec: SiteSpec
    summary: SiteSummary | None
    age_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Order:
    """``ingress`` and ``egress`` are the sites where it may begin and end; ``left`` and ``right`` what it ends at
    there. ``wires`` are the asking peer's, with its numbers."""

    tenant: str
    chain: str
    functions: tuple[FunctionSpec, ...]
    left: Terminal
    right: Terminal
    ingress: tuple[str, ...]
    egress: tuple[str, ...]
    bandwidth_kbps: int
    latency_budget_ms: float
    priority: int
    partition: Partition
    constraints: Constraints
    source: str = LOCAL
    source_epoch: int = 0
    wires: tuple[WireRef, ...] = ()
    trail: tuple[str, ...] = ()

    def trail_through(self, tier: str) -> tuple[str, ...]:
        """The marks of all tiers behind it when ``tier`` has passed it on; a tier nobody can ask leaves none."""
        return (*self.trail, tier_mark(tier, self.tenant)) if tier else self.trail


def order_of(wanted: ChainSpec | Order) -> Order:
    """A chain of the tier's own users."""
    if isinstance(wanted, Order):
        return wanted
    return Order(
        tenant=wanted.tenant,
        chain=wanted.chain,
        functions=wanted.functions,
        left=Terminal(kind="attachment", name=wanted.ingress.attachment),
        right=Terminal(kind="attachment", name=wanted.egress.attachment),
        ingress=(str(wanted.ingress.site),),
        egress=(str(wanted.egress.site),),
        bandwidth_kbps=wanted.bandwidth_kbps,
        latency_budget_ms=wanted.latency_budget_ms,
        priority=wanted.priority,
        partition=wanted.partition,
        constraints=wanted.constraints,
    )


def order_for_peer(
    carried: CarriedSegment, views: Iterable[SiteView], standing: Placement | None = None
) -> Order:
    """A peer's segment: never at a site that is itself a peer's tier, its ends where they stand, if they do. Raises
    Refused when an end has no site."""
    segment = carried.segment
    own = [view for view in views if view.spec.relation == "below"]
    names = {function.name for function in segment.functions}
    stands = standing is not None and standing.routes and standing.routes[0] and standing.routes[-1]
    return Order(
        tenant=segment.tenant,
        chain=segment.chain,
        functions=segment.functions,
        left=segment.left,
        right=segment.right,
        ingress=standing.routes[0][:1] if standing and stands else _where(segment.left, own),
        egress=standing.routes[-1][-1:] if standing and stands else _where(segment.right, own),
        bandwidth_kbps=segment.bandwidth_kbps,
        latency_budget_ms=INNER_BUDGET_MS,
        priority=segment.priority,
        partition=segment.partition,
        constraints=Constraints(
            affinity=tuple(pair for pair in segment.affinity if set(pair) <= names),
            anti_affinity=tuple(pair for pair in segment.anti_affinity if set(pair) <= names),
        ),
        source=carried.source,
        source_epoch=segment.epoch,
        wires=segment.wires,
        trail=segment.trail,
    )


def without(order: Order, closed: Set[str]) -> Order:
    """An end that may be at any of several sites is at none that is ``closed``, if there is another."""
    return replace(
        order,
        ingress=tuple(site for site in order.ingress if site not in closed) or order.ingress,
        egress=tuple(site for site in order.egress if site not in closed) or order.egress,
    )


def has_attachment(view: SiteView, attachment: str) -> bool:
    """As registered, or as the site said last."""
    told = view.summary.attachments if view.summary is not None else ()
    return attachment in view.spec.attachments or attachment in told


def _where(end: Terminal, own: list[SiteView]) -> tuple[str, ...]:
    if end.kind == "wire":
        found = [view.spec.site for view in own if view.summary is not None]
        if not found:
            raise Refused("sites", "no site of this tier may be believed now; wait for one")
        return tuple(found)
    found = [view.spec.site for view in own if has_attachment(view, end.name)]
    if len(found) != 1:
        many = "at several places" if found else "not"
        raise Refused("attachment", f"attachment {end.name!r} is {many} here; name another")
    return tuple(found)


def segment_name(chain: str, visit: int, tier: str = "") -> str:
    """The name of a chain's segment at a site it visits for the ``visit``-th time. A tier that peers may ask
    says which visit is its own: the peer may have cut ``web.2`` itself."""
    if visit == 1:
        return chain
    return f"{chain}.{visit}" + (f"-{tier_mark(tier)[2:6]}" if tier else "")


def visited(name: str) -> tuple[str, int]:
    """The chain that a segment's name may belong to, and the number of the visit (1: the name says none)."""
    found = _VISIT.fullmatch(name)
    return (found[1], int(found[2])) if found is not None and int(found[2]) > 1 else (name, 1)


def chains_of(name: str) -> Iterator[str]:
    """The chains that a segment of this name may belong to."""
    yield name
    base, visit = visited(name)
    if visit > 1:
        yield base
