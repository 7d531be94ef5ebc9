"""Verifying a chain by hand-made rules: each rule has a certificate that breaks only it."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from tests.support_certificates import (
    CARRIER,
    DAY_S,
    NOW_S,
    PARTNER,
    Operator,
    bundles,
    forge,
    serial,
    uri,
)

from isthmus.identity import Usage
from isthmus.trust import BundleRefused, PeerRefused, TrustBundles, ca, verify_chain, verify_peer
from isthmus.trust.bundle import fingerprint
from isthmus.trust.revocation import RevocationList

US, THEM = Operator(CARRIER), Operator(PARTNER)
BUNDLES = bundles(US, THEM)
SITE_A = US.tiers["site/a"]
GOOD = uri("spiffe://carrier.example/site/a/federation")


def refused(chain: bytes, **options: object) -> str:
    """The code a chain is refused with."""
    with pytest.raises(PeerRefused) as caught:
        verify_peer(chain, BUNDLES, NOW_S, **options)  # type: ignore[arg-type]
    return caught.value.code


def of(signer: ca.Authority, certificate: x509.Certificate) -> bytes:
    """The chain a peer would present."""
    return ca.pem([certificate, *signer.chain])


def test_an_honest_peer_is_who_it_is() -> None:
    """From either operator, as client and as server."""
    for operator in (US, THEM):
        _, chain = operator.issue()
        for usage in Usage:
            assert verify_peer(chain, BUNDLES, NOW_S, usage=usage) == operator.identity()


def test_what_was_proven_is_kept_for_the_watchdog() -> None:
    """Serial, the end of the whole chain, and the authorities by fingerprint."""
    _, chain = US.issue()
    peer = verify_chain(chain, BUNDLES, NOW_S, policy_version=9)
    leaf = x509.load_pem_x509_certificate(chain)
    assert (peer.serial, peer.policy_version) == (leaf.serial_number, 9)
    assert peer.validity.not_after_s == NOW_S + DAY_S
    assert peer.authorities == (
        fingerprint(SITE_A.certificate),
        fingerprint(US.root.certificate),
    )


def test_the_chain_ends_with_its_first_certificate_to_end() -> None:
    """A leaf that outlives its signer is good only as long as the signer."""
    short = Operator(CARRIER)
    _, leaf = forge(short.tiers["site/a"], [GOOD], life_s=400 * DAY_S)
    peer = verify_chain(of(short.tiers["site/a"], leaf), bundles(short), NOW_S)
    assert peer.validity.not_after_s == NOW_S + 90 * DAY_S


def test_a_leaf_repeated_in_the_chain_is_one_leaf() -> None:
    """A TLS library hands over leaf and chain, and on one side the chain has the leaf again."""
    _, chain = US.issue()
    leaf = ca.pem([x509.load_pem_x509_certificate(chain)])
    assert verify_peer(leaf + chain, BUNDLES, NOW_S) == US.identity()


@pytest.mark.parametrize(
    ("offset_s", "code"),
    [(-60, None), (-61, "not-yet-valid"), (DAY_S + 60, None), (DAY_S + 61, "expired")],
)
def test_sixty_seconds_of_skew_and_no_more(offset_s: float, code: str | None) -> None:
    """Both sides of both ends (attack 17)."""
    _, leaf = forge(SITE_A, [GOOD])
    chain = of(SITE_A, leaf)
    if code is None:
        assert verify_peer(chain, BUNDLES, NOW_S + offset_s)
        return
    with pytest.raises(PeerRefused) as caught:
        verify_peer(chain, BUNDLES, NOW_S + offset_s)
    assert caught.value.code == code


def test_an_expired_authority_takes_its_leaves_along() -> None:
    """The leaf may be young: its signer is not believed any more."""
    _, leaf = forge(SITE_A, [GOOD], now_s=NOW_S + 90 * DAY_S)
    with pytest.raises(PeerRefused) as caught:
        verify_peer(of(SITE_A, leaf), BUNDLES, NOW_S + 90 * DAY_S + 120)
    assert caught.value.code == "expired"


@pytest.mark.parametrize(
    ("usages", "usage", "code"),
    [
        ([ExtendedKeyUsageOID.SERVER_AUTH], Usage.CLIENT, "wrong-usage"),
        ([ExtendedKeyUsageOID.CLIENT_AUTH], Usage.SERVER, "wrong-usage"),
        ([], Usage.CLIENT, "wrong-usage"),
        ([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE], Usage.CLIENT, "wrong-usage"),
        ([ExtendedKeyUsageOID.CLIENT_AUTH], Usage.CLIENT, None),
    ],
)
def test_usage_is_exact(
    usages: list[x509.ObjectIdentifier], usage: Usage, code: str | None
) -> None:
    """A server-only certificate is no client; 'any' is not a usage of ours."""
    _, leaf = forge(SITE_A, [GOOD], usages=usages)
    if code is None:
        assert verify_peer(of(SITE_A, leaf), BUNDLES, NOW_S, usage=usage)
    else:
        assert refused(of(SITE_A, leaf), usage=usage) == code


def test_an_authority_is_nobody() -> None:
    """A signer's certificate with an identity in it must not be a way in."""
    _, signer = forge(SITE_A, [GOOD], may_sign=True)
    assert refused(of(SITE_A, signer)) == "not-a-leaf"


def test_a_leaf_signs_nobody() -> None:
    """A process that was handed a leaf cannot make others."""
    key, leaf = forge(SITE_A, [GOOD])
    thief = ca.Authority(CARRIER, "site/a", leaf, key, (SITE_A.certificate, US.root.certificate))
    _, forged = forge(thief, [GOOD])
    assert refused(ca.pem([forged, *thief.chain])) == "wrong-authority"


def test_a_tier_makes_no_further_authority() -> None:
    """Path length 0 below a tier: even a willing one cannot delegate."""
    key, signer = forge(SITE_A, may_sign=True, common_name="site/a", usages=[])
    below = ca.Authority(CARRIER, "site/a", signer, key, (SITE_A.certificate, US.root.certificate))
    _, forged = forge(below, [GOOD])
    assert refused(ca.pem([forged, *below.chain])) == "wrong-authority"


def test_a_tier_signs_for_its_own_tier_only() -> None:
    """Site b's authority, fully trusted as such, naming a process of site a or of the global
    tier.
    """
    site_b = US.tiers["site/b"]
    for text in (GOOD.value, "spiffe://carrier.example/global/gateway"):
        _, leaf = forge(site_b, [uri(text)])
        assert refused(of(site_b, leaf)) == "authority-scope"


def test_keys_of_other_kinds_are_refused() -> None:
    """RSA and odd curves: not what we issue, so somebody else made it."""
    for key in (rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP256K1())):
        _, leaf = forge(SITE_A, [GOOD], key=key)  # type: ignore[arg-type]
        assert refused(of(SITE_A, leaf)) == "weak-key"


def test_an_authority_with_a_key_of_another_kind_is_refused() -> None:
    """A chain is as weak as its weakest key, also when the leaf's is good."""
    weak = rsa.generate_private_key(65537, 2048)
    key: ca.PrivateKey = weak  # type: ignore[assignment]
    _, tier = forge(US.root, may_sign=True, usages=[], common_name="site/a", key=key)
    signer = ca.Authority(CARRIER, "site/a", tier, key, (US.root.certificate,))
    _, leaf = forge(signer, [GOOD])
    assert refused(ca.pem([leaf, tier])) == "weak-key"


def test_a_leaf_whose_key_may_sign_others_is_refused() -> None:
    """Basic constraints say leaf, key usage says authority: contradictions are not interpreted."""
    _, leaf = forge(SITE_A, [GOOD], signing_usage=True)
    assert refused(of(SITE_A, leaf)) == "wrong-usage"


def test_an_authority_whose_key_may_not_sign_is_refused() -> None:
    """The other way round."""
    key, tier = forge(US.root, may_sign=True, usages=[], common_name="site/a", signing_usage=False)
    signer = ca.Authority(CARRIER, "site/a", tier, key, (US.root.certificate,))
    _, leaf = forge(signer, [GOOD])
    assert refused(ca.pem([leaf, tier])) == "wrong-authority"


def test_a_root_filed_under_the_wrong_domain_vouches_for_nobody() -> None:
    """An operator's mistake: the partner's root pasted as ours. Its own constraints still hold."""
    mixed = TrustBundles.of_pem(1, {CARRIER: THEM.bundle_pem})
    _, leaf = forge(THEM.root, [GOOD])
    with pytest.raises(PeerRefused) as caught:
        verify_peer(ca.pem([leaf]), mixed, NOW_S)
    assert caught.value.code == "authority-scope"


def test_excluded_names_are_not_interpreted() -> None:
    """We never issue exclusions; a signer that has some is refused instead of half understood."""
    excluded = x509.NameConstraints(None, [uri("elsewhere.example")])
    key, tier = forge(US.root, may_sign=True, usages=[], common_name="site/a", critical=excluded)
    signer = ca.Authority(CARRIER, "site/a", tier, key, (US.root.certificate,))
    _, leaf = forge(signer, [GOOD])
    assert refused(ca.pem([leaf, tier])) == "authority-scope"


def test_critical_extensions_that_are_not_understood_refuse() -> None:
    """That is what critical means; a policy we cannot read might forbid this very use."""
    strange = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
    _, leaf = forge(SITE_A, [GOOD], critical=strange)
    assert refused(of(SITE_A, leaf)) == "critical-extension"


@pytest.mark.parametrize("chain", [b"", b"junk", b"x" * 40_000])
def test_what_is_no_chain_is_malformed(chain: bytes) -> None:
    """Typed and cheap, whatever the bytes."""
    assert refused(chain) == "malformed"


def test_a_long_chain_is_refused_before_it_is_walked() -> None:
    """A limit on everything."""
    padding = [forge(SITE_A, [GOOD])[1] for _ in range(4)]
    assert refused(ca.pem([*padding, SITE_A.certificate])) == "malformed"


def test_revoked_by_serial_identity_or_authority() -> None:
    """Three ways to say it, one code; another trust domain's same serial is somebody else."""
    _, chain = US.issue()
    number = x509.load_pem_x509_certificate(chain).serial_number
    name, root = str(US.identity()), fingerprint(US.root.certificate)
    for revoked in (
        RevocationList(1, NOW_S, serials=frozenset({("carrier.example", number)})),
        RevocationList(1, NOW_S, identities=frozenset({name})),
        RevocationList(1, NOW_S, authorities=frozenset({root})),
    ):
        assert refused(chain, revocations=revoked) == "revoked"
    foreign = RevocationList(1, NOW_S, serials=frozenset({("partner.example", number)}))
    assert verify_peer(chain, BUNDLES, NOW_S, revocations=foreign)


def test_a_renewed_root_is_trusted_beside_the_old_one() -> None:
    """Rotation: old and new in the bundle, leaves of both come in; with the old gone, only the
    new.
    """
    renewed = Operator(CARRIER)
    both = BUNDLES.with_roots(CARRIER, [US.root.certificate, renewed.root.certificate])
    for operator in (US, renewed):
        assert verify_peer(operator.issue()[1], both, NOW_S)
    after = both.with_roots(CARRIER, [renewed.root.certificate])
    assert after.version == BUNDLES.version + 2
    assert verify_peer(renewed.issue()[1], after, NOW_S)
    with pytest.raises(PeerRefused) as caught:
        verify_peer(US.issue()[1], after, NOW_S)
    assert caught.value.code == "wrong-authority"


def test_a_root_issues_directly_too() -> None:
    """A partner with one authority needs no tiers."""
    _, leaf = forge(THEM.root, [uri("spiffe://partner.example/site/x/federation")])
    assert verify_peer(ca.pem([leaf]), BUNDLES, NOW_S).site == "x"


def test_bundles_that_cannot_be_are_refused_at_load() -> None:
    """Found when an operator pastes it, not at the first handshake."""
    leaf = x509.load_pem_x509_certificate(US.issue()[1])
    root = US.root.certificate
    with pytest.raises(BundleRefused, match="may sign"):
        TrustBundles(1, {CARRIER: (leaf,)})
    with pytest.raises(BundleRefused, match="one root vouches"):
        TrustBundles(1, {CARRIER: (root,), PARTNER: (root,)})
    with pytest.raises(BundleRefused, match="1 to 8"):
        TrustBundles(1, {CARRIER: ()})
    with pytest.raises(BundleRefused, match="PEM"):
        TrustBundles.of_pem(1, {CARRIER: b"junk"})


def test_serials_of_the_test_operator_differ() -> None:
    """The tests above revoke by serial, so this has to hold for them to mean anything."""
    assert serial() != serial()
