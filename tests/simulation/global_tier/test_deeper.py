"""Shapes that only levels make: turning back through a region, a segment that a region splits, four levels."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.simulation.global_tier.test_three_levels import Carrier
from tests.simulation.global_tier.tiers import HollowTier, chain, values_of
from tests.support import eventually

from isthmus.contract import unseal
from isthmus.contract.chain import SegmentIntent
from isthmus.contract.peering import Delegation
from isthmus.global_tier.numbers import Numbers


@pytest.fixture
async def carrier() -> AsyncIterator[Carrier]:
    """The top above europe (milan, paris) and boston."""
    running = Carrier()
    await running.start()
    yield running
    await running.stop()


@pytest.mark.parametrize("far", ["paris-b", "milan-b"])
async def test_a_chain_turns_back_through_a_region(carrier: Carrier, far: str) -> None:
    """Why: the top cuts it into ``web`` and ``web.2``; at the region these are two chains, at milan maybe both, and no
    function of it is there: segments without functions are legal."""
    turning = chain(
        "web", ("europe", "milan-a"), ("europe", far), constraints={"sites": ["boston"]}
    )
    await carrier.top.apply(turning)
    await carrier.top.until("web", "running")
    assert sorted(key.rsplit("/", 1)[1] for key in await carrier.europe.keys("/segments/")) == [
        "web",
        "web.2",
    ]
    ends = {**carrier.wires("milan"), **carrier.wires("paris")}
    assert {vni: pair[::-1] for vni, pair in ends.items()} == carrier.wires("boston")
    assert sorted(ends) == [1000, 1001]
    await carrier.top.delete("web")

    async def clean() -> bool:
        stores = [carrier.europe.store, carrier.site("milan").store, carrier.site("boston").store]
        return not [k for s in stores for k in await values_of(s) if "/web" in k or "/w-" in k]

    await eventually(clean, "both visits are gone at every level", timeout_s=40)


async def test_a_region_splits_what_no_site_of_it_can_carry_alone(carrier: Carrier) -> None:
    """Why: the top sees 2000 free and asks for 1200; only the region knows that it takes two hosts at two sites, and
    how often it visits one: its wires and second visits must meet no name and no number of the top's."""
    needs = {"cpu_milli": 600, "memory_mib": 16}
    functions = [
        {
            "name": name,
            "type": "firewall",
            "config": {"default_policy": "accept"},
            "resources": needs,
        }
        for name in ("f1", "f2")
    ]
    await carrier.top.apply(
        chain(
            "web",
            ("boston", "boston-a"),
            ("europe", "milan-a"),
            functions=functions,
            constraints={"sites": ["europe"], "anti_affinity": []},
        )
    )
    await carrier.top.until("web", "running")
    milan, paris = carrier.wires("milan"), carrier.wires("paris")
    own = {vni for vni in {**milan, **paris} if vni >= 2000}
    assert own, "wires of the region's own"
    assert 1000 in {**milan, **paris}
    assert all(milan[vni] == paris[vni][::-1] for vni in own)
    asked = {
        **await values_of(carrier.site("milan").store, "/isthmus/v1/remote/global/intents/"),
        **await values_of(carrier.site("paris").store, "/isthmus/v1/remote/global/intents/"),
    }
    carried = [unseal(value, SegmentIntent).body.segment for value in asked.values()]
    assert sum(len(segment.functions) for segment in carried) >= 1
    assert all(len(segment.functions) <= 1 for segment in carried)


async def test_four_levels_by_the_same_code() -> None:
    """Why: if a third level needed nothing of its own, a fourth needs nothing either; marks and numbers of each."""
    country = HollowTier("italy", Numbers(3000, 3999), (Delegation("europe"),))
    region = HollowTier("europe", Numbers(2000, 2999), (Delegation("global"),))
    top = HollowTier("global", Numbers(1000, 1999))
    tiers = (country, region, top)
    try:
        await country.add_site("milan")
        await country.add_site("rome")
        await region.add_tier(country, ("milan-a", "milan-b", "rome-a", "rome-b"))
        await top.add_tier(region, ("milan-a", "milan-b", "rome-a", "rome-b"))
        await top.add_site("boston")
        for tier in tiers:
            tier.start()
        told = await top.heard("europe", lambda told: told.cpu_milli_total == 2000)
        assert told.sites == 1, "the region has one below, which has two"
        await top.heard("boston")
        await top.apply(chain("web", ("europe", "rome-a"), ("boston", "boston-a")))
        await top.until("web", "running")
        down = await values_of(country.sites["rome"].store, "/isthmus/v1/remote/global/intents/")
        trails = [unseal(value, SegmentIntent).body.segment.trail for value in down.values()]
        assert [len(trail) for trail in trails] == [2]
        rome = country.sites["rome"].panels["h1"].panel.wires
        boston = top.sites["boston"].panels["h1"].panel.wires
        assert [(w.vni, w.local_ip, w.remote_ip) for w in rome if w.vni < 2000] == [
            (w.vni, w.remote_ip, w.local_ip) for w in boston
        ]
        seen = await values_of(top.store, "/isthmus/v1/remote/europe/")
        assert [k for k, value in seen.items() if b'"italy"' in value or b'"rome"' in value] == []
        await top.delete("web")

        async def clean() -> bool:
            stores = [tier.store for tier in tiers]
            stores += [site.store for tier in tiers for site in tier.sites.values()]
            return not [k for s in stores for k in await values_of(s) if "/web" in k or "/w-" in k]

        await eventually(clean, "gone at all four levels", timeout_s=40)
    finally:
        for tier in reversed(tiers):
            await tier.stop()
