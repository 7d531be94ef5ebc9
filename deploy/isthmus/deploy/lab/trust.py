"""Every certificate of a lab: one authority per trust domain, one leaf per component (DESIGN sections 5 and 8)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from isthmus.contract.families import GLOBAL_COMPONENTS, HOST_COMPONENTS, SITE_COMPONENTS
from isthmus.deploy.lab.spec import CARRIER, GLOBAL, LabSite, LabSpec
from isthmus.identity import Identity, LeafRequest, TrustDomain
from isthmus.trust import ca, files
from isthmus.trust.store import AuthorityStore, Enrolment

ADMIN = "admin"
ETCD = "etcd"


@dataclass(frozen=True, slots=True)
class LabTrust:
    """Folders below ``base``: ``authorities/<trust domain>`` and ``<tier>/certificates/<component>``."""

    base: Path
    spec: LabSpec

    def certificates(self, tier: str) -> Path:
        """The folder of a tier's components."""
        return self.base / tier / "certificates"

    def folder(self, tier: str, component: str) -> Path:
        """``key.pem cert.pem ca.pem authority.pem`` of one component."""
        return self.certificates(tier) / component

    def identity(self, tier: str, component: str) -> Identity:
        """Who a component is."""
        if tier == GLOBAL:
            return Identity.of_global(CARRIER, component)
        return Identity.of_site(self.spec.site(tier).trust_domain, tier, component)

    def store_name(self, tier: str) -> str:
        """The name in the certificate of a tier's etcd."""
        return self.identity(tier, ETCD).server_name

    def bundle(self, trust_domain: str) -> Path:
        """The roots of a trust domain, as its partners pin them."""
        return self.base / "bundles" / f"{trust_domain}.pem"

    def authority(self, site: str) -> Path:
        """The signer's folder of a site (read by ``credentials`` alone)."""
        return self.base / site / "authority"

    def enroll(self, now_s: float) -> None:
        """Issue everything; idempotent."""
        domains = {CARRIER, *(site.trust_domain for site in self.spec.sites)}
        for name in sorted(domains):
            domain = TrustDomain(name)
            store = AuthorityStore(self.base / "authorities" / name, domain)
            store.enroll([*self._enrolments(name)], now_s=now_s)
            files.make_directory(self.base / "bundles")
            files.write_public(self.bundle(name), store.bundle_pem())
            for site in self.spec.sites:
                if site.trust_domain == name:
                    self._signer(store, site, now_s)

    def components(self, site: LabSite) -> tuple[str, ...]:
        """Every store user of a site that a process of ours needs."""
        hosts = tuple(f"{name}.{host}" for host in site.host_names for name in HOST_COMPONENTS)
        return (*SITE_COMPONENTS, *hosts)

    def tier_components(self) -> tuple[str, ...]:
        """Every store user of the global tier."""
        regions = sorted({site.region for site in self.spec.sites})
        return (*GLOBAL_COMPONENTS, *(f"region.{region}" for region in regions))

    def _enrolments(self, trust_domain: str) -> Iterator[Enrolment]:
        for site in self.spec.sites:
            if site.trust_domain == trust_domain:
                for component in (*self.components(site), ADMIN, ETCD):
                    yield self._enrolment(site.site, component)
        if self.spec.tier and trust_domain == CARRIER:
            for component in (*self.tier_components(), ADMIN, ETCD):
                yield self._enrolment(GLOBAL, component)

    def _enrolment(self, tier: str, component: str) -> Enrolment:
        identity = self.identity(tier, component)
        # "localhost": so that an operator's etcdctl, which has no option for a server name, can check it.
        names = ("localhost",) if component == ETCD else ()
        request = LeafRequest(identity, dns_names=names)
        return Enrolment(request, self.folder(tier, component))

    def _signer(self, store: AuthorityStore, site: LabSite, now_s: float) -> None:
        authority = store.tier(f"site/{site.site}", now_s=now_s)
        place = files.make_directory(self.authority(site.site))
        files.write_secret(place / "key.pem", ca.key_pem(authority.key))
        files.write_public(place / "cert.pem", ca.pem([authority.certificate]))
        files.write_public(place / "ca.pem", store.bundle_pem())
