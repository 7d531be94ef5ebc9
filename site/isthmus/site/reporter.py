"""The reporter: the periodic status of every chain, from facts and their ages (R43, pain 6: green that is not true)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from isthmus.contract import Envelope
from isthmus.contract.chain import (
    ChainPlan,
    ChainStatus,
    Explanation,
    FunctionStatus,
    Phase,
    PlannedFunction,
    RefusedRequest,
)
from isthmus.contract.families import (
    APPLIED,
    CORDS,
    EXPLAIN,
    HEALTH,
    INVENTORY,
    PLANS,
    RUNTIME,
    SPECS,
    STATUS,
    VNF_STATS,
)
from isthmus.contract.quarantine import CONSTRAINT as QUARANTINED
from isthmus.failpoint import afailpoint
from isthmus.microcontroller import Context, Traits
from isthmus.policy.keys import ROOT
from isthmus.site.chains import chain_item, parse_item


@dataclass(slots=True)
class Reporter:
    """Reports on change, and every ``period_s`` even when nothing changed; a report ages after three periods."""

    site: str
    component: str = "reporter"
    period_s: float = 5.0
    traits: Traits = field(default_factory=Traits)

    @property
    def watches(self) -> Sequence[str]:
        """All that makes up a chain's status, and the statuses."""
        families = (SPECS, PLANS, RUNTIME, HEALTH, CORDS, STATUS, INVENTORY)
        return (
            *(family.prefix() for family in families),
            f"{ROOT}instances/",
            EXPLAIN.prefix(),
        )

    def items_for(self, key: str) -> Iterable[str]:
        """Keys that name a chain; counters are picked up with the period, so packets cause no writes."""
        for family in (SPECS, PLANS, CORDS, STATUS):
            values = family.parse(key)
            if values is not None:
                yield chain_item(values["tenant"], values["chain"])
                return
        values = EXPLAIN.parse(key)
        if values is not None and values["component"] in ("intake", "placer"):
            yield chain_item(values["tenant"], values["chain"])

    async def reconcile(self, item: str, context: Context) -> float | None:
        """Report one chain."""
        tenant, chain = parse_item(item)
        key = STATUS.key(tenant=tenant, chain=chain)
        status = self._status(tenant, chain, context)
        if status is None:
            await context.writer.delete(key)
            return None
        await context.writer.put(
            key, status, ttl_s=3 * self.period_s, refresh_s=self.period_s * 0.9
        )
        await afailpoint("reporter.status_written")
        return self.period_s if status.phase is Phase.RUNNING else min(1.0, self.period_s)

    def _status(self, tenant: str, chain: str, context: Context) -> ChainStatus | None:
        state = context.state
        record = state.get(SPECS, tenant=tenant, chain=chain)
        said = self._said("intake", tenant, chain, context)
        intake = said.body if said is not None else None
        if record is None:
            if said is None or intake is None or intake.decision != "refused":
                return None
            return ChainStatus(
                phase=Phase.REFUSED,
                reason=intake.reason,
                source=intake.source,
                refused=_refused(said, intake.reason),
            )
        placer = self._said("placer", tenant, chain, context)
        plan = state.get(PLANS, tenant=tenant, chain=chain)
        if placer is not None and placer.body.decision == "refused":
            # What stands may be older than what is refused; whoever asked learns of both.
            status = self._planned(tenant, chain, plan, context) if plan else ChainStatus()
            return status.model_copy(
                update={
                    "phase": Phase.DEGRADED if plan is not None else Phase.REFUSED,
                    "reason": placer.body.reason,
                    "source": record.source,
                    "epoch": plan.epoch if plan is not None else record.segment.epoch,
                    # The engine's words name hosts.
                    "refused": _refused(
                        placer, f"no place at {self.site}: {placer.body.constraint}"
                    ),
                }
            )
        if plan is None:
            return ChainStatus(
                phase=Phase.PENDING,
                reason="waiting for the placer",
                source=record.source,
                epoch=record.segment.epoch,
            )
        status = self._planned(tenant, chain, plan, context)
        reason, refused = status.reason, None
        if said is not None and said.body.decision == "refused":
            reason = f"the newer request was refused: {said.body.reason}"
            refused = _refused(said, said.body.reason)
        elif intake is not None and intake.decision == "held":
            reason = "; ".join(text for text in (f"deletion held: {intake.reason}", reason) if text)
        elif intake is not None and intake.constraint == QUARANTINED:
            reason = "; ".join(text for text in (intake.reason, reason) if text)
        return status.model_copy(
            update={
                "source": record.source,
                "epoch": record.segment.epoch,
                "request_revision": record.request_revision,
                "reason": reason,
                "refused": refused,
            }
        )

    @staticmethod
    def _said(
        component: str, tenant: str, chain: str, context: Context
    ) -> Envelope[Explanation] | None:
        key = EXPLAIN.key(component=component, tenant=tenant, chain=chain)
        return context.state.envelope(key, Explanation)

    def _planned(self, tenant: str, chain: str, plan: ChainPlan, context: Context) -> ChainStatus:
        functions = tuple(self._function(planned, context) for planned in plan.functions)
        connected, waiting = _hops(tenant, chain, plan, context)
        ill = [f for f in functions if f.phase != "running"]
        whole = connected == len(plan.hops) and not ill
        started = connected > 0 or any(f.phase == "running" for f in functions)
        phase = Phase.RUNNING if whole else Phase.DEGRADED if started else Phase.PENDING
        reason = "" if whole else (waiting or (f"{ill[0].function}: {ill[0].phase}" if ill else ""))
        reason = "; ".join(text for text in (_hollow(plan, context), reason) if text)
        return ChainStatus(
            phase=phase,
            reason=reason,
            path=tuple(f"{self.site}/{f.host}/{f.function}" for f in plan.functions),
            functions=functions,
            connected_hops=connected,
            hops=len(plan.hops),
        )

    def _function(self, planned: PlannedFunction, context: Context) -> FunctionStatus:
        state = context.state
        runtime = state.get(RUNTIME, host=planned.host, instance=planned.instance)
        health = state.get(HEALTH, instance=planned.instance)
        stats = state.get(VNF_STATS, instance=planned.instance)
        applied = state.get(APPLIED, instance=planned.instance)
        phase = "pending"
        if runtime is not None and runtime.incarnation >= planned.incarnation:
            phase = runtime.phase
            if phase == "running" and (health is None or not health.healthy):
                phase = health.detail if health is not None and health.detail else "starting"
        if applied is not None and applied.error:
            phase = f"configuration refused: {applied.error}"
        current = stats is not None and stats.incarnation == planned.incarnation
        return FunctionStatus(
            function=planned.function,
            type=planned.type,
            site=self.site,
            host=planned.host,
            instance=planned.instance,
            incarnation=planned.incarnation,
            phase=phase,
            packets_forward=stats.packets_forward if current else 0,
            packets_reverse=stats.packets_reverse if current else 0,
            packets_dropped=stats.packets_dropped if current else 0,
        )


def _refused(said: Envelope[Explanation], reason: str) -> RefusedRequest | None:
    """Which request of a peer's it is about, in words it may read; a user's own has no epoch, and nobody to take it
    elsewhere."""
    why = said.body
    if not why.epoch:
        return None
    return RefusedRequest(
        epoch=why.epoch, constraint=why.constraint, reason=reason, since_s=said.as_of
    )


def _hollow(plan: ChainPlan, context: Context) -> str:
    """A hollow infrastructure answers like a real one; nobody may take its chains for ones that carry packets."""
    names = {end.host for hop in plan.hops for end in (hop.left, hop.right)}
    inventories = {name: context.state.get(INVENTORY, host=name) for name in sorted(names)}
    hollow = [name for name, found in inventories.items() if found and found.dataplane == "hollow"]
    return f"hollow infrastructure on {', '.join(hollow)}: no packets are carried" if hollow else ""


def _hops(tenant: str, chain: str, plan: ChainPlan, context: Context) -> tuple[int, str]:
    """How many hops are patched on all hosts they touch, and why the first of the others is not."""
    patched: dict[str, set[int]] = {}
    waiting = ""
    for host in sorted({end.host for hop in plan.hops for end in (hop.left, hop.right)}):
        cords = context.state.get(CORDS, host=host, tenant=tenant, chain=chain)
        if cords is None:
            waiting = waiting or f"host {host} has patched nothing yet"
            continue
        patched[host] = set(cords.connected)
        for index, reason in cords.waiting.items():
            waiting = waiting or f"hop {index}: {reason}"
    connected = sum(
        1
        for index, hop in enumerate(plan.hops)
        if all(index in patched.get(end.host, set()) for end in (hop.left, hop.right))
    )
    return connected, waiting
