"""The agreement with one partner as a process holds it: the file, both signatures, the moment, the place (an edge).

Asked before a link starts and every second while it is open. Whatever is wrong refuses the link under a typed code;
another valid version ends the link so that the next one has the new terms. An older version than one that was in
force is refused: replaying it would give back what was taken away, so the newest version is kept in the store.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cryptography import x509

from isthmus.contract.chain import AgreedVersion
from isthmus.contract.envelope import Stamp
from isthmus.federation.agreed_versions import recall, record, refuse_older
from isthmus.federation.agreement import CONTEXT, Agreement, Terms, load, moment
from isthmus.federation.errors import AgreementChanged, AgreementRefused
from isthmus.federation.filters import ScopeFilter
from isthmus.federation.settings import GatewaySettings, PeerSettings, SiteLinkSettings
from isthmus.federation.standing import Standing
from isthmus.federation.terms import LinkTerms, link_terms
from isthmus.identity import TrustDomain
from isthmus.kv.port import KeyValueStore
from isthmus.policy.peers import Peer
from isthmus.trust import RevocationList
from isthmus.trust.errors import TrustError
from isthmus.trust.signing import signer_of

Roots = Mapping[TrustDomain, Sequence[x509.Certificate]]
Seen = tuple[int, int, int]


class Accord:
    """Of ``ours`` with ``peer``. ``own_region`` and ``peer_region`` are where either keeps what it gets."""

    def __init__(
        self,
        path: Path | None,
        ours: TrustDomain,
        peer: Peer,
        *,
        own_region: str,
        peer_region: str,
        utc_s: Callable[[], float],
    ) -> None:
        self._path = path
        self._ours = ours.name
        self._peer = peer
        self._theirs = peer.identity.trust_domain.name
        self._keeps = {self._ours: own_region, self._theirs: peer_region}
        self._utc_s = utc_s
        self._seen: Seen | None = None
        self._file: Agreement | None = None
        self._newest = 0
        self._terms: LinkTerms | None = None
        self._of: Terms | None = None

    @property
    def title(self) -> str:
        """Which agreement was last in force."""
        return "" if self._terms is None else self._terms.title

    def terms(self, roots: Roots, revoked: RevocationList) -> LinkTerms:
        """What is in force now; raises AgreementRefused."""
        file = self._read()
        terms = file.agreement
        self._judge(terms)
        check_signatures(file, roots, revoked)
        self._newest = terms.version
        if self._terms is None or self._of != terms:
            sends, accepts = ScopeFilter(self._peer.sends), ScopeFilter(self._peer.accepts)
            self._terms = link_terms(file, self._ours, self._theirs, sends, accepts)
            self._of = terms
        return self._terms

    def remember(self, version: int) -> None:
        """That version was in force, in this life or an earlier one."""
        self._newest = max(self._newest, version)

    def check(self, under: LinkTerms, roots: Roots, revoked: RevocationList) -> None:
        """May a link that was opened ``under`` these terms go on? Raises AgreementRefused or AgreementChanged."""
        if self.terms(roots, revoked) is not under:
            raise AgreementChanged(f"{self.title} is in force now")

    def _read(self) -> Agreement:
        if self._path is None:
            raise AgreementRefused(
                "agreement-missing",
                f"agreement: none with {self._theirs}; name the file that both signed in the peer's settings",
            )
        try:
            status = self._path.stat()
        except OSError:
            self._seen = None
            return load(self._path)
        seen = (status.st_mtime_ns, status.st_ino, status.st_size)
        if self._file is None or seen != self._seen:
            self._seen, self._file = None, load(self._path)
            self._seen = seen
        return self._file

    def _judge(self, terms: Terms) -> None:
        judge_period(terms, self._utc_s())
        named = {party.trust_domain for party in terms.parties}
        if named != {self._ours, self._theirs}:
            raise AgreementRefused(
                "agreement-party",
                f"parties: {' and '.join(sorted(named))}; this link is between {self._ours} and {self._theirs}",
            )
        refuse_older(terms.version, self._newest)
        for domain, region in self._keeps.items():
            allowed = terms.regions(domain)
            if allowed and region not in allowed:
                raise AgreementRefused(
                    "agreement-region",
                    f"regions of {domain}: {', '.join(allowed)}; its end of this link is in "
                    f"{region or 'no region that is known'}: set region, or agree on it",
                )


class Accords:
    """Of all peers of one process. ``own_roots_pem`` are the roots of our own trust domain."""

    def __init__(
        self,
        settings: GatewaySettings | SiteLinkSettings,
        own: TrustDomain,
        own_roots_pem: Callable[[], bytes],
        standing: Standing,
        utc_s: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._own = own
        self._own_roots_pem = own_roots_pem
        self._standing = standing
        self._utc_s = utc_s
        self._held: dict[str, Accord] = {}
        self._recalled: set[str] = set()
        self._own_roots: tuple[x509.Certificate, ...] = ()

    def terms(self, peer: Peer, listed: PeerSettings | None) -> LinkTerms | None:
        """What is agreed with ``peer``; None when it needs no agreement. Raises AgreementRefused."""
        accord = self._of(peer, listed)
        return None if accord is None else accord.terms(self._roots(), self._standing.revocations)

    async def recall(self, peer: Peer, listed: PeerSettings | None, store: KeyValueStore) -> None:
        """What earlier lives of this process have seen in force; the store is asked once a life."""
        accord = self._of(peer, listed)
        if accord is not None and peer.name not in self._recalled:
            accord.remember(await recall(store, peer.name))
            self._recalled.add(peer.name)

    async def enter(
        self, peer: Peer, listed: PeerSettings | None, store: KeyValueStore, stamp: Stamp
    ) -> LinkTerms | None:
        """As :meth:`terms`, for a link that is to open: written down before anything crosses under them."""
        await self.recall(peer, listed, store)
        terms = self.terms(peer, listed)
        if terms is not None:
            word = AgreedVersion(version=terms.version, title=terms.title)
            await record(store, peer.name, word, stamp=stamp, as_of=self._utc_s())
        return terms

    def check(self, peer: Peer, under: LinkTerms | None) -> None:
        """Raises AgreementRefused or AgreementChanged when a link opened ``under`` these terms must end."""
        if under is not None:
            self._held[peer.name].check(under, self._roots(), self._standing.revocations)

    def title(self, peer: str) -> str:
        """For the status."""
        return self._held[peer].title if peer in self._held else ""

    def _of(self, peer: Peer, listed: PeerSettings | None) -> Accord | None:
        path = listed.agreement if listed is not None else None
        foreign = peer.identity.trust_domain != self._own
        if path is None and not (foreign and self._settings.partners_need_agreement):
            return None
        if peer.name not in self._held:
            self._held[peer.name] = Accord(
                path,
                self._own,
                peer,
                own_region=self._settings.region,
                peer_region=listed.region if listed is not None else "",
                utc_s=self._utc_s,
            )
        return self._held[peer.name]

    def _roots(self) -> Roots:
        """Others' as pinned, our own as enrolled; while our own cannot be read, those we read last."""
        with contextlib.suppress(TrustError, OSError, ValueError):
            self._own_roots = tuple(x509.load_pem_x509_certificates(self._own_roots_pem()))
        return {**self._standing.bundles.roots, self._own: self._own_roots}


def judge_period(terms: Terms, now_s: float) -> None:
    """Raises AgreementRefused outside the period."""
    if now_s < terms.not_before.timestamp():
        raise AgreementRefused(
            "agreement-early", f"not_before: {moment(terms.not_before)} is still to come"
        )
    if now_s >= terms.not_after.timestamp():
        raise AgreementRefused(
            "agreement-expired",
            f"not_after: {moment(terms.not_after)} has passed; agree on a new version and sign it",
        )


def check_signatures(file: Agreement, roots: Roots, revoked: RevocationList) -> dict[str, str]:
    """Trust domain to fingerprint of the root that signed; raises AgreementRefused unless both parties did."""
    held = {domain.name: tuple(found) for domain, found in roots.items()}
    given = {one.trust_domain: one.signature for one in file.signatures}
    signers: dict[str, str] = {}
    for party in file.agreement.parties:
        domain = party.trust_domain
        if domain not in given:
            raise AgreementRefused(
                "agreement-unsigned", f"signatures: {domain} has not signed; isthmus agreement sign"
            )
        usable = held.get(domain, ())
        if not usable:
            raise AgreementRefused(
                "agreement-signature",
                f"signatures: no roots of {domain} are pinned here; add its bundle",
            )
        signer = signer_of(given[domain], CONTEXT, file.agreement.canonical(), usable)
        if signer is None:
            raise AgreementRefused(
                "agreement-signature",
                f"signatures: {domain}: no root of it that we know made this over these terms; sign them again",
            )
        if signer in revoked.authorities:
            raise AgreementRefused(
                "agreement-signature",
                f"signatures: {domain}: the root {signer[:16]} is revoked; sign with the present one",
            )
        signers[domain] = signer
    return signers
