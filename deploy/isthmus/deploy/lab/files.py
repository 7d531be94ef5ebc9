"""The settings files of a lab's processes, written once per lab; none of them holds a secret."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isthmus.contract.family import Tier
from isthmus.deploy.lab.addresses import CONTROL_PORT, Addresses
from isthmus.deploy.lab.spec import CARRIER, GLOBAL, LabSite
from isthmus.deploy.lab.stores import store_settings
from isthmus.deploy.lab.trust import LabTrust

STORE = "127.0.0.1:2379"


@dataclass(frozen=True, slots=True)
class LabFiles:
    """Writers; each returns the path it wrote."""

    base: Path
    trust: LabTrust
    addresses: Addresses

    def path(self, tier: str, name: str) -> Path:
        """A file of a tier."""
        return self.base / tier / name

    def api_socket(self, tier: str) -> Path:
        """Where a tier's API listens."""
        return self.path(tier, "api.sock")

    def revocations(self, tier: str) -> Path:
        """Where a tier's operator lists who is no longer trusted; no such file, nobody."""
        return self.path(tier, "revocations.json")

    def log(self, tier: str, process: str) -> Path:
        """Where a process's output goes."""
        return self.base / "logs" / f"{tier}.{process}.log"

    def site(self, site: LabSite) -> Path:
        """Settings of the site's microcontrollers."""
        hosts = [self._host(site, host) for host in site.host_names]
        return self._write(
            site.site,
            "site.json",
            {
                "site": site.site,
                "trust_domain": site.trust_domain,
                "store": {
                    "endpoints": [STORE],
                    "server_name": self.trust.store_name(site.site),
                },
                "certificates": str(self.trust.certificates(site.site)),
                "authority": str(self.trust.authority(site.site)),
                "state": str(self.base / site.site),
                "hosts": hosts,
                "peers": [{"peer": GLOBAL, "tenants": list(site.tenants)}],
                "price_milli": site.price_milli,
                "record_calls": str(self.path(site.site, "infrastructure-calls.jsonl")),
            },
        )

    def api(self, tier: str) -> Path:
        """Settings of a tier's API."""
        kind = Tier.GLOBAL if tier == GLOBAL else Tier.SITE
        store = store_settings(self.trust, tier, "api", STORE)
        return self._write(
            tier,
            "api.json",
            {
                "tier": kind.value,
                "name": tier,
                "socket_path": str(self.api_socket(tier)),
                "store": store.model_dump(mode="json", exclude_defaults=True),
                "api": {"identity": str(self.trust.identity(tier, "api"))},
            },
        )

    def tier(self, runtime: str) -> Path:
        """Settings of the global tier's microcontrollers."""
        return self._write(
            GLOBAL,
            "global.json",
            {
                "trust_domain": CARRIER,
                "store": {
                    "endpoints": [STORE],
                    "server_name": self.trust.store_name(GLOBAL),
                },
                "certificates": str(self.trust.certificates(GLOBAL)),
                "state": str(self.base / GLOBAL),
                "regions": sorted({site.region for site in self.trust.spec.sites}),
                "runtime": runtime,
            },
        )

    def link_address(self, site: str) -> str:
        """Where a site dials: the wan's own address on its line, behind which toxiproxy stands."""
        return f"{self.addresses.wan(site)}:{CONTROL_PORT}"

    def _host(self, site: LabSite, host: str) -> dict[str, Any]:
        attachments = {
            name: {
                "netns": self.addresses.customer_netns(name),
                "address": f"{self.addresses.customer(name)}/32",
            }
            for name in site.attachments
            if self.addresses.host_of(name) == (site.site, host)
        }
        return {
            "host": host,
            "netns": self.addresses.host_netns(site.site, host),
            "cpu_milli": site.cpu_milli,
            "memory_mib": site.memory_mib,
            "underlay_address": self.addresses.host(site.site, host),
            "attachments": attachments,
        }

    def _write(self, tier: str, name: str, document: dict[str, Any]) -> Path:
        path = self.path(tier, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=2) + "\n")
        return path
