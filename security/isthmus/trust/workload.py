"""What one process holds to prove who it is: a directory of four PEM files (DESIGN sections 5
and 8).

    key.pem         its private key, mode 0600
    cert.pem        its leaf, then its tier's authority
    ca.pem          the roots of its own trust domain: what it checks its own tier's servers with
    authority.pem   its tier's authority alone: what the tier's etcd takes as ``--trusted-ca-file``, so that nobody of
                    another site is anybody there

A renewal changes key and certificate together: the files are links through ``current``, which is
swapped in one step. Directories made by hand, with plain files, are read as well.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from isthmus.identity import LEAF_ROTATION, Identity, LeafRequest, Stage, Validity, stage
from isthmus.trust import ca, files
from isthmus.trust.errors import FileRefused, PeerRefused
from isthmus.trust.names import UNREADABLE, identity_of, validity_of

KEY: Final = "key.pem"
CERT: Final = "cert.pem"
CA: Final = "ca.pem"
AUTHORITY: Final = "authority.pem"
CURRENT: Final = "current"
_NAMES: Final = (KEY, CERT, CA, AUTHORITY)
_RE_ENROLL: Final = "enroll this process again"


@dataclass(frozen=True, slots=True)
class KeyAndCert:
    """A key with the chain that proves an identity. ``key_pem`` never shows up in a ``repr``."""

    identity: Identity
    validity: Validity
    serial: int
    cert_pem: bytes
    ca_pem: bytes
    authority_pem: bytes
    _key_pem: bytes

    @property
    def key_pem(self) -> bytes:
        """The private key, PKCS 8."""
        return self._key_pem

    @property
    def leaf(self) -> x509.Certificate:
        """The first certificate of the chain."""
        return x509.load_pem_x509_certificate(self.cert_pem)

    def __repr__(self) -> str:
        return f"KeyAndCert({self.identity}, serial {self.serial:x}, {self.validity})"

    def stage(self, now_s: float, spread: float = 0.0) -> Stage:
        """Whether it is time to renew."""
        return stage(self.validity, LEAF_ROTATION, now_s, spread=spread)


@dataclass(frozen=True, slots=True)
class Paths:
    """Where the files of one process lie; what etcd, etcdctl and the store client are told."""

    directory: Path

    @property
    def key(self) -> Path:
        """``--key-file``."""
        return self.directory / KEY

    @property
    def cert(self) -> Path:
        """``--cert-file``."""
        return self.directory / CERT

    @property
    def ca(self) -> Path:
        """``--cacert`` of a client."""
        return self.directory / CA

    @property
    def authority(self) -> Path:
        """``--trusted-ca-file`` of a tier's etcd."""
        return self.directory / AUTHORITY


def issue(
    authority: ca.Authority,
    request: LeafRequest,
    key: ca.PrivateKey,
    *,
    ca_pem: bytes,
    now_s: float,
    serial: int,
) -> KeyAndCert:
    """A leaf for ``request`` and ``key`` with everything its holder needs beside it."""
    leaf = ca.issue_leaf(authority, request, key.public_key(), now_s=now_s, serial=serial)
    return from_certificate(authority, leaf, key, ca_pem=ca_pem)


def from_certificate(
    authority: ca.Authority, leaf: x509.Certificate, key: ca.PrivateKey, *, ca_pem: bytes
) -> KeyAndCert:
    """What the holder of ``key`` keeps once ``leaf`` was issued for it."""
    return KeyAndCert(
        identity=identity_of(leaf),
        validity=validity_of(leaf),
        serial=leaf.serial_number,
        cert_pem=ca.pem([leaf, *authority.chain]),
        ca_pem=ca_pem,
        authority_pem=ca.pem([authority.certificate]),
        _key_pem=ca.key_pem(key),
    )


def save(holder: KeyAndCert, directory: Path) -> Paths:
    """Write the four files; key and certificate change in one step, also for a reader in
    between.
    """
    files.make_directory(directory)
    generation = f"{CURRENT}-{holder.serial:x}"
    place = files.make_directory(directory / generation)
    files.write_secret(place / KEY, holder.key_pem)
    files.write_public(place / CERT, holder.cert_pem)
    files.write_public(place / CA, holder.ca_pem)
    files.write_public(place / AUTHORITY, holder.authority_pem)
    before = _generation(directory)
    files.swap_link(directory / CURRENT, generation)
    for name in _NAMES:
        if not (directory / name).is_symlink():
            files.swap_link(directory / name, f"{CURRENT}/{name}")
    for old in directory.glob(f"{CURRENT}-*"):
        if old.name not in (generation, before):  # a reader may still be in the one before
            shutil.rmtree(old)
    return Paths(directory)


def load(directory: Path) -> KeyAndCert:
    """Read and check: modes, that the key belongs to the certificate, that it proves exactly one
    identity.
    """
    generation = _generation(directory)
    place = directory / generation if generation else directory
    key_bytes = files.read_secret(place / KEY)
    cert_pem, ca_pem = files.read_public(place / CERT), files.read_public(place / CA)
    authority = place / AUTHORITY
    authority_pem = files.read_public(authority) if authority.exists() else ca_pem
    try:
        key = serialization.load_pem_private_key(key_bytes, password=None)
        leaf = x509.load_pem_x509_certificate(cert_pem)
        identity = identity_of(leaf)
    except UNREADABLE:
        raise FileRefused(directory, "key or certificate is not PEM", _RE_ENROLL) from None
    except PeerRefused as refused:
        raise FileRefused(place / CERT, refused.detail, _RE_ENROLL) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != leaf.public_key():
        raise FileRefused(place / KEY, "it is not the key of cert.pem", _RE_ENROLL)
    return KeyAndCert(
        identity=identity,
        validity=validity_of(leaf),
        serial=leaf.serial_number,
        cert_pem=cert_pem,
        ca_pem=ca_pem,
        authority_pem=authority_pem,
        _key_pem=key_bytes,
    )


def _generation(directory: Path) -> str:
    """The name of the directory behind ``current``; empty when there is none."""
    link = directory / CURRENT
    return Path(link.readlink()).name if link.is_symlink() else ""
