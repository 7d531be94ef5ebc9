"""What this tier carries for a peer above or beside it: the decision, as a site takes it (DESIGN sections 4 and 6).

To the peer this tier is one site. What it asks for is checked as a site checks it (:mod:`isthmus.contract.peering`),
and for two things more that only a tier can get wrong: a segment must not go round in a circle of tiers, and the
numbers of the peer's wires must not be numbers that this tier gives to its own, for both end on the same hosts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from isthmus.contract.chain import Confirmation, Explanation, Segment, SegmentIntent
from isthmus.contract.families import (
    G_CONFIRMATIONS,
    G_EXPLAIN,
    G_REMOTE,
    G_SEGMENTS,
    G_WIRES,
)
from isthmus.contract.ids import tier_mark
from isthmus.contract.peering import (
    Delegation,
    Load,
    Refused,
    admitted,
    by_claim,
    check_delegation,
    check_names,
    load,
    unlisted,
)
from isthmus.contract.quarantine import CONSTRAINT as QUARANTINED
from isthmus.contract.quarantine import quarantined
from isthmus.contract.world import CarriedSegment, Wire
from isthmus.failpoint import afailpoint
from isthmus.global_tier.numbers import ALL_NUMBERS, Numbers
from isthmus.global_tier.orders import SiteView, order_for_peer
from isthmus.global_tier.views import site_views
from isthmus.microcontroller import Context, Later, State

MAX_TIERS = 8
"""Through so many tiers a segment may go; a carrier has three."""
MAX_NAME = 55
"""Of a peer's segment, so that later visits of it still have a name."""
MAX_FUNCTIONS, MAX_PRIORITY, MAX_KBPS = 32, 1_000, 400_000_000
RECHECK_S = 2.0
PASSING = frozenset({"attachment", "vni", "sites", QUARANTINED})
"""Refusals that others can lift are looked at again."""


@dataclass(frozen=True, slots=True)
class Policy:
    """``tier`` is who we are, ``delegations`` who may ask us for what, ``numbers`` what our own wires use."""

    tier: str = ""
    delegations: Sequence[Delegation] = ()
    numbers: Numbers = field(default=ALL_NUMBERS)

    def of(self, peer: str) -> Delegation | None:
        """What ``peer`` may ask."""
        return next((one for one in self.delegations if one.peer == peer), None)


def intent_prefix(peer: str) -> str:
    """Where the wishes of a peer arrive."""
    return f"{G_REMOTE.key(site=peer)}intents/"


def wished(key: str, policy: Policy) -> str | None:
    """``<tenant>/<chain>`` when ``key`` is the wish of a peer that may ask."""
    remote = G_REMOTE.parse(key)
    if remote is None or policy.of(remote["site"]) is None:
        return None
    rest = remote["rest"].split("/")
    return f"{rest[1]}/{rest[2]}" if len(rest) == 3 and rest[0] == "intents" else None


def wish(state: State, policy: Policy, tenant: str, chain: str) -> CarriedSegment | None:
    """What a peer asks for under this name, the best claim first."""
    standing = state.get(G_SEGMENTS, tenant=tenant, chain=chain)
    holder = standing.source if standing is not None else ""
    peers = (one.peer for one in policy.delegations)
    doubted = {peer for peer in peers if quarantined(state, peer) is not None}
    for one in by_claim(policy.delegations, tenant, holder, doubted):
        intent = state.body(f"{intent_prefix(one.peer)}{tenant}/{chain}", SegmentIntent)
        if intent is not None:
            return CarriedSegment(segment=intent.segment, source=one.peer)
    return None


def admit(
    wanted: CarriedSegment,
    policy: Policy,
    *,
    standing: CarriedSegment | None,
    views: Sequence[SiteView],
    wires: Iterable[Wire],
    doubt: str | None = None,
) -> None:
    """Raises Refused. No text of it names a site: the peer reads it."""
    segment, peer = wanted.segment, wanted.source
    delegation = policy.of(peer)
    assert delegation is not None
    in_force = standing.segment if standing is not None and standing.source == peer else None
    check_delegation(delegation, segment, in_force, doubt)
    if any(view.spec.site == peer for view in views):
        raise Refused(
            "peer",
            f"{peer!r} is registered as a site here, too; give the tier that asks another name "
            "than the tier that is asked",
        )
    _check_trail(segment, policy.tier)
    _check_shape(segment)
    _check_wires(wanted, policy.numbers, wires)
    order_for_peer(wanted, views)


def _check_trail(segment: Segment, tier: str) -> None:
    if tier_mark(tier, segment.tenant) in segment.trail:
        raise Refused("loop", "this segment went through here before; place it elsewhere")
    if len(segment.trail) >= MAX_TIERS:
        raise Refused("loop", f"it went through {len(segment.trail)} tiers, at most {MAX_TIERS}")


def _check_shape(segment: Segment) -> None:
    """What a chain of a person's cannot be, but a segment of a peer's can."""
    limits = (
        ("name", len(segment.chain), MAX_NAME, "bytes of its name"),
        ("functions", len(segment.functions), MAX_FUNCTIONS, "functions"),
        ("priority", abs(segment.priority), MAX_PRIORITY, "priority"),
        ("bandwidth", segment.bandwidth_kbps, MAX_KBPS, "bandwidth_kbps"),
    )
    for constraint, value, limit, what in limits:
        if value > limit:
            raise Refused(constraint, f"{what}: {value}, at most {limit}")
    if segment.priority < 0:
        raise Refused("priority", f"priority: {segment.priority}, at least 0")


def _check_wires(wanted: CarriedSegment, numbers: Numbers, wires: Iterable[Wire]) -> None:
    segment = wanted.segment
    known = {wire.wire: wire for wire in segment.wires}
    for end in (segment.left, segment.right):
        if end.kind == "wire" and end.name not in known:
            raise Refused("wire", f"wire {end.name} has no number; tell it with the segment")
    mine = (wanted.source, segment.tenant, segment.chain)
    others = [wire for wire in wires if (wire.source, wire.tenant, wire.chain) != mine]
    stolen = next((wire.wire for wire in others if wire.wire in known), None)
    if stolen is not None:
        raise Refused("wire", f"wire {stolen} is another chain's here; give each its own")
    taken = {(wire.vni, wire.udp_port) for wire in others}
    for ref in known.values():
        if ref.vni in numbers:
            raise Refused(
                "vni",
                f"wire {ref.wire} has number {ref.vni}, but {numbers} are given here; "
                "the two tiers must give numbers from ranges of their own",
            )
        if (ref.vni, ref.udp_port) in taken:
            raise Refused("vni", f"wire {ref.wire}: number {ref.vni} is another wire's here")


async def carry(policy: Policy, tenant: str, chain: str, context: Context) -> float | None:
    """Settle what a peer asks for under a name that no user of ours has; seconds until it is looked at again."""
    state, item = context.state, f"{tenant}/{chain}"
    standing: CarriedSegment | None = state.get(G_SEGMENTS, tenant=tenant, chain=chain)
    explain_key = G_EXPLAIN.key(component="intake", tenant=tenant, chain=chain)
    wanted = wish(state, policy, tenant, chain)
    if wanted is None:
        if standing is not None:
            await _brake(policy, standing, context)
            await drop(standing, context, f"by {standing.source}")
        await context.writer.delete(explain_key)
        return None
    doubt = quarantined(state, wanted.source)
    try:
        check_names(wanted.segment, tenant, chain)
        admit(
            wanted,
            policy,
            standing=standing,
            views=site_views(context),
            wires=[known.envelope.body for known in state.items(G_WIRES)],
            doubt=doubt,
        )
    except Refused as refusal:
        if standing is not None and (refusal.constraint == "revoked"):
            await drop(standing, context, f"{standing.source} is revoked")
        explanation = Explanation(
            decision="refused",
            source=wanted.source,
            constraint=refusal.constraint,
            reason=str(refusal),
            epoch=wanted.segment.epoch,
        )
        if await context.writer.put(explain_key, explanation):
            await context.event("refused", item, str(refusal), "warning")
        return RECHECK_S if refusal.constraint in PASSING else None
    if await context.writer.put(G_SEGMENTS.key(tenant=tenant, chain=chain), wanted):
        await afailpoint("global_intake.segment_written")
        await context.event("admitted", item, f"from {wanted.source}, epoch {wanted.segment.epoch}")
    await context.writer.put(
        explain_key, admitted(wanted.source, len(wanted.segment.functions), doubt)
    )
    return None


async def drop(standing: CarriedSegment, context: Context, why: str) -> None:
    """Carry it no more."""
    tenant, chain = standing.segment.tenant, standing.segment.chain
    await context.writer.delete(G_SEGMENTS.key(tenant=tenant, chain=chain))
    await afailpoint("global_intake.segment_deleted")
    await context.event("withdrawn", f"{tenant}/{chain}", why)


async def _brake(policy: Policy, standing: CarriedSegment, context: Context) -> None:
    """Hold a peer's deletions when too many of its segments would end at once (attack 19); raises Later."""
    delegation = policy.of(standing.source)
    if delegation is not None and delegation.revoked:
        return
    if delegation is None:
        weight = unlisted(standing.source, len(_carried(context.state, standing.source)))
    else:
        weight = weigh(context.state, delegation)
    word = context.state.envelope(G_CONFIRMATIONS.key(peer=standing.source), Confirmation)
    if not weight.over or Confirmation.until_utc_s(word, context.now()) is not None:
        return
    segment = standing.segment
    key = G_EXPLAIN.key(component="intake", tenant=segment.tenant, chain=segment.chain)
    if await context.writer.put(key, weight.explanation()):
        await context.event("held", f"{segment.tenant}/{segment.chain}", str(weight), "warning")
    raise Later(str(weight), after_s=5.0)


def weigh(state: State, delegation: Delegation) -> Load:
    """What the peer wants deleted now."""
    carried = _carried(state, delegation.peer)
    prefix = intent_prefix(delegation.peer)
    asked = {key.removeprefix(prefix) for key in state.keys(prefix)}
    return load(delegation, carried, asked, list(_new(state, prefix, asked - carried.keys())))


def _carried(state: State, peer: str) -> dict[str, Segment]:
    return {
        f"{known.variables['tenant']}/{known.variables['chain']}": known.envelope.body.segment
        for known in state.items(G_SEGMENTS)
        if known.envelope.body.source == peer
    }


def concerned(state: State, peer: str) -> list[str]:
    """``<tenant>/<chain>`` of all that ``peer`` asks for or has: what its mark concerns (G9)."""
    prefix = intent_prefix(peer)
    return sorted(
        {key.removeprefix(prefix) for key in state.keys(prefix)} | _carried(state, peer).keys()
    )


def _new(state: State, prefix: str, names: Iterable[str]) -> Iterator[Segment]:
    for name in sorted(names):
        intent = state.body(prefix + name, SegmentIntent)
        if intent is not None:
            yield intent.segment


def watched(policy: Policy) -> tuple[str, ...]:
    """What intake reads for peers: what was once admitted in any case, for the last of them may have left."""
    asked = (G_REMOTE.prefix(), G_WIRES.prefix()) if policy.delegations else ()
    return (G_SEGMENTS.prefix(), G_CONFIRMATIONS.prefix(), *asked)


__all__ = [
    "Policy",
    "admit",
    "carry",
    "concerned",
    "drop",
    "intent_prefix",
    "watched",
    "weigh",
    "wish",
    "wished",
]
