"""Wiring: turns placements into what each site is asked to carry, and joins the wires between sites (DESIGN section 7).

It claims a VXLAN network identifier per wire by compare-and-swap, writes each site's segment to its outbox, and passes
each end's address to the other end as the sites report them. Two sites never learn more of each other than that.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from isthmus.contract.chain import ChainStatus, Segment, SegmentIntent, WirePeer, WireRef
from isthmus.contract.families import (
    G_INTENTS,
    G_OUTBOX_INTENTS,
    G_OUTBOX_WIRES,
    G_PLACEMENTS,
    G_REMOTE,
    G_SITES,
    G_VNIS,
    G_WIRES,
)
from isthmus.contract.quarantine import marked_peer, quarantined
from isthmus.contract.scopes import site_chain_prefix, site_wire_prefix
from isthmus.contract.world import PlacedWire, Placement, VniClaim, Wire
from isthmus.failpoint import afailpoint
from isthmus.global_tier.numbers import ALL_NUMBERS, Numbers
from isthmus.global_tier.orders import LOCAL, chains_of, visited
from isthmus.global_tier.refusals import Place, held
from isthmus.microcontroller import Context, Later, Traits
from isthmus.policy.keys import ROOT

CLAIMS = "*claims"
HOLD_S = 1.0
"""A segment that is left until the new part of its chain is made is looked at again so often."""
MARKED = "*marked/"
"""What is held of a site or a peer was quarantined, or is so no more: all wires that end there."""


@dataclass(slots=True)
class Wiring:
    """Work items are ``<tenant>/<chain>``. ``numbers`` are those of our own wires; a peer's bring theirs."""

    numbers: Numbers = ALL_NUMBERS
    component: str = "wiring"
    traits: Traits = field(default_factory=Traits)
    standing_items: tuple[str, ...] = (CLAIMS,)

    @property
    def watches(self) -> Sequence[str]:
        """Placements, what sites report of their wire ends, and what it writes itself."""
        families = (G_PLACEMENTS, G_INTENTS, G_WIRES, G_VNIS, G_SITES)
        return (*(family.prefix() for family in families), f"{ROOT}outbox/", G_REMOTE.prefix())

    def items_for(self, key: str) -> Iterable[str]:
        """The chain; a reported end is found by its wire."""
        for family in (G_PLACEMENTS, G_OUTBOX_INTENTS):
            values = family.parse(key)
            if values is not None:
                yield from (f"{values['tenant']}/{chain}" for chain in chains_of(values["chain"]))
                return
        remote = G_REMOTE.parse(key)
        if (peer := marked_peer(key)) is not None:
            yield f"{MARKED}{peer}"
        elif remote is not None and remote["rest"].startswith(("summary/wires/", "wires/")):
            yield f"@{remote['rest'].rsplit('/', 1)[1]}"
        elif (values := G_WIRES.parse(key)) is not None:
            yield f"@{values['wire']}"

    async def reconcile(self, item: str, context: Context) -> float | None:
        """Settle one chain's segments and wires, or look through the claims of numbers."""
        if item == CLAIMS:
            await self._free_claims(context)
            return None
        if item.startswith(MARKED):
            peer = item.removeprefix(MARKED)
            for known in list(context.state.items(G_WIRES)):
                ends = known.envelope.body
                if peer in (ends.left_site, ends.right_site):
                    await self.reconcile(f"{ends.tenant}/{ends.chain}", context)
            return None
        if item.startswith("@"):
            wire = context.state.get(G_WIRES, wire=item[1:])
            if wire is None:
                return None
            tenant, chain = wire.tenant, wire.chain
        else:
            tenant, _, chain = item.partition("/")
        placement = context.state.get(G_PLACEMENTS, tenant=tenant, chain=chain)
        if placement is None:
            await self._withdraw(tenant, chain, set(), context)
            return None
        wires = {
            placed.wire: await self._wire(tenant, chain, placed, context)
            for placed in placement.wires
        }
        for placed in _from_peer(placement):
            wires[placed.ref.wire] = await self._outer(tenant, chain, placed, context)
        left, untouched = self._held(tenant, chain, placement, context)
        kept = await self._segments(placement, wires, left, context)
        for wire in wires.values():
            kept |= await self._exchange(wire, context)
        for key, segment in untouched.items():
            kept |= {key, *(ref.wire for ref in segment.wires)}
        await self._withdraw(tenant, chain, kept | set(wires), context)
        return HOLD_S if left else None

    def _held(
        self, tenant: str, chain: str, placement: Placement, context: Context
    ) -> tuple[frozenset[str], dict[str, Segment]]:
        """The sites that are left as they are until the new part is made, and what they were told. A peer's wire
        has one end here: what is carried for a peer is not held."""
        if not placement.refusals or placement.source != LOCAL:
            return frozenset(), {}
        told: dict[Place, tuple[str, Segment]] = {}
        reports: dict[Place, ChainStatus] = {}
        for site in context.state.items(G_SITES):
            name = site.variables["site"]
            for one in context.state.items(G_OUTBOX_INTENTS, site=name, tenant=tenant):
                segment = one.envelope.body.segment
                if self._chain_of(tenant, segment.chain, context) == chain:
                    told[name, segment.chain] = one.key, segment
        places = {(one.site, one.segment.chain) for one in placement.segments}
        for site_name, segment_name in places | told.keys():
            key = f"{site_chain_prefix(site_name)}{tenant}/{segment_name}"
            if (status := context.state.body(key, ChainStatus)) is not None:
                reports[site_name, segment_name] = status
        left = held(placement, {place: one for place, (_, one) in told.items()}, reports)
        return left, {key: segment for (name, _), (key, segment) in told.items() if name in left}

    async def _wire(self, tenant: str, chain: str, placed: PlacedWire, context: Context) -> Wire:
        known = context.state.get(G_WIRES, wire=placed.wire)
        vni = known.vni if known is not None else await self._claim(placed.wire, context)
        wire = Wire(
            wire=placed.wire,
            vni=vni,
            tenant=tenant,
            chain=chain,
            left_site=placed.left_site,
            right_site=placed.right_site,
            left_address=self._believed(placed.left_site, placed.wire, known, context),
            right_address=self._believed(placed.right_site, placed.wire, known, context),
        )
        await context.writer.put(G_WIRES.key(wire=placed.wire), wire)
        await afailpoint("wiring.wire_written")
        return wire

    async def _outer(self, tenant: str, chain: str, placed: _Outer, context: Context) -> Wire:
        """A peer's wire that ends at one of our sites: number and far end are the peer's to say."""
        key = G_WIRES.key(wire=placed.ref.wire)
        known = context.state.get(G_WIRES, wire=placed.ref.wire)
        if known is not None and known.left_site != placed.site:
            await context.writer.delete(G_OUTBOX_WIRES.key(site=known.left_site, wire=known.wire))
        told = f"{G_REMOTE.key(site=placed.peer)}wires/{placed.ref.wire}"
        far = context.state.body(told, WirePeer)
        address = far.address if far is not None else ""
        if quarantined(context.state, placed.peer) is not None:
            address = known.right_address if known is not None else ""
        wire = Wire(
            wire=placed.ref.wire,
            vni=placed.ref.vni,
            tenant=tenant,
            chain=chain,
            left_site=placed.site,
            right_site=placed.peer,
            left_address=self._believed(placed.site, placed.ref.wire, known, context),
            right_address=address,
            udp_port=placed.ref.udp_port,
            source=placed.peer,
        )
        await context.writer.put(key, wire)
        await afailpoint("wiring.outer_wire_written")
        return wire

    def _believed(self, site: str, wire: str, known: Wire | None, context: Context) -> str:
        """A site's end as it says; of a quarantined one as it was (G9): a new address of it moves no packets."""
        if quarantined(context.state, site) is None:
            return self._address(site, wire, context)
        if known is None:
            return ""
        ends = {known.left_site: known.left_address, known.right_site: known.right_address}
        return ends.get(site, "")

    @staticmethod
    def _address(site: str, wire: str, context: Context) -> str:
        end = context.state.body(f"{site_wire_prefix(site)}{wire}", WirePeer)
        return end.address if end is not None else ""

    async def _claim(self, wire: str, context: Context) -> int:
        """The lowest free number, ours from now on; a claim left by an earlier life is found again."""
        taken: dict[int, str] = {
            int(known.variables["number"]): known.envelope.body.wire
            for known in context.state.items(G_VNIS)
        }
        for number, owner in taken.items():
            if owner == wire:
                return number
        free = self.numbers.free(taken)
        if free is None:
            raise Later(f"wire {wire}: all numbers {self.numbers} are given", after_s=5.0)
        await context.writer.put(G_VNIS.key(number=str(free)), VniClaim(wire=wire))
        await afailpoint("wiring.vni_claimed")
        return free

    async def _free_claims(self, context: Context) -> None:
        """Numbers claimed for wires that there are not: a store that came back from a backup, or a chain that was
        placed anew between a claim and its wire, leaves them (found by simulation). The store itself is asked for the
        wire, since each prefix is heard of apart; one that a site still ends keeps its number, as when withdrawn."""
        state, writer = context.state, context.writer
        wanted = {
            placed.wire
            for known in state.items(G_PLACEMENTS)
            for placed in known.envelope.body.wires
        }
        sites = [known.variables["site"] for known in state.items(G_SITES)]
        for known in list(state.items(G_VNIS)):
            wire = known.envelope.body.wire
            key = G_WIRES.key(wire=wire)
            if wire in wanted or any(self._address(site, wire, context) for site in sites):
                continue
            if await writer.store.get(key, timeout_s=writer.timeout_s) is None:
                await writer.delete(known.key)

    async def _segments(
        self,
        placement: Placement,
        wires: dict[str, Wire],
        left: Collection[str],
        context: Context,
    ) -> set[str]:
        kept = set()
        for placed in placement.segments:
            segment: Segment = placed.segment
            refs = tuple(
                _ref(wires[end.name]) for end in (segment.left, segment.right) if end.kind == "wire"
            )
            key = G_OUTBOX_INTENTS.key(site=placed.site, tenant=segment.tenant, chain=segment.chain)
            if placed.site in left:
                continue
            kept.add(key)
            wish = SegmentIntent(segment=segment.model_copy(update={"wires": refs}))
            await context.writer.put(key, wish)
            await afailpoint("wiring.segment_written")
        return kept

    @staticmethod
    async def _exchange(wire: Wire, context: Context) -> set[str]:
        """Each end learns the other's address, as soon as it is known."""
        kept = set()
        for site, address in (
            (wire.left_site, wire.right_address),
            (wire.right_site, wire.left_address),
        ):
            if site == wire.source:
                continue  # a peer reads our end where it reads its sites' (representative)
            key = G_OUTBOX_WIRES.key(site=site, wire=wire.wire)
            kept.add(key)
            if address:
                peer = WirePeer(
                    wire=wire.wire, vni=wire.vni, address=address, udp_port=wire.udp_port
                )
                await context.writer.put(key, peer)
                await afailpoint("wiring.far_end_written")
        return kept

    async def _withdraw(self, tenant: str, chain: str, kept: set[str], context: Context) -> None:
        """Take back what this chain no longer needs: segments, wires, far ends, numbers."""
        for known in list(context.state.items(G_WIRES)):
            wire = known.envelope.body
            if (wire.tenant, wire.chain) != (tenant, chain) or wire.wire in kept:
                continue
            for site in (wire.left_site, wire.right_site):
                await context.writer.delete(G_OUTBOX_WIRES.key(site=site, wire=wire.wire))
            await afailpoint("wiring.far_ends_deleted")
            if self._still_ends(wire, context):
                continue
            await context.writer.delete(G_VNIS.key(number=str(wire.vni)))
            await afailpoint("wiring.vni_deleted")
            await context.writer.delete(known.key)
            await afailpoint("wiring.wire_deleted")
        for site in list(context.state.items(G_SITES)):
            prefix = G_OUTBOX_INTENTS.prefix(site=site.variables["site"], tenant=tenant)
            for key in context.state.keys(prefix):
                values = G_OUTBOX_INTENTS.parse(key)
                if values is None or key in kept:
                    continue
                if self._chain_of(tenant, values["chain"], context) == chain:
                    await context.writer.delete(key)
                    await afailpoint("wiring.segment_deleted")

    def _still_ends(self, wire: Wire, context: Context) -> bool:
        """A site that is cut off, or whose brake holds the segment, goes on sending under the number: given again, it
        would carry one tenant's packets into another's chain. So it stays taken until every end is reported gone."""
        return any(
            self._address(site, wire.wire, context)
            for site in (wire.left_site, wire.right_site)
            if context.state.get(G_SITES, site=site) is not None
        )

    @staticmethod
    def _chain_of(tenant: str, name: str, context: Context) -> str:
        """The chain a segment's name belongs to: its own, or the one before the number of its visit."""
        if context.state.get(G_PLACEMENTS, tenant=tenant, chain=name) is not None:
            return name
        return visited(name)[0]


def _ref(wire: Wire) -> WireRef:
    return WireRef(wire=wire.wire, vni=wire.vni, udp_port=wire.udp_port)


@dataclass(frozen=True, slots=True)
class _Outer:
    """``peer``'s wire that ends at ``site``."""

    peer: str
    site: str
    ref: WireRef


def _from_peer(placement: Placement) -> Iterator[_Outer]:
    """The wires that came with a peer's segment."""
    if placement.source != LOCAL:
        for placed in placement.segments:
            for ref in placed.segment.wires:
                yield _Outer(placement.source, placed.site, ref)
