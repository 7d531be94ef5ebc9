"""What an agreement permits in one direction, as checks that a link asks (pure).

Keys first: a key that no clause covers does not cross. Then values, where a clause looks inside: too old, more detail
than was agreed, a field that must stay empty. Nothing is repaired: a value passes as it is or is held back, and
why is counted under a stable code. Both ends ask the same checks, each on its own copy of the signed file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from isthmus.contract.alarms import KINDS, UNTOLD, Alarm, kind_of
from isthmus.contract.errors import ContractError
from isthmus.contract.family import Family, Tier
from isthmus.contract.figures import Kind, Told
from isthmus.contract.registry import loose
from isthmus.contract.scopes import crossing
from isthmus.contract.summaries import LATER, rules_of
from isthmus.federation.agreement import Aggregation, Agreement, Clause, Flow, moment
from isthmus.federation.filters import KeyCheck, ScopeFilter
from isthmus.federation.pacing import Pacer
from isthmus.identity import visible
from isthmus.policy.scopes import Decision, Rule, Scope, Verb

AHEAD_S = 60.0
"""A value may be so much from the future (clocks differ); further ahead it would stay fresh for ever."""
DENIED, STALE, DETAIL = "agreement-denied", "agreement-stale", "agreement-aggregation"


@dataclass(frozen=True, slots=True)
class FlowGate:
    """One direction. ``configured`` is the peer list's own scope: what crosses passes both."""

    flow: Flow
    configured: KeyCheck
    _agreed: ScopeFilter = field(init=False, repr=False)
    _rules: tuple[tuple[Rule, Clause], ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        patterns = [clause.pattern for clause in self.flow.clauses]
        scope = Scope.mirror(f"{self.flow.sender}-to-{self.flow.receiver}", patterns)
        object.__setattr__(self, "_agreed", ScopeFilter(scope))
        narrowest = sorted(
            self.flow.clauses, key=lambda one: (one.pattern.endswith("/"), -len(one.pattern))
        )
        rules = tuple((Rule(clause.pattern), clause) for clause in narrowest)
        object.__setattr__(self, "_rules", rules)

    def check(self, verb: Verb, key: str | bytes) -> str | Decision:
        """The key as text when it passes scope and agreement, else the decision that holds it back."""
        verdict = self.configured.check(verb, key)
        if not isinstance(verdict, str):
            return verdict
        agreed = self._agreed.check(verb, verdict)
        if isinstance(agreed, str):
            return agreed
        return Decision(False, DENIED, "no clause of the agreement covers it")

    def clause(self, key: str) -> Clause | None:
        """The narrowest clause for a relative key: the longest pattern that matches."""
        return next((clause for rule, clause in self._rules if rule.matches(key)), None)

    def judge_value(self, key: str, value: bytes, now_s: float | None) -> Decision | None:
        """Why ``value`` may not cross as ``key``; None when it may. Without ``now_s`` age is not looked at."""
        clause = self.clause(key)
        if clause is None or not clause.looks_inside:
            return None
        try:
            envelope = loose(value)
            body = json.loads(value)["body"]
        except (ContractError, ValueError, KeyError, TypeError):
            return Decision(
                False, DETAIL, f"the clause {clause.pattern} looks inside; it is no envelope"
            )
        if now_s is not None and clause.max_age_s is not None:
            age_s = now_s - envelope.as_of
            if age_s > clause.max_age_s or age_s < -AHEAD_S:
                limit = f"the clause {clause.pattern} allows {clause.max_age_s:g} s"
                return Decision(False, STALE, f"it is {age_s:.0f} s old; {limit}")
        reason = next(_named(body, frozenset(clause.never)), None) if clause.never else None
        if reason is None and clause.aggregation is Aggregation.TOTALS:
            reason = _no_total(clause, key, body)
        return None if reason is None else Decision(False, DETAIL, reason)

    def interval_s(self, key: str) -> float:
        """The least time between two changes of ``key``."""
        clause = self.clause(key)
        return 0.0 if clause is None else clause.min_interval_s

    def pacer(self) -> Pacer:
        """The flow's rate; intervals are looked up only where there are any."""
        spaced = any(clause.min_interval_s for clause in self.flow.clauses)
        rate, burst = self.flow.max_changes_per_s, self.flow.burst_changes
        return Pacer(rate, burst, self.interval_s) if spaced else Pacer(rate, burst)


@dataclass(frozen=True, slots=True)
class LinkTerms:
    """Both directions of one link under one version of an agreement, and what belongs to the peer, not the link."""

    title: str
    version: int
    export: FlowGate
    accept: FlowGate
    pacer: Pacer


def link_terms(
    agreement: Agreement, ours: str, theirs: str, sends: KeyCheck, accepts: KeyCheck
) -> LinkTerms:
    """What the link of ``ours`` with ``theirs`` may do; ``sends`` and ``accepts`` are the peer list's scopes."""
    terms = agreement.agreement
    export = FlowGate(terms.flow(ours, theirs), sends)
    return LinkTerms(
        title=f"{terms.name} version {terms.version}, until {moment(terms.not_after)}",
        version=terms.version,
        export=export,
        accept=FlowGate(terms.flow(theirs, ours), accepts),
        pacer=export.pacer(),
    )


def _named(body: Any, never: frozenset[str], path: str = "body") -> Iterator[str]:
    """Fields that must be empty and are not."""
    if isinstance(body, dict):
        for name, inner in body.items():
            if name in never and inner not in ("", None, 0, [], {}):
                yield f"{path}.{name} is filled in; the agreement says never {name}"
            yield from _named(inner, never, f"{path}.{name}")
    elif isinstance(body, list):
        for inner in body:
            yield from _named(inner, never, path)


def _no_total(clause: Clause, key: str, body: Any) -> str | None:
    """Why the value is not only totals; None when it is. A field nobody declared could be anything: held back, too."""
    family = _family(key)
    rules = {} if family is None else rules_of(family)
    if family is None or family.model is None or not rules:
        return f"the clause {clause.pattern} says totals; the contract has no summary at {key}"
    try:
        read = family.model.model_validate(body)
    except ValidationError:
        return f"it is no {family.model.__name__}"
    told: Mapping[str, Told] = getattr(read, "told", {})
    strange = sorted({*(read.model_extra or {}), *(set(told) - set(rules))})
    if strange:
        return f"body.{visible(strange[0], 80)} is no total of the contract"
    reasons = (_not_agreed(clause, name, told.get(name), body) for name in rules)
    return next((reason for reason in reasons if reason is not None), None)


def _not_agreed(
    clause: Clause, name: str, told: Told | None, body: Mapping[str, Any]
) -> str | None:
    if told is None and name in LATER and not body.get(name):
        return None  # an older release: it says nothing of it
    if told is None or told.model_extra or (told.names and told.kind is not Kind.TOP_K):
        return f"body.told.{name} is missing or says more than a total with its bound"
    if clause.rules and told.kind not in clause.rules:
        wanted = ", ".join(clause.rules)
        return f"body.{name} is a {told.kind.value}; the agreement says {wanted}"
    if told.kind is Kind.TOP_K:
        return _no_alarms(clause, name, told, body.get(name))
    several = told.kind is not Kind.LAST and told.members > 0
    if several and told.members < clause.min_members:
        return f"body.{name} is of {told.members}; the agreement says at least {clause.min_members}"
    if len(told.values) == 1 and round(told.values[0]) != body.get(name):
        return f"body.{name} is not what body.told.{name} says"
    if told.kind is Kind.HISTOGRAM and [round(one) for one in told.values] != body.get(name):
        return f"body.{name} is not what body.told.{name} says"
    return None


def _no_alarms(clause: Clause, name: str, told: Told, raw: Any) -> str | None:
    """Only kinds of the contract, with nothing beside them: a name that anybody made up could tell anything."""
    try:
        alarms = [Alarm.model_validate(one) for one in raw or ()]
    except (TypeError, ValidationError):
        return f"body.{name} are no alarms"
    for one in alarms:
        kind = kind_of(one.name)
        if kind is None or one.model_extra or one.severity != KINDS[kind][0]:
            return f"body.{name} has {visible(one.name, 40)!r}, which is no alarm of the contract"
        if 0 < one.of < clause.min_members and kind != UNTOLD:
            wanted = clause.min_members
            return f"body.{name} has one of {one.of}; the agreement says at least {wanted}"
    if told.names != tuple(one.name for one in alarms):
        return f"body.{name} is not what body.told.{name} says"
    return None


def _family(key: str) -> Family | None:
    return crossing(Tier.SITE, key) or crossing(Tier.GLOBAL, key)
