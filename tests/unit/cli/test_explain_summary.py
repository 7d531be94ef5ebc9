"""``isthmus federation explain-summary``: value, rule, bound, age, when and why; or that nothing is known."""

from __future__ import annotations

import time
from typing import Any

import pytest
from tests.live_api import LiveApi
from tests.unit.cli.conftest import Command

from isthmus.contract.families import SITE_SUMMARY
from isthmus.contract.instance import HostInventory, SiteSummary
from isthmus.contract.summaries import SUMMARIES
from isthmus.site.figures import SiteFacts, members, tell_all, values


def store(live: LiveApi, *, age_s: float = 0.0, told: bool = True) -> None:
    """The summary of a site with two hosts, as the summarizer writes it."""
    now_s = time.time()
    hosts = [HostInventory(host=f"h{n}", cpu_milli=2000, memory_mib=1024) for n in (1, 2)]
    facts = SiteFacts(hosts, {"h1": (500, 100)}, ["c1"], [], 900)
    before = tell_all({}, members(facts), now_s - age_s)
    moved = SiteFacts(hosts, {"h1": (900, 100)}, ["c1"], [], 900)
    fresh = tell_all(before, members(moved), now_s - age_s + 1)
    body = SiteSummary(**values(fresh), told=fresh if told else {})
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
