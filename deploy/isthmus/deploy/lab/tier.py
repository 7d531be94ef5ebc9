"""The global tier and the links of a lab, on top of its sites (DESIGN sections 6 and 7)."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from isthmus.contract import Stamp, seal
from isthmus.contract.families import G_LINKS, G_SITES
from isthmus.contract.world import LinkSpec, SiteSpec
from isthmus.deploy.lab import agreements
from isthmus.deploy.lab.addresses import CONTROL_PORT
from isthmus.deploy.lab.files import STORE, LabFiles
from isthmus.deploy.lab.spec import CARRIER, GLOBAL, LabSite, LabSpec
from isthmus.deploy.lab.stores import store_settings
from isthmus.deploy.lab.trust import LabTrust
from isthmus.kv.etcd import EtcdStore

OPERATOR = "operator"


def gateway_settings(files: LabFiles, spec: LabSpec) -> dict[str, Any]:
    """Who may dial in: exactly the registered sites, each by the identity in its certificate."""
    trust = files.trust
    domains = sorted({CARRIER, *(site.trust_domain for site in spec.sites)})
    return {
        "name": GLOBAL,
        "credentials": str(trust.folder(GLOBAL, "gateway")),
        "bundles": {name: str(trust.bundle(name)) for name in domains},
        "revocations": str(files.revocations(GLOBAL)),
        "store": _store(trust, GLOBAL, "gateway"),
        "status_file": str(files.path(GLOBAL, "links.json")),
        "status_every_s": 0.5,
        "listen": f"{files.addresses.tier(GLOBAL)}:{CONTROL_PORT}",
        "partners_need_agreement": True,
        "peers": [
            {
                "name": site.site,
                "identity": str(trust.identity(site.site, "federation")),
                **_agreement(files, GLOBAL, site),
            }
            for site in spec.sites
        ],
    }


def _agreement(files: LabFiles, tier: str, site: LabSite) -> dict[str, str]:
    """With a partner: what both have signed, and (for the tier) where the partner keeps what it gets."""
    if not agreements.is_partner(site):
        return {}
    named = {"agreement": str(agreements.path_at(files, tier, site))}
    return named | ({"region": site.region} if tier == GLOBAL else {})


def link_settings(files: LabFiles, site: LabSite) -> dict[str, Any]:
    """How a site dials its tier: out, through whatever stands in between."""
    trust = files.trust
    return {
        "name": site.site,
        "credentials": str(trust.folder(site.site, "federation")),
        "bundles": {CARRIER: str(trust.bundle(CARRIER))},
        "revocations": str(files.revocations(site.site)),
        "store": _store(trust, site.site, "federation"),
        "status_file": str(files.path(site.site, "links.json")),
        "status_every_s": 0.5,
        "dial": [files.link_address(site.site)],
        "region": site.region,
        "partners_need_agreement": True,
        "peer": {
            "name": GLOBAL,
            "identity": str(trust.identity(GLOBAL, "gateway")),
            **_agreement(files, site.site, site),
        },
    }


def write(path: Path, document: dict[str, Any]) -> Path:
    """Settings as a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2) + "\n")
    return path


async def register(trust: LabTrust, spec: LabSpec) -> None:
    """What the operator registers: sites and links; run in the tier's namespace."""
    settings = store_settings(trust, GLOBAL, OPERATOR, STORE)
    store = EtcdStore.connect(settings)
    stamp = Stamp(origin=str(trust.identity(GLOBAL, OPERATOR)), incarnation="lab")
    now = time.time()
    try:
        for site in spec.sites:
            body = SiteSpec(
                site=site.site,
                region=site.region,
                country=site.country,
                owner=site.owner,
                trust_domain=site.trust_domain,
                latitude=site.latitude,
                longitude=site.longitude,
                price_milli=site.price_milli,
                attachments=site.attachments,
            )
            await store.put(G_SITES.key(site=site.site), seal(body, stamp, as_of=now))
        for link in spec.links:
            for source, target in ((link.a, link.b), (link.b, link.a)):
                edge = LinkSpec(
                    source=source,
                    target=target,
                    latency_us=link.latency_us,
                    capacity_kbps=link.capacity_kbps,
                    price_milli=link.price_milli,
                )
                key = G_LINKS.key(source=source, target=target)
                await store.put(key, seal(edge, stamp, as_of=now))
    finally:
        await store.aclose()


def _store(trust: LabTrust, tier: str, component: str) -> dict[str, Any]:
    settings = store_settings(trust, tier, component, STORE)
    return settings.model_dump(mode="json", exclude_defaults=True)


def main(base: str, document: str) -> None:
    """``python -m isthmus.deploy.lab.tier BASE SPEC``: register sites and links."""
    spec = LabSpec.model_validate_json(document)
    asyncio.run(register(LabTrust(Path(base), spec), spec))


if __name__ == "__main__":
    main(*sys.argv[1:])
