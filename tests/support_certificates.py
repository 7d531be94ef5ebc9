"""Certificates that no honest authority of ours would sign, for tests that need an attacker.

The authorities refuse what they should not issue, so attacks cannot be built with them. Here
every field is free.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from isthmus.identity import Identity, LeafRequest, TrustDomain
from isthmus.trust import ca
from isthmus.trust.bundle import TrustBundles

NOW_S = 1_800_000_000.0
DAY_S = 86_400.0
CARRIER = TrustDomain("carrier.example")
PARTNER = TrustDomain("partner.example")
BOTH_USAGES = (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH)
_serials = itertools.count(1)


def serial() -> int:
    """The next serial of this test run."""
    return next(_serials)


@dataclass(frozen=True)
class Operator:
    """A trust domain with its root and the signers of site a, site b and the global tier."""

    domain: TrustDomain
    now_s: float = NOW_S
    root: ca.Authority = field(init=False)
    tiers: dict[str, ca.Authority] = field(init=False)

    def __post_init__(self) -> None:
        root = ca.create_root(self.domain, ca.new_key(), now_s=self.now_s, serial=serial())
        object.__setattr__(self, "root", root)
        tiers = {
            realm: ca.create_tier(root, realm, ca.new_key(), now_s=self.now_s, serial=serial())
            for realm in ("site/a", "site/b", "global")
        }
        object.__setattr__(self, "tiers", tiers)

    @property
    def bundle_pem(self) -> bytes:
        """What the operator hands to others."""
        return ca.pem([self.root.certificate])

    def identity(self, component: str = "federation", realm: str = "site/a") -> Identity:
        """An identity of this operator."""
        return Identity.parse(f"{self.domain.uri}/{realm}/{component}")

    def issue(
        self, component: str = "federation", realm: str = "site/a", *dns_names: str
    ) -> tuple[bytes, bytes]:
        """An honest leaf: (key PEM, chain PEM)."""
        key, tier = ca.new_key(), self.tiers[realm]
        request = LeafRequest(self.identity(component, realm), dns_names)
        leaf = ca.issue_leaf(tier, request, key.public_key(), now_s=self.now_s, serial=serial())
        return ca.key_pem(key), ca.pem([leaf, *tier.chain])


def bundles(*operators: Operator, version: int = 1) -> TrustBundles:
    """The bundles of these operators."""
    return TrustBundles.of_pem(version, {one.domain: one.bundle_pem for one in operators})


def forge(
    signer: ca.Authority,
    names: Sequence[x509.GeneralName] = (),
    *,
    common_name: str = "federation",
    now_s: float = NOW_S,
    life_s: float = DAY_S,
    usages: Iterable[x509.ObjectIdentifier] = BOTH_USAGES,
    may_sign: bool = False,
    key: ca.PrivateKey | None = None,
    critical: x509.ExtensionType | None = None,
    signing_usage: bool | None = None,
) -> tuple[ca.PrivateKey, x509.Certificate]:
    """A certificate with exactly these fields, signed by ``signer`` without asking whether it
    should.
    """
    own = key or ca.new_key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer.certificate.subject)
        .public_key(own.public_key())
        .serial_number(serial())
        .not_valid_before(ca.utc(now_s))
        .not_valid_after(ca.utc(now_s + life_s))
        .add_extension(x509.BasicConstraints(may_sign, 0 if may_sign else None), critical=True)
        .add_extension(_usage(may_sign if signing_usage is None else signing_usage), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage(list(usages)), critical=False)
    if critical is not None:
        builder = builder.add_extension(critical, critical=True)
    return own, builder.sign(signer.key, hashes.SHA256())


def uri(text: str) -> x509.UniformResourceIdentifier:
    """A URI name."""
    return x509.UniformResourceIdentifier(text)


def _usage(may_sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(not may_sign, False, False, False, False, may_sign, may_sign, False, False)
