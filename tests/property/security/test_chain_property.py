"""Chains with random damage: refused in a typed way or still the same identity, never anything
else.
"""

from __future__ import annotations

import base64
import warnings

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support_certificates import CARRIER, NOW_S, PARTNER, Operator, bundles

from isthmus.trust import PeerRefused, ca, verify_peer

US = Operator(CARRIER)
BUNDLES = bundles(US, Operator(PARTNER))
CHAIN = x509.load_pem_x509_certificates(US.issue()[1])
DER = [certificate.public_bytes(serialization.Encoding.DER) for certificate in CHAIN]


def pem_of(der: bytes) -> bytes:
    """Any bytes in the clothes of a certificate."""
    body = base64.encodebytes(der)
    return b"-----BEGIN CERTIFICATE-----\n" + body + b"-----END CERTIFICATE-----\n"


@settings(max_examples=600)
@given(st.integers(0, 1), st.integers(0, 2_000), st.integers(1, 255))
def test_a_flipped_byte_never_changes_who_it_is(which: int, position: int, flip: int) -> None:
    """Signature, name, key, extension: any byte of leaf or signer."""
    damaged = bytearray(DER[which])
    damaged[position % len(damaged)] ^= flip
    parts = [pem_of(bytes(damaged)), pem_of(DER[1 - which])]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the parser warns of odd serials before we refuse them
            identity = verify_peer(b"".join(parts if which == 0 else parts[::-1]), BUNDLES, NOW_S)
    except PeerRefused:
        return
    assert identity == US.identity()


@settings(max_examples=200)
@given(st.binary(max_size=300))
def test_random_bytes_are_refused_in_a_typed_way(junk: bytes) -> None:
    """As PEM body or as the whole: PeerRefused, and nothing else, ever."""
    for chain in (junk, pem_of(junk)):
        try:
            verify_peer(chain, BUNDLES, NOW_S)
        except PeerRefused as refused:
            assert refused.code == "malformed"  # noqa: PT017
        else:
            raise AssertionError("random bytes are nobody")


@given(st.permutations(list(range(2))), st.booleans())
def test_only_a_chain_that_starts_with_the_leaf_is_one(order: list[int], with_root: bool) -> None:
    """The first certificate is who speaks; the order of the rest does not matter."""
    parts = [CHAIN[index] for index in order] + ([US.root.certificate] if with_root else [])
    try:
        assert verify_peer(ca.pem(parts), BUNDLES, NOW_S) == US.identity()
        assert order == [0, 1]
    except PeerRefused:
        assert order == [1, 0]
