"""Identities: one spelling each, everything that could be a second spelling refused by name."""

from __future__ import annotations

import pytest

from isthmus.identity import Identity, IdentityRefused, TrustDomain, TrustDomainRefused

URIS = {
    "spiffe://carrier.example/site/paris-1/placer": ("paris-1", "placer", "", "site/paris-1"),
    "spiffe://carrier.example/site/paris-1/launcher.h1": (
        "paris-1",
        "launcher",
        "h1",
        "site/paris-1",
    ),
    "spiffe://carrier.example/site/p/instance.i-0123456789ab": (
        "p",
        "instance",
        "i-0123456789ab",
        "site/p",
    ),
    "spiffe://partner.example/global/gateway": ("", "gateway", "", "global"),
}


@pytest.mark.parametrize("uri", URIS)
def test_parses_and_formats_to_the_same_text(uri: str) -> None:
    """The parts are what keys, etcd users and peers are made of, so they are all asserted."""
    identity = Identity.parse(uri)
    site, role, bound_to, realm = URIS[uri]
    assert str(identity) == uri
    assert (identity.site, identity.role, identity.bound_to, identity.realm) == (
        site,
        role,
        bound_to,
        realm,
    )
    assert identity.etcd_user == uri.rsplit("/", 1)[1]
    assert identity.peer == (site or "global")


def test_constructors_agree_with_the_parser() -> None:
    """Issuing goes through the constructors, verifying through the parser: one result."""
    made = Identity.of_site("carrier.example", "s1", "intake")
    assert made == Identity.parse("spiffe://carrier.example/site/s1/intake")
    above = Identity.of_global(TrustDomain("carrier.example"), "intake")
    assert above == Identity.parse("spiffe://carrier.example/global/intake")
    assert len({made, above}) == 2


@pytest.mark.parametrize("site", ["", "global", "a/b", "A", "..", "s%31", "s1 ", "-s"])
def test_no_constructor_makes_what_the_parser_refuses(site: str) -> None:
    """A site named global would be the tier above to its peers; the others break the grammar."""
    with pytest.raises(IdentityRefused):
        Identity.of_site("carrier.example", site, "placer")


@pytest.mark.parametrize("component", ["", "a/b", "A", ".", "a" * 64])
def test_components_are_one_segment(component: str) -> None:
    """The component becomes a common name and an etcd user; neither may hold a path."""
    with pytest.raises(IdentityRefused):
        Identity.of_global("carrier.example", component)
    with pytest.raises(IdentityRefused):
        Identity.of_site("carrier.example", "s1", component)


@pytest.mark.parametrize("name", ["carrier.example", "a", "x-1.y-2.example", "1.carrier"])
def test_trust_domains(name: str) -> None:
    """A trust domain is usable as a DNS name constraint of its authority."""
    assert str(TrustDomain(name)) == name
    assert TrustDomain(name).uri == f"spiffe://{name}"


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "a..b",
        "Carrier",
        "a_b",
        "a:1",
        "u@a",
        "-a",
        "a-",
        "a.",
        ".a",
        "10.0.0.1",
        "a b",
        "c\u0430rrier.example",
        "a" * 64,
        ".".join(["a" * 60] * 5),
    ],
)
def test_trust_domains_outside_the_grammar_are_refused(name: str) -> None:
    """Ports, users, addresses and look-alikes are not operators."""
    with pytest.raises(TrustDomainRefused):
        TrustDomain(name)


def test_a_refusal_says_where_and_shows_nothing_dangerous() -> None:
    """The refused URI came from a stranger's certificate and is logged."""
    uri = "spiffe://carrier.example/site/a/b\x1b]0;owned\x07"
    with pytest.raises(IdentityRefused) as caught:
        Identity.parse(uri)
    assert caught.value.position == uri.rindex("/") + 1
    assert str(caught.value).isprintable()
    assert "\\x1b" in str(caught.value)


def test_a_megabyte_of_uri_costs_a_line() -> None:
    """A limit stands before every loop: the error stays short."""
    with pytest.raises(IdentityRefused) as caught:
        Identity.parse("spiffe://carrier.example/site/a/" + "b" * 2**20)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("spiffe://carrier.example/global/gateway", "gateway.global.carrier.example"),
        ("spiffe://carrier.example/site/a/launcher.h1", "launcher.h1.a.site.carrier.example"),
        ("spiffe://carrier.example/site/a_b/placer", ""),
        ("spiffe://carrier.example/site/a/x_y", ""),
    ],
)
def test_server_names(uri: str, name: str) -> None:
    """What a client checks in a server's certificate; a site cannot be named like the tier
    above.
    """
    assert Identity.parse(uri).server_name == name
