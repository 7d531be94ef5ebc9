"""Agreements as files, terms and verdicts: what is signed is what holds, and what is wrong is named (issue 7, 4)."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from tests.agreement_support import THEM, US, made, signed
from tests.support_certificates import CARRIER, NOW_S, PARTNER, Operator

from isthmus.contract.scopes import SITE_TO_TIER, TIER_TO_SITE
from isthmus.federation.accord import Accord
from isthmus.federation.agreement import CONTEXT, Agreement, load, parse
from isthmus.federation.errors import (
    AGREEMENT_CODES,
    AgreementChanged,
    AgreementRefused,
)
from isthmus.policy.peers import Peer
from isthmus.policy.scopes import Scope
from isthmus.trust import NONE_REVOKED, RevocationList
from isthmus.trust.bundle import fingerprint
from isthmus.trust.signing import sign_detached, signer_of

# -- the file


def test_a_file_reads_back_as_the_same_signed_bytes() -> None:
    """Layout, comments and order of a file do not count, only the terms do."""
    both = signed(made(), Operator(CARRIER), Operator(PARTNER))
    read = parse(both.to_yaml())
    assert read == both
    as_json = parse(json.dumps(both.model_dump(mode="json", exclude_none=True)).encode())
    commented = parse(b"# signed in Zurich\n" + both.to_yaml())
    assert (
        as_json.agreement.canonical()
        == commented.agreement.canonical()
        == both.agreement.canonical()
    )


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("agreement.version", {"version": 2}),
        ("agreement.not_after", {"not_after": "2030-01-01T00:00:00Z"}),
        ("agreement.name", {"name": "other"}),
        ("agreement.flows", {"flows": []}),
        ("agreement.parties", {"parties": [{"trust_domain": US}, {"trust_domain": THEM, "regions": ["ch"]}]}),
    ],
)  # fmt: skip
def test_any_changed_term_breaks_the_signature(field: str, change: dict[str, Any]) -> None:
    """A signature is over all of it."""
    us = Operator(CARRIER)
    mark = sign_detached(us.root.key, CONTEXT, made().agreement.canonical())
    roots = [us.root.certificate]
    assert signer_of(mark, CONTEXT, made().agreement.canonical(), roots) == fingerprint(roots[0])
    assert signer_of(mark, CONTEXT, made(**change).agreement.canonical(), roots) is None, field


@pytest.mark.parametrize("mark", ["", "!!", "AAAA", "A" * 600, "é"])
def test_what_is_no_signature_is_nobodys(mark: str) -> None:
    """Never an exception of a library at a link."""
    assert signer_of(mark, CONTEXT, b"x", [Operator(CARRIER).root.certificate]) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"{", ("not an agreement", "isthmus agreement new")),
        (b"\xff\xfe", ("not an agreement",)),
        (b"agreement: {name: a}", ("agreement.not_before", "required")),
        (b"surprise: 1", ("surprise", "Extra inputs")),
        (b"a: &x 1\nb: *x", ("aliases",)),
        (b"agreement: {name: a, name: b}", ("'name'", "twice")),
        (b"- 1", ("valid dictionary",)),
    ],
)
def test_a_malformed_file_is_one_line_that_names_the_field(
    text: bytes, words: tuple[str, ...]
) -> None:
    """Bad input: one typed error, no stack trace."""
    with pytest.raises(AgreementRefused) as refused:
        parse(text)
    assert refused.value.code == "agreement-malformed"
    assert "\n" not in str(refused.value)
    for word in words:
        assert word in str(refused.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 0}, "version"),
        ({"not_after": "2020-01-01T00:00:00Z"}, "later than not_before"),
        ({"not_after": "2030-01-01T00:00:00"}, "not_after"),
        ({"parties": [{"trust_domain": US}, {"trust_domain": US}]}, "two different"),
        ({"parties": [{"trust_domain": "Carrier"}, {"trust_domain": THEM}]}, "lower case"),
        ({"flows": [{"sender": US, "receiver": "third.example"}]}, "third.example"),
        ({"flows": [{"sender": US, "receiver": THEM}] * 2}, "one per direction"),
        ({"flows": [{"sender": US, "receiver": THEM, "clauses": [{"pattern": "/abs"}]}]}, "relative"),
        ({"flows": [{"sender": US, "receiver": THEM, "clauses": [{"pattern": "a/"}] * 2}]}, "twice"),
        ({"flows": [{"sender": US, "receiver": THEM, "clauses": [{"pattern": "a/", "min_members": 3}]}]}, "totals"),
        ({"flows": [{"sender": US, "receiver": THEM, "clauses": [{"pattern": "a/", "max_age_s": -1}]}]}, "max_age_s"),
        ({"flows": [{"sender": US, "receiver": THEM, "max_changes_per_s": 0}]}, "max_changes_per_s"),
        ({"flows": [{"sender": US, "receiver": THEM, "clauses": [{"pattern": "a/", "also": 1}]}]}, "also"),
    ],
)  # fmt: skip
def test_terms_that_make_no_sense_are_refused(change: dict[str, Any], words: str) -> None:
    """What one end could read otherwise than the other is not signed at all."""
    body = made().model_dump(mode="json", exclude_none=True)
    body["agreement"] |= change
    with pytest.raises(AgreementRefused, match=words):
        parse(json.dumps(body).encode())


def test_draft_never_allows_more_than_the_contract() -> None:
    """It begins narrow: each pattern lies within what the contract lets cross, totals where there are some."""
    terms = made().agreement
    down = Scope.mirror("d", [one.pattern for one in terms.flow(US, THEM).clauses])
    up = Scope.mirror("u", [one.pattern for one in terms.flow(THEM, US).clauses])
    assert down.narrowed(Scope.mirror("c", TIER_TO_SITE))
    assert up.narrowed(Scope.mirror("c", SITE_TO_TIER))
    assert {one.pattern: one.aggregation.value for one in terms.flow(THEM, US).clauses} == {
        "summary/site": "totals", "summary/chains/acme/": "as-is", "summary/wires/": "as-is",
    }  # fmt: skip


# -- in force or not


class Desk:
    """An accord of the carrier with the partner's site, on a file."""

    def __init__(self, folder: Path) -> None:
        self.us, self.them = Operator(CARRIER), Operator(PARTNER)
        self.path = folder / "agreement.yaml"
        self.now_s = NOW_S + 60
        self.roots: dict[Any, tuple[x509.Certificate, ...]] = {
            one.domain: (one.root.certificate,) for one in (self.us, self.them)
        }
        self.revoked = NONE_REVOKED
        self.writes = 0

    def write(self, agreement: Agreement) -> None:
        self.writes += 1
        fresh = self.path.with_suffix(f".{self.writes}")
        fresh.write_bytes(agreement.to_yaml())
        fresh.chmod(0o644)
        os.replace(fresh, self.path)

    def accord(self, *, region: str = "ch", path: Path | None = None) -> Accord:
        peer = Peer(
            "p",
            self.them.identity(),
            Scope.mirror("a", SITE_TO_TIER),
            Scope.mirror("s", TIER_TO_SITE),
        )
        return Accord(
            path or self.path, CARRIER, peer, own_region="", peer_region=region,
            utc_s=lambda: self.now_s,
        )  # fmt: skip

    def code(self, accord: Accord | None = None) -> str:
        """Empty when it is in force."""
        told = ""
        try:
            (accord or self.accord()).terms(self.roots, self.revoked)
        except AgreementRefused as refused:
            code, told = refused.code, str(refused)
        else:
            code = ""
        assert code in AGREEMENT_CODES | {""}
        assert str(self.path.parent) not in told, "the peer is told this text"
        return code


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    made_desk = Desk(tmp_path)
    made_desk.write(signed(made(), made_desk.us, made_desk.them))
    return made_desk


def test_both_signatures_the_period_the_place_and_the_parties(desk: Desk) -> None:
    """Each way not to be in force has its code."""
    assert desk.code() == ""
    desk.now_s = NOW_S - 1
    assert desk.code() == "agreement-early"
    desk.now_s = NOW_S + 31 * 86400
    assert desk.code() == "agreement-expired"
    desk.now_s = NOW_S + 60
    parties = [{"trust_domain": US}, {"trust_domain": THEM, "regions": ["ch", "at"]}]
    desk.write(signed(made(parties=parties), desk.us, desk.them))
    assert desk.code(desk.accord(region="de")) == "agreement-region"
    assert desk.code(desk.accord(region="at")) == ""
    assert desk.code(desk.accord(region="")) == "agreement-region"
    desk.write(signed(made(), desk.us))
    assert desk.code() == "agreement-unsigned"
    desk.write(signed(made(), desk.us, Operator(PARTNER)))
    assert desk.code() == "agreement-signature", "another root of that name"
    swapped = signed(made(), desk.us).signatures[0].signature
    desk.write(signed(made(), desk.us).signed_by(THEM, swapped))
    assert desk.code() == "agreement-signature", "our signature is not theirs"
    third = [{"trust_domain": US}, {"trust_domain": "third.example"}]
    desk.write(signed(made(parties=third, flows=[]), desk.us, desk.them))
    assert desk.code() == "agreement-party"
    desk.path.unlink()
    assert desk.code() == "agreement-missing"
    desk.path.write_text("{")
    assert desk.code() == "agreement-malformed"


def test_a_file_others_can_write_is_not_used(desk: Desk) -> None:
    """Whoever can write it could not forge the signatures, but could take it away or put an older one there."""
    desk.path.chmod(0o666)
    assert desk.code() == "agreement-malformed"
    with pytest.raises(AgreementRefused, match="chmod"):
        load(desk.path)


def test_a_revoked_root_has_signed_nothing(desk: Desk) -> None:
    """Revocation reaches agreements, too."""
    root = fingerprint(desk.them.root.certificate)
    desk.revoked = RevocationList(1, NOW_S, authorities=frozenset({root}))
    assert desk.code() == "agreement-signature"
    desk.revoked = NONE_REVOKED
    del desk.roots[PARTNER]
    assert desk.code() == "agreement-signature"


def test_a_new_version_ends_the_link_and_an_older_one_is_refused(desk: Desk) -> None:
    """Replaying an old agreement would give back what was taken away."""
    accord = desk.accord()
    old = accord.terms(desk.roots, desk.revoked)
    accord.check(old, desk.roots, desk.revoked)
    desk.write(signed(made(version=2), desk.us, desk.them))
    with pytest.raises(AgreementChanged, match="version 2"):
        accord.check(old, desk.roots, desk.revoked)
    new = accord.terms(desk.roots, desk.revoked)
    accord.check(new, desk.roots, desk.revoked)
    desk.write(signed(made(), desk.us, desk.them))
    assert desk.code(accord) == "agreement-older"
    desk.write(signed(made(version=2), desk.us, desk.them))
    assert accord.terms(desk.roots, desk.revoked) is new, "same terms, same counters"
    desk.now_s += timedelta(days=40).total_seconds()
    with pytest.raises(AgreementRefused, match="not_after"):
        accord.check(new, desk.roots, desk.revoked)


def test_without_a_path_a_partner_is_told_what_is_missing(desk: Desk) -> None:
    """Deny by default, with the field to set."""
    peer = Peer("p", desk.them.identity(), Scope.mirror("a", ()), Scope.mirror("s", ()))
    accord = Accord(None, CARRIER, peer, own_region="", peer_region="", utc_s=lambda: NOW_S)
    with pytest.raises(AgreementRefused, match="settings") as refused:
        accord.terms(desk.roots, desk.revoked)
    assert refused.value.code == "agreement-missing"
