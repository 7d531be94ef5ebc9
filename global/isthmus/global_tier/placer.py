"""The global placer: which site carries which functions of a chain (DESIGN section 7).

One chain at a time against everything that stands; the record it writes is the reservation. What stands stays
until its intent changes: summaries move all the time, and moving a chain with them would be churn. A refusal
names the constraint and the number that failed, and the nearest relaxation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from isthmus.contract.chain import Candidate, ChainSpec, Explanation
from isthmus.contract.families import (
    G_EXPLAIN,
    G_INTENTS,
    G_LINKS,
    G_PLACEMENTS,
    G_REMOTE,
    G_SITES,
)
from isthmus.contract.instance import SiteSummary
from isthmus.contract.scopes import site_summary_key
from isthmus.contract.world import Placement as PlacementRecord
from isthmus.failpoint import afailpoint
from isthmus.global_tier import sites
from isthmus.microcontroller import Context, Known, Traits
from isthmus.placement import Placement, Refusal, Usage, place

WAITING = "*waiting"
"""Look again at every chain that has no place yet."""


@dataclass(slots=True)
class Placer:
    """One worker: each decision sees the one before it. ``runtime`` is recorded with every decision."""

    runtime: str = "in-process"
    component: str = "placer"
    traits: Traits = field(default_factory=Traits)

    @property
    def watches(self) -> Sequence[str]:
        """Intents, sites, links, summaries, and what it writes itself."""
        families = (G_INTENTS, G_SITES, G_LINKS, G_PLACEMENTS)
        return (
            *(family.prefix() for family in families),
            G_REMOTE.prefix(),
            G_EXPLAIN.prefix(component=self.component),
        )

    def items_for(self, key: str) -> Iterable[str]:
        """The chain; a changed site, link or summary concerns those that wait."""
        for family in (G_INTENTS, G_PLACEMENTS, G_EXPLAIN):
            values = family.parse(key)
            if values is not None:
                yield f"{values['tenant']}/{values['chain']}"
                return
        remote = G_REMOTE.parse(key)
        summary = remote is not None and remote["rest"] == "summary/site"
        if summary or G_SITES.parse(key) is not None or G_LINKS.parse(key) is not None:
            yield WAITING

    async def reconcile(self, item: str, context: Context) -> float | None:
        """Place one chain, or all that wait (by priority)."""
        if item != WAITING:
            tenant, _, chain = item.partition("/")
            await self._settle(tenant, chain, context)
            return None
        intents = sorted(
            context.state.items(G_INTENTS),
            key=lambda known: (-known.envelope.body.spec.priority, known.key),
        )
        for known in intents:
            if context.state.get(G_PLACEMENTS, **known.variables) is None:
                await self._settle(known.variables["tenant"], known.variables["chain"], context)
        return None

    async def _settle(self, tenant: str, chain: str, context: Context) -> None:
        key = G_PLACEMENTS.key(tenant=tenant, chain=chain)
        explain_key = G_EXPLAIN.key(component=self.component, tenant=tenant, chain=chain)
        known = next(iter(context.state.items(G_INTENTS, tenant=tenant, chain=chain)), None)
        if known is None:
            await context.writer.delete(key)
            await afailpoint("global_placer.placement_deleted")
            await context.writer.delete(explain_key)
            return
        spec: ChainSpec = known.envelope.body.spec
        generation = known.envelope.generation
        current = context.state.get(G_PLACEMENTS, tenant=tenant, chain=chain)
        if current is not None and current.intent_revision == generation:
            return
        answer = self._decide(spec, current, context)
        if isinstance(answer, Refusal):
            explanation = _refused(answer)
            if await context.writer.put(explain_key, explanation):
                await context.event("refused", f"{tenant}/{chain}", explanation.reason, "warning")
            return
        epoch = max(context.state.revision, current.epoch + 1 if current is not None else 1)
        record = sites.record(
            spec,
            answer,
            epoch=epoch,
            intent_revision=generation,
            decided_by=f"{self.runtime}/{context.writer.stamp.incarnation}",
        )
        await context.writer.put(key, record)
        await afailpoint("global_placer.placement_written")
        await context.writer.put(explain_key, _accepted(spec, answer, context))
        await afailpoint("global_placer.explained")
        await context.event("placed", f"{tenant}/{chain}", _where(spec, answer))

    def _decide(
        self, spec: ChainSpec, current: PlacementRecord | None, context: Context
    ) -> Placement | Refusal:
        views = self._views(context)
        standing = [one for one in self._standing(context) if not _same(one.spec, spec)]
        links = [known.envelope.body for known in context.state.items(G_LINKS)]
        usage = Usage(sites.network(views, links, standing))
        for one in standing:
            usage.apply(sites.demand(one.spec, (), None), sites.standing_placement(one))
        silent = [view.spec.site for view in views if view.summary is None]
        return place(usage, sites.demand(spec, silent, current))

    @staticmethod
    def _views(context: Context) -> list[sites.SiteView]:
        now = context.now()
        views = []
        for known in context.state.items(G_SITES):
            key = site_summary_key(known.variables["site"])
            envelope = context.state.envelope(key, SiteSummary)
            believable = envelope is not None and not envelope.expired(now)
            views.append(
                sites.SiteView(
                    known.envelope.body,
                    envelope.body if envelope is not None and believable else None,
                    envelope.age_s(now) if envelope is not None else 0.0,
                )
            )
        return views

    @staticmethod
    def _standing(context: Context) -> list[sites.Standing]:
        standing = []
        for known in context.state.items(G_PLACEMENTS):
            intent: Known | None = next(
                iter(context.state.items(G_INTENTS, **known.variables)), None
            )
            if intent is None:
                continue
            spec = intent.envelope.body.spec
            record = known.envelope.body
            if [f.function for f in record.functions] == [f.name for f in spec.functions]:
                standing.append(sites.Standing(spec, record))
        return standing


def _same(a: ChainSpec, b: ChainSpec) -> bool:
    return (a.tenant, a.chain) == (b.tenant, b.chain)


def _where(spec: ChainSpec, answer: Placement) -> str:
    return ", ".join(
        f"{function.name} at {site}"
        for function, site in zip(spec.functions, answer.sites, strict=True)
    )


def _accepted(spec: ChainSpec, answer: Placement, context: Context) -> Explanation:
    return Explanation(
        decision="accepted",
        reason=_where(spec, answer),
        input_revision=context.state.revision,
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
