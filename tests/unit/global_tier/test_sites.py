"""The world as the engine sees it: what stands keeps its room, what is unknown has none, prices are per core."""

from __future__ import annotations

import itertools

import pytest

from isthmus.contract.chain import ChainSpec
from isthmus.contract.instance import SiteSummary
from isthmus.contract.world import LinkSpec, PlacedFunction, SiteSpec
from isthmus.contract.world import Placement as Record
from isthmus.global_tier.sites import (
    SiteView,
    Standing,
    demand,
    network,
    record,
    segment_name,
    standing_placement,
)
from isthmus.placement import Placement


def spec(name: str = "web", **more: object) -> ChainSpec:
    """A chain from milan to paris."""
    document: dict[str, object] = {
        "tenant": "acme",
        "chain": name,
        "ingress": {"site": "milan", "attachment": "a"},
        "egress": {"site": "paris", "attachment": "b"},
        "functions": [
            {"name": "fw", "type": "firewall", "resources": {"cpu_milli": 300, "memory_mib": 32}},
            {"name": "nat", "type": "nat", "resources": {"cpu_milli": 200, "memory_mib": 16}},
        ],
        "bandwidth_kbps": 1000,
        "latency_budget_ms": 12.5,
    }
    return ChainSpec.model_validate({**document, **more})


def view(site: str, cpu: int | None = 1000) -> SiteView:
    """A registered site; ``cpu`` None: nothing believable is known of it."""
    registered = SiteSpec(site=site, region="eu", country="it", owner="carrier", price_milli=2000)
    if cpu is None:
        return SiteView(registered, None)
    summary = SiteSummary(
        hosts=1,
        hosts_up=1,
        chains=0, cpu_milli_total=cpu, cpu_milli_free=cpu, memory_mib_total=cpu,
        memory_mib_free=cpu, function_types=("firewall/1", "nat/1"),
    )  # fmt: skip
    return SiteView(registered, summary)


def standing(chain: ChainSpec, *sites: str) -> Standing:
    """Placed at these sites, one route over each boundary."""
    functions = tuple(
        PlacedFunction(function=function.name, site=site)
        for function, site in zip(chain.functions, sites, strict=True)
    )
    stops = ("milan", *sites, "paris")
    routes = tuple((a, b) if a != b else (a,) for a, b in itertools.pairwise(stops))
    return Standing(
        chain,
        Record(
            epoch=1, functions=functions, wires=(), segments=(), routes=routes, latency_us=5000,
            latency_budget_us=12500, bandwidth_kbps=chain.bandwidth_kbps, cost_milli=1,
            intent_revision=1, decided_by="test",
        ),
    )  # fmt: skip


LINKS = (
    LinkSpec(source="milan", target="paris", latency_us=5000, capacity_kbps=500),
    LinkSpec(source="paris", target="milan", latency_us=5000, capacity_kbps=5000),
    LinkSpec(source="milan", target="atlantis", latency_us=1, capacity_kbps=1),
)


def test_what_stands_keeps_its_room_where_nothing_is_free() -> None:
    """Why: a full site, or one not heard of, must keep what it carries; else each look would move it (G12)."""
    stands = standing(spec(), "milan", "paris")
    made = network([view("milan", 100), view("paris", None)], LINKS, [stands])
    capacity = {site.name: site.capacity for site in made.sites}
    assert capacity["milan"]["cpu_milli"] == 300
    assert capacity["paris"] == {"cpu_milli": 200, "memory_mib": 16}
    link = {(one.source, one.target): one.capacity_kbps for one in made.links}
    assert link["milan", "paris"] == 1000, "the chain holds more than is left of the link"
    assert link["paris", "milan"] == 5000


def test_an_unknown_site_takes_nothing_new() -> None:
    """Why: age is uncertainty; a site whose word is too old is not empty, it is unknown."""
    made = network([view("milan"), view("paris", None)], LINKS, [])
    capacity = {site.name: site.capacity["cpu_milli"] for site in made.sites}
    assert capacity == {"milan": 1000, "paris": 0}
    assert made.sites[1].features == frozenset()


def test_links_to_nowhere_are_left_out_and_prices_are_per_core() -> None:
    """Why: a link whose site is not registered must not break the engine; prices are per core."""
    made = network([view("milan"), view("paris")], LINKS, [])
    assert {(link.source, link.target) for link in made.links} == {
        ("milan", "paris"), ("paris", "milan"),
    }  # fmt: skip
    assert made.sites[0].price["cpu_milli"] == pytest.approx(0.002)


def test_a_demand_says_what_the_person_said() -> None:
    """Why: each constraint is an index into the functions by here; a slip would keep the wrong two apart."""
    wanted = spec(
        constraints={
            "sites": ["milan"], "countries": ["it"], "owners": ["carrier"],
            "affinity": [["nat", "fw"]], "anti_affinity": [["fw", "nat"]],
        }
    )  # fmt: skip
    made = demand(wanted, ["paris"], None)
    assert made.id == "acme/web"
    assert (made.ingress, made.egress) == (("milan",), ("paris",))
    assert made.affinity == ((1, 0),)
    assert made.anti_affinity == ((0, 1),)
    assert made.forbidden_sites == frozenset({"paris"})
    assert made.latency_budget_ns == 12_500_000
    assert made.bandwidth_kbps == (1000,) * 3
    assert demand(spec(), [], None).allowed_sites is None, "no list means anywhere"


def test_only_the_same_functions_stand() -> None:
    """Why: a placement of other functions is not a place to stay at."""
    stands = standing(spec(), "milan", "paris").record
    assert demand(spec(), [], stands).current == ("milan", "paris")
    other = spec(functions=[{"name": "fw", "type": "firewall"}])
    assert demand(other, [], stands).current is None


def test_a_record_read_back_is_the_same_answer() -> None:
    """Why: what is charged for a chain that stands must be what was decided for it."""
    chain = spec()
    answer = Placement(
        chain="acme/web", sites=("milan", "paris"),
        hops=((), ("milan>paris",), ()),
        routes=(("milan",), ("milan", "paris"), ("paris",)),
        latency_ns=5_000_000, cost=0.25, lower_bound=0.0,
    )  # fmt: skip
    kept = record(chain, answer, epoch=3, intent_revision=7, decided_by="test")
    assert (kept.epoch, kept.intent_revision, kept.cost_milli) == (3, 7, 250)
    again = standing_placement(Standing(chain, kept))
    assert (again.sites, again.hops, again.routes) == (answer.sites, answer.hops, answer.routes)
    assert again.latency_ns == answer.latency_ns
    assert again.cost == answer.cost


def test_the_second_visit_has_a_name_of_its_own() -> None:
    """Why: two segments of one chain at one site would overwrite each other in the outbox."""
    assert [segment_name("web", visit) for visit in (1, 2, 3)] == ["web", "web.2", "web.3"]
