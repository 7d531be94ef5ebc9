"""Three levels by the same code: global, a region, its two sites; one more site hangs directly below global."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.simulation.global_tier.tiers import HollowTier, chain, values_of
from tests.simulation.site.world import HollowSite
from tests.support import eventually

from isthmus.contract import unseal
from isthmus.contract.chain import SegmentIntent
from isthmus.contract.families import G_SEGMENTS, STATUS
from isthmus.contract.peering import Delegation
from isthmus.global_tier.numbers import Numbers


class Carrier:
    """``top`` above ``europe`` (milan, paris) and boston."""

    def __init__(self) -> None:
        self.top = HollowTier("global", Numbers(1000, 1999))
        self.europe = HollowTier("europe", Numbers(2000, 2999), (Delegation("global"),))

    async def start(self) -> None:
        await self.europe.add_site("milan")
        await self.europe.add_site("paris")
        await self.top.add_site("boston")
        await self.top.add_tier(self.europe, ("milan-a", "milan-b", "paris-a", "paris-b"))
        self.europe.start()
        self.top.start()
        await self.top.heard("boston")
        await self.top.heard("europe", lambda told: told.sites == 2)

    async def stop(self) -> None:
        await self.top.stop()
        await self.europe.stop()

    def site(self, name: str) -> HollowSite:
        return self.europe.sites.get(name) or self.top.sites[name]

    def wires(self, name: str) -> dict[int, tuple[str, str]]:
        """VNI to both addresses, as patched at a site."""
        panel = self.site(name).panels["h1"].panel
        return {wire.vni: (wire.local_ip, wire.remote_ip) for wire in panel.wires}


@pytest.fixture
async def carrier() -> AsyncIterator[Carrier]:
    running = Carrier()
    await running.start()
    yield running
    await running.stop()


async def test_a_chain_runs_from_a_site_of_the_region_to_a_site_of_the_top(
    carrier: Carrier,
) -> None:
    """Why: this is the hierarchy. Placed above, carried below by the region's own decision, joined by the wire."""
    await carrier.top.apply(chain("web", ("europe", "milan-a"), ("boston", "boston-a")))
    status = await carrier.top.until("web", "running")
    assert status.path[-1].startswith(("boston", "europe"))
    region = await carrier.europe.until("web", "running")
    assert region.source == "global"
    ours, theirs = carrier.wires("milan"), carrier.wires("boston")
    assert list(theirs) == [1000], "the number is the top's"
    assert ours[1000] == theirs[1000][::-1]


async def test_the_region_spreads_a_segment_over_its_sites_with_numbers_of_its_own(
    carrier: Carrier,
) -> None:
    """Why: what is one site above is many below; both tiers' wires end on one host and must not be mixed up."""
    await carrier.top.apply(
        chain(
            "web", ("europe", "milan-a"), ("europe", "paris-a"), constraints={"sites": ["europe"]}
        )
    )
    await carrier.top.until("web", "running")
    assert list(carrier.wires("milan")) == [2000]
    assert carrier.wires("milan")[2000] == carrier.wires("paris")[2000][::-1]
    assert carrier.wires("boston") == {}


async def test_a_changed_chain_is_changed_below_and_a_deleted_one_leaves_nothing(
    carrier: Carrier,
) -> None:
    """Why: what is left at the second level is capacity nobody can use, and nobody looks there."""
    ends = (("europe", "paris-a"), ("boston", "boston-a"))
    await carrier.top.apply(chain("web", *ends))
    first = await carrier.top.until("web", "running")
    slower = [{"name": "fw", "type": "firewall", "config": {"default_policy": "drop"}}]
    await carrier.top.apply(chain("web", *ends, functions=slower))
    await carrier.top.until(
        "web", "running", lambda now: now.epoch > first.epoch and len(now.functions) == 1
    )
    await carrier.top.delete("web")

    async def clean() -> bool:
        stores = [carrier.top.store, carrier.europe.store]
        stores += [carrier.site(name).store for name in ("milan", "paris", "boston")]
        return not [
            key
            for store in stores
            for key in await values_of(store)
            if "/web" in key or "/w-" in key or "/vnis/" in key
        ]

    await eventually(clean, "no key of the chain is left at any level", timeout_s=40)


async def test_a_region_that_is_started_anew_moves_nothing(carrier: Carrier) -> None:
    """Why: a restart adopts what runs (DESIGN section 5); a moved segment is a customer's outage."""
    await carrier.top.apply(chain("web", ("europe", "milan-a"), ("boston", "boston-a")))
    await carrier.top.until("web", "running")
    before = await values_of(carrier.europe.store, "/isthmus/v1/placements/")
    panels = len(carrier.site("milan").panels["h1"].history)
    await carrier.europe.kill()
    carrier.europe.start()
    await carrier.top.apply(chain("two", ("europe", "paris-a"), ("boston", "boston-b")))
    await carrier.top.until("two", "running")
    after = await values_of(carrier.europe.store, "/isthmus/v1/placements/")
    assert before.items() <= after.items()
    milan = carrier.site("milan").panels["h1"]
    assert [p for p in milan.history[panels:] if not p.wires] == [], "the wire never went away"


async def test_a_region_that_is_cut_off_goes_on_and_admits_for_itself(carrier: Carrier) -> None:
    """Why: a cut above must not be felt below (G1); above, nobody takes the old word for a new one (G12)."""
    await carrier.top.apply(chain("web", ("europe", "milan-a"), ("boston", "boston-a")))
    await carrier.top.until("web", "running")
    carrier.top.cut("europe")
    await carrier.top.until("web", "unknown")
    assert (await carrier.europe.until("web", "running")).source == "global"
    await carrier.europe.apply(chain("own", ("milan", "milan-b"), ("paris", "paris-b")))
    await carrier.europe.until("own", "running")
    carrier.top.heal("europe")
    await carrier.top.until("web", "running")
    await carrier.top.heard("europe", lambda told: told.chains >= 2)


async def test_the_top_never_learns_a_site_of_the_region_and_sites_learn_no_neighbour(
    carrier: Carrier,
) -> None:
    """Why: a level is a border (R61). Attachments are the customers' names and are told; sites and hosts are not."""
    await carrier.top.apply(chain("web", ("europe", "milan-a"), ("boston", "boston-a")))
    await carrier.top.until("web", "running")
    seen = await values_of(carrier.top.store, "/isthmus/v1/remote/europe/")
    assert seen
    hidden = (b'"milan"', b'"paris"', b"milan/", b"paris/", b"milan:", b'"h1"', b'"i-')
    assert [key for key, value in seen.items() if any(word in value for word in hidden)] == []
    at_paris = await values_of(carrier.site("paris").store)
    assert [key for key in at_paris if "/web" in key] == []
    down = await values_of(carrier.site("milan").store, "/isthmus/v1/remote/")
    assert [key for key, value in down.items() if b"boston" in value] == []


async def test_a_name_of_the_regions_own_users_is_not_given_to_the_top(carrier: Carrier) -> None:
    """Why: local requests win; the tier above is told, not left waiting."""
    await carrier.europe.apply(chain("web", ("milan", "milan-b"), ("paris", "paris-b")))
    await carrier.europe.until("web", "running")
    await carrier.top.apply(chain("web", ("europe", "milan-a"), ("boston", "boston-a")))
    refused = await carrier.top.until("web", "refused")
    assert "taken at europe" in refused.reason
    assert (await carrier.europe.until("web", "running")).source == "local"
    await carrier.europe.delete("web")
    await carrier.top.until("web", "running")


async def test_a_name_can_pass_from_the_top_to_the_regions_own_users(carrier: Carrier) -> None:
    """Why: ours win, also over what runs; a placement made for the peer must not stand for our own chain."""
    await carrier.top.apply(chain("web", ("europe", "milan-a"), ("boston", "boston-a")))
    await carrier.top.until("web", "running")
    await carrier.europe.apply(chain("web", ("milan", "milan-b"), ("paris", "paris-b")))
    await carrier.europe.until(
        "web", "running", lambda now: now.source == "local" and now.path[-1].startswith("paris")
    )
    await carrier.top.until("web", "refused", lambda now: "taken at europe" in now.reason)
    assert await carrier.europe.keys("/segments/") == []
    assert 1000 not in carrier.wires("milan"), "the peer's wire is gone"


async def test_numbers_that_collide_are_refused_with_the_ranges_named(carrier: Carrier) -> None:
    """Why: two wires of one number on a host carry one tenant's packets into the other's chain."""
    await carrier.europe.kill()
    carrier.europe.numbers = Numbers(500, 1500)
    carrier.europe.start()
    await carrier.top.apply(chain("web", ("europe", "milan-a"), ("boston", "boston-a")))
    refused = await carrier.top.until("web", "refused")
    assert "1000" in refused.reason
    assert "500 to 1500" in refused.reason
    assert await carrier.europe.keys("/segments/") == []
    assert carrier.wires("milan") == {}


async def test_totals_of_the_region_are_those_of_its_sites_with_bounds_added(
    carrier: Carrier,
) -> None:
    """Why: the placer above reckons with one site; its figures must be as true as a site's (DESIGN section 6)."""
    told = await carrier.top.heard("europe")
    assert (told.cpu_milli_total, told.cpu_milli_free, told.hosts_up) == (2000, 2000, 2)
    assert told.largest_free_cpu_milli == 1000
    assert told.attachments == ("milan-a", "milan-b", "paris-a", "paris-b")
    assert (told.sites, told.sites_unknown) == (2, 0)
    one = await carrier.europe.heard("milan")
    two = await carrier.europe.heard("paris")
    bounds = [each.told["cpu_milli_free"].bound for each in (one, two)]
    assert told.told["cpu_milli_free"].bound >= sum(bounds)


async def test_what_the_top_asks_for_keeps_the_tops_mark_out_of_the_site(carrier: Carrier) -> None:
    """Why: a region marks what it passes on, so that no circle of tiers can pass it on for ever."""
    await carrier.top.apply(chain("web", ("europe", "milan-a"), ("boston", "boston-a")))
    await carrier.top.until("web", "running")
    entry = await carrier.europe.store.get(G_SEGMENTS.key(tenant="acme", chain="web"))
    assert entry is not None
    down = await values_of(carrier.site("milan").store, "/isthmus/v1/remote/global/intents/")
    marks = [unseal(value, SegmentIntent).body.segment.trail for value in down.values()]
    assert [len(trail) for trail in marks] == [1]
    assert await carrier.site("milan").store.get(STATUS.key(tenant="acme", chain="web"))
