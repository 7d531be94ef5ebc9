"""Agreements for tests: the draft between carrier and partner, changed and signed as a test likes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from tests.support_certificates import CARRIER, NOW_S, PARTNER, Operator

from isthmus.contract.envelope import Stamp, seal
from isthmus.contract.figures import Kind, Told
from isthmus.contract.instance import SiteSummary
from isthmus.federation.agreement import CONTEXT, Agreement, Terms
from isthmus.federation.draft import draft
from isthmus.trust.signing import sign_detached

US, THEM = CARRIER.name, PARTNER.name
STAMP = Stamp(origin="test", incarnation="1")
START = datetime.fromtimestamp(NOW_S, UTC)


def made(**changes: Any) -> Agreement:
    """The draft between carrier and partner; ``changes`` replace fields of the terms."""
    base = draft("alps", tier=US, site=THEM, not_before=START, days=30, tenants=("acme",))
    terms = base.agreement.model_dump(mode="json") | changes
    return Agreement(agreement=Terms.model_validate(terms))


def signed(agreement: Agreement, *operators: Operator) -> Agreement:
    """With the marks of these operators."""
    for operator in operators:
        mark = sign_detached(operator.root.key, CONTEXT, agreement.agreement.canonical())
        agreement = agreement.signed_by(operator.domain.name, mark)
    return agreement


def summary(members: int = 4, **more: Any) -> dict[str, Any]:
    """A site's summary as it is stored, with every total told."""
    numbers = dict.fromkeys(
        ("cpu_milli_total", "cpu_milli_free", "memory_mib_total", "memory_mib_free", "hosts_up",
         "chains", "largest_free_cpu_milli", "chains_held", "price_milli"), 100,
    )  # fmt: skip
    kinds = {"largest_free_cpu_milli": Kind.FREE_SLOT, "price_milli": Kind.LAST}
    told = {
        name: Told(
            kind=kinds.get(name, Kind.SUM), values=(100,), bound=2, as_of=NOW_S, max_age_s=60,
            members=members,
        )
        for name in numbers
    }  # fmt: skip
    body = SiteSummary.model_validate({**numbers, "told": told})
    document: dict[str, Any] = json.loads(seal(body, STAMP, as_of=NOW_S))
    document["body"] |= more
    return document
