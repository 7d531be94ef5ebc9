"""What an agreement on totals makes of the histogram and the alarms: kinds of the contract, or it stays at home."""

from __future__ import annotations

from typing import Any

import pytest
from tests.agreement_support import summary
from tests.support_certificates import NOW_S
from tests.unit.federation.test_agreement_terms import judged

from isthmus.contract.figures import Kind, Told
from isthmus.federation.agreement import Clause

TOTALS = Clause(pattern="summary/site", aggregation="totals", min_members=3)
BINS = (0, 1, 0, 0, 2, 0, 0, 1)


def told(kind: Kind, values: tuple[float, ...], names: tuple[str, ...] = ()) -> dict[str, Any]:
    one = Told(kind=kind, values=values, names=names, bound=1, as_of=NOW_S, max_age_s=60, members=4)
    return one.model_dump(mode="json")


def with_all(**changes: Any) -> dict[str, Any]:
    """A summary with bins, hottest host and one alarm; ``changes`` of that alarm."""
    one = {"name": "hosts-down", "severity": "error", "count": 1, "of": 4, "since": NOW_S} | changes
    document = summary(free_cpu_slots=list(BINS), hottest_host_permille=900, alarms=[one])
    document["body"]["told"] |= {
        "free_cpu_slots": told(Kind.HISTOGRAM, tuple(map(float, BINS))),
        "hottest_host_permille": told(Kind.MAX, (900.0,)),
        "alarms": told(Kind.TOP_K, (3250.0, 0, 0, 0, 0), (str(one["name"]),)),
    }
    return document


def test_what_the_contract_declares_crosses_and_an_older_release_is_not_missed() -> None:
    """Why: n with n-1: a site that does not tell the newer figures loses nothing of what it tells."""
    assert judged(TOTALS, with_all()) == ""
    older = summary()
    for name in ("free_cpu_slots", "hottest_host_permille", "alarms"):
        del older["body"][name]
    assert judged(TOTALS, older) == ""


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "milan-rack-7"},
        {"name": "h1.hosts-down"},
        {"text": "acme's firewall at h1"},
        {"severity": "warning"},
    ],
)
def test_an_alarm_that_could_tell_more_stays_at_home(changes: dict[str, Any]) -> None:
    """Why: the leak through a new door: the name is the only text in an alarm (attack 8)."""
    assert "agreement-aggregation: body.alarms" in judged(TOTALS, with_all(**changes))
    assert "it is no SiteSummary" in judged(TOTALS, with_all(name="x" * 200))


def test_figures_that_differ_from_their_telling_stay_at_home() -> None:
    """Why: a number beside its telling is one that nobody agreed to."""
    for field, wrong in (("free_cpu_slots", [4]), ("alarms", []), ("hottest_host_permille", 7)):
        document = with_all()
        document["body"][field] = wrong
        assert f"body.{field} is not what" in judged(TOTALS, document)
    untold = with_all()
    del untold["body"]["told"]["free_cpu_slots"]
    assert "body.told.free_cpu_slots" in judged(TOTALS, untold)
    named = with_all()
    named["body"]["told"]["free_cpu_slots"]["names"] = ["h1"]
    assert "body.told.free_cpu_slots" in judged(TOTALS, named)


def test_of_too_few_is_held_back_and_kinds_are_agreed_by_name() -> None:
    """Why: "one of two hosts is down" tells of single hosts as much as a total of two does."""
    assert "has one of 2" in judged(TOTALS, with_all(count=1, of=2))
    sums = Clause(
        pattern="summary/site",
        aggregation="totals",
        rules=("sum", "last", "largest-free-slot", "max"),
    )
    assert "histogram" in judged(sums, with_all())
