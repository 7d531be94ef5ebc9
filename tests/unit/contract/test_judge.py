"""Whose word a value is decides by what it is judged: found on a running carrier, kept here (docs/spec.md)."""

from __future__ import annotations

from isthmus.contract.envelope import Stamp, seal
from isthmus.contract.family import Tier
from isthmus.contract.instance import OperationalEvent, SiteSummary
from isthmus.contract.judge import SKEW_S, judge_entries
from isthmus.contract.subject import Subject
from isthmus.kv.port import Entry

ROOT = "/isthmus/v1/"
NOW = 1_000_000.0
PLACER = Stamp(origin="spiffe://carrier.example/site/a/placer", incarnation="1")
SUMMARY = SiteSummary(
    cpu_milli_total=1,
    cpu_milli_free=1,
    memory_mib_total=1,
    memory_mib_free=1,
    hosts_up=1,
    chains=0,
)


def clauses(tier: Tier, component: str, key: str, value: bytes) -> list[str]:
    """What ``component`` breaks by keeping ``value`` at ``key``."""
    entry = Entry(ROOT + key, value, 1, 1, 1)
    subject = Subject.of_component(tier, component)
    return [clause for clause, _ in judge_entries(subject, [entry], NOW)]


def test_the_janitor_answers_for_its_own_events_only() -> None:
    """It may delete the others' events, which is why they are in its range."""
    event = seal(OperationalEvent(kind="k", subject="s", message="m"), PLACER, as_of=NOW)
    assert clauses(Tier.SITE, "janitor", "events/placer/1", event) == []
    assert clauses(Tier.SITE, "janitor", "events/janitor/1", event) == ["V3"]
    assert clauses(Tier.SITE, "placer", "events/placer/1", event) == []


def test_a_copy_has_its_senders_origin_and_age() -> None:
    """A cut-off peer's last word stays, and is old; that is not the importer's mistake (G12 is the readers')."""
    old = seal(SUMMARY, Stamp(origin="x/summarizer", incarnation="1"), as_of=1.0, ttl_s=5)
    assert clauses(Tier.GLOBAL, "gateway", "remote/paris/summary/site", old) == []
    assert clauses(Tier.SITE, "summarizer", "summary/site", old) == ["T1"]
    assert clauses(Tier.GLOBAL, "gateway", "remote/paris/plans/t/c", old) == ["K3"]
    assert clauses(Tier.GLOBAL, "gateway", "remote/paris/summary/site", b"{}") == ["V1"]


def test_notes_of_an_importer_are_its_own_business() -> None:
    """The fencing word of a link is no fact of the tier; it has a form of its own."""
    assert clauses(Tier.GLOBAL, "gateway", "remote/paris/meta.session", b"7f3a") == []
    assert clauses(Tier.GLOBAL, "gateway", "remote/paris/meta.x/y", b"7f3a") == ["K3"]


def test_both_sides_of_the_skew() -> None:
    """Clocks of a tier may differ by so much and no more, ahead and behind."""
    stamp = Stamp(origin="summarizer", incarnation="1")

    def at(as_of: float, ttl_s: float = 0.0) -> list[str]:
        value = seal(SUMMARY, stamp, as_of=as_of, ttl_s=ttl_s)
        return clauses(Tier.SITE, "summarizer", "summary/site", value)

    assert at(NOW + SKEW_S) == []
    assert at(NOW + SKEW_S + 1) == ["V4"]
    assert at(NOW - 10 - SKEW_S, ttl_s=10) == []
    assert at(NOW - 11 - SKEW_S, ttl_s=10) == ["T1"]
