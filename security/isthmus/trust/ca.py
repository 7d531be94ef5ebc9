"""Authorities: one root per trust domain, below it one per tier, below those only leaves
(attacks 3 and 4).

The root carries name constraints to its trust domain, so even a stack that knows nothing of us
refuses a partner's root signing names of ours. A tier authority signs for one realm (``site/a``
or ``global``, its common name) and its key lives in that tier: a cut-off site renews by itself,
and a tier's etcd, which trusts only its own authority, knows nobody of another site. Moment and
serial are arguments; so is the key, which edges make with :func:`new_key`.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from isthmus.identity import (
    GLOBAL,
    ROOT_AUTHORITY,
    TIER_AUTHORITY,
    CertificateProfile,
    Identity,
    IdentityRefused,
    LeafRequest,
    TrustDomain,
    Usage,
)
from isthmus.identity.profiles import LOCALHOST
from isthmus.trust.errors import IssueRefused
from isthmus.trust.names import UNREADABLE

PrivateKey = ec.EllipticCurvePrivateKey
PublicKey = ec.EllipticCurvePublicKey

USAGE_OIDS: Final = {
    Usage.CLIENT: ExtendedKeyUsageOID.CLIENT_AUTH,
    Usage.SERVER: ExtendedKeyUsageOID.SERVER_AUTH,
}
MAX_SERIAL: Final = 2**159 - 1
"""RFC 5280: positive and at most 20 bytes."""
MAX_CSR_BYTES: Final = 8 * 1024
_HASH: Final = hashes.SHA256()


def new_key() -> PrivateKey:
    """A fresh P-256 key: what every TLS stack we meet takes, and small in a handshake."""
    return ec.generate_private_key(ec.SECP256R1())


def utc(moment_s: float) -> datetime.datetime:
    """Seconds since the epoch as the certificate library wants them; whole seconds, as in X.509."""
    return datetime.datetime.fromtimestamp(int(moment_s), tz=datetime.UTC)


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate that signs, with its key. ``realm`` is empty for a root; ``above`` leads to
    the root.
    """

    trust_domain: TrustDomain
    realm: str
    certificate: x509.Certificate
    key: PrivateKey
    above: tuple[x509.Certificate, ...] = ()

    @property
    def root(self) -> x509.Certificate:
        """The certificate that others pin in their bundle."""
        return self.above[-1] if self.above else self.certificate

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        """What a leaf signed here sends after itself: everything up to, not including, the root."""
        return (self.certificate, *self.above)[:-1]


def create_root(
    trust_domain: TrustDomain, key: PrivateKey, *, now_s: float, serial: int
) -> Authority:
    """The one root of a trust domain, able to vouch for nothing outside it."""
    name = _name(trust_domain, f"root of {trust_domain}"[:64])
    dns_names = (trust_domain.name, LOCALHOST)
    unsigned = _authority(
        ROOT_AUTHORITY, name, name, trust_domain, key, key, now_s, serial, dns_names
    )
    return Authority(trust_domain, "", unsigned.sign(key, _HASH), key)


def create_tier(
    root: Authority, realm: str, key: PrivateKey, *, now_s: float, serial: int
) -> Authority:
    """The authority of one tier: ``site/<site>`` or ``global``."""
    if root.realm:
        raise IssueRefused("tier authority", realm, "only a root signs one; path length ends here")
    domain = check_realm(root.trust_domain, realm).realm_domain
    unsigned = _authority(
        TIER_AUTHORITY,
        _name(root.trust_domain, realm),
        root.certificate.subject,
        root.trust_domain,
        key,
        root.key,
        now_s,
        serial,
        (domain, LOCALHOST),
    )
    certificate = _signed(root, unsigned, now_s, TIER_AUTHORITY)
    return Authority(root.trust_domain, realm, certificate, key, (root.certificate, *root.above))


def issue_leaf(
    authority: Authority,
    request: LeafRequest,
    public_key: PublicKey,
    *,
    now_s: float,
    serial: int,
) -> x509.Certificate:
    """A leaf for exactly ``request``; refused outside the authority's trust domain or realm."""
    identity, profile = request.identity, request.profile
    if identity.trust_domain != authority.trust_domain:
        raise IssueRefused("identity", identity, f"this authority is of {authority.trust_domain}")
    if authority.realm and identity.realm != authority.realm:
        raise IssueRefused("identity", identity, f'this authority signs "{authority.realm}" only')
    _check_curve(public_key)
    builder = _builder(
        profile,
        _name(identity.trust_domain, identity.component),
        authority.certificate.subject,
        public_key,
        now_s,
        serial,
    )
    builder = (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(_usages(profile)), critical=False)
        .add_extension(_names(request), critical=False)
        .add_extension(_authority_key_id(authority.certificate), critical=False)
    )
    return _signed(authority, builder, now_s, profile)


def make_csr(identity: Identity, key: PrivateKey) -> bytes:
    """A signing request (PEM): proof that the asker holds the key, and whom it wants to be."""
    uri = x509.UniformResourceIdentifier(str(identity))
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(_name(identity.trust_domain, identity.component))
        .add_extension(x509.SubjectAlternativeName([uri]), critical=False)
        .sign(key, _HASH)
        .public_bytes(serialization.Encoding.PEM)
    )


def issue_from_csr(
    authority: Authority, csr_pem: bytes, request: LeafRequest, *, now_s: float, serial: int
) -> x509.Certificate:
    """A leaf for the *issuer's* ``request`` and the asker's key.

    The names come from the issuer; a request that names anybody else is refused rather than
    corrected.
    """
    public_key, names = _read_csr(csr_pem)
    if names != [str(request.identity)]:
        raise IssueRefused("names of the signing request", names, f"exactly {request.identity}")
    return issue_leaf(authority, request, public_key, now_s=now_s, serial=serial)


def check_realm(trust_domain: TrustDomain, realm: str) -> Identity:
    """The authority's own place in ``realm``, when identities can have it; else
    :class:`IssueRefused`.
    """
    try:
        if realm == GLOBAL:
            return Identity.of_global(trust_domain, "authority")
        kind, _, site = realm.partition("/")
        if kind == "site":
            return Identity.of_site(trust_domain, site, "authority")
    except IdentityRefused as refused:
        raise IssueRefused("realm", realm, refused.reason) from None
    raise IssueRefused("realm", realm, f'it is "site/<site>" or "{GLOBAL}"')


def signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """True when the key of ``issuer`` made the signature on ``certificate`` and the names agree."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (*UNREADABLE, InvalidSignature):
        return False
    return True


def pem(certificates: Sequence[x509.Certificate]) -> bytes:
    """Certificates as one PEM text, in this order."""
    return b"".join(
        certificate.public_bytes(serialization.Encoding.PEM) for certificate in certificates
    )


def key_pem(key: PrivateKey) -> bytes:
    """A private key as PKCS 8 PEM. Unencrypted: the file's mode guards it, a password beside it
    would not.
    """
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _read_csr(csr_pem: bytes) -> tuple[PublicKey, list[str]]:
    """Key and URI names of a signing request whose self-signature holds."""
    if len(csr_pem) > MAX_CSR_BYTES:
        raise IssueRefused("size of the signing request", len(csr_pem), f"{MAX_CSR_BYTES} bytes")
    try:
        csr = x509.load_pem_x509_csr(csr_pem)
        good = csr.is_signature_valid
        found = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (*UNREADABLE, x509.ExtensionNotFound) as bad:
        reason = "a PEM request signed by its own P-256 key, with one URI name"
        raise IssueRefused("signing request", type(bad).__name__, reason) from None
    if not good:
        raise IssueRefused("signing request", "bad signature", "sign it with the key it asks for")
    key = csr.public_key()
    _check_curve(key)
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return key, [str(name.value) for name in found]


def _check_curve(key: object) -> None:
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise IssueRefused("key", type(key).__name__, "an EC key on P-256")


def _name(trust_domain: TrustDomain, common_name: str) -> x509.Name:
    """Subject: the operator and, for stores that know users by common name, the component."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, trust_domain.name[:64]),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _builder(
    profile: CertificateProfile,
    subject: x509.Name,
    issuer: x509.Name,
    public_key: PublicKey,
    now_s: float,
    serial: int,
) -> x509.CertificateBuilder:
    """What all kinds share: names, key, serial, life, the identifier of the key."""
    if not 0 < serial <= MAX_SERIAL:
        raise IssueRefused("serial", serial, "1 to 2^159 - 1, random")
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(serial)
        .not_valid_before(utc(now_s - profile.backdate_s))
        .not_valid_after(utc(now_s + profile.lifetime_s))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _authority(
    profile: CertificateProfile,
    subject: x509.Name,
    issuer: x509.Name,
    trust_domain: TrustDomain,
    key: PrivateKey,
    issuer_key: PrivateKey,
    now_s: float,
    serial: int,
    dns_names: Sequence[str],
) -> x509.CertificateBuilder:
    """An unsigned authority certificate, constrained to its trust domain and ``dns_names``."""
    permitted = [
        x509.UniformResourceIdentifier(trust_domain.name),
        *(x509.DNSName(name) for name in dns_names if name),
    ]
    whole = x509.UniformResourceIdentifier(trust_domain.uri)  # as SPIFFE has it: no path
    issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    return (
        _builder(profile, subject, issuer, key.public_key(), now_s, serial)
        .add_extension(x509.BasicConstraints(True, profile.path_length), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.NameConstraints(permitted, None), critical=True)
        .add_extension(issuer_id, critical=False)
        .add_extension(x509.SubjectAlternativeName([whole]), critical=False)
    )


def _signed(
    authority: Authority,
    builder: x509.CertificateBuilder,
    now_s: float,
    profile: CertificateProfile,
) -> x509.Certificate:
    """``builder`` signed; refused when the authority would end first, since its leaf would be
    dead early.
    """
    if utc(now_s + profile.lifetime_s) > authority.certificate.not_valid_after_utc:
        ends = authority.certificate.not_valid_after_utc.isoformat()
        raise IssueRefused("lifetime", profile.name, f"renew the authority first, it ends {ends}")
    return builder.sign(authority.key, _HASH)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _usages(profile: CertificateProfile) -> list[x509.ObjectIdentifier]:
    return [USAGE_OIDS[usage] for usage in Usage if usage in profile.usages]


def _names(request: LeafRequest) -> x509.SubjectAlternativeName:
    """One URI first, then what a server is dialled under."""
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(str(request.identity))]
    names += [x509.DNSName(name) for name in request.all_dns_names]
    names += [x509.IPAddress(ipaddress.ip_address(address)) for address in request.ip_addresses]
    return x509.SubjectAlternativeName(names)


def _authority_key_id(certificate: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    own = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)
