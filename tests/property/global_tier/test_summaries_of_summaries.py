"""Summaries of summaries keep their bounds: site -> region -> global, whatever the hosts do (issue 7, point 6)."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.contract.alarms import CHAINS_DEGRADED, HOSTS_DOWN, raised
from isthmus.contract.instance import HostInventory, SiteSummary
from isthmus.contract.world import SiteSpec
from isthmus.global_tier.orders import SiteView
from isthmus.global_tier.totals import TierFacts, summary
from isthmus.site.figures import SiteFacts, body

SITES = ("milan", "paris", "lyon")
HOSTS = ("h1", "h2")
CPU = 10_000
FIELDS = ("cpu_milli_free", "memory_mib_free", "cpu_milli_total", "hosts_up")

step = st.tuples(st.sampled_from(SITES), st.sampled_from(HOSTS), st.integers(0, CPU), st.booleans())
"""A host's load changes; True: the region tells before the next step."""


class Level:
    """Three sites and the region above them, each telling by the rules of the contract."""

    def __init__(self) -> None:
        self.used = {site: dict.fromkeys(HOSTS, 0) for site in SITES}
        self.sites: dict[str, SiteSummary] = {}
        self.region: SiteSummary | None = None
        self.top: SiteSummary | None = None

    def site_tells(self, site: str, now_s: float) -> None:
        hosts = [HostInventory(host=host, cpu_milli=CPU, memory_mib=CPU) for host in HOSTS]
        used = {host: (load, load) for host, load in self.used[site].items()}
        facts = SiteFacts(
            hosts, used, (), (), 1000, dict(self.used[site]), raised(self.alarms(site))
        )
        fields, told = body(facts, self.sites.get(site), now_s)
        self.sites[site] = SiteSummary(**fields, told=told)

    def alarms(self, site: str) -> dict[str, tuple[int, int]]:
        """A full host counts as one that is down, any load above half as a degraded chain."""
        loads = self.used[site].values()
        return {
            HOSTS_DOWN: (sum(load == CPU for load in loads), len(HOSTS)),
            CHAINS_DEGRADED: (sum(max(0, load - CPU // 2) for load in loads), CPU * len(HOSTS)),
        }

    def region_tells(self, now_s: float) -> SiteSummary:
        return self._up("region", self.sites, now_s)

    def top_tells(self, region: SiteSummary, now_s: float) -> SiteSummary:
        return self._up("top", {"europe": region}, now_s)

    def _up(self, level: str, below: dict[str, SiteSummary], now_s: float) -> SiteSummary:
        views = [SiteView(SiteSpec(site=name), told) for name, told in below.items()]
        body = summary(TierFacts(views, {}), getattr(self, level), now_s)
        setattr(self, level, body)
        return body

    def truth(self, field: str) -> float:
        if field == "hosts_up":
            return len(SITES) * len(HOSTS)
        if field == "cpu_milli_total":
            return CPU * len(SITES) * len(HOSTS)
        return sum(CPU - load for site in self.used.values() for load in site.values())

    def bins(self) -> list[int]:
        """Hosts by what is free, counted by hand."""
        free = [CPU - load for site in self.used.values() for load in site.values()]
        ends = (0, 250, 500, 1000, 2000, 4000, 8000, 16000, 10**9)
        return [sum(low <= one < high for one in free) for low, high in itertools.pairwise(ends)]

    def hottest(self) -> float:
        return max(1000 * load / CPU for site in self.used.values() for load in site.values())

    def worst(self) -> list[float]:
        """How bad the five worst alarms of all sites are."""
        found = [
            3000 + 1000 * count / of
            for site in SITES
            for count, of in self.alarms(site).values()
            if count
        ]
        return (sorted(found, reverse=True) + [0.0] * 5)[:5]

    def largest(self) -> float:
        return max(CPU - load for site in self.used.values() for load in site.values())


@given(st.lists(step, max_size=25))
@settings(max_examples=120, deadline=None)
def test_the_truth_is_within_the_bound_after_two_levels(
    steps: list[tuple[str, str, int, bool]],
) -> None:
    """Why: whoever places by a figure two levels up must know how wrong it may be; bands of three levels lie in it."""
    world = Level()
    for site in SITES:
        world.site_tells(site, 0.0)
    for number, (site, host, load, _) in enumerate([("milan", "h1", 0, True), *steps]):
        now_s = float(number)
        world.used[site][host] = load
        world.site_tells(site, now_s)
        region = world.region_tells(now_s)
        top = world.top_tells(region, now_s)
        for field in FIELDS:
            for told in (region.told[field], top.told[field]):
                assert abs(told.values[0] - world.truth(field)) <= told.bound + 1e-6, field
        for level in (region, top):
            slots, hottest, alarms = (
                level.told[name] for name in ("free_cpu_slots", "hottest_host_permille", "alarms")
            )
            apart = [abs(a - b) for a, b in zip(slots.values, world.bins(), strict=True)]
            assert max(apart) <= slots.bound + 1e-6
            assert abs(hottest.values[0] - world.hottest()) <= hottest.bound + 1e-6
            for said, true in zip(alarms.values, world.worst(), strict=True):
                assert abs(said - true) <= alarms.bound + 1e-6
            assert tuple(one.name for one in level.alarms) == alarms.names
        for told in (region.told["largest_free_cpu_milli"], top.told["largest_free_cpu_milli"]):
            assert told.values[0] <= world.largest(), "a told slot always fits on a real host"


@given(st.lists(step, max_size=15))
@settings(max_examples=60, deadline=None)
def test_a_silent_level_is_left_out_and_never_guessed(
    steps: list[tuple[str, str, int, bool]],
) -> None:
    """Why: G12 through levels: what a region may not believe is in no total above it, and the count says so."""
    world = Level()
    for number, (site, host, load, _) in enumerate(steps):
        world.used[site][host] = load
        world.site_tells(site, float(number))
    region = summary(
        TierFacts([SiteView(SiteSpec(site=site), world.sites.get(site)) for site in SITES], {}),
        None,
        0.0,
    )
    assert region.sites + region.sites_unknown == len(SITES)
    assert region.sites == len(world.sites)
    assert region.cpu_milli_total == CPU * len(HOSTS) * len(world.sites)
