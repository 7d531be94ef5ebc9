"""Who somebody is: one URI, read strictly (DESIGN sections 4 and 6, GUARANTEES attack 2;
SPIFFE-ID).

    spiffe://<trust-domain>/site/<site>/<component>
    spiffe://<trust-domain>/global/<component>

The trust domain is an operator, the realm (``site/<site>`` or ``global``) a tier of it with a
store of its own, the component a process, and its user name in that store. Segments have the
grammar of key segments, since they become some. Upper case, percent-encoding, ports, user info,
queries, fragments and trailing slashes are refused rather than folded: two spellings of one
identity are two chances to slip past a comparison. Every accepted URI has one spelling.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from isthmus.identity.errors import IdentityRefused, TrustDomainRefused
from isthmus.identity.text import SEGMENT

SCHEME: Final = "spiffe://"
GLOBAL: Final = "global"
"""The realm of the tier above the sites. No site may have this name: peers are told apart by it."""
MAX_URI_BYTES: Final = 512
"""SPIFFE allows 2,048; ours are below 400 by grammar, and a limit stands before every loop."""
MAX_TRUST_DOMAIN_BYTES: Final = 253
"""Of a DNS name: a CA's name constraint has to be able to carry it."""
MAX_COMPONENT_BYTES: Final = 63
"""One segment; X.509 gives a common name 64 characters, and the component is the common name."""

_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DNS_NAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.ASCII)
_ALL_DIGITS: Final = re.compile(r"[0-9.]+", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class TrustDomain:
    """One operator's name for everything it vouches for; a lower-case DNS name."""

    name: str

    def __post_init__(self) -> None:
        if len(self.name) > MAX_TRUST_DOMAIN_BYTES:
            raise TrustDomainRefused(self.name, f"at most {MAX_TRUST_DOMAIN_BYTES} bytes")
        if _DNS_NAME.fullmatch(self.name) is None:
            raise TrustDomainRefused(
                self.name,
                "it is a lower-case DNS name: labels of a-z, 0-9 and inner -, joined by .",
            )
        if _ALL_DIGITS.fullmatch(self.name) is not None:
            raise TrustDomainRefused(self.name, "it must not read as an IP address")

    def __str__(self) -> str:
        return self.name

    @property
    def uri(self) -> str:
        """The URI of the trust domain itself, as a signing certificate may carry it."""
        return SCHEME + self.name


@dataclass(frozen=True, slots=True, order=True)
class Identity:
    """One process of one tier of one operator. ``site`` is empty for the global tier."""

    trust_domain: TrustDomain
    site: str
    component: str

    def __post_init__(self) -> None:
        uri = str(self)
        if self.site == GLOBAL:
            raise IdentityRefused(uri, 0, f'"{GLOBAL}" is the tier above; a site has another name')
        if self.site and SEGMENT.fullmatch(self.site) is None:
            raise IdentityRefused(uri, uri.find("/site/") + 6, _SEGMENT_RULE)
        if SEGMENT.fullmatch(self.component) is None:
            raise IdentityRefused(uri, len(uri) - len(self.component), _SEGMENT_RULE)

    def __str__(self) -> str:
        return f"{SCHEME}{self.trust_domain}/{self.realm}/{self.component}"

    @property
    def realm(self) -> str:
        """``site/<site>`` or ``global``: the tier whose store this process may use."""
        return f"site/{self.site}" if self.site else GLOBAL

    @property
    def peer(self) -> str:
        """The segment that names this tier among the peers of one operator: the site, or
        ``global``.
        """
        return self.site or GLOBAL

    @property
    def realm_domain(self) -> str:
        """The DNS domain of the tier: ``a.site.<trust domain>`` or ``global.<trust domain>``.

        Its authority is constrained to it, so one site cannot answer under another's name, nor
        as the tier above. Empty when the site's name is no DNS label (it holds ``_``, say): such
        a site is never dialled by name.
        """
        return dns_name(*([self.site, "site"] if self.site else [GLOBAL]), self.trust_domain.name)

    @property
    def server_name(self) -> str:
        """The DNS name to dial this process under and to check in its certificate; empty when it
        has none.
        """
        return dns_name(self.component, self.realm_domain) if self.realm_domain else ""

    @property
    def etcd_user(self) -> str:
        """The common name of the certificate and the user in the tier's own etcd: the component."""
        return self.component

    @property
    def role(self) -> str:
        """What the component does: ``launcher`` of ``launcher.h1``."""
        return self.component.partition(".")[0]

    @property
    def bound_to(self) -> str:
        """The one host or instance it does it for: ``h1`` of ``launcher.h1``; empty when it is
        for all.
        """
        return self.component.partition(".")[2]

    @classmethod
    def of_site(cls, trust_domain: str | TrustDomain, site: str, component: str) -> Identity:
        """``spiffe://<trust_domain>/site/<site>/<component>``."""
        if not site:
            raise IdentityRefused("", 0, "a site has a name; the tier above is of_global()")
        return cls(_domain(trust_domain), site, component)

    @classmethod
    def of_global(cls, trust_domain: str | TrustDomain, component: str) -> Identity:
        """``spiffe://<trust_domain>/global/<component>``."""
        return cls(_domain(trust_domain), "", component)

    @classmethod
    def parse(cls, uri: str) -> Identity:
        """The identity written as exactly ``uri``; :class:`IdentityRefused` says what is wrong
        with it.
        """
        domain, path, start = _split(uri)
        segments = path.split("/")
        if segments[0] == GLOBAL and len(segments) == 2:
            site, component = "", segments[1]
        elif segments[0] == "site" and len(segments) == 3:
            site, component = segments[1], segments[2]
        else:
            raise IdentityRefused(
                uri, start, "the path is site/<site>/<component> or global/<component>"
            )
        if segments[0] == "site" and SEGMENT.fullmatch(site) is None:
            raise IdentityRefused(uri, start + len("site/"), _SEGMENT_RULE)
        if SEGMENT.fullmatch(component) is None:
            raise IdentityRefused(uri, len(uri) - len(component), _SEGMENT_RULE)
        return cls(domain, site, component)


_SEGMENT_RULE: Final = (
    'a segment is 1 to 63 of a-z, 0-9, ".", "_", "-" and starts with a letter or digit'
)


def dns_name(*parts: str) -> str:
    """``parts`` joined by dots when that is a lower-case DNS name; else empty."""
    name = ".".join(parts)
    fits = len(name) <= MAX_TRUST_DOMAIN_BYTES and _DNS_NAME.fullmatch(name) is not None
    return name if fits else ""


def _domain(name: str | TrustDomain) -> TrustDomain:
    return name if isinstance(name, TrustDomain) else TrustDomain(name)


def _split(uri: str) -> tuple[TrustDomain, str, int]:
    """Trust domain, path without its first slash, and where the path starts."""
    if len(uri) > MAX_URI_BYTES:
        raise IdentityRefused(uri, MAX_URI_BYTES, f"at most {MAX_URI_BYTES} bytes")
    if not uri.startswith(SCHEME):
        raise IdentityRefused(uri, 0, f'it starts with "{SCHEME}", in lower case')
    slash = uri.find("/", len(SCHEME))
    if slash < 0:
        raise IdentityRefused(uri, len(uri), "it has a path: a trust domain alone is nobody")
    try:
        domain = TrustDomain(uri[len(SCHEME) : slash])
    except TrustDomainRefused as refused:
        raise IdentityRefused(uri, len(SCHEME), f"trust domain: {refused.reason}") from None
    return domain, uri[slash + 1 :], slash + 1
