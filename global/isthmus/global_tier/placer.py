"""The global placer: which site carries which functions of a chain (DESIGN section 7).

One chain at a time against everything that stands; the record it writes is the reservation. What stands stays
until its intent changes: summaries move all the time, and moving a chain with them would be churn. A refusal
names the constraint and the number that failed, and the nearest relaxation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from isthmus.contract.chain import (
    EXPLAINED_CANDIDATES,
    ChainSpec,
    ChainStatus,
    Explanation,
)
from isthmus.contract.families import (
    G_EXPLAIN,
    G_INTENTS,
    G_LINKS,
    G_PLACEMENTS,
    G_REMOTE,
    G_SEGMENTS,
    G_SITES,
)
from isthmus.contract.peering import Refused
from isthmus.contract.quarantine import QUARANTINE, quarantined
from isthmus.contract.scopes import site_chain_prefix
from isthmus.contract.world import CarriedSegment, Intent, SiteRefusal
from isthmus.contract.world import Placement as PlacementRecord
from isthmus.failpoint import afailpoint
from isthmus.global_tier import refusals, sites
from isthmus.global_tier.decisions import accepted, refused, where
from isthmus.global_tier.epochs import forgotten, next_epoch
from isthmus.global_tier.orders import LOCAL, Order, SiteView, order_for_peer, order_of, without
from isthmus.global_tier.views import site_views
from isthmus.microcontroller import Context, Known, Traits
from isthmus.placement import ChainDemand, Placement, Refusal, Usage, place, runner_up

WAITING = "*waiting"
"""Look again at every chain that has no place yet."""


@dataclass(frozen=True, slots=True)
class _Made:
    """A decision, and what it was made on."""

    order: Order
    usage: Usage
    wanted: ChainDemand
    answer: Placement
    record: PlacementRecord


@dataclass(slots=True)
class Placer:
    """One worker: each decision sees the one before it. ``runtime`` is recorded with every decision; ``tier`` is who we
    are, where peers ask us."""

    runtime: str = "in-process"
    tier: str = ""
    component: str = "placer"
    traits: Traits = field(default_factory=Traits)

    @property
    def watches(self) -> Sequence[str]:
        """Intents, sites, links, summaries, and what it writes itself."""
        families = (G_INTENTS, G_SEGMENTS, G_SITES, G_LINKS, G_PLACEMENTS)
        return (
            *(family.prefix() for family in families),
            G_REMOTE.prefix(),
            G_EXPLAIN.prefix(component=self.component),
        )

    def items_for(self, key: str) -> Iterable[str]:
        """The chain; a changed site, link or summary concerns those that wait."""
        for family in (G_INTENTS, G_SEGMENTS, G_PLACEMENTS, G_EXPLAIN):
            values = family.parse(key)
            if values is not None:
                yield f"{values['tenant']}/{values['chain']}"
                return
        remote = G_REMOTE.parse(key)
        if remote is not None and remote["rest"].startswith("summary/chains/"):
            _, _, tenant, chain = remote["rest"].split("/")
            yield f"{tenant}/{chain}"
            base, dot, visit = chain.rpartition(".")
            if dot and visit.isdigit():
                yield f"{tenant}/{base}"
        summary = remote is not None and remote["rest"] in ("summary/site", QUARANTINE)
        if summary or G_SITES.parse(key) is not None or G_LINKS.parse(key) is not None:
            yield WAITING

    async def reconcile(self, item: str, context: Context) -> float | None:
        """Place one chain, or all that wait (by priority)."""
        if item != WAITING:
            tenant, _, chain = item.partition("/")
            return await self._settle(tenant, chain, context)
        waiting = [
            (-_priority(known.envelope.body), known.key, known.variables)
            for family in (G_INTENTS, G_SEGMENTS)
            for known in context.state.items(family)
        ]
        for _, _, names in sorted(waiting, key=lambda one: one[:2]):
            explained = context.state.get(G_EXPLAIN, component=self.component, **names)
            placed = context.state.get(G_PLACEMENTS, **names)
            if placed is None or refusals.is_waiting(explained):
                await self._settle(names["tenant"], names["chain"], context, anew=True)
        return None

    async def _settle(
        self, tenant: str, chain: str, context: Context, *, anew: bool = False
    ) -> float | None:
        """``anew``: the world changed, so look again at what waits. Seconds until it is to be looked at again."""
        names = {"tenant": tenant, "chain": chain}
        explain_key = G_EXPLAIN.key(component=self.component, **names)
        current: PlacementRecord | None = context.state.get(G_PLACEMENTS, **names)
        known = _asked(tenant, chain, context)
        if known is None:
            await context.writer.delete(G_PLACEMENTS.key(**names))
            await afailpoint("global_placer.placement_deleted")
            await context.writer.delete(explain_key)
            return None
        asked, generation = known.envelope.body, known.envelope.generation
        memory: tuple[SiteRefusal, ...] = ()
        if current is not None and _decided(asked, generation, current):
            said = self._refused_by(f"{tenant}/{chain}", current, context)
            memory = refusals.noted(current.refusals, said, current.epoch, context.now())
            if not forgotten(current.epoch, _in_force(current, context)):
                explained = context.state.body(explain_key, Explanation)
                if not said:
                    await self._taken(current, explained, explain_key, context)
                    return None
                if not anew and refusals.still(memory, current, explained, context.now()):
                    return refusals.wait_s(memory, context.now())
        return await self._decide(known, current, memory, context)

    async def _decide(
        self,
        known: Known,
        current: PlacementRecord | None,
        memory: tuple[SiteRefusal, ...],
        context: Context,
    ) -> float | None:
        names = known.variables
        item = f"{names['tenant']}/{names['chain']}"
        explain_key = G_EXPLAIN.key(component=self.component, **names)
        # The intent's own revision is above every epoch that a chain of this name ever had: the store counted up in
        # between. The mirrors' lowest is not: a quiet one stays behind, and a site that was cut off while the chain
        # was deleted and asked for again would refuse it for ever (docs/bugs-found.md).
        newest = max(context.state.revision, known.mod_revision)
        standing = current.epoch if current is not None else 0
        epoch = next_epoch(newest, standing, _in_force(current, context))
        made = self._made(known, current, memory, epoch, context)
        if isinstance(made, Explanation):
            return await self._refuse(made, known, current, memory, context)
        await self._tell(item, current, memory, context)
        await context.writer.put(G_PLACEMENTS.key(**names), made.record)
        await afailpoint("global_placer.placement_written")
        second = runner_up(made.usage, made.wanted, made.answer)
        told = accepted(made.order, made.answer, second, newest)
        who = (*told.candidates, *refusals.candidates(memory, context.now()))
        explanation = told.model_copy(update={"candidates": who[:EXPLAINED_CANDIDATES]})
        await context.writer.put(explain_key, explanation)
        await afailpoint("global_placer.explained")
        await context.event("placed", item, where(made.order, made.answer))
        return None

    def _made(
        self,
        known: Known,
        current: PlacementRecord | None,
        memory: tuple[SiteRefusal, ...],
        epoch: int,
        context: Context,
    ) -> _Made | Explanation:
        """A place that nobody refused of late, or why there is none."""
        asked, now = known.envelope.body, context.now()
        views = site_views(context)
        closed = refusals.excluded(memory, now)
        try:
            order = without(_order(asked, views), closed)
            usage, wanted = self._ground(order, current, views, context, closed)
            answer = place(usage, wanted)
        except Refused as why:
            return Explanation(decision="refused", constraint=why.constraint, reason=str(why))
        if isinstance(answer, Refusal):
            return refused(answer)
        record = sites.record(
            order,
            answer,
            epoch=epoch,
            intent_revision=known.envelope.generation,
            decided_by=f"{self.runtime}/{context.writer.stamp.incarnation}",
            tier=self.tier,
        ).model_copy(update={"refusals": memory})
        early = refusals.asked_too_early(memory, record.segments, now)
        if early is not None:
            return Explanation(decision="refused", constraint=refusals.BELOW, reason=early)
        return _Made(order, usage, wanted, answer, record)

    async def _refuse(
        self,
        why: Explanation,
        known: Known,
        current: PlacementRecord | None,
        memory: tuple[SiteRefusal, ...],
        context: Context,
    ) -> float | None:
        """Say why there is no place. What stands stays; who refused it is remembered first."""
        names, now = known.variables, context.now()
        item = f"{names['tenant']}/{names['chain']}"
        if current is not None and memory:
            why = refusals.waiting(memory, current.epoch, why, now)
            await self._tell(item, current, memory, context)
            noted = current.model_copy(update={"refusals": memory})
            await context.writer.put(G_PLACEMENTS.key(**names), noted)
        why = why.model_copy(update={"epoch": _source_epoch(known.envelope.body)})
        explain_key = G_EXPLAIN.key(component=self.component, **names)
        if await context.writer.put(explain_key, why):
            await context.event("refused", item, why.reason, "warning")
        return refusals.wait_s(memory, now) if memory else None

    @staticmethod
    async def _tell(
        item: str,
        current: PlacementRecord | None,
        memory: tuple[SiteRefusal, ...],
        context: Context,
    ) -> None:
        """An event for each refusal that is new in ``memory``."""
        before = current.refusals if current is not None else ()
        for one in memory:
            if one not in before:
                text = f"{one.site}: {one.reason}; asked again after {refusals.back_off_s(one.times):.0f} s"
                await context.event("site-refused", item, text, "warning")

    @staticmethod
    def _refused_by(item: str, current: PlacementRecord, context: Context) -> list[refusals.Said]:
        """Who refuses its part of what is placed. What a quarantined site said, or an old word, moves nothing."""
        state = context.state
        tenant, _, chain = item.partition("/")
        placed_at = state.entry(G_PLACEMENTS.key(tenant=tenant, chain=chain))
        known = {one.site for one in current.refusals if one.epoch == current.epoch}
        found = []
        for placed in current.segments:
            key = f"{site_chain_prefix(placed.site)}{tenant}/{placed.segment.chain}"
            told, entry = state.envelope(key, ChainStatus), state.entry(key)
            if told is None or entry is None or told.expired(context.now()):
                continue
            if quarantined(state, placed.site) is not None:
                continue
            since = placed_at is None or entry.mod_revision > placed_at.mod_revision
            one = refusals.refusal(placed, current.epoch, told, since=since or placed.site in known)
            if one is not None:
                found.append(one)
        return found

    @staticmethod
    async def _taken(
        current: PlacementRecord, explained: Explanation | None, explain_key: str, context: Context
    ) -> None:
        """Who refused has thought again: what was said of it is not true any more."""
        if refusals.is_waiting(explained):
            text = ", ".join(f"{one.function} at {one.site}" for one in current.functions)
            await context.writer.put(explain_key, Explanation(decision="accepted", reason=text))

    @staticmethod
    def _ground(
        order: Order,
        current: PlacementRecord | None,
        views: Sequence[SiteView],
        context: Context,
        refusing: frozenset[str] = frozenset(),
    ) -> tuple[Usage, ChainDemand]:
        """What is decided on: everything that stands, and the demand. ``refusing``: sites that its functions avoid."""
        standing = [one for one in _standing(views, context) if not _same(one.spec, order)]
        links = [known.envelope.body for known in context.state.items(G_LINKS)]
        usage = Usage(sites.network(views, links, standing))
        for one in standing:
            usage.apply(sites.demand(one.spec, (), None), sites.standing_placement(one))
        closed = {view.spec.site for view in views if view.summary is None} | refusing
        own = None
        if order.source != LOCAL:
            # What a peer asks of us is never passed on to a peer, nor led through one: no circle can arise.
            own = {view.spec.site for view in views if view.spec.relation == "below"}
            closed |= {view.spec.site for view in views} - own
        return usage, sites.demand(order, closed, current, own)


def _in_force(current: PlacementRecord | None, context: Context) -> int:
    """The highest epoch that the sites of a placement report; after a restore of our store it may be above ours."""
    reported = (
        context.state.body(
            f"{site_chain_prefix(placed.site)}{placed.segment.tenant}/{placed.segment.chain}",
            ChainStatus,
        )
        for placed in (current.segments if current is not None else ())
    )
    return max(
        (
            max(status.epoch, status.refused.epoch if status.refused is not None else 0)
            for status in reported
            if status is not None
        ),
        default=0,
    )


def _source_epoch(asked: Intent | CarriedSegment) -> int:
    """Under which of its epochs a peer asked; 0: a user of ours did."""
    return 0 if isinstance(asked, Intent) else asked.segment.epoch


def _asked(tenant: str, chain: str, context: Context) -> Known | None:
    """What has to be placed under this name: an Intent of ours before a peer's CarriedSegment."""
    for family in (G_INTENTS, G_SEGMENTS):
        known = next(iter(context.state.items(family, tenant=tenant, chain=chain)), None)
        if known is not None:
            return known
    return None


def _order(
    asked: Intent | CarriedSegment,
    views: Sequence[SiteView],
    standing: PlacementRecord | None = None,
) -> Order:
    """Raises Refused when an end of a peer's segment has no site."""
    if isinstance(asked, Intent):
        return order_of(asked.spec)
    return order_for_peer(asked, views, standing)


def _source(asked: Intent | CarriedSegment) -> str:
    return LOCAL if isinstance(asked, Intent) else asked.source


def _decided(asked: Intent | CarriedSegment, generation: int, current: PlacementRecord) -> bool:
    """A name can pass from a peer to us and back: whose it is counts, and the peer's epoch, too."""
    now = (_source(asked), _source_epoch(asked), generation)
    return (current.source, current.source_epoch, current.intent_revision) == now


def _standing(views: Sequence[SiteView], context: Context) -> list[sites.Standing]:
    standing = []
    for known in context.state.items(G_PLACEMENTS):
        record = known.envelope.body
        asked = _asked(known.variables["tenant"], known.variables["chain"], context)
        if asked is None or _source(asked.envelope.body) != record.source:
            continue
        order = _order(asked.envelope.body, views, record)
        if [f.function for f in record.functions] == [f.name for f in order.functions]:
            standing.append(sites.Standing(order, record))
    return standing


def _priority(body: Intent | CarriedSegment) -> int:
    return body.spec.priority if isinstance(body, Intent) else body.segment.priority


def _same(a: Order | ChainSpec, b: Order) -> bool:
    return (a.tenant, a.chain) == (b.tenant, b.chain)
