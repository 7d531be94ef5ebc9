"""Attack 2 (names), attack 3 (claims), attack 20 (text that acts): refused, never folded, shown
harmless.
"""

from __future__ import annotations

import unicodedata

import pytest

from isthmus.identity import Identity, IdentityRefused, TrustDomain, TrustDomainRefused, visible
from isthmus.policy import Peer, PeerTable, PeerUnknown, Scope, ScopeDenied, Verb

URI = "spiffe://carrier.example/site/a/federation"

SPELLINGS = {
    "percent-encoded slash": "spiffe://carrier.example/site/a%2ffederation",
    "percent-encoded letter": "spiffe://carrier.example/site/%61/federation",
    "double encoding": "spiffe://carrier.example/site/%2561/federation",
    "encoded domain": "spiffe://carrier%2eexample/site/a/federation",
    "upper-case scheme": "SPIFFE://carrier.example/site/a/federation",
    "upper-case domain": "spiffe://Carrier.example/site/a/federation",
    "upper-case site": "spiffe://carrier.example/site/A/federation",
    "upper-case component": "spiffe://carrier.example/site/a/Federation",
    "trailing slash": URI + "/",
    "leading double slash": "spiffe://carrier.example//site/a/federation",
    "inner double slash": "spiffe://carrier.example/site//a/federation",
    "port": "spiffe://carrier.example:443/site/a/federation",
    "empty port": "spiffe://carrier.example:/site/a/federation",
    "user": "spiffe://root@carrier.example/site/a/federation",
    "query": URI + "?as=global",
    "empty query": URI + "?",
    "fragment": URI + "#global",
    "empty fragment": URI + "#",
    "dot": "spiffe://carrier.example/site/./a/federation",
    "dot-dot": "spiffe://carrier.example/site/b/../a/federation",
    "dot-dot site": "spiffe://carrier.example/site/../federation",
    "backslash": "spiffe://carrier.example\\site\\a\\federation",
    "trailing dot in domain": "spiffe://carrier.example./site/a/federation",
    "NUL behind": URI + "\0.partner.example",
    "newline behind": URI + "\n",
    "space before": " " + URI,
    "tab inside": "spiffe://carrier.example/site/\ta/federation",
    "Cyrillic a": "spiffe://carrier.example/site/\u0430/federation",
    "Cyrillic domain": "spiffe://c\u0430rrier.example/site/a/federation",
    "full-width slash": "spiffe://carrier.example\uff0fsite/a/federation",
    "soft hyphen": "spiffe://carrier.example/site/a\u00ad/federation",
    "zero-width joiner": "spiffe://carrier.example/site/a\u200d/federation",
    "bidi override": "spiffe://carrier.example/site/\u202ea/federation",
    "NFD": unicodedata.normalize("NFD", "spiffe://carrier.example/site/caf\u00e9/federation"),
    "NFC": unicodedata.normalize("NFC", "spiffe://carrier.example/site/cafe\u0301/federation"),
    "no component": "spiffe://carrier.example/site/a",
    "domain alone": "spiffe://carrier.example",
    "domain and slash": "spiffe://carrier.example/",
    "one more segment": URI + "/global",
    "other tier": "spiffe://carrier.example/region/a/federation",
    "site named global": "spiffe://carrier.example/site/global/federation",
    "other scheme": "https://carrier.example/site/a/federation",
    "no scheme": "carrier.example/site/a/federation",
    "one slash": "spiffe:/carrier.example/site/a/federation",
    "no domain": "spiffe:///site/a/federation",
    "IP as domain": "spiffe://10.0.0.1/site/a/federation",
    "IPv6 as domain": "spiffe://[::1]/site/a/federation",
    "empty": "",
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_attack_2_no_second_spelling_of_an_identity(name: str) -> None:
    """Each of these is read as the honest identity, or as another, by some lenient parser
    somewhere.
    """
    with pytest.raises(IdentityRefused) as caught:
        Identity.parse(SPELLINGS[name])
    assert str(caught.value).isprintable()
    assert str(caught.value).isascii()


def test_attack_2_the_honest_spelling_passes() -> None:
    """So the list above refuses for its tricks, not for the rest of the URI."""
    assert str(Identity.parse(URI)) == URI


def test_attack_3_the_site_is_read_from_the_certificate_only() -> None:
    """A valid site b whose frames say site a: the table answers by certificate, the claim is
    denied.
    """
    up = Scope.mirror("up", ["summary/"])
    site_a, site_b = (Identity.of_site("carrier.example", name, "federation") for name in "ab")
    table = PeerTable.of(
        1, [Peer("a", site_a, up, Scope("none")), Peer("b", site_b, up, Scope("none"))]
    )
    assert table.check_claim(site_b, "b")
    denied = table.check_claim(site_b, "a")
    assert not denied
    assert denied.code == "claim-denied"
    assert table.find(site_b).import_root == "remote/b/"


def test_attack_3_a_partner_site_with_our_sites_name_is_a_stranger() -> None:
    """Same path, other trust domain: another identity, so unknown, and nothing of remote/a/ is
    its.
    """
    up = Scope.mirror("up", ["summary/"])
    ours = Identity.of_site("carrier.example", "a", "federation")
    table = PeerTable.of(1, [Peer("a", ours, up, Scope("none"))])
    theirs = Identity.of_site("partner.example", "a", "federation")
    with pytest.raises(PeerUnknown):
        table.find(theirs)
    assert table.check_claim(theirs, "a").code == "peer-unknown"


def test_attack_3_a_name_in_a_frame_is_no_way_into_anothers_mirror() -> None:
    """Frames carry relative keys: 'remote/b/...' from site a lies outside its scope, not below
    b.
    """
    scope = Scope.mirror("up", ["summary/site", "summary/peers/global/"])
    for key in ("remote/b/summary/site", "../b/summary/site", "/isthmus/v1/remote/b/summary/site"):
        with pytest.raises(ScopeDenied):
            scope.require(Verb.PUT, key)


ACTING = [
    "\x1b[2J\x1b[H",
    "\x1b]0;title\x07",
    "\x9b31m",
    "a\r\nadmin logged in",
    "a\x00b",
    "\u202egpj.exe",
    "\u2028line",
    "\ud800",
    "\x7f\x08\x08",
    "\ufeffbom",
]


@pytest.mark.parametrize("text", ACTING)
def test_attack_20_foreign_text_is_shown_and_does_not_act(text: str) -> None:
    """Terminal escapes, line breaks, bidi marks, lone surrogates: plain ASCII when shown."""
    shown = visible(text)
    assert shown.isascii()
    assert shown.isprintable()
    assert "\\" in shown
    with pytest.raises(IdentityRefused) as caught:
        Identity.parse(URI + text)
    assert str(caught.value).isprintable()
    with pytest.raises(TrustDomainRefused) as refused:
        TrustDomain(text)
    assert str(refused.value).isprintable()


def test_attack_20_escapes_are_one_to_one() -> None:
    """A name that already looks escaped is told apart from what it imitates."""
    assert visible("\\x1b") != visible("\x1b")
    assert visible("\\x1b") == "\\\\x1b"
    assert visible(b"\x1b\xff") == "\\x1b\\xff"
    assert visible("\U0001f600") == "\\U0001f600"


@pytest.mark.parametrize(
    "text",
    ["{{7*7}}", "${jndi:ldap://x}", "!!python/object/apply:os.system", "<script>alert(1)</script>"],
)
def test_attack_20_templates_and_markup_are_not_names(text: str) -> None:
    """They never get as far as somebody who might evaluate them."""
    with pytest.raises(IdentityRefused):
        Identity.of_site("carrier.example", text, "federation")
    assert not Scope.mirror("all", ["a/"]).decide(Verb.PUT, f"a/{text}")
