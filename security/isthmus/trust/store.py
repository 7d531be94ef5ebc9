"""The authorities of one trust domain on disk, and enrolment for the lab (DESIGN section 8,
GUARANTEES G10).

    <dir>/root/            key.pem cert.pem     signs tiers; offline in earnest, beside the lab in the lab
    <dir>/root-next/       cert made known in bundles before it signs (prepare), then moved to root/ (activate)
    <dir>/root-previous/   stays in bundles until what it signed has run out
    <dir>/tiers/<realm>/   key.pem cert.pem chain.pem     one signer per tier; ``site/a`` is ``site.a``

A tier's certificate is renewed under the same key: its etcd pins the authority and reads that
file only at start, and a pinned certificate of the same key goes on matching. Rotating the root
is a person's decision in two steps.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from isthmus.identity import AUTHORITY_ROTATION, LeafRequest, Stage, TrustDomain, stage
from isthmus.identity.spiffe import SCHEME
from isthmus.trust import ca, files, workload
from isthmus.trust.errors import FileRefused, IssueRefused
from isthmus.trust.names import UNREADABLE, uris_of, validity_of

ROOT: Final = "root"
NEXT: Final = "root-next"
PREVIOUS: Final = "root-previous"
TIERS: Final = "tiers"


def random_serial() -> int:
    """A serial nobody can guess, as RFC 5280 wants it."""
    return secrets.randbits(152) + 1


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A leaf to issue for ``request`` and to write ``into`` a directory."""

    request: LeafRequest
    into: Path


class AuthorityStore:
    """Creates what is missing, renews what is due, keeps the rest. One process at a time (a file
    lock).
    """

    def __init__(
        self, directory: Path, trust_domain: TrustDomain, serials: Callable[[], int] = random_serial
    ) -> None:
        self._directory = directory
        self._trust_domain = trust_domain
        self._serials = serials

    @property
    def trust_domain(self) -> TrustDomain:
        """Whose authorities these are."""
        return self._trust_domain

    def root(self, *, now_s: float) -> ca.Authority:
        """The root that signs; created when there is none."""
        with self._locked():
            return self._root(now_s)

    def tier(self, realm: str, *, now_s: float) -> ca.Authority:
        """The authority of ``realm``; created, or renewed under its key, when it is time."""
        with self._locked():
            return self._tier(realm, now_s)

    def bundle_pem(self) -> bytes:
        """The roots others pin for this trust domain: next, current and previous, as far as they
        exist.
        """
        found = [self._directory / slot / workload.CERT for slot in (ROOT, NEXT, PREVIOUS)]
        return b"".join(files.read_public(path) for path in found if path.exists())

    def prepare_root(self, *, now_s: float) -> bytes:
        """Make a successor known: it is in the bundle from now on and signs nothing yet. The new
        bundle.
        """
        with self._locked():
            self._root(now_s)
            if (self._directory / NEXT / workload.CERT).exists():
                raise IssueRefused("root", NEXT, "one is prepared already: activate it first")
            self._create_root(NEXT, now_s)
            return self.bundle_pem()

    def activate_root(self) -> None:
        """Let the prepared root sign; the old one stays in the bundle. Tiers are signed anew as
        they are used.
        """
        with self._locked():
            if not (self._directory / NEXT / workload.CERT).exists():
                raise IssueRefused("root", NEXT, "prepare it first, and let the bundles travel")
            old = files.read_public(self._directory / ROOT / workload.CERT)
            files.write_public(self._directory / PREVIOUS / workload.CERT, old)
            self._move_next(workload.KEY)
            self._move_next(workload.CERT)

    def retire_previous(self) -> None:
        """Take the old root out of the bundle, once everything it signed has run out."""
        with self._locked():
            (self._directory / PREVIOUS / workload.CERT).unlink(missing_ok=True)

    def enroll(
        self, wanted: Sequence[Enrolment], *, now_s: float
    ) -> tuple[workload.KeyAndCert, ...]:
        """Issue what is missing, due, or asks for other names than what is there; keep the rest."""
        with self._locked():
            return tuple(self._enroll_one(one, now_s) for one in wanted)

    def _enroll_one(self, one: Enrolment, now_s: float) -> workload.KeyAndCert:
        authority = self._tier(one.request.identity.realm, now_s)
        ca_pem = self.bundle_pem()
        held = _still_good(one, authority, ca_pem, now_s)
        if held is not None:
            return held
        issued = workload.issue(
            authority, one.request, ca.new_key(), ca_pem=ca_pem, now_s=now_s, serial=self._serials()
        )
        workload.save(issued, one.into)
        return issued

    def _root(self, now_s: float) -> ca.Authority:
        place = self._directory / ROOT
        self._finish_activation()
        if not (place / workload.CERT).exists():
            return self._create_root(ROOT, now_s)
        certificate, key = _read(place)
        if uris_of(certificate) != [self._trust_domain.uri]:
            fix = f"use another directory for {self._trust_domain}"
            raise FileRefused(place, "it holds the root of another trust domain", fix)
        return ca.Authority(self._trust_domain, "", certificate, key)

    def _finish_activation(self) -> None:
        """Killed between moving the key and moving its certificate: move the certificate, too."""
        place = self._directory / NEXT
        if (place / workload.CERT).exists() and not (place / workload.KEY).exists():
            self._move_next(workload.CERT)

    def _move_next(self, name: str) -> None:
        os.replace(self._directory / NEXT / name, self._directory / ROOT / name)

    def _create_root(self, slot: str, now_s: float) -> ca.Authority:
        key = ca.new_key()
        root = ca.create_root(self._trust_domain, key, now_s=now_s, serial=self._serials())
        files.write_secret(self._directory / slot / workload.KEY, ca.key_pem(key))
        files.write_public(self._directory / slot / workload.CERT, ca.pem([root.certificate]))
        return root

    def _tier(self, realm: str, now_s: float) -> ca.Authority:
        root = self._root(now_s)
        ca.check_realm(self._trust_domain, realm)
        place = self._directory / TIERS / realm.replace("/", ".", 1)
        key = ca.new_key()
        if (place / workload.CERT).exists():
            certificate, key = _read(place)
            due = stage(validity_of(certificate), AUTHORITY_ROTATION, now_s)
            if due in (Stage.FRESH, Stage.PREPARE) and ca.signed_by(certificate, root.certificate):
                above = (root.certificate,)
                return ca.Authority(self._trust_domain, realm, certificate, key, above)
        tier = ca.create_tier(root, realm, key, now_s=now_s, serial=self._serials())
        files.write_secret(place / workload.KEY, ca.key_pem(key))
        files.write_public(place / workload.CERT, ca.pem([tier.certificate]))
        return tier

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        files.make_directory(self._directory)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(self._directory / ".lock", flags, files.SECRET_MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def enroll(
    directory: Path, trust_domain: TrustDomain, wanted: Sequence[Enrolment], *, now_s: float
) -> tuple[workload.KeyAndCert, ...]:
    """The lab in one call: authorities of ``trust_domain`` in ``directory``, a leaf for each of
    ``wanted``.
    """
    return AuthorityStore(directory, trust_domain).enroll(wanted, now_s=now_s)


def existing_root(directory: Path) -> ca.Authority:
    """The root in an authorities directory as it is: for signing what both operators agreed on. Nothing is created;
    raises FileRefused.
    """
    certificate, key = _read(directory / ROOT)
    uris = uris_of(certificate)
    if len(uris) != 1:
        raise FileRefused(directory, "its root names no trust domain", "give the right directory")
    name = uris[0].removeprefix(SCHEME)
    return ca.Authority(TrustDomain(name), "", certificate, key)


def _still_good(
    one: Enrolment, authority: ca.Authority, ca_pem: bytes, now_s: float
) -> workload.KeyAndCert | None:
    """What lies there already, when it is this request, of this authority, with these roots, and
    fresh.
    """
    try:
        held = workload.load(one.into)
    except FileRefused:
        return None
    leaf = held.leaf
    same = (
        held.identity == one.request.identity
        and held.ca_pem == ca_pem
        and held.authority_pem == ca.pem([authority.certificate])
        and set(_dialled(leaf)) == {*one.request.all_dns_names, *one.request.ip_addresses}
        and ca.signed_by(leaf, authority.certificate)
    )
    return held if same and held.stage(now_s) is Stage.FRESH else None


def _dialled(leaf: x509.Certificate) -> list[str]:
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = names.get_values_for_type(x509.IPAddress)
    return [*names.get_values_for_type(x509.DNSName), *(str(address) for address in addresses)]


def _read(place: Path) -> tuple[x509.Certificate, ca.PrivateKey]:
    """Certificate and key of an authority; they must belong together."""
    try:
        certificate = x509.load_pem_x509_certificate(files.read_public(place / workload.CERT))
        key = serialization.load_pem_private_key(files.read_secret(place / workload.KEY), None)
    except UNREADABLE:
        raise FileRefused(place, "key or certificate is not PEM", "restore it") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise FileRefused(place / workload.KEY, "not an EC key", "restore it")
    if key.public_key() != certificate.public_key():
        raise FileRefused(place / workload.KEY, "it is not the key of cert.pem", "restore both")
    return certificate, key
