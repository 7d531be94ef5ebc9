"""The global placer: which site carries which functions of a chain (DESIGN section 7).

One chain at a time against everything that stands; the record it writes is the reservation. What stands stays
until its intent changes: summaries move all the time, and moving a chain with them would be churn. A refusal
names the constraint and the number that failed, and the nearest relaxation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from isthmus.contract.chain import Candidate, ChainSpec, ChainStatus, Explanation
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
from isthmus.contract.quarantine import QUARANTINE
from isthmus.contract.scopes import site_chain_prefix
from isthmus.contract.world import CarriedSegment, Intent
from isthmus.contract.world import Placement as PlacementRecord
from isthmus.failpoint import afailpoint
from isthmus.global_tier import sites
from isthmus.global_tier.epochs import forgotten, next_epoch
from isthmus.global_tier.orders import LOCAL, Order, SiteView, order_for_peer, order_of
from isthmus.global_tier.views import site_views
from isthmus.microcontroller import Context, Known, Traits
from isthmus.placement import ChainDemand, Placement, Refusal, Usage, place, runner_up

WAITING = "*waiting"
"""Look again at every chain that has no place yet."""


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
            await self._settle(tenant, chain, context)
            return None
        waiting = [
            (-_priority(known.envelope.body), known.key, known.variables)
            for family in (G_INTENTS, G_SEGMENTS)
            for known in context.state.items(family)
        ]
        for _, _, names in sorted(waiting, key=lambda one: one[:2]):
            if context.state.get(G_PLACEMENTS, **names) is None:
                await self._settle(names["tenant"], names["chain"], context)
        return None

    async def _settle(self, tenant: str, chain: str, context: Context) -> None:
        key = G_PLACEMENTS.key(tenant=tenant, chain=chain)
        explain_key = G_EXPLAIN.key(component=self.component, tenant=tenant, chain=chain)
        current: PlacementRecord | None = context.state.get(
            G_PLACEMENTS, tenant=tenant, chain=chain
        )
        known = _asked(tenant, chain, context)
        if known is None:
            await context.writer.delete(key)
            await afailpoint("global_placer.placement_deleted")
            await context.writer.delete(explain_key)
            return
        asked, generation = known.envelope.body, known.envelope.generation
        in_force = _in_force(current, context)
        standing = current.epoch if current is not None else 0
        decided = current is not None and _decided(asked, generation, current)
        if decided and not forgotten(standing, in_force):
            return
        views = site_views(context)
        try:
            order = _order(asked, views)
            answer: Placement | Refusal | Explanation
            usage, wanted = self._ground(order, current, views, context)
            answer = place(usage, wanted)
        except Refused as refused:
            answer = Explanation(
                decision="refused", constraint=refused.constraint, reason=str(refused)
            )
        if isinstance(answer, Refusal):
            answer = _refused(answer)
        if isinstance(answer, Explanation):
            if await context.writer.put(explain_key, answer):
                await context.event("refused", f"{tenant}/{chain}", answer.reason, "warning")
            return
        # The intent's own revision is above every epoch that a chain of this name ever had: the store counted up in
        # between. The mirrors' lowest is not: a quiet one stays behind, and a site that was cut off while the chain
        # was deleted and asked for again would refuse it for ever (docs/bugs-found.md).
        newest = max(context.state.revision, known.mod_revision)
        epoch = next_epoch(newest, standing, in_force)
        record = sites.record(
            order,
            answer,
            epoch=epoch,
            intent_revision=generation,
            decided_by=f"{self.runtime}/{context.writer.stamp.incarnation}",
            tier=self.tier,
        )
        await context.writer.put(key, record)
        await afailpoint("global_placer.placement_written")
        second = runner_up(usage, wanted, answer)
        await context.writer.put(explain_key, _accepted(order, answer, second, newest))
        await afailpoint("global_placer.explained")
        await context.event("placed", f"{tenant}/{chain}", _where(order, answer))

    @staticmethod
    def _ground(
        order: Order,
        current: PlacementRecord | None,
        views: Sequence[SiteView],
        context: Context,
    ) -> tuple[Usage, ChainDemand]:
        """What is decided on: everything that stands, and the demand."""
        standing = [one for one in _standing(views, context) if not _same(one.spec, order)]
        links = [known.envelope.body for known in context.state.items(G_LINKS)]
        usage = Usage(sites.network(views, links, standing))
        for one in standing:
            usage.apply(sites.demand(one.spec, (), None), sites.standing_placement(one))
        closed = {view.spec.site for view in views if view.summary is None}
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
    return max((status.epoch for status in reported if status is not None), default=0)


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
    epoch = 0 if isinstance(asked, Intent) else asked.segment.epoch
    now = (_source(asked), epoch, generation)
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


def _where(spec: Order, answer: Placement) -> str:
    return ", ".join(
        f"{function.name} at {site}"
        for function, site in zip(spec.functions, answer.sites, strict=True)
    )


def _accepted(spec: Order, answer: Placement, second: Placement | None, newest: int) -> Explanation:
    """``newest``: of what was decided on; of the mirrors' lowest, a reader would say that it is of an older request."""
    return Explanation(
        decision="accepted",
        reason=_where(spec, answer),
        candidates=()
        if second is None
        else (Candidate.runner_up(second.sites, second.cost, second.cost - answer.cost),),
        input_revision=newest,
        figures={
            "cost": round(answer.cost, 6),
            "latency_ms": answer.latency_us / 1000,
            "latency_budget_ms": spec.latency_budget_ms,
            "lower_bound": round(answer.lower_bound, 6),
        },
    )


def _refused(refusal: Refusal) -> Explanation:
    nearest = refusal.nearest
    return Explanation(
        decision="refused",
        constraint=refusal.constraint,
        reason=refusal.text,
        candidates=tuple(Candidate(name=c.site, verdict=c.verdict) for c in refusal.candidates[:5]),
        nearest_relaxation=nearest.text if nearest is not None else "",
        input_hash=refusal.snapshot[:64],
        figures={key: float(value) for key, value in list(refusal.numbers.items())[:8]},
    )
