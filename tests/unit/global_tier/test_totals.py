"""All sites of a tier as one: sums, the largest slot, unions, a weighted price; what is not believed is counted."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from isthmus.contract.alarms import Alarm
from isthmus.contract.chain import FunctionSpec, Resources, Segment, Terminal
from isthmus.contract.figures import Kind, Told
from isthmus.contract.instance import SiteSummary
from isthmus.contract.world import PlacedFunction, PlacedSegment, Placement, SiteSpec
from isthmus.global_tier.orders import SiteView
from isthmus.global_tier.totals import TierFacts, functions_of_own, summary, used_by_own

NOW = 1_000.0


def told(value: float, bound: float = 0.0, kind: Kind = Kind.SUM) -> Told:
    return Told(kind=kind, values=(value,), bound=bound, as_of=NOW, max_age_s=60.0, members=1)


def view(site: str, cpu: int | None, free: int = 0, **more: object) -> SiteView:
    """A registered site; ``cpu`` None: nothing believable is known of it."""
    relation = more.pop("relation", "below")
    spec = SiteSpec.model_validate({"site": site, "relation": relation})
    if cpu is None:
        return SiteView(spec, None)
    document = {
        "cpu_milli_total": cpu, "cpu_milli_free": free, "memory_mib_total": cpu,
        "memory_mib_free": free, "largest_free_cpu_milli": free, "hosts_up": 1, "chains": 1, **more,
    }  # fmt: skip
    return SiteView(spec, SiteSummary.model_validate(document))


def summed(*views: SiteView, used: Mapping[str, tuple[int, int]] | None = None) -> SiteSummary:
    return summary(TierFacts(views, used or {}), None, NOW)


def test_totals_are_sums_and_the_slot_is_the_largest_of_any_site() -> None:
    """Why: a slot is one host's; two halves at two sites carry no function that needs the whole."""
    both = summed(view("a", 1000, 600), view("b", 500, 400))
    assert (both.cpu_milli_total, both.cpu_milli_free, both.hosts_up, both.chains) == (
        1500,
        1000,
        2,
        2,
    )
    assert both.largest_free_cpu_milli == 600


def test_what_is_too_old_is_left_out_and_counted() -> None:
    """Why: a sum with a silent site in it promises what may be gone; one without it must say so."""
    body = summed(view("a", 1000, 600), view("b", None))
    assert (body.cpu_milli_total, body.sites, body.sites_unknown) == (1000, 1, 1)
    nothing = summed(view("b", None))
    assert (nothing.cpu_milli_total, nothing.price_milli, nothing.sites_unknown) == (0, 0, 1)


def test_a_tier_beside_us_is_not_ours_to_offer() -> None:
    """Why: A would be offered its own capacity by B, and B its own by A, growing with every telling."""
    body = summed(view("a", 1000, 600), view("peer", 9000, 9000, relation="beside"))
    assert (body.cpu_milli_total, body.sites, body.sites_unknown) == (1000, 1, 0)


def test_bounds_add_up_and_the_tier_adds_its_own_band() -> None:
    """Why: "wrong by at most" must stay true one level up (issue 7, point 6)."""
    a = view("a", 1000, 600, told={"cpu_milli_free": told(600, 12)})
    b = view("b", 1000, 400, told={"cpu_milli_free": told(400, 8)})
    figure = summed(a, b).told["cpu_milli_free"]
    assert (figure.values, figure.members) == ((1000.0,), 2)
    assert figure.bound == 20 + figure.band
    assert figure.band == 20.0


def test_the_price_is_the_mean_by_cores() -> None:
    """Why: the cheapest price would promise what only the smallest site keeps."""
    body = summed(view("a", 3000, price_milli=1000), view("b", 1000, price_milli=2000))
    assert body.price_milli == 1250


def test_our_own_chains_are_taken_off_where_they_are() -> None:
    """Why: a peer knows what it holds here itself, and knows nothing of what our own users hold."""
    body = summed(view("a", 1000, 600), view("b", 500, 400), used={"a": (500, 550)})
    assert (body.cpu_milli_free, body.memory_mib_free) == (100 + 400, 50 + 400)
    assert body.largest_free_cpu_milli == 400
    assert summed(view("a", 1000, 600), used={"a": (900, 900)}).cpu_milli_free == 0


def test_an_attachment_at_two_sites_is_offered_by_none() -> None:
    """Why: the peer names an attachment and no site; which of two it meant nobody could tell."""
    body = summed(
        view("a", 1, attachments=("x", "both"), function_types=("nat/1",)),
        view("b", 1, attachments=("y", "both"), function_types=("nat/1", "firewall/1")),
    )
    assert body.attachments == ("x", "y")
    assert body.function_types == ("firewall/1", "nat/1")


@pytest.mark.parametrize(
    ("fences", "fence"), [(("kernel", "kernel"), "kernel"), (("kernel", "none"), "none"), ((), "none")]
)  # fmt: skip
def test_the_tier_has_a_fence_only_where_all_sites_have(
    fences: tuple[str, ...], fence: str
) -> None:
    """Why: an exclusive chain may land at any of them."""
    views = [view(f"s{index}", 1, fence=one) for index, one in enumerate(fences)]
    assert summed(*views).fence == fence


def test_what_was_told_stays_told_while_it_holds() -> None:
    """Why: a restarted representative must not tell everything anew; the band is there to be quiet in."""
    first = summed(view("a", 1000, 600))
    again = summary(TierFacts((view("a", 1000, 595),), {}), first, NOW + 1)
    assert again.cpu_milli_free == 600
    moved = summary(TierFacts((view("a", 1000, 500),), {}), first, NOW + 1)
    assert moved.cpu_milli_free == 500


def test_only_our_own_placements_count_as_used() -> None:
    """Why: what a peer holds is on the peer's own books; counted twice, half of the tier would look full."""
    needs = FunctionSpec(name="f", type="nat", resources=Resources(cpu_milli=300, memory_mib=32))
    end = Terminal(kind="attachment", name="x")
    segment = Segment(tenant="t", chain="c", functions=(needs, needs), left=end, right=end)

    def placement(source: str) -> Placement:
        return Placement(
            epoch=1,
            functions=(PlacedFunction(function="f", site="a"),),
            segments=(PlacedSegment(site="a", segment=segment),),
            source=source,
        )

    both = [placement("local"), placement("peer")]
    assert used_by_own(both) == {"a": (600, 64)}
    assert functions_of_own(both) == {"a": 1}


def with_figures(site: str, **more: object) -> SiteView:
    """A site of this release: three hosts with 1000, 2000 and 4000 free, and what ``more`` says."""
    bins = told(0, 1, Kind.HISTOGRAM).model_copy(update={"values": (0, 0, 0, 1, 1, 1, 0, 0)})
    hottest = told(800, 20, Kind.MAX)
    alarms = more.pop("alarms", ())
    top = told(0, 10, Kind.TOP_K).model_copy(update={"values": (0.0,) * 5})
    figures = {"free_cpu_slots": bins, "hottest_host_permille": hottest, "alarms": top}
    return view(site, 8000, 7000, hosts_up=3, told=figures, alarms=alarms, **more)


def test_bins_add_up_and_our_own_functions_may_be_in_any_of_them() -> None:
    """Why: nobody above knows on which hosts they run: each may have moved one host, and the bound says so."""
    views = [with_figures("a"), with_figures("b")]
    told_up = summary(TierFacts(views, {}), None, NOW)
    assert told_up.free_cpu_slots == (0, 0, 0, 2, 2, 2, 0, 0)
    band = told_up.told["free_cpu_slots"].band
    assert told_up.told["free_cpu_slots"].bound == 2 + band
    ours = summary(TierFacts(views, {}, 0, {"a": 2, "b": 99}), None, NOW)
    assert ours.told["free_cpu_slots"].bound == (1 + 2) + (3 + 1) + band


def test_the_hottest_is_the_hottest_of_any_site() -> None:
    """Why: a mean hides the one host that burns."""
    body = summary(TierFacts([with_figures("a"), with_figures("b")], {}), None, NOW)
    assert (body.hottest_host_permille, body.told["hottest_host_permille"].bound) == (800, 40)


def test_a_site_of_an_older_release_is_told_as_not_knowing() -> None:
    """Why: n with n-1: what it does not tell must not look like "nothing is wrong there"."""
    body = summary(TierFacts([with_figures("a"), view("old", 100, 50, hosts_up=7)], {}), None, NOW)
    assert body.told["free_cpu_slots"].bound >= 1 + 7
    assert body.told["hottest_host_permille"].bound >= 1000
    assert [one.name for one in body.alarms] == ["2.alarms-untold"]
    assert body.told["alarms"].bound >= 3000


def test_alarms_rise_without_the_names_of_sites_and_the_worst_come_first() -> None:
    """Why: borders: names do not cross (docs/hierarchy); the tier's own silence is an alarm, too."""
    refused = Alarm(name="chains-refused", severity="warning", count=1, of=4, since=NOW)
    down = Alarm(name="hosts-down", severity="error", count=1, of=4, since=NOW)
    views = [with_figures("milan", alarms=(down, refused)), with_figures("genoa"), view("x", None)]
    body = summary(TierFacts(views, {}, held=2), None, NOW)
    assert [one.name for one in body.alarms] == [
        "sites-silent",
        "2.hosts-down",
        "deletions-held",
        "2.chains-refused",
    ]
    assert body.told["alarms"].bound == 10 + 10, "the site's, and the tier's own band"
    assert "milan" not in body.model_dump_json()
    again = summary(TierFacts(views, {}, held=2), body, NOW + 5)
    assert again == body, "told once while it holds, its beginning kept"
