"""What a certificate of ours looks like, as data with the reason of each choice (DESIGN sections
4 and 6).

Issuer and verifier read the same profiles, so what is issued and what is accepted cannot drift
apart. Lifetimes are short instead of revocation being clever: a stolen leaf is worth hours, and
rotation is exercised every day.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from enum import Enum
from typing import Final

from isthmus.identity.errors import ProfileRefused
from isthmus.identity.spiffe import Identity, dns_name

MINUTE_S: Final = 60
HOUR_S: Final = 60 * MINUTE_S
DAY_S: Final = 24 * HOUR_S

SKEW_S: Final = 60
"""Clocks of two operators may differ by this much and no more (attack 17). Issuers date back by
it, because the TLS stacks below us have no tolerance; our verifier allows it again.
"""

LOCALHOST: Final = "localhost"
"""The only DNS name outside the trust domain: a site's etcd is dialled on the loopback."""


class Usage(Enum):
    """Extended key usage: what a leaf may be in a handshake."""

    CLIENT = "client"
    SERVER = "server"


@dataclass(frozen=True, slots=True)
class CertificateProfile:
    """One kind of certificate. ``path_length`` is how many authorities may stand below it (None:
    it is a leaf).
    """

    name: str
    lifetime_s: int
    path_length: int | None
    usages: frozenset[Usage]
    max_server_names: int
    reason: str
    backdate_s: int = SKEW_S
    curve: str = "secp256r1"

    @property
    def is_authority(self) -> bool:
        """True when it signs others, and then never speaks for itself."""
        return self.path_length is not None


ROOT_AUTHORITY: Final = CertificateProfile(
    "root-authority",
    lifetime_s=365 * DAY_S,
    path_length=1,
    usages=frozenset(),
    max_server_names=0,
    reason="one per trust domain, pinned in the others' bundles: changing it needs both operators, "
    "so it is rare; path length 1 leaves room for the tier authorities and nothing below them",
)
TIER_AUTHORITY: Final = CertificateProfile(
    "tier-authority",
    lifetime_s=90 * DAY_S,
    path_length=0,
    usages=frozenset(),
    max_server_names=0,
    reason="one per site and for the global tier: a tier's etcd trusts only its own, so a "
    "'placer' of one site is nobody in another's store; renewed without touching bundles",
)
LEAF: Final = CertificateProfile(
    "leaf",
    lifetime_s=DAY_S,
    path_length=None,
    usages=frozenset(Usage),
    max_server_names=16,
    reason="24 h: a cut-off site has its own authority and renews alone, a thief has a day; both usages, "
    "because a gateway is server to one peer and client of its own store with one identity",
)
SHORT_LEAF: Final = CertificateProfile(
    "short-leaf",
    lifetime_s=HOUR_S,
    path_length=None,
    usages=frozenset(Usage),
    max_server_names=16,
    reason="partners' links: their revocation list may be late by its refresh, an hour bounds it",
)
PROFILES: Final = {
    profile.name: profile for profile in (ROOT_AUTHORITY, TIER_AUTHORITY, LEAF, SHORT_LEAF)
}


@dataclass(frozen=True, slots=True)
class LeafRequest:
    """What a leaf shall say: exactly one identity, and the names a server is dialled under.

    The identity's own server name is always among the DNS names (see :attr:`all_dns_names`).
    Further ones lie in the tier's domain or are ``localhost``; wildcards are refused. Addresses
    are for people with ``curl``: a peer checks the name, since no authority is constrained to
    addresses (the TLS stack below gRPC cannot do it).
    """

    identity: Identity
    dns_names: tuple[str, ...] = ()
    ip_addresses: tuple[str, ...] = ()
    profile: CertificateProfile = LEAF

    def __post_init__(self) -> None:
        if self.profile.is_authority:
            raise ProfileRefused(
                "profile", self.profile.name, "a leaf is issued from a leaf profile"
            )
        names = len(self.dns_names) + len(self.ip_addresses)
        if names > self.profile.max_server_names:
            raise ProfileRefused("server names", names, f"at most {self.profile.max_server_names}")
        for name in self.dns_names:
            check_dns_name(name, self.identity.realm_domain)
        for address in self.ip_addresses:
            check_ip_address(address)

    @property
    def all_dns_names(self) -> tuple[str, ...]:
        """The identity's own server name first, then the others, each once."""
        own = (self.identity.server_name,) if self.identity.server_name else ()
        return tuple(dict.fromkeys(own + self.dns_names))


def check_dns_name(name: str, domain: str) -> str:
    """``name`` when a leaf of the tier with ``domain`` may carry it; else
    :class:`ProfileRefused`.
    """
    if dns_name(name) != name or not name:
        raise ProfileRefused("DNS name", name, "use a plain lower-case DNS name without wildcards")
    inside = bool(domain) and (name == domain or name.endswith("." + domain))
    if name != LOCALHOST and not inside:
        raise ProfileRefused("DNS name", name, f'use a name in "{domain}" or "{LOCALHOST}"')
    return name


def check_ip_address(address: str) -> str:
    """``address`` when it is one IPv4 or IPv6 address as the standard writes it."""
    try:
        canonical = str(ipaddress.ip_address(address))
    except ValueError:
        raise ProfileRefused("IP address", address, "use one IPv4 or IPv6 address") from None
    if canonical != address:
        raise ProfileRefused("IP address", address, f'write it as "{canonical}"')
    return address
