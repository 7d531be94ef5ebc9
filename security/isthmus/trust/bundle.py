"""Verifying a peer: its one identity, by an authority of *its own* trust domain (DESIGN 6,
attacks 1, 2 and 4).

The TLS layer below checks a chain against one pile of roots: with two operators in the pile,
either could sign names of the other; it also lets a certificate without any identity through
(both measured). So the chain is judged again here, by rules short enough to read: the identity
picks the bundle, only roots of that bundle count, every signature, constraint and moment is
checked, and whatever is not understood is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtensionOID

from isthmus.identity import SKEW_S, Identity, TrustDomain, Usage, Validity
from isthmus.trust.ca import USAGE_OIDS, signed_by
from isthmus.trust.errors import BundleRefused, PeerRefused
from isthmus.trust.names import UNREADABLE, UNREADABLE_EXTENSIONS, identity_of, validity_of
from isthmus.trust.revocation import NONE_REVOKED, RevocationList

MAX_CHAIN_BYTES: Final = 32 * 1024
MAX_CHAIN: Final = 4
"""Leaf, tier authority, root, and one more for an operator with a public-key infrastructure of
its own.
"""
MAX_ROOTS: Final = 8
"""Per trust domain: old, current, next, and room for a mistake."""
CURVES: Final = frozenset({"secp256r1", "secp384r1"})

Value = TypeVar("Value", bound=x509.ExtensionType)
_UNDERSTOOD: Final = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.NAME_CONSTRAINTS,
    }
)


@dataclass(frozen=True, slots=True)
class TrustBundles:
    """Which roots vouch for which trust domain; ``version`` rises with every change."""

    version: int
    roots: Mapping[TrustDomain, tuple[x509.Certificate, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for domain, roots in self.roots.items():
            if not 0 < len(roots) <= MAX_ROOTS:
                raise BundleRefused("roots", f"{len(roots)} of {domain}", f"1 to {MAX_ROOTS}")
            for root in roots:
                _check_root(root)
        held = [root for roots in self.roots.values() for root in roots]
        if len(set(held)) != len(held):
            raise BundleRefused("root", "listed twice", "one root vouches for one trust domain")

    @classmethod
    def of_pem(cls, version: int, bundles: Mapping[TrustDomain, bytes]) -> TrustBundles:
        """Bundles from the PEM text each operator handed over."""
        roots = {}
        for domain, text in bundles.items():
            try:
                roots[domain] = tuple(x509.load_pem_x509_certificates(text))
            except UNREADABLE:
                raise BundleRefused("PEM", domain, "certificates in PEM, at least one") from None
        return cls(version, roots)

    def with_roots(self, domain: TrustDomain, roots: Iterable[x509.Certificate]) -> TrustBundles:
        """The next version, with the roots of one domain replaced (none: the domain is gone)."""
        others = {name: held for name, held in self.roots.items() if name != domain}
        given = tuple(roots)
        return TrustBundles(self.version + 1, {**others, domain: given} if given else others)


@dataclass(frozen=True, slots=True)
class VerifiedPeer:
    """What was proven about a peer, and what must stay true for its stream to go on (see the
    watchdog).
    """

    identity: Identity
    validity: Validity
    serial: int
    authorities: tuple[str, ...]
    policy_version: int = 0


def verify_peer(
    pem_chain: bytes,
    bundles: TrustBundles,
    now_s: float,
    *,
    usage: Usage = Usage.CLIENT,
    revocations: RevocationList = NONE_REVOKED,
) -> Identity:
    """Who the peer is, or :class:`PeerRefused`. ``usage``: what the *peer* is in this handshake."""
    return verify_chain(pem_chain, bundles, now_s, usage=usage, revocations=revocations).identity


def verify_chain(
    pem_chain: bytes,
    bundles: TrustBundles,
    now_s: float,
    *,
    usage: Usage = Usage.CLIENT,
    revocations: RevocationList = NONE_REVOKED,
    policy_version: int = 0,
) -> VerifiedPeer:
    """The same with what a watchdog needs to go on checking."""
    leaf, *others = _load(pem_chain)
    identity = identity_of(leaf)
    roots = bundles.roots.get(identity.trust_domain)
    if roots is None:
        domain = identity.trust_domain
        raise PeerRefused("unknown-trust-domain", f"no bundle for {domain}; exchange roots first")
    path = _path(leaf, others, roots)
    validities = [_in_time(certificate, now_s) for certificate in (leaf, *path)]
    _check_leaf(leaf, usage)
    _check_authorities(path, identity)
    peer = VerifiedPeer(
        identity=identity,
        validity=_overlap(validities),
        serial=leaf.serial_number,
        authorities=tuple(fingerprint(authority) for authority in path),
        policy_version=policy_version,
    )
    reason = revocations.reason(identity, peer.serial, peer.authorities)
    if reason is not None:
        raise PeerRefused("revoked", reason)
    return peer


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the certificate, as hexadecimal text: how authorities are named in lists and
    audits.
    """
    return certificate.fingerprint(hashes.SHA256()).hex()


def _load(pem_chain: bytes) -> list[x509.Certificate]:
    if not 0 < len(pem_chain) <= MAX_CHAIN_BYTES:
        raise PeerRefused(
            "malformed", f"chain of {len(pem_chain)} bytes, at most {MAX_CHAIN_BYTES}"
        )
    try:
        given = x509.load_pem_x509_certificates(pem_chain)
    except UNREADABLE:
        raise PeerRefused("malformed", "not a chain of PEM certificates") from None
    chain = list(dict.fromkeys(given))  # a TLS library may repeat the leaf in its chain
    if len(chain) > MAX_CHAIN:
        raise PeerRefused("malformed", f"{len(chain)} certificates, at most {MAX_CHAIN}")
    return chain


def _path(
    leaf: x509.Certificate, others: Sequence[x509.Certificate], roots: Sequence[x509.Certificate]
) -> tuple[x509.Certificate, ...]:
    """The authorities from the leaf's signer up to a root of its own bundle. Only signatures
    count.
    """
    below = leaf
    used: list[x509.Certificate] = []
    while True:
        for root in roots:
            if signed_by(below, root):
                return (*used, root)
        signers = [other for other in others if other not in used and signed_by(below, other)]
        if not signers:
            raise PeerRefused("wrong-authority", "not signed by a root of its own trust domain")
        used.append(signers[0])
        below = signers[0]


def _in_time(certificate: x509.Certificate, now_s: float) -> Validity:
    """Its validity when ``now_s`` lies in it, give or take the skew."""
    validity = validity_of(certificate)
    subject = certificate.subject.rfc4514_string()
    if now_s < validity.not_before_s - SKEW_S:
        early_s = int(validity.not_before_s - now_s)
        raise PeerRefused("not-yet-valid", f"{subject} begins in {early_s} s; check both clocks")
    if now_s > validity.not_after_s + SKEW_S:
        late_s = int(now_s - validity.not_after_s)
        raise PeerRefused("expired", f"{subject} ended {late_s} s ago; enroll it again")
    return validity


def _overlap(validities: Sequence[Validity]) -> Validity:
    """When all of the chain is good: a leaf does not outlive its authority."""
    return Validity(
        max(validity.not_before_s for validity in validities),
        min(validity.not_after_s for validity in validities),
    )


def _check_leaf(leaf: x509.Certificate, usage: Usage) -> None:
    extensions = _extensions(leaf)
    constraints = _find(extensions, x509.BasicConstraints)
    key_usage = _find(extensions, x509.KeyUsage)
    if constraints is not None and constraints.ca:
        raise PeerRefused("not-a-leaf", "an authority does not speak for itself")
    if key_usage is None or key_usage.key_cert_sign or not key_usage.digital_signature:
        raise PeerRefused("wrong-usage", "key usage is digital signature, and not signing others")
    extended = _find(extensions, x509.ExtendedKeyUsage)
    if extended is None or USAGE_OIDS[usage] not in extended:
        raise PeerRefused("wrong-usage", f"not for use as a {usage.value}")
    _check_key(leaf)


def _check_authorities(path: Sequence[x509.Certificate], identity: Identity) -> None:
    """Each may sign, may have that many below it, and only for this trust domain and this tier."""
    for below, authority in enumerate(path):
        depth = _authority_depth(authority)
        if depth is None:
            raise PeerRefused("wrong-authority", "signed by a certificate that may not sign")
        if below > depth:
            raise PeerRefused("wrong-authority", "more authorities below it than it allows")
        _check_key(authority)
        _check_constraints(authority, identity)
    for tier in path[:-1]:
        names = tier.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        if [name.value for name in names] != [identity.realm]:
            raise PeerRefused("authority-scope", f'the signer is not the one of "{identity.realm}"')


def _check_constraints(authority: x509.Certificate, identity: Identity) -> None:
    """URI constraints must permit the trust domain itself; a constraint we cannot read refuses."""
    constraints = _find(_extensions(authority), x509.NameConstraints)
    if constraints is None:
        return
    permitted = [
        name.value
        for name in constraints.permitted_subtrees or ()
        if isinstance(name, x509.UniformResourceIdentifier)
    ]
    excluded = [
        name.value
        for name in constraints.excluded_subtrees or ()
        if isinstance(name, x509.UniformResourceIdentifier)
    ]
    if excluded or (permitted and identity.trust_domain.name not in permitted):
        domain = identity.trust_domain
        raise PeerRefused("authority-scope", f"the signer may not vouch for {domain}")


def _authority_depth(certificate: x509.Certificate) -> int | None:
    """How many authorities may stand below; None when it may not sign at all."""
    extensions = _extensions(certificate)
    constraints = _find(extensions, x509.BasicConstraints)
    key_usage = _find(extensions, x509.KeyUsage)
    if constraints is None or not constraints.ca:
        return None
    if key_usage is None or not key_usage.key_cert_sign:
        return None
    return MAX_CHAIN if constraints.path_length is None else constraints.path_length


def _check_root(root: x509.Certificate) -> None:
    subject = root.subject.rfc4514_string()
    try:
        _check_key(root)
        depth = _authority_depth(root)
    except PeerRefused as refused:
        raise BundleRefused("root", subject, refused.detail) from None
    if depth is None:
        raise BundleRefused("root", subject, "a certificate that may sign others")


def _check_key(certificate: x509.Certificate) -> None:
    try:
        key, hashed = certificate.public_key(), certificate.signature_hash_algorithm
    except UNREADABLE:
        raise PeerRefused("weak-key", "an unknown kind of key or signature") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in CURVES:
        raise PeerRefused("weak-key", "keys are EC on P-256 or P-384")
    if not isinstance(hashed, hashes.SHA256 | hashes.SHA384):
        raise PeerRefused("weak-key", "signatures use SHA-256 or SHA-384")


def _extensions(certificate: x509.Certificate) -> x509.Extensions:
    """All extensions; an unreadable one, or a critical one we do not understand, refuses."""
    try:
        extensions = certificate.extensions
    except UNREADABLE_EXTENSIONS as error:
        raise PeerRefused("malformed", f"extensions: {error}") from None
    for extension in extensions:
        if extension.critical and extension.oid not in _UNDERSTOOD:
            raise PeerRefused(
                "critical-extension", f"not understood: {extension.oid.dotted_string}"
            )
    return extensions


def _find(extensions: x509.Extensions, kind: type[Value]) -> Value | None:
    try:
        return extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
