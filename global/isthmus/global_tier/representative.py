"""The representative: a tier that behaves towards a peer above or beside it exactly as a site does (DESIGN section 6).

It writes what a summarizer writes at a site, at the same keys: totals of all sites of the tier, and for the peer that
asked the status of its segments and the ends of its wires. It takes back what it told a peer that left, also the
last one, so it runs in a tier that nobody asks, too. The sites' names are never in it: a peer knows one name,
the tier's, and every reason is made here from what is known of the peer's own segment, never passed on from below.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from isthmus.contract import ContractError, Envelope, unseal
from isthmus.contract.chain import (
    ChainStatus,
    Explanation,
    Phase,
    RefusedRequest,
    SegmentIntent,
    WirePeer,
)
from isthmus.contract.families import (
    G_EXPLAIN,
    G_INTENTS,
    G_PEER_CHAINS,
    G_PEER_WIRES,
    G_PLACEMENTS,
    G_REMOTE,
    G_SEGMENTS,
    G_SITE_SUMMARY,
    G_SITES,
    G_STATUS,
    G_WIRES,
)
from isthmus.contract.instance import SiteSummary
from isthmus.contract.peering import Delegation
from isthmus.contract.quarantine import QUARANTINE, quarantined
from isthmus.contract.scopes import site_wire_prefix
from isthmus.failpoint import afailpoint
from isthmus.global_tier.carrying import Policy, intent_prefix, wished
from isthmus.global_tier.totals import TierFacts, functions_of_own, summary, used_by_own
from isthmus.global_tier.views import site_views
from isthmus.microcontroller import Context, Traits

SITE, WIRES = "*site", "*wires"
_WORDS = frozenset({"pending", "starting", "running", "lost", "failed", "unknown", "degraded"})
"""Phases of a function that may be told; a longer text may name hosts."""


@dataclass(slots=True)
class Representative:
    """``name`` is what peers call this tier: its name as a site."""

    name: str
    policy: Policy = field(default_factory=Policy)
    period_s: float = 5.0
    component: str = "representative"
    traits: Traits = field(default_factory=Traits)
    standing_items: tuple[str, ...] = (SITE, WIRES)

    @property
    def watches(self) -> Sequence[str]:
        """What it sums up and relays, and its own summaries for peers; these alone where nobody asks (any more)."""
        families = (
            G_SITES, G_REMOTE, G_SEGMENTS, G_INTENTS, G_PLACEMENTS, G_WIRES, G_STATUS, G_EXPLAIN,
        )  # fmt: skip
        relayed = families if self.policy.delegations else ()
        return (*(family.prefix() for family in relayed), G_PEER_CHAINS.prefix())

    def items_for(self, key: str) -> Iterable[str]:
        """Totals, wires, or the chain."""
        for family in (G_STATUS, G_SEGMENTS, G_INTENTS, G_PLACEMENTS, G_PEER_CHAINS, G_EXPLAIN):
            values = family.parse(key)
            if values is not None:
                yield f"{values['tenant']}/{values['chain']}"
                if family is G_PLACEMENTS:
                    yield SITE
                return
        remote = G_REMOTE.parse(key)
        rest = remote["rest"] if remote is not None else ""
        if rest == "summary/site" or G_SITES.parse(key) is not None:
            yield SITE
        elif rest == QUARANTINE:
            yield from (SITE, WIRES)
        elif rest.startswith("summary/wires/") or G_WIRES.parse(key) or G_PEER_WIRES.parse(key):
            yield WIRES
        elif (item := wished(key, self.policy)) is not None:
            yield item

    async def reconcile(self, item: str, context: Context) -> float | None:
        """Tell one thing."""
        if item == SITE:
            if not self.policy.delegations:
                await context.writer.delete(G_SITE_SUMMARY.key())
                return None
            await self._site(context)
            return self.period_s
        if item == WIRES:
            await self._wires(context)
            return None
        tenant, _, chain = item.partition("/")
        told = [
            await self._chain(delegation, tenant, chain, context)
            for delegation in self.policy.delegations
        ]
        await self._forgotten(tenant, chain, context)
        return self.period_s if any(told) else None

    async def _site(self, context: Context) -> None:
        held = sum(
            known.envelope.body.decision == "held"
            for known in context.state.items(G_EXPLAIN, component="intake")
        )
        placements = [known.envelope.body for known in context.state.items(G_PLACEMENTS)]
        facts = TierFacts(
            site_views(context),
            used_by_own(placements),
            held,
            functions_of_own(placements),
        )
        body = summary(facts, await self._before(context), context.now())
        await self._put(G_SITE_SUMMARY.key(), body, context)
        await afailpoint("representative.site_written")

    @staticmethod
    async def _before(context: Context) -> SiteSummary | None:
        """What was told last, by whichever life: the store remembers it."""
        writer = context.writer
        entry = await writer.store.get(G_SITE_SUMMARY.key(), timeout_s=writer.timeout_s)
        if entry is None:
            return None
        try:
            return unseal(entry.value, SiteSummary).body
        except ContractError:
            return None

    async def _put(self, key: str, body: SiteSummary | ChainStatus, context: Context) -> None:
        period_s = self.period_s
        await context.writer.put(key, body, ttl_s=3 * period_s, refresh_s=period_s * 0.9)

    async def _chain(
        self, delegation: Delegation, tenant: str, chain: str, context: Context
    ) -> bool:
        status = self._told(delegation, tenant, chain, context)
        key = G_PEER_CHAINS.key(peer=delegation.peer, tenant=tenant, chain=chain)
        if status is None:
            await context.writer.delete(key)
            return False
        await self._put(key, status, context)
        await afailpoint("representative.chain_written")
        return True

    async def _forgotten(self, tenant: str, chain: str, context: Context) -> None:
        """What was told to a peer that may not ask any more."""
        for known in list(context.state.items(G_PEER_CHAINS)):
            names = known.variables
            mine = (names["tenant"], names["chain"]) == (tenant, chain)
            if mine and self.policy.of(names["peer"]) is None:
                await context.writer.delete(known.key)

    def _told(
        self, delegation: Delegation, tenant: str, chain: str, context: Context
    ) -> ChainStatus | None:
        """What ``delegation.peer`` is told of what it asks for under this name."""
        state, peer = context.state, delegation.peer
        intent = state.body(f"{intent_prefix(peer)}{tenant}/{chain}", SegmentIntent)
        record = state.get(G_SEGMENTS, tenant=tenant, chain=chain)
        carried = record is not None and record.source == peer
        if intent is None and not carried:
            return None
        epoch = intent.segment.epoch if intent is not None else record.segment.epoch
        if delegation.revoked:
            reason = f"revoked: {self.name} carries nothing for {peer} any more"
            told = self._refusal("revoked", reason, peer, epoch)
            return told.model_copy(update={"phase": Phase.DEGRADED})
        said = state.envelope(
            G_EXPLAIN.key(component="intake", tenant=tenant, chain=chain), Explanation
        )
        # A refusal of the request before says nothing of this one: it is not looked at yet.
        refused = None
        if said is not None and said.body.decision == "refused" and said.body.source == peer:
            refused = said.body if said.body.epoch in (0, epoch) else None
        if not carried:
            if refused is not None:
                return self._refusal(refused.constraint, refused.reason, peer, epoch)
            if record is not None or state.get(G_INTENTS, tenant=tenant, chain=chain) is not None:
                reason = f"name: {tenant}/{chain} is taken at {self.name}; ask under another name"
                return self._refusal("name", reason, peer, epoch)
            return ChainStatus(phase=Phase.PENDING, source=peer, epoch=epoch)
        status = self._carried(tenant, chain, peer, context)
        if refused is not None:
            reason = f"the newer request was refused: {refused.reason}"
            told = self._refusal(refused.constraint, reason, peer, epoch)
            return status.model_copy(
                update={"phase": Phase.DEGRADED, "reason": reason, "refused": told.refused}
            )
        return status

    @staticmethod
    def _refusal(
        constraint: str, reason: str, peer: str, epoch: int, since_s: float = 0.0
    ) -> ChainStatus:
        return ChainStatus(
            phase=Phase.REFUSED,
            reason=reason,
            source=peer,
            epoch=epoch,
            refused=RefusedRequest(
                epoch=epoch, constraint=constraint, reason=reason, since_s=since_s
            ),
        )

    def _carried(self, tenant: str, chain: str, peer: str, context: Context) -> ChainStatus:
        """The report of a segment that is carried, without anything of below."""
        state = context.state
        placement = state.get(G_PLACEMENTS, tenant=tenant, chain=chain)
        envelope = state.envelope(G_STATUS.key(tenant=tenant, chain=chain), ChainStatus)
        if envelope is None or envelope.body.source != peer:
            return ChainStatus(phase=Phase.PENDING, source=peer)
        said = state.envelope(
            G_EXPLAIN.key(component="placer", tenant=tenant, chain=chain), Explanation
        )
        asked = state.get(G_SEGMENTS, tenant=tenant, chain=chain).segment.epoch
        refused = said is not None and said.body.decision == "refused"
        if said is not None and refused and said.body.epoch in (0, asked):
            nothing = placement is None or envelope.body.phase is Phase.REFUSED
            phase = Phase.REFUSED if nothing else Phase.DEGRADED
            reason = f"no place at {self.name}: {said.body.constraint}"
            told = self._refusal(said.body.constraint, reason, peer, asked, said.as_of)
            stands = placement.source_epoch if placement is not None else asked
            status = self._hidden(envelope.body, phase, reason, stands)
            return status.model_copy(update={"refused": told.refused})
        epoch = placement.source_epoch if placement is not None else 0
        if placement is not None and envelope.body.epoch != placement.epoch:
            # The report is of the placement before: told as the newest, it would say "running" of what is not yet.
            return ChainStatus(phase=Phase.PENDING, source=peer, epoch=epoch)
        phase = Phase.UNKNOWN if _old(envelope, context) else envelope.body.phase
        if phase is Phase.REFUSED:
            # The placer has not answered it yet: it goes elsewhere, or nowhere, and then the peer is told so.
            phase = Phase.PENDING
        return self._hidden(envelope.body, phase, self._reason(phase, envelope.body), epoch)

    def _reason(self, phase: Phase, status: ChainStatus) -> str:
        if phase is Phase.RUNNING:
            return ""
        if phase is Phase.UNKNOWN:
            return f"a part of it at {self.name} was not heard of in time"
        return f"{status.connected_hops} of {status.hops} hops are patched"

    def _hidden(self, status: ChainStatus, phase: Phase, reason: str, epoch: int) -> ChainStatus:
        functions = tuple(
            one.model_copy(
                update={
                    "site": self.name,
                    "host": "",
                    "instance": "",
                    "phase": one.phase if one.phase in _WORDS else "degraded",
                }
            )
            for one in status.functions
        )
        return ChainStatus(
            phase=phase,
            reason=reason,
            source=status.source,
            epoch=epoch,
            path=tuple(f"{self.name}/{one.function}" for one in functions),
            functions=functions,
            connected_hops=status.connected_hops,
            hops=status.hops,
        )

    async def _wires(self, context: Context) -> None:
        wanted = set()
        for known in context.state.items(G_WIRES):
            wire = known.envelope.body
            if self.policy.of(wire.source) is None or not wire.left_address:
                continue
            key = G_PEER_WIRES.key(peer=wire.source, wire=wire.wire)
            wanted.add(key)
            end = context.state.body(f"{site_wire_prefix(wire.left_site)}{wire.wire}", WirePeer)
            if quarantined(context.state, wire.left_site) is not None:
                end = None
            await context.writer.put(
                key,
                WirePeer(
                    wire=wire.wire,
                    vni=wire.vni,
                    address=wire.left_address,
                    udp_port=wire.udp_port,
                    heard_at=end.heard_at if end is not None else 0.0,
                ),
            )
        for known in list(context.state.items(G_PEER_WIRES)):
            if known.key not in wanted:
                await context.writer.delete(known.key)
        await afailpoint("representative.wires_written")


def _old(envelope: Envelope[ChainStatus], context: Context) -> bool:
    return envelope.expired(context.now())
