"""The global reporter: a chain over all its sites, from what the sites last said and the age of that (R43)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from isthmus.contract.chain import ChainStatus, FunctionStatus, Phase
from isthmus.contract.families import (
    G_EXPLAIN,
    G_INTENTS,
    G_PLACEMENTS,
    G_REMOTE,
    G_REQUESTS,
    G_SEGMENTS,
    G_STATUS,
)
from isthmus.contract.quarantine import CONSTRAINT, marked_peer, quarantined
from isthmus.contract.scopes import site_chain_prefix
from isthmus.contract.world import Placement
from isthmus.global_tier.orders import LOCAL, chains_of
from isthmus.global_tier.refusals import is_waiting
from isthmus.microcontroller import Context, Traits

MARKED = "*marked/"
"""What is held of a site was quarantined, or is so no more: all chains that it carries a part of."""


@dataclass(slots=True)
class Reporter:
    """Reports on change and each ``period_s``; a report ages after three periods."""

    component: str = "reporter"
    period_s: float = 5.0
    traits: Traits = field(default_factory=Traits)

    @property
    def watches(self) -> Sequence[str]:
        """Decisions, the sites' reports, and its own statuses."""
        families = (G_INTENTS, G_SEGMENTS, G_PLACEMENTS, G_STATUS, G_REMOTE, G_EXPLAIN)
        return tuple(family.prefix() for family in families)

    def items_for(self, key: str) -> Iterable[str]:
        """The chain, also when a site reports a later visit of it."""
        for family in (G_REQUESTS, G_INTENTS, G_SEGMENTS, G_PLACEMENTS, G_STATUS, G_EXPLAIN):
            values = family.parse(key)
            if values is not None:
                yield f"{values['tenant']}/{values['chain']}"
                return
        remote = G_REMOTE.parse(key)
        if (site := marked_peer(key)) is not None:
            yield f"{MARKED}{site}"
        elif remote is not None and remote["rest"].startswith("summary/chains/"):
            _, _, tenant, chain = remote["rest"].split("/")
            yield from (f"{tenant}/{name}" for name in chains_of(chain))

    async def reconcile(self, item: str, context: Context) -> float | None:
        """Report one chain, or all of a site whose mark changed."""
        if item.startswith(MARKED):
            await self._marked(item.removeprefix(MARKED), context)
            return None
        tenant, _, chain = item.partition("/")
        key = G_STATUS.key(tenant=tenant, chain=chain)
        status = self._status(tenant, chain, context)
        if status is None:
            await context.writer.delete(key)
            return None
        await context.writer.put(
            key, status, ttl_s=3 * self.period_s, refresh_s=self.period_s * 0.9
        )
        return self.period_s

    async def _marked(self, site: str, context: Context) -> None:
        for known in list(context.state.items(G_PLACEMENTS)):
            placement = known.envelope.body
            if site == placement.source or any(one.site == site for one in placement.segments):
                names = known.variables
                await self.reconcile(f"{names['tenant']}/{names['chain']}", context)

    def _status(self, tenant: str, chain: str, context: Context) -> ChainStatus | None:
        state = context.state
        intent = state.get(G_INTENTS, tenant=tenant, chain=chain)
        segment = None if intent else state.get(G_SEGMENTS, tenant=tenant, chain=chain)
        for component in ("intake", "placer"):
            said = state.get(G_EXPLAIN, component=component, tenant=tenant, chain=chain)
            if said is not None and said.decision == "refused":
                standing = state.get(G_PLACEMENTS, tenant=tenant, chain=chain)
                if standing is not None and is_waiting(said):
                    status = self._placed(standing, context)
                    source = segment.source if segment is not None else LOCAL
                    return status.model_copy(update={"reason": said.reason, "source": source})
                phase = Phase.DEGRADED if standing is not None else Phase.REFUSED
                source = segment.source if segment is not None else said.source
                return ChainStatus(phase=phase, reason=said.reason, source=source)
        if intent is None and segment is None:
            return None
        source = segment.source if segment is not None else LOCAL
        placement = state.get(G_PLACEMENTS, tenant=tenant, chain=chain)
        if placement is None:
            return ChainStatus(phase=Phase.PENDING, reason="waiting for the placer", source=source)
        status = self._placed(placement, context).model_copy(update={"source": source})
        admitted = state.get(G_EXPLAIN, component="intake", tenant=tenant, chain=chain)
        if admitted is not None and admitted.constraint == CONSTRAINT:
            reason = "; ".join(text for text in (admitted.reason, status.reason) if text)
            status = status.model_copy(update={"reason": reason})
        return status

    def _placed(self, placement: Placement, context: Context) -> ChainStatus:
        reports = [self._report(placed.site, placed.segment.tenant, placed.segment.chain,
                                placement.epoch, context)
                   for placed in placement.segments]  # fmt: skip
        functions: list[FunctionStatus] = []
        path: list[str] = []
        for placed, report in zip(placement.segments, reports, strict=True):
            known = {function.function: function for function in report.functions}
            for spec in placed.segment.functions:
                said = known.get(spec.name) or FunctionStatus(
                    function=spec.name, type=spec.type, phase=report.phase.value
                )
                # A tier that stands for its sites may call itself otherwise than we do.
                functions.append(said.model_copy(update={"site": placed.site}))
                path.append(f"{placed.site}/{spec.name}")
            if not placed.segment.functions:
                path.append(placed.site)
        phase, reason = _worst(placement, reports)
        return ChainStatus(
            phase=phase,
            reason=reason,
            epoch=placement.epoch,
            path=tuple(path),
            functions=tuple(functions),
            model_latency_ms=placement.latency_us / 1000,
            latency_budget_ms=placement.latency_budget_us / 1000,
            connected_hops=sum(report.connected_hops for report in reports),
            hops=sum(report.hops for report in reports),
        )

    @staticmethod
    def _report(site: str, tenant: str, chain: str, epoch: int, context: Context) -> ChainStatus:
        """What a site last said of its segment, or why that is not known."""
        envelope = context.state.envelope(f"{site_chain_prefix(site)}{tenant}/{chain}", ChainStatus)
        doubt = quarantined(context.state, site)
        if doubt is not None:
            last = envelope.body if envelope is not None else ChainStatus()
            update = {"phase": Phase.UNKNOWN, "reason": f"{site} is {doubt}"}
            return last.model_copy(update=update)
        if envelope is None:
            return ChainStatus(phase=Phase.PENDING, reason=f"{site} has not reported yet")
        if envelope.expired(context.now()):
            age = envelope.age_s(context.now())
            return envelope.body.model_copy(
                update={
                    "phase": Phase.UNKNOWN,
                    "reason": f"{site} was last heard of {age:.0f} s ago",
                }
            )
        refused = envelope.body.refused
        if refused is not None and refused.epoch == epoch:
            phase = envelope.body.phase
            told = Phase.REFUSED if phase is Phase.REFUSED else Phase.DEGRADED
            return envelope.body.model_copy(
                update={"phase": told, "reason": f"{site} refused: {refused.reason}"}
            )
        old = refused is not None or envelope.body.phase is not Phase.REFUSED
        if old and envelope.body.epoch != epoch:
            return ChainStatus(phase=Phase.PENDING, reason=f"{site} is at an older placement")
        return envelope.body


_ORDER = (Phase.REFUSED, Phase.UNKNOWN, Phase.DEGRADED, Phase.PENDING, Phase.RUNNING)


def _worst(placement: Placement, reports: Sequence[ChainStatus]) -> tuple[Phase, str]:
    """The phase of the whole: that of its worst segment, named."""
    worst = min(range(len(reports)), key=lambda index: _ORDER.index(reports[index].phase))
    report = reports[worst]
    if report.phase is Phase.RUNNING:
        return Phase.RUNNING, ""
    site = placement.segments[worst].site
    reason = report.reason or report.phase.value
    return report.phase, reason if site in reason else f"{site}: {reason}"
