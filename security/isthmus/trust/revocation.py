"""Who is no longer trusted, as a small local list (GUARANTEES attack 5, G9).

A list names leaves by trust domain and serial, identities, and authorities by fingerprint. It is
a file an operator edits, or the same bytes signed by a root of the trust domain they speak
about, when they come from elsewhere; a signed list can revoke only its own trust domain.
Versions only rise: an old list replayed would un-revoke. Lists are small, because leaves live
for hours; an entry may go once what it names has expired.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from isthmus.identity import Identity, IdentityRefused, TrustDomain, TrustDomainRefused
from isthmus.trust import files
from isthmus.trust.errors import RevocationRefused

MAX_ENTRIES: Final = 10_000
_CONTEXT: Final = b"isthmus revocation list v1\n"
"""Signed together with the list, so that no other bytes signed by that key can ever read as one."""
_FIELDS: Final = frozenset({"version", "as_of_s", "serials", "identities", "authorities"})


@dataclass(frozen=True, slots=True)
class RevocationList:
    """``serials`` are (trust domain, serial); ``as_of_s`` is when its issuer last looked."""

    version: int
    as_of_s: float
    serials: frozenset[tuple[str, int]] = frozenset()
    identities: frozenset[str] = frozenset()
    authorities: frozenset[str] = frozenset()

    def reason(
        self, identity: Identity, serial: int, authorities: Iterable[str] = ()
    ) -> str | None:
        """Why this certificate counts no more; None when the list does not name it."""
        if (identity.trust_domain.name, serial) in self.serials:
            return f"certificate {serial:x} of {identity} is revoked (list {self.version})"
        if str(identity) in self.identities:
            return f"identity {identity} is revoked (list {self.version})"
        for authority in authorities:
            if authority in self.authorities:
                return f"authority {authority[:16]} is revoked (list {self.version})"
        return None

    def age_s(self, now_s: float) -> float:
        """How old the knowledge is; never negative."""
        return max(0.0, now_s - self.as_of_s)

    def to_json(self) -> bytes:
        """The file format: sorted, so equal lists are equal bytes."""
        body = {
            "version": self.version,
            "as_of_s": self.as_of_s,
            "serials": sorted([domain, format(serial, "x")] for domain, serial in self.serials),
            "identities": sorted(self.identities),
            "authorities": sorted(self.authorities),
        }
        return json.dumps(body, indent=1, sort_keys=True).encode() + b"\n"


NONE_REVOKED: Final = RevocationList(version=0, as_of_s=0.0)


def parse(data: bytes) -> RevocationList:
    """A list from its file format; every field typed and bounded, unknown fields refused."""
    if len(data) > files.MAX_FILE_BYTES:
        raise RevocationRefused(f"revocation list of {len(data)} bytes; split it or let it expire")
    try:
        body = json.loads(data)
        if not isinstance(body, dict) or not set(body) <= _FIELDS:
            raise ValueError(f"an object with the fields {', '.join(sorted(_FIELDS))}")
        if (
            sum(len(_list(body, name)) for name in ("serials", "identities", "authorities"))
            > MAX_ENTRIES
        ):
            raise ValueError(f"at most {MAX_ENTRIES} entries")
        return RevocationList(
            version=_version(body),
            as_of_s=_moment(body),
            serials=frozenset(_serial(entry) for entry in _list(body, "serials")),
            identities=frozenset(
                str(Identity.parse(_text(uri))) for uri in _list(body, "identities")
            ),
            authorities=frozenset(_fingerprint(entry) for entry in _list(body, "authorities")),
        )
    except (ValueError, RecursionError, IdentityRefused, TrustDomainRefused) as error:
        raise RevocationRefused(f"revocation list refused: {error}") from None


def load(path: Path) -> RevocationList:
    """The list in a local file that nobody else can write."""
    return parse(files.read_public(path))


def save(path: Path, revoked: RevocationList) -> None:
    """Write the file :func:`load` reads, whole or not at all."""
    files.write_public(path, revoked.to_json())


def revoke(
    current: RevocationList,
    now_s: float,
    *,
    serials: Iterable[tuple[str, int]] = (),
    identities: Iterable[Identity] = (),
    authorities: Iterable[str] = (),
) -> RevocationList:
    """The next version of ``current``, with these added; with nothing to add it is only fresher."""
    return RevocationList(
        current.version + 1,
        now_s,
        current.serials | frozenset(serials),
        current.identities | {str(identity) for identity in identities},
        current.authorities | frozenset(authorities),
    )


def newer(current: RevocationList, offered: RevocationList) -> RevocationList:
    """``offered`` when it is not older than ``current``; a step back is refused (replay would
    un-revoke).
    """
    if offered.version < current.version:
        raise RevocationRefused(
            f"revocation list {offered.version} is older than {current.version}, which stays in force"
        )
    if offered.version == current.version and _content(offered) != _content(current):
        raise RevocationRefused(f"two different lists with version {current.version}: raise it")
    return offered


def sign(revoked: RevocationList, key: ec.EllipticCurvePrivateKey) -> bytes:
    """The list with a signature, to be handed to others."""
    data = revoked.to_json()
    signature = key.sign(_CONTEXT + data, ec.ECDSA(hashes.SHA256()))
    envelope = {"list": data.decode(), "signature": base64.b64encode(signature).decode()}
    return json.dumps(envelope).encode()


def parse_signed(
    data: bytes, trust_domain: TrustDomain, roots: Iterable[x509.Certificate]
) -> RevocationList:
    """A list that a root of ``trust_domain`` signed; it may speak about its own trust domain
    only.
    """
    if len(data) > 2 * files.MAX_FILE_BYTES:
        raise RevocationRefused(f"signed list of {len(data)} bytes is too large")
    try:
        envelope = json.loads(data)
        text = _text(envelope["list"]).encode()
        signature = base64.b64decode(_text(envelope["signature"]), validate=True)
    except (ValueError, TypeError, KeyError, RecursionError, binascii.Error):
        raise RevocationRefused("signed list: an object with list and signature") from None
    if not any(_signed(root, signature, text) for root in roots):
        raise RevocationRefused(f"signed list: no root of {trust_domain} made this signature")
    revoked = parse(text)
    foreign = {domain for domain, _ in revoked.serials} - {trust_domain.name}
    foreign |= {
        uri for uri in revoked.identities if Identity.parse(uri).trust_domain != trust_domain
    }
    if foreign:
        raise RevocationRefused(f"signed list of {trust_domain} revokes others: {min(foreign)}")
    return revoked


def merge(lists: Iterable[RevocationList]) -> RevocationList:
    """All lists in force as one; its version is their sum (it rises when any rises), its age the
    oldest.
    """
    found = list(lists)
    if not found:
        return NONE_REVOKED
    return RevocationList(
        version=sum(one.version for one in found),
        as_of_s=min(one.as_of_s for one in found),
        serials=frozenset().union(*(one.serials for one in found)),
        identities=frozenset().union(*(one.identities for one in found)),
        authorities=frozenset().union(*(one.authorities for one in found)),
    )


def _content(revoked: RevocationList) -> tuple[object, ...]:
    return revoked.serials, revoked.identities, revoked.authorities


def _signed(root: x509.Certificate, signature: bytes, text: bytes) -> bool:
    key = root.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return False
    try:
        key.verify(signature, _CONTEXT + text, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def _version(body: dict[str, Any]) -> int:
    version = body.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or not 0 < version < 2**63:
        raise ValueError("version: a whole number from 1")
    return version


def _moment(body: dict[str, Any]) -> float:
    moment = body.get("as_of_s")
    if isinstance(moment, bool) or not isinstance(moment, int | float) or not 0 <= moment < 1e11:
        raise ValueError("as_of_s: seconds since the epoch")
    return float(moment)


def _list(body: dict[str, Any], name: str) -> list[Any]:
    found = body.get(name, [])
    if not isinstance(found, list):
        raise ValueError(f"{name}: a list")
    return found


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("an entry is text")
    return value


def _serial(entry: object) -> tuple[str, int]:
    if not isinstance(entry, list) or len(entry) != 2:
        raise ValueError("serials: pairs of trust domain and hexadecimal serial")
    text = _text(entry[1])
    if not 0 < len(text) <= 40 or set(text) - set("0123456789abcdef"):
        raise ValueError("serials: lower-case hexadecimal, at most 40 digits")
    return TrustDomain(_text(entry[0])).name, int(text, 16)


def _fingerprint(entry: object) -> str:
    text = _text(entry)
    if len(text) != 64 or set(text) - set("0123456789abcdef"):
        raise ValueError("authorities: SHA-256 as 64 lower-case hexadecimal digits")
    return text
