"""The agreement that two operators begin with: what the contract lets cross, summed up, and nothing of hosts (pure).

A draft is a proposal: both read it, narrow it, and sign. It never allows more than the contract's own scopes.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from isthmus.contract.families import FAMILIES
from isthmus.contract.family import Family, Tier
from isthmus.contract.scopes import crosses, direction, relative_pattern
from isthmus.contract.summaries import rules_of
from isthmus.federation.agreement import Aggregation, Agreement, Clause, Flow, Party, Terms

INSIDES = ("host", "instance")
"""Fields that would tell of a site's insides; the summarizer empties them, the agreement insists."""


def draft(
    name: str,
    *,
    tier: str,
    site: str,
    not_before: datetime,
    days: int,
    tenants: Sequence[str] = (),
    tier_regions: Sequence[str] = (),
    site_regions: Sequence[str] = (),
) -> Agreement:
    """Between the operator of a ``tier`` and the operator of a ``site`` below it (their trust domains). With
    ``tenants`` only chains of these cross."""
    terms = Terms(
        name=name,
        not_before=not_before,
        not_after=not_before + timedelta(days=days),
        parties=(
            Party(trust_domain=tier, regions=tuple(tier_regions)),
            Party(trust_domain=site, regions=tuple(site_regions)),
        ),
        flows=(
            _flow(tier, site, _going(Tier.GLOBAL, "down"), tenants),
            _flow(site, tier, _going(Tier.SITE, "up"), tenants),
        ),
    )
    return Agreement(agreement=terms)


def _going(tier: Tier, way: str) -> list[Family]:
    return [one for one in FAMILIES[tier] if crosses(one) and direction(one) == way]


def _flow(sender: str, receiver: str, families: Sequence[Family], tenants: Sequence[str]) -> Flow:
    clauses = [one for family in families for one in _clauses(family, tenants)]
    return Flow(sender=sender, receiver=receiver, clauses=tuple(clauses))


def _clauses(family: Family, tenants: Sequence[str]) -> list[Clause]:
    pattern = relative_pattern(family)
    head, _, rest = pattern.partition("{tenant}")
    upwards = family.tier is Tier.SITE
    if rest and tenants:
        never = INSIDES if upwards else ()
        return [Clause(pattern=f"{head}{tenant}/", never=never) for tenant in tenants]
    if rules_of(family):
        return [Clause(pattern=pattern, aggregation=Aggregation.TOTALS, never=INSIDES)]
    return [Clause(pattern=pattern.partition("{")[0], never=INSIDES if upwards and rest else ())]
