"""A wire's number says whose packets they are: it is not given again while a site may still send under it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.simulation.global_tier.world import HollowWorld, chain
from tests.support import eventually

from isthmus.contract import unseal
from isthmus.contract.families import G_REQUESTS, G_SITES, G_VNIS, G_WIRES
from isthmus.contract.world import Wire


@pytest.fixture
async def world() -> AsyncIterator[HollowWorld]:
    """Three sites and the tier above; the chain ``web`` runs from Milan to Paris."""
    running = HollowWorld()
    await running.start()
    await running.apply(chain())
    await running.until("web", "running")
    yield running
    await running.stop()


async def numbers(world: HollowWorld) -> dict[int, str]:
    """The wires' numbers and whose they are."""
    entries = (await world.store.snapshot(G_WIRES.prefix())).entries
    found = [unseal(entry.value, Wire).body for entry in entries]
    return {wire.vni: wire.chain for wire in found}


async def delete_behind_a_cut(world: HollowWorld) -> None:
    """Paris is cut off when ``web`` ends: it goes on with it; Milan takes it down."""
    for link in world.links["paris"]:
        link.connected.clear()
    await world.store.delete(G_REQUESTS.key(tenant="acme", chain="web"))

    async def down() -> bool:
        return not world.sites["milan"].panels["h1"].panel.wires

    await eventually(down, "milan has taken it down")


async def test_a_number_stays_taken_while_a_cut_off_site_uses_it(world: HollowWorld) -> None:
    """Why: Paris still sends under 1000 to Milan's host. Given to the next chain there, one tenant's packets would come
    out of another's."""
    await delete_behind_a_cut(world)
    await world.apply(chain("next", egress={"site": "partner", "attachment": "partner-a"}))
    panel = world.sites["milan"].panels["h1"]
    await eventually(lambda: bool(panel.panel.wires), "milan sends to the partner")
    assert await numbers(world) == {1000: "web", 1001: "next"}
    assert [wire.vni for wire in panel.panel.wires] == [1001]
    assert [wire.vni for wire in world.sites["paris"].panels["h1"].panel.wires] == [1000]


async def test_it_is_free_when_the_last_end_is_reported_gone(world: HollowWorld) -> None:
    """Why: numbers are few enough that one may not be lost by each cut."""
    await delete_behind_a_cut(world)
    assert await numbers(world) == {1000: "web"}
    for link in world.links["paris"]:
        link.connected.set()
    await world.apply(chain("poke", egress={"site": "partner", "attachment": "partner-a"}))

    async def freed() -> bool:
        claim = await world.store.get(G_VNIS.key(number="1000"))
        return claim is None and 1000 not in await numbers(world)

    await eventually(freed, "number 1000 is free")


async def test_a_site_that_is_registered_no_more_keeps_no_number(world: HollowWorld) -> None:
    """Why: a site that was scrapped while it was cut off never reports again."""
    await world.store.delete(G_SITES.key(site="paris"))
    await delete_behind_a_cut(world)

    async def freed() -> bool:
        return not await numbers(world)

    await eventually(freed, "the number of a scrapped site is free")
