"""Reading names out of certificates, for holders and verifiers alike (GUARANTEES attack 2).

The identity is the one URI among the alternative names. The common name is never read as one:
the TLS layer below lets a certificate through that has nothing else (measured), which is exactly
why this module exists.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from isthmus.identity import Identity, IdentityRefused, Validity, visible
from isthmus.trust.errors import PeerRefused

LEAF_PROPERTY: Final = "x509_pem_cert"
CHAIN_PROPERTY: Final = "x509_pem_cert_chain"
UNREADABLE: Final = (ValueError, TypeError, x509.InvalidVersion, UnsupportedAlgorithm)
"""All that the parser below raises for foreign bytes; its tree has no common base (found by
fuzzing).
"""
UNREADABLE_EXTENSIONS: Final = (
    *UNREADABLE,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


def identity_of(leaf: x509.Certificate) -> Identity:
    """The identity in the single URI name of ``leaf``, or :class:`PeerRefused`."""
    uris = uris_of(leaf)
    if not uris:
        raise PeerRefused("no-uri-san", "the certificate names nobody: it has no URI name")
    if len(uris) > 1:
        shown = ", ".join(visible(uri, 80) for uri in uris[:3])
        raise PeerRefused("many-uri-sans", f"{len(uris)} URI names, one is allowed: {shown}")
    try:
        return Identity.parse(uris[0])
    except IdentityRefused as refused:
        raise PeerRefused("identity-refused", str(refused)) from None


def uris_of(leaf: x509.Certificate) -> list[str]:
    """All URI names; a certificate whose extensions cannot be read is malformed."""
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    except UNREADABLE_EXTENSIONS as error:
        raise PeerRefused("malformed", f"alternative names: {error}") from None
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def validity_of(certificate: x509.Certificate) -> Validity:
    """When the certificate is good, in seconds since the epoch."""
    try:
        return Validity(
            certificate.not_valid_before_utc.timestamp(),
            certificate.not_valid_after_utc.timestamp(),
        )
    except ValueError as error:
        raise PeerRefused("malformed", f"validity: {error}") from None


def presented_chain(auth_context: Mapping[str, Iterable[bytes]]) -> bytes:
    """The PEM chain of a gRPC peer (``context.auth_context()``): its leaf, then what it sent
    besides.
    """
    leaf = b"".join(auth_context.get(LEAF_PROPERTY, ()))
    rest = b"".join(auth_context.get(CHAIN_PROPERTY, ()))
    return leaf + b"\n" + rest if leaf else b""
