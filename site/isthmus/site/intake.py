"""Intake: the site's own decision what it carries (DESIGN sections 4 and 5, attack 19).

Reads what local users ask for and what peers wish, checks names, delegation, epoch and configuration, and
writes the segment, or a refusal with its reason. An invalid update leaves what runs in force. A brake holds
deletions by a peer that would end a large share of its chains at once, until the operator confirms locally.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from isthmus.contract.chain import (
    ChainRecord,
    ChainSpec,
    Endpoint,
    Explanation,
    FunctionSpec,
    Segment,
    SegmentIntent,
    Terminal,
)
from isthmus.contract.families import (
    CATALOG,
    CONFIG_OWNERS,
    CONFIRMATIONS,
    EXPLAIN,
    INVENTORY,
    REMOTE,
    REQUESTS,
    SPECS,
)
from isthmus.contract.ids import instance_id
from isthmus.contract.instance import CatalogEntry, ConfigOwner
from isthmus.contract.peering import (
    Delegation,
    Refused,
    admitted,
    by_claim,
    check_delegation,
    check_names,
)
from isthmus.contract.quarantine import CONSTRAINT as QUARANTINED
from isthmus.contract.quarantine import marked_peer, quarantined
from isthmus.failpoint import afailpoint
from isthmus.microcontroller import Context, Later, Traits
from isthmus.site import brake
from isthmus.site.chains import chain_item, parse_item

__all__ = ["Delegation", "Intake", "Refused"]

CATALOG_ITEM = "*catalog"
MARKED = "*marked/"
"""What is held of a peer was quarantined, or is so no more: all that it asks for."""
RECHECK_S = 2.0
"""A refusal that others can lift (a circuit becomes free, a host comes back) is looked at again so often."""
PASSING = frozenset({"attachment", "attachment-taken", "function type", QUARANTINED})


@dataclass(slots=True)
class Intake:
    """``check_config`` raises ValueError with a clear text for a configuration its VNF type refuses."""

    site: str
    delegations: Sequence[Delegation]
    catalog: Sequence[CatalogEntry]
    check_config: Callable[[FunctionSpec], None]
    component: str = "intake"
    traits: Traits = field(default_factory=Traits)
    standing_items: tuple[str, ...] = (CATALOG_ITEM,)
    _held: dict[str, str] = field(default_factory=dict)
    """Chains that the brake holds, and whose: looked at as soon as an operator confirms. Only a hint: without it they
    are looked at a little later."""

    @property
    def watches(self) -> Sequence[str]:
        """Requests, what peers export to us, and what it writes itself."""
        families = (REQUESTS, SPECS, CONFIG_OWNERS, CATALOG, INVENTORY, CONFIRMATIONS)
        return (
            *(family.prefix() for family in families),
            REMOTE.prefix(),
            EXPLAIN.prefix(component=self.component),
        )

    def items_for(self, key: str) -> Iterable[str]:
        """Everything about one chain is settled together; an inventory may make refused chains possible."""
        for family in (REQUESTS, SPECS, EXPLAIN):
            values = family.parse(key)
            if values is not None:
                yield chain_item(values["tenant"], values["chain"])
                return
        remote = REMOTE.parse(key)
        rest = remote["rest"].split("/") if remote is not None else []
        if len(rest) == 3 and rest[0] == "intents":
            yield chain_item(rest[1], rest[2])
        elif (peer := marked_peer(key)) is not None:
            yield f"{MARKED}{peer}"
        elif CATALOG.parse(key) is not None:
            yield CATALOG_ITEM
        elif (word := CONFIRMATIONS.parse(key)) is not None:
            yield from [item for item, peer in self._held.items() if peer == word["peer"]]

    async def reconcile(self, item: str, context: Context) -> float | None:
        """Settle one chain."""
        if item == CATALOG_ITEM:
            keys = {CATALOG.key(type=one.type, version=one.version): one for one in self.catalog}
            for key, entry in keys.items():
                await context.writer.put(key, entry)
            for known in list(context.state.items(CATALOG)):
                if known.key not in keys:
                    await context.writer.delete(known.key)
            return None
        if item.startswith(MARKED):
            for name in brake.concerned(context.state, item.removeprefix(MARKED)):
                with contextlib.suppress(Later):  # held by the brake: told by its own item
                    await self.reconcile(name, context)
            return None
        tenant, chain = parse_item(item)
        wish = self._wish(context, tenant, chain)
        if wish is None:
            await self._withdraw(context, tenant, chain)
            return None
        self._held.pop(item, None)
        source, wanted, revision = wish
        try:
            segment = self._admit(context, source, wanted)
            check_names(segment, tenant, chain)
        except Refused as refusal:
            standing = context.state.get(SPECS, tenant=tenant, chain=chain)
            if refusal.constraint == "revoked" and standing and standing.source == source:
                await self._drop(context, standing, f"{source} is revoked")
            epoch = wanted.epoch if isinstance(wanted, Segment) else 0
            await self._refuse(context, tenant, chain, source, refusal, (revision, epoch))
            return RECHECK_S if refusal.constraint in PASSING else None
        record = ChainRecord(
            segment=segment,
            source=source,
            request_revision=revision if source == "local" else 0,
        )
        await self._disown(context, segment)
        spec_key = SPECS.key(tenant=tenant, chain=chain)
        changed = await context.writer.put(spec_key, record)
        await afailpoint("intake.spec_written")
        await self._owners(context, segment)
        await afailpoint("intake.owners_written")
        await context.writer.put(
            EXPLAIN.key(component=self.component, tenant=tenant, chain=chain),
            admitted(source, len(segment.functions), quarantined(context.state, source)),
        )
        await afailpoint("intake.explained")
        if changed:
            await context.event("admitted", item, f"from {source}, epoch {segment.epoch}")
        return None

    def _wish(
        self, context: Context, tenant: str, chain: str
    ) -> tuple[str, ChainSpec | Segment, int] | None:
        """What is asked for: the local request first (a name taken locally is not given to a peer), then the peers'."""
        key = REQUESTS.key(tenant=tenant, chain=chain)
        request = context.state.get(REQUESTS, tenant=tenant, chain=chain)
        if request is not None:
            entry = context.state.entry(key)
            return "local", request.spec, entry.mod_revision if entry else 0
        standing = context.state.get(SPECS, tenant=tenant, chain=chain)
        holder = standing.source if standing is not None else ""
        peers = (one.peer for one in self.delegations)
        doubted = {peer for peer in peers if quarantined(context.state, peer) is not None}
        for delegation in by_claim(self.delegations, tenant, holder, doubted):
            prefix = REMOTE.key(peer=delegation.peer)
            key = f"{prefix}intents/{tenant}/{chain}"
            intent = context.state.body(key, SegmentIntent)
            if intent is not None:
                entry = context.state.entry(key)
                return delegation.peer, intent.segment, entry.mod_revision if entry else 0
        return None

    def _admit(self, context: Context, source: str, wanted: ChainSpec | Segment) -> Segment:
        segment = self._local(context, wanted) if isinstance(wanted, ChainSpec) else wanted
        if source != "local":
            self._check_delegation(context, source, segment)
        # What we were given, not what the store shows of it: at a start that may be nothing yet.
        types = {(entry.type, entry.version) for entry in self.catalog}
        for function in segment.functions:
            if (function.type, function.version) not in types:
                raise Refused("function type", self._unknown_type(function))
            try:
                self.check_config(function)
            except ValueError as error:
                raise Refused("configuration", f"function {function.name!r}: {error}") from None
        for terminal in (segment.left, segment.right):
            if terminal.kind == "attachment":
                self._check_attachment(context, terminal.name)
        self._check_free(context, segment)
        return segment

    @staticmethod
    def _check_free(context: Context, segment: Segment) -> None:
        """One attachment serves one chain end: packets could not tell whose they are (see FabricPort)."""
        mine = brake.circuits(segment)
        if len(mine) == 2 and mine[0] == mine[1]:
            raise Refused(
                "attachment-taken",
                f"attachment {mine[0]!r} is both ingress and egress; give the chain two attachments",
            )
        for known in context.state.items(SPECS):
            other = known.envelope.body.segment
            if (other.tenant, other.chain) == (segment.tenant, segment.chain):
                continue
            taken = next((name for name in brake.circuits(other) if name in mine), None)
            if taken is not None:
                # What other tenants have is not told (attack 21).
                owner = (
                    f"chain {other.tenant}/{other.chain}"
                    if other.tenant == segment.tenant
                    else "a chain of another tenant"
                )
                raise Refused(
                    "attachment-taken",
                    f"attachment {taken!r} is in use by {owner}; "
                    "delete that chain or use another attachment",
                )

    def _local(self, context: Context, spec: ChainSpec) -> Segment:
        for name, endpoint in (("ingress", spec.ingress), ("egress", spec.egress)):
            self._check_site(name, endpoint)
        allowed = spec.constraints.sites
        if allowed and self.site not in allowed:
            raise Refused(
                "sites", f"constraints.sites allows {', '.join(allowed)}, this site is {self.site}"
            )
        return Segment(
            tenant=spec.tenant,
            chain=spec.chain,
            functions=spec.functions,
            left=Terminal(kind="attachment", name=spec.ingress.attachment),
            right=Terminal(kind="attachment", name=spec.egress.attachment),
            bandwidth_kbps=spec.bandwidth_kbps,
            priority=spec.priority,
            partition=spec.partition,
            affinity=spec.constraints.affinity,
            anti_affinity=spec.constraints.anti_affinity,
        )

    def _check_site(self, name: str, endpoint: Endpoint) -> None:
        if endpoint.site is not None and endpoint.site != self.site:
            raise Refused(
                "site",
                f"{name}.site is {endpoint.site!r}, but this is site {self.site!r}: "
                "apply chains over several sites at the global tier",
            )

    def _check_attachment(self, context: Context, attachment: str) -> None:
        known = sorted(
            {
                name
                for host in context.state.items(INVENTORY)
                for name in host.envelope.body.attachments
            }
        )
        if attachment not in known:
            raise Refused(
                "attachment",
                f"attachment {attachment!r} is not at site {self.site}; there are: "
                f"{', '.join(known) or 'none yet'}",
            )

    def _unknown_type(self, function: FunctionSpec) -> str:
        known = ", ".join(sorted(f"{entry.type}/{entry.version}" for entry in self.catalog))
        return (
            f"function {function.name!r}: type {function.type!r} version {function.version!r} "
            f"is not in this site's catalog; there are: {known}"
        )

    def _check_delegation(self, context: Context, peer: str, segment: Segment) -> None:
        delegation = next(d for d in self.delegations if d.peer == peer)
        known = context.state.get(SPECS, tenant=segment.tenant, chain=segment.chain)
        in_force = known.segment if known is not None and known.source == peer else None
        check_delegation(delegation, segment, in_force, quarantined(context.state, peer))

    async def _disown(self, context: Context, segment: Segment) -> None:
        """Functions that the chain has no longer: before the segment is replaced, for only the old one names them."""
        record = context.state.get(SPECS, tenant=segment.tenant, chain=segment.chain)
        kept = {function.name for function in segment.functions}
        for function in record.segment.functions if record is not None else ():
            if function.name not in kept:
                instance = instance_id(segment.tenant, segment.chain, function.name)
                await context.writer.delete(CONFIG_OWNERS.key(instance=instance))
                await afailpoint("intake.disowned")

    async def _owners(self, context: Context, segment: Segment) -> None:
        for function in segment.functions:
            key = CONFIG_OWNERS.key(
                instance=instance_id(segment.tenant, segment.chain, function.name)
            )
            if context.state.entry(key) is None:
                await context.writer.put(key, ConfigOwner())

    async def _refuse(
        self,
        context: Context,
        tenant: str,
        chain: str,
        source: str,
        refusal: Refused,
        asked: tuple[int, int],
    ) -> None:
        """``asked``: the revision of the request, and its epoch where a peer asks."""
        fresh = await context.writer.put(
            EXPLAIN.key(component=self.component, tenant=tenant, chain=chain),
            Explanation(
                decision="refused",
                source=source,
                constraint=refusal.constraint,
                reason=str(refusal),
                input_revision=asked[0],
                epoch=asked[1],
            ),
        )
        await afailpoint("intake.refused")
        if fresh:
            await context.event("refused", chain_item(tenant, chain), str(refusal), "warning")

    async def _withdraw(self, context: Context, tenant: str, chain: str) -> None:
        record = context.state.get(SPECS, tenant=tenant, chain=chain)
        if record is not None:
            let_go = await self._brake(context, record)
            await self._drop(context, record, f"by {record.source}{let_go}")
        await context.writer.delete(
            EXPLAIN.key(component=self.component, tenant=tenant, chain=chain)
        )
        self._held.pop(chain_item(tenant, chain), None)

    @staticmethod
    async def _drop(context: Context, record: ChainRecord, why: str) -> None:
        """Carry it no more."""
        tenant, chain = record.segment.tenant, record.segment.chain
        for function in record.segment.functions:
            await context.writer.delete(
                CONFIG_OWNERS.key(instance=instance_id(tenant, chain, function.name))
            )
        await afailpoint("intake.owners_deleted")
        await context.writer.delete(SPECS.key(tenant=tenant, chain=chain))
        await afailpoint("intake.spec_deleted")
        await context.event("withdrawn", chain_item(tenant, chain), why)

    async def _brake(self, context: Context, record: ChainRecord) -> str:
        """Hold a peer's deletions when too many of its chains would end at once (attack 19); else who let it go."""
        if (peer := record.source) == "local":
            return ""
        delegation = next((d for d in self.delegations if d.peer == peer), None)
        if delegation is not None and delegation.revoked:
            return ", which is revoked"
        if delegation is None:  # a slip in the settings must not empty the site
            load = brake.load_of_unlisted(context.state, peer)
        else:
            share, floor = delegation.brake_share, delegation.brake_floor
            load = brake.load(context.state, peer, share, floor)
        tenant, chain = record.segment.tenant, record.segment.chain
        item = chain_item(tenant, chain)
        if not load.over and item not in self._held:
            return ""
        if brake.confirmed(context.state, peer, context.now()):
            return ", confirmed at the site"
        if not load.over:
            return ""
        self._held[item] = peer
        if not brake.holds(context.state, self.component, peer):
            await context.event("held", peer, str(load), "warning")
        key = EXPLAIN.key(component=self.component, tenant=tenant, chain=chain)
        await context.writer.put(key, load.explanation())
        raise Later(str(load), after_s=5.0)
