"""From stored bytes to what may be said about a chain, pure: no store, no clock (G12: honest staleness).

A value of the store is a claim of its writer at a time. Past its time to live the API says "unknown" and what it was;
a value that does not keep the contract is treated as absent, for one bad writer must not take the API down.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from isthmus.api.models import ChainRow, Explained
from isthmus.api.veil import Veil
from isthmus.contract import Body, Envelope, unseal
from isthmus.contract.chain import (
    ChainPlan,
    ChainRecord,
    ChainRequest,
    ChainSpec,
    ChainStatus,
    Explanation,
    Phase,
)
from isthmus.contract.errors import ContractError
from isthmus.contract.world import CarriedSegment, Intent, Placement
from isthmus.kv.port import Entry

B = TypeVar("B", bound=Body)


@dataclass(frozen=True, slots=True)
class Fact(Generic[B]):
    """One value of the store that could be read, and the revision it was written at."""

    envelope: Envelope[B]
    revision: int

    @property
    def body(self) -> B:
        """What it says."""
        return self.envelope.body


def fact(entry: Entry | None, model: type[B]) -> Fact[B] | None:
    """The fact in ``entry``, or None when there is none or it is unreadable."""
    if entry is None:
        return None
    try:
        return Fact(unseal(entry.value, model), entry.mod_revision)
    except ContractError:
        return None


def carried(entry: Entry) -> Fact[ChainRecord] | None:
    """What a tier carries for a peer, as a site has it: the segment, and whose it is."""
    known = fact(entry, CarriedSegment)
    if known is None:
        return None
    record = ChainRecord(segment=known.body.segment, source=known.body.source)
    told = dict(known.envelope) | {"body": record}
    return Fact(Envelope[ChainRecord].model_construct(**told), known.revision)


@dataclass(frozen=True, slots=True)
class ChainFacts:
    """All that the store says about one chain."""

    tenant: str
    chain: str
    request: Fact[ChainRequest] | None = None
    record: Fact[ChainRecord] | Fact[Intent] | None = None
    status: Fact[ChainStatus] | None = None
    explanations: tuple[tuple[str, Fact[Explanation]], ...] = ()
    placed: tuple[str, ...] = ()
    """Where the placer put it; read only where no report may be believed."""

    @property
    def request_revision(self) -> int:
        """Of the newest request; 0 for a chain that a peer asked for."""
        return self.request.revision if self.request else 0

    @property
    def source(self) -> str:
        """Who asked for it: ``local`` or the name of a peer."""
        if self.record is not None and isinstance(self.record.body, ChainRecord):
            return self.record.body.source
        return "local"

    @property
    def known(self) -> bool:
        """Does anything speak of this chain at all?"""
        return bool(self.request or self.record or self.status or self.explanations)


def is_current(explanation: Fact[Explanation], request_revision: int) -> bool:
    """Was it decided about the newest request (or one as new)?"""
    seen = explanation.body.input_revision
    return explanation.revision >= request_revision and (seen == 0 or seen >= request_revision)


def newest_decision(facts: ChainFacts) -> Fact[Explanation] | None:
    """The newest decision about the newest request."""
    current = [item for _, item in facts.explanations if is_current(item, facts.request_revision)]
    refusals = [item for item in current if item.body.decision == "refused"]
    holds = [item for item in current if item.body.decision == "held"]
    return max(refusals or holds or current, key=lambda item: item.revision, default=None)


def admitted(facts: ChainFacts) -> bool:
    """Was the newest request admitted (or did a peer ask)?"""
    if facts.request is None:
        return facts.record is not None
    if facts.record is None:
        return False
    seen = facts.record.body.request_revision
    if seen:
        return seen >= facts.request_revision
    return carries(facts.record.body, facts.request.body.spec)


def carries(record: ChainRecord | Intent, spec: ChainSpec) -> bool:
    """Is this what ``spec`` asks for? (An intake need not write again what stays the same.)"""
    if isinstance(record, Intent):
        return record.spec == spec
    segment = record.segment
    return (
        segment.functions == spec.functions
        and segment.bandwidth_kbps == spec.bandwidth_kbps
        and segment.priority == spec.priority
        and segment.partition == spec.partition
    )


def complete(facts: ChainFacts) -> bool:
    """Does the report speak of the functions that the newest request has, or of none?"""
    if facts.status is None:
        return False
    told = {function.function for function in facts.status.body.functions}
    return not told or told == set(function_names(facts))


def reported(facts: ChainFacts, now: float) -> tuple[Phase, str]:
    """The phase as last reported, if it may still be believed, and why it is so."""
    status = facts.status
    if status is None:
        return Phase.PENDING, "no report yet"
    if status.envelope.expired(now):
        age, ttl = status.envelope.age_s(now), status.envelope.ttl_s
        was = status.body.phase.value
        return Phase.UNKNOWN, f"last report ({was}) is {age:.0f} s old, believed for {ttl:.0f} s"
    return status.body.phase, status.body.reason


def row(facts: ChainFacts, now: float) -> ChainRow:
    """One line about a chain."""
    phase, reason = reported(facts, now)
    decision = newest_decision(facts)
    status_revision = facts.status.revision if facts.status else 0
    refused = (
        decision is not None
        and decision.body.decision == "refused"
        and (phase in (Phase.PENDING, Phase.REFUSED) or decision.revision > status_revision)
    )
    if refused and decision is not None and phase is Phase.PENDING:
        phase, reason = Phase.REFUSED, decision.body.reason
    record_revision = facts.record.revision if facts.record else 0
    observed = refused or (
        admitted(facts)
        and complete(facts)
        and status_revision > max(record_revision, facts.request_revision)
    )
    verdict: Literal["", "accepted", "refused", "held"] = ""
    if decision is not None:
        held = decision.body.decision == "held"
        verdict = "refused" if refused else "held" if held else "accepted"
    status = facts.status.body if facts.status else ChainStatus()
    return ChainRow(
        tenant=facts.tenant,
        chain=facts.chain,
        source=facts.source,
        phase=phase,
        reason=reason,
        decision=verdict,
        observed=observed,
        revision=facts.request_revision,
        generation=facts.request.envelope.generation if facts.request else 0,
        functions=function_names(facts),
        path=status.path if phase is not Phase.UNKNOWN else facts.placed,
        connected_hops=status.connected_hops if phase is not Phase.UNKNOWN else 0,
        hops=status.hops,
        model_latency_ms=status.model_latency_ms,
        latency_budget_ms=status.latency_budget_ms or budget_ms(facts),
        age_s=facts.status.envelope.age_s(now) if facts.status else None,
    )


def placed_path(plan: Fact[ChainPlan] | Fact[Placement] | None, site: str) -> tuple[str, ...]:
    """The path that a plan (of ``site``) or a placement orders: a decision, and so known when no report is."""
    if plan is None:
        return ()
    if isinstance(plan.body, ChainPlan):
        return tuple(f"{site}/{item.host}/{item.function}" for item in plan.body.functions)
    path: list[str] = []
    for placed in plan.body.segments:
        names = [f"{placed.site}/{function.name}" for function in placed.segment.functions]
        path += names or [placed.site]
    return tuple(path)


def budget_ms(facts: ChainFacts) -> float | None:
    """The latency the customer asked for."""
    return facts.request.body.spec.latency_budget_ms if facts.request else None


def function_names(facts: ChainFacts) -> tuple[str, ...]:
    """The functions of the chain in order, as far as this tier knows them."""
    if facts.request is not None:
        return tuple(function.name for function in facts.request.body.spec.functions)
    if facts.record is not None and isinstance(facts.record.body, ChainRecord):
        return tuple(function.name for function in facts.record.body.segment.functions)
    return ()


def explained(facts: ChainFacts, now: float, veil: Veil | None = None) -> tuple[Explained, ...]:
    """Every component's reason, the oldest first: the order in which they decided."""
    found = [
        Explained(
            component=component,
            revision=item.revision,
            age_s=item.envelope.age_s(now),
            current=is_current(item, facts.request_revision),
            explanation=item.body if veil is None else veil.explanation(item.body),
        )
        for component, item in facts.explanations
    ]
    return tuple(sorted(found, key=lambda item: item.revision))


def status_view(facts: ChainFacts, now: float, veil: Veil | None = None) -> dict[str, Any] | None:
    """The report as stored; what is too old says "unknown", and a tenant does not learn hosts and instances."""
    if facts.status is None:
        return None
    view = facts.status.body.model_dump(mode="json")
    view["as_of"] = facts.status.envelope.as_of
    if facts.status.envelope.expired(now):
        view["last_phase"] = view["phase"]
        view["phase"], view["reason"] = (part for part in reported(facts, now))
        view["connected_hops"] = 0
        for function in view["functions"]:
            function["phase"] = Phase.UNKNOWN.value
    return view if veil is None else veil.status(view)
