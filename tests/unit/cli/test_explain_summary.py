"""``isthmus federation explain-summary``: value, rule, bound, age, when and why; or that nothing is known."""

from __future__ import annotations

import time
from typing import Any

import pytest
from tests.live_api import LiveApi
from tests.unit.cli.conftest import Command

from isthmus.contract.alarms import raised
from isthmus.contract.families import SITE_SUMMARY
from isthmus.contract.instance import HostInventory, SiteSummary
from isthmus.contract.summaries import SUMMARIES
from isthmus.federation.summaries import plain
from isthmus.site.figures import SiteFacts, body, members, tell_all


def store(live: LiveApi, *, age_s: float = 0.0, told: bool = True) -> None:
    """The summary of a site with two hosts, as the summarizer writes it."""
    now_s = time.time()
    hosts = [HostInventory(host=f"h{n}", cpu_milli=2000, memory_mib=1024) for n in (1, 2)]
    facts = SiteFacts(hosts, {"h1": (500, 100)}, ["c1"], [], 900)
    before = tell_all({}, members(facts), now_s - age_s)
    moved = SiteFacts(hosts, {"h1": (900, 100)}, ["c1"], [], 900)
    fresh = tell_all(before, members(moved), now_s - age_s + 1)
    body = SiteSummary(**plain(fresh), told=fresh if told else {})
    live.write(SITE_SUMMARY, body, ttl_s=15.0)


def only(document: dict[str, Any], field: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in document["summaries"] if one["field"] == field)
    return found


def test_everything_of_a_number_is_told(live: LiveApi, isthmus: Command) -> None:
    """The columns of issue 7, for each summarized field."""
    store(live, age_s=20)
    document = isthmus.json("federation", "explain-summary")
    assert [one["field"] for one in document["summaries"]] == [one.field for one in SUMMARIES]
    free = only(document, "cpu_milli_free")
    assert (free["value"], free["rule"], free["inputs"]) == (
        3100,
        "sum",
        ["inventory", "plans", "specs"],
    )
    assert (free["bound"], free["band"], free["dead_band_share"]) == (62, 62, 0.02)
    assert (free["why"], free["members"], free["state"]) == ("change", 2, "told")
    assert 18 <= free["age_s"] <= 60
    assert only(document, "hosts_up")["why"] == "first"
    told = isthmus("federation", "explain-summary", "cpu_milli_free").stdout
    assert told.count("\n") == 1
    assert "milan cpu_milli_free = 3100 milli-cores +- 62: sum of" in told
    assert "because it moved beyond its band" in told
    by_key = isthmus.json("federation", "explain-summary", "/isthmus/v1/summary/site")
    assert len(by_key["summaries"]) == len(SUMMARIES)


def test_what_is_stale_old_or_unknown_says_so(live: LiveApi, isthmus: Command) -> None:
    """No number without its doubt (G12)."""
    assert "unknown" in isthmus("federation", "explain-summary", "hosts_up").stdout
    store(live, told=False)
    assert "an older release" in isthmus("federation", "explain-summary", "hosts_up").stdout
    store(live, age_s=200)
    assert "STALE" in isthmus("federation", "explain-summary", "hosts_up").stdout


def test_bins_places_and_the_largest_are_told_in_words(live: LiveApi, isthmus: Command) -> None:
    """A row of numbers says nothing: how much is free where, what is wrong, and what is not told."""
    hosts = [HostInventory(host=f"h{n}", cpu_milli=2000, memory_mib=64) for n in (1, 2)]
    facts = SiteFacts(hosts, {}, [], [], 900, {"h1": 500}, raised({"hosts-down": (1, 3)}))
    fields, told = body(facts, None, time.time())
    live.write(SITE_SUMMARY, SiteSummary(**fields, told=told), ttl_s=15.0)

    def told_of(field: str) -> str:
        return isthmus("federation", "explain-summary", field).stdout

    assert "milan free_cpu_slots = 2 of 2000m hosts by milli-cores +- 0.1: histogram of" in told_of(
        "free_cpu_slots"
    )
    assert "milan alarms = 1 of 3 hosts carry no packets +- 10: top-k of" in told_of("alarms")
    assert "milan hottest_host_permille = 250 permille +- 20: max of" in told_of(
        "hottest_host_permille"
    )
    older = {name: one for name, one in told.items() if name != "alarms"}
    bare = {**fields, "alarms": ()}
    live.write(SITE_SUMMARY, SiteSummary(**bare, told=older), ttl_s=15.0)
    assert "unknown: its site does not tell it (an older release)" in told_of("alarms")


@pytest.mark.parametrize(
    ("what", "code", "words"),
    [("colour", 2, "cpu_milli_free"), ("remote/paris/summary/site", 4, "sites: milan")],
)
def test_what_is_no_summary_is_refused_by_name(
    what: str, code: int, words: str, live: LiveApi, isthmus: Command
) -> None:
    """With what there is instead."""
    store(live)
    assert words in isthmus("federation", "explain-summary", what, code=code).stderr
