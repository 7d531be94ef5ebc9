"""Detached signatures of a trust domain under a document, by its root's key (export agreements; DESIGN section 6).

A root signs rarely and by a person's hand, which is what an agreement between operators wants; whoever pinned the
domain's bundle for the handshake can check it, and a rotated root's signatures hold as long as the root is in the
bundle. ``context`` goes in front of the bytes, so that nothing signed for one purpose reads as another. Keys are
ECDSA over P-256 or P-384, as our authorities have, or Ed25519 where an operator's own root has one.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from isthmus.trust.bundle import fingerprint

MAX_SIGNATURE_TEXT = 512
"""Base64 of an ECDSA signature over P-384 has 140 characters."""
SigningKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def sign_detached(key: SigningKey, context: bytes, document: bytes) -> str:
    """The signature as base64 text."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        made = key.sign(context + document)
    else:
        made = key.sign(context + document, ec.ECDSA(hashes.SHA256()))
    return base64.b64encode(made).decode("ascii")


def signer_of(
    signature: str, context: bytes, document: bytes, roots: Iterable[x509.Certificate]
) -> str | None:
    """The fingerprint of the root among ``roots`` whose key made ``signature``; None when none did, or when it is no
    signature at all.
    """
    if len(signature) > MAX_SIGNATURE_TEXT:
        return None
    try:
        made = base64.b64decode(signature, validate=True)
    except (ValueError, binascii.Error):
        return None
    for root in roots:
        if _made_by(root, made, context + document):
            return fingerprint(root)
    return None


def _made_by(root: x509.Certificate, signature: bytes, signed: bytes) -> bool:
    key = root.public_key()
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, signed)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, signed, ec.ECDSA(hashes.SHA256()))
        else:
            return False
    except InvalidSignature:
        return False
    return True
