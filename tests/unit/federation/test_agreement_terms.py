"""What an agreement lets cross: keys, values, rates, and what a recording would have become (issue 7, 4)."""

from __future__ import annotations

import json

import pytest
from tests.agreement_support import THEM, US, summary
from tests.support_certificates import NOW_S

from isthmus.contract.scopes import SITE_TO_TIER, TIER_TO_SITE, site_exports, tier_exports
from isthmus.federation.agreement import Clause, Flow
from isthmus.federation.errors import (
    SettingsRefused,
)
from isthmus.federation.filters import ScopeFilter
from isthmus.federation.pacing import Pacer
from isthmus.federation.replay import CONTRACT, Recorded, read_recording, simulate
from isthmus.federation.terms import FlowGate
from isthmus.policy.scopes import Scope, Verb


def gate(
    *clauses: Clause, configured: tuple[str, ...] = (*SITE_TO_TIER, *TIER_TO_SITE)
) -> FlowGate:
    scope = ScopeFilter(Scope.mirror("peer-list", dict.fromkeys(configured)))
    return FlowGate(Flow(sender=THEM, receiver=US, clauses=clauses), scope)


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
