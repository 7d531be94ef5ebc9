"""The agreements of a lab's carrier with its partners: drafted from the contract and signed by both at lab start.

Each end gets a file of its own, as two operators would have; in earnest the signatures are made by two people in two
places. Tenants are not narrowed: which of them a partner serves is its own policy (its intake says so with a reason).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from isthmus.deploy.lab.files import LabFiles
from isthmus.deploy.lab.spec import CARRIER, GLOBAL, LabSite, LabSpec
from isthmus.federation.agreement import CONTEXT, Agreement
from isthmus.federation.draft import draft
from isthmus.trust import files as trust_files
from isthmus.trust.signing import sign_detached
from isthmus.trust.store import existing_root

DAYS = 30


def is_partner(site: LabSite) -> bool:
    """Does it belong to another operator than the tier above?"""
    return site.trust_domain != CARRIER


def path_at(files: LabFiles, tier: str, site: LabSite) -> Path:
    """Where the end in ``tier`` keeps the agreement about ``site``."""
    return files.path(tier, f"agreement-{site.site}.yaml")


def write_all(files: LabFiles, spec: LabSpec, now_s: float) -> None:
    """One agreement per partner site, at both ends."""
    for site in filter(is_partner, spec.sites):
        signed = signed_by_both(files.base / "authorities", site, now_s)
        for tier in (GLOBAL, site.site):
            trust_files.write_public(path_at(files, tier, site), signed.to_yaml())


def signed_by_both(authorities: Path, site: LabSite, now_s: float) -> Agreement:
    """The draft with the signatures of the carrier and the partner."""
    made = draft(
        f"carrier-{site.owner}-{site.site}",
        tier=CARRIER,
        site=site.trust_domain,
        not_before=datetime.fromtimestamp(int(now_s), UTC) - timedelta(minutes=5),
        days=DAYS,
        site_regions=(site.region,),
    )
    for domain in (CARRIER, site.trust_domain):
        key = existing_root(authorities / domain).key
        made = made.signed_by(domain, sign_detached(key, CONTEXT, made.agreement.canonical()))
    return made
