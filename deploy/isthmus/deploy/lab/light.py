"""``python -m isthmus.deploy.lab.light BASE TIER SPEC``: first light of one store, run in the tier's namespace."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from isthmus.contract.family import Tier
from isthmus.deploy.lab.files import STORE
from isthmus.deploy.lab.spec import GLOBAL, LabSpec
from isthmus.deploy.lab.stores import first_light
from isthmus.deploy.lab.trust import LabTrust


def main(base: str, tier: str, document: str) -> None:
    """Users, roles, authentication."""
    spec = LabSpec.model_validate_json(document)
    trust = LabTrust(Path(base), spec)
    if tier == GLOBAL:
        work = first_light(trust, tier, Tier.GLOBAL, trust.tier_components(), STORE)
    else:
        components = trust.components(spec.site(tier))
        work = first_light(trust, tier, Tier.SITE, components, STORE)
    asyncio.run(work)


if __name__ == "__main__":
    main(*sys.argv[1:])
