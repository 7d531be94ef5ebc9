"""Agreements as files, terms and verdicts: what is signed is what holds, and what is wrong is named (issue 7, 4)."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from tests.support_certificates import CARRIER, NOW_S, PARTNER, Operator

from isthmus.contract.envelope import Stamp, seal
from isthmus.contract.figures import Kind, Told
from isthmus.contract.instance import SiteSummary
from isthmus.contract.scopes import SITE_TO_TIER, TIER_TO_SITE, site_exports, tier_exports
from isthmus.federation.accord import Accord
from isthmus.federation.agreement import CONTEXT, Agreement, Clause, Flow, Terms, load, parse
from isthmus.federation.draft import draft
from isthmus.federation.errors import (
    AGREEMENT_CODES,
    AgreementChanged,
    AgreementRefused,
    SettingsRefused,
)
from isthmus.federation.filters import ScopeFilter
from isthmus.federation.pacing import Pacer
from isthmus.federation.replay import CONTRACT, Recorded, read_recording, simulate
from isthmus.federation.terms import FlowGate
from isthmus.policy.peers import Peer
from isthmus.policy.scopes import Scope, Verb
from isthmus.trust import NONE_REVOKED, RevocationList
from isthmus.trust.bundle import fingerprint
from isthmus.trust.signing import sign_detached, signer_of

US, THEM = CARRIER.name, PARTNER.name
START = datetime.fromtimestamp(NOW_S, UTC)
STAMP = Stamp(origin="test", incarnation="1")


def made(**changes: Any) -> Agreement:
    """The draft between carrier and partner; ``changes`` replace fields of the terms."""
    base = draft("alps", tier=US, site=THEM, not_before=START, days=30, tenants=("acme",))
    terms = base.agreement.model_dump(mode="json") | changes
    return Agreement(agreement=Terms.model_validate(terms))


def signed(agreement: Agreement, *operators: Operator) -> Agreement:
    for operator in operators:
        mark = sign_detached(operator.root.key, CONTEXT, agreement.agreement.canonical())
        agreement = agreement.signed_by(operator.domain.name, mark)
    return agreement


def gate(
    *clauses: Clause, configured: tuple[str, ...] = (*SITE_TO_TIER, *TIER_TO_SITE)
) -> FlowGate:
    scope = ScopeFilter(Scope.mirror("peer-list", dict.fromkeys(configured)))
    return FlowGate(Flow(sender=THEM, receiver=US, clauses=clauses), scope)


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


# -- keys and values


def test_keys_pass_only_both_scope_and_agreement() -> None:
    """The intersection, and each says which of them held back."""
    both = gate(
        Clause(pattern="intents/acme/"), Clause(pattern="secrets/"), configured=("intents/",)
    )
    assert both.check(Verb.PUT, "intents/acme/web") == "intents/acme/web"
    verdicts = {key: both.check(Verb.PUT, key) for key in (
        "intents/rival/web", "intents/acmex/web", "secrets/x", "meta.cursor", "intents/acme/../x",
    )}  # fmt: skip
    codes = {key: "" if isinstance(one, str) else one.code for key, one in verdicts.items()}
    assert codes == {
        "intents/rival/web": "agreement-denied",
        "intents/acmex/web": "agreement-denied",
        "secrets/x": "scope-denied",
        "meta.cursor": "meta-denied",
        "intents/acme/../x": "key-refused",
    }
    empty = FlowGate(Flow(sender=US, receiver=THEM), ScopeFilter(CONTRACT))
    assert not isinstance(empty.check(Verb.PUT, "summary/site"), str)


def summary(members: int = 4, **more: Any) -> dict[str, Any]:
    """A site's summary as it is stored, with every total told."""
    numbers = dict.fromkeys(
        ("cpu_milli_total", "cpu_milli_free", "memory_mib_total", "memory_mib_free", "hosts_up",
         "chains", "largest_free_cpu_milli", "chains_held", "price_milli"), 100,
    )  # fmt: skip
    kinds = {"largest_free_cpu_milli": Kind.FREE_SLOT, "price_milli": Kind.LAST}
    told = {
        name: Told(
            kind=kinds.get(name, Kind.SUM), values=(100,), bound=2, as_of=NOW_S, max_age_s=60,
            members=members,
        )
        for name in numbers
    }  # fmt: skip
    body = SiteSummary.model_validate({**numbers, "told": told})
    document: dict[str, Any] = json.loads(seal(body, STAMP, as_of=NOW_S))
    document["body"] |= more
    return document


def judged(
    clause: Clause, document: object, *, key: str = "summary/site", now_s: float = NOW_S
) -> str:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    verdict = gate(clause).judge_value(key, data, now_s)
    return "" if verdict is None else f"{verdict.code}: {verdict.reason}"


def test_only_totals_never_per_host() -> None:
    """Aggregation is looked at in the value itself: every number needs its telling, nothing undeclared comes along."""
    totals = Clause(pattern="summary/site", aggregation="totals", min_members=3, never=("host",))
    assert judged(totals, summary()) == ""
    assert "of 2" in judged(totals, summary(members=2))
    assert "body.hosts" in judged(totals, summary(hosts=[{"cpu": 1}]))
    assert "never host" in judged(totals, summary(x={"host": "h1"}))
    bare = summary()
    del bare["body"]["told"]["hosts_up"]
    assert "body.told.hosts_up" in judged(totals, bare)
    lied = summary()
    lied["body"]["cpu_milli_free"] = 77
    assert "cpu_milli_free" in judged(totals, lied)
    smuggled = summary()
    smuggled["body"]["told"]["hosts_up"]["per_host"] = [1, 2]
    assert "hosts_up" in judged(totals, smuggled)
    assert "no envelope" in judged(totals, b"just bytes")
    only_sums = Clause(pattern="summary/site", aggregation="totals", rules=("sum",))
    assert "largest-free-slot" in judged(only_sums, summary())
    chains = Clause(pattern="summary/", aggregation="totals")
    assert "no summary" in judged(chains, summary(), key="summary/chains/acme/web")


def test_freshness_counts_at_the_sender_and_futures_are_no_youth() -> None:
    """Old values stay at home; so does one that claims to come from tomorrow."""
    fresh = Clause(pattern="summary/site", max_age_s=30)
    assert judged(fresh, summary(), now_s=NOW_S + 29) == ""
    assert "agreement-stale" in judged(fresh, summary(), now_s=NOW_S + 31)
    assert "agreement-stale" in judged(fresh, summary(), now_s=NOW_S - 3600)
    assert gate(fresh).judge_value("summary/site", json.dumps(summary()).encode(), None) is None


def test_the_narrowest_clause_counts() -> None:
    """An exact key before a prefix, a longer prefix before a shorter one."""
    wide = Clause(pattern="summary/")
    exact = Clause(pattern="summary/site", min_interval_s=9)
    both = gate(wide, exact)
    assert both.clause("summary/site") == exact
    assert both.clause("summary/wires/w-1") == wide
    assert both.interval_s("summary/site") == 9
    assert both.clause("elsewhere") is None


# -- rate and intervals


def test_pacer_keeps_rate_burst_and_intervals_over_lives_of_a_link() -> None:
    """In any window of t seconds at most burst + rate x t changes go."""
    pacer = Pacer(10.0, 5, lambda key: 2.0 if key == "slow" else 0.0)
    sent: list[float] = []
    for tick in range(1000):
        now_s = tick * 0.01
        room = pacer.room(now_s)
        pacer.took([f"k{n}" for n in range(room)], now_s)
        sent += [now_s] * room
    assert 100 <= len(sent) <= 106
    for start in range(0, 900, 50):
        window = [moment for moment in sent if start * 0.01 <= moment < start * 0.01 + 1]
        assert len(window) <= 5 + 10 + 1
    pacer.took(["slow"], 20.0)
    assert not pacer.ready("slow", 21.9)
    assert pacer.ready("slow", 22.0)
    assert pacer.ready("other", 20.0)
    assert Pacer(1.0, 1).wait_s(100, 0.0) == 0.0, "more than the burst waits for the burst only"


def test_simulation_tells_what_crosses_what_is_held_back_and_why() -> None:
    """Recorded keys, absolute and relative, in their own time; rates and intervals make changes wait and coalesce."""
    flow = Flow(
        sender=US, receiver=THEM, max_changes_per_s=1, burst_changes=2,
        clauses=(Clause(pattern="intents/acme/"), Clause(pattern="wires/", min_interval_s=10)),
    )  # fmt: skip
    root = "/isthmus/v1/"
    records = [
        Recorded(key=f"{root}outbox/p/intents/acme/a", value="1", at=0),
        Recorded(key=f"{root}outbox/p/intents/rival/b", value="1", at=0),
        Recorded(key=f"{root}outbox/other/intents/acme/a", value="1", at=0),
        Recorded(key=f"{root}vnis/7", value="1", at=0),
        Recorded(key="wires/w-1", value="1", at=1),
        Recorded(key="wires/w-1", value="2", at=2),
        Recorded(key="wires/w-1", value="333", at=3),
        Recorded(key="intents/acme/a", at=30),
        *(Recorded(key=f"intents/acme/{n}", value="x", at=60) for n in range(10)),
    ]
    seen = simulate(flow, records, (*site_exports("p"), *tier_exports("p")))
    assert seen.counts == {"crossed": 14, "held-back": 1, "superseded": 1, "outside": 2}
    assert seen.reasons == {"agreement-denied": 1, "superseded": 1, "root-denied": 2}
    late = next(
        f for f in seen.fates if f.key == "wires/w-1" and f.verdict == "crossed" and f.at == 3
    )
    assert late.waited_s == pytest.approx(8, abs=0.1)
    assert seen.peak_changes_per_s <= 3
    assert seen.longest_wait_s == pytest.approx(8, abs=0.2)
    assert simulate(flow, [], ()).records == 0


def test_recordings_and_taps_are_read_and_a_bad_line_is_named() -> None:
    """File, line and field; a tap's own direction only."""
    lines = ['{"key": "a", "value": "1", "at": 5}', "", '{"key": "b", "at": 6}']
    assert [one.value for one in read_recording(lines, "r")] == ["1", None]
    items = [
        {"verb": "put", "key": "k", "value": '{"as_of": 9}'},
        {"verb": "delete", "key": "k", "value": ""},
    ]
    tap = [
        json.dumps({"direction": way, "kind": "batch", "items": items})
        for way in ("sent", "received")
    ]
    assert [(one.at, one.value is None) for one in read_recording(tap, "t")] == [
        (9, False),
        (9, True),
    ]
    for bad, words in (
        ("{", "r:1"),
        ('{"key": "a"}', "at"),
        ("[]", "object"),
        ('{"key": 1, "at": 1}', "key"),
    ):
        with pytest.raises(SettingsRefused, match=words):
            list(read_recording([bad], "r"))


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
