"""A tier obeys the mark on what it holds of a site or a peer: it is treated like an old fact (G9, G12)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.simulation.global_tier.test_silent_site import above
from tests.simulation.global_tier.test_two_carriers import ASKED, Carriers, ask_b, wish
from tests.simulation.global_tier.world import HollowWorld, chain
from tests.support import eventually

from isthmus.contract import unseal
from isthmus.contract.chain import ChainStatus, Explanation, SegmentIntent
from isthmus.contract.families import G_EXPLAIN, G_SEGMENTS, G_STATUS
from isthmus.contract.quarantine import Quarantine, mark_key
from isthmus.contract.world import CarriedSegment

REVOKED = Quarantine(reason="revoked")


@pytest.fixture
async def world() -> AsyncIterator[HollowWorld]:
    running = HollowWorld()
    await running.start()
    yield running
    await running.stop()


async def cut(world: HollowWorld, site: str) -> None:
    """As the gateway does: the link ends, what is held is marked."""
    for link in world.links[site]:
        link.connected.clear()
    await world.put(mark_key(site), REVOKED)


async def test_a_quarantined_site_is_unknown_takes_nothing_new_and_comes_back(
    world: HollowWorld,
) -> None:
    """Why: the mark was written and nobody read it: a revoked site was "running", and new chains went there for as long
    as its last word was believed. (Mutants: reporter or site_views without `quarantined`, each alone.)"""
    await world.apply(chain())
    await world.until("web", "running")
    await cut(world, "paris")
    told = await world.until("web", "unknown")
    assert told.reason == "paris is quarantined: revoked"
    only = {"constraints": {"sites": ["paris"]}}
    await world.apply(chain("new", ingress={"site": "paris", "attachment": "paris-b"}, **only))
    refused = await world.until("new", "refused")
    assert refused.reason
    await world.store.delete(mark_key("paris"))
    for link in world.links["paris"]:
        link.connected.set()
    await world.until("web", "running")


async def test_the_watcher_tells_the_reason_and_asks_no_quarantined_neighbour() -> None:
    """Why: an operator reads there why a site is not alive; and a revoked neighbour's word would vouch for a dead site.
    (Mutants: no look in `_judged`, none in `_vouchers`.)"""
    async with above() as tier:
        await tier.put(mark_key("paris"), REVOKED)
        told = await tier.becomes("paris", "unknown")
        assert told.reason == "quarantined: revoked"
        tier.now_s += 20
        await tier.summary("paris")
        await tier.heard("paris", tier.now_s - 2)
        told = await tier.becomes("milan", "silent")
        assert told.reason == "no neighbour has a wire with packets from it"
        await tier.store.delete(mark_key("paris"))
        await tier.becomes("paris", "alive")


@pytest.fixture
async def carriers() -> AsyncIterator[Carriers]:
    running = Carriers()
    await running.start()
    yield running
    await running.stop()


async def _carried(carriers: Carriers, name: str) -> int:
    """The epoch of what B carries; 0 when it carries nothing of that name."""
    entry = await carriers.b.store.get(G_SEGMENTS.key(tenant="acme", chain=name))
    return 0 if entry is None else unseal(entry.value, CarriedSegment).body.segment.epoch


async def _said(carriers: Carriers, name: str) -> Explanation | None:
    entry = await carriers.b.store.get(G_EXPLAIN.key(component="intake", tenant="acme", chain=name))
    return None if entry is None else unseal(entry.value, Explanation).body


async def test_a_quarantined_peer_gets_nothing_new_and_loses_nothing(carriers: Carriers) -> None:
    """Why: what it asked in its last second must not start, what it runs must not end; a good link takes the mark away
    and all of it goes on by itself. (Mutants: no doubt in `carry`; no MARKED item, which waits for ever on c1.)"""
    await ask_b(carriers, wish("c1"))

    async def carries_c1() -> bool:
        return await _carried(carriers, "c1") == 1

    await eventually(carries_c1, "B carries c1")
    await carriers.b.put(mark_key("carrier-a"), REVOKED)

    async def told() -> bool:
        said = await _said(carriers, "c1")
        return said is not None and said.constraint == "quarantined"

    await eventually(told, "the mark is seen")
    for wanted in (wish("c1", epoch=2), wish("c2")):
        await carriers.b.put(f"{ASKED}{wanted.chain}", SegmentIntent(segment=wanted))

    async def both_refused() -> bool:
        found = [await _said(carriers, name) for name in ("c1", "c2")]
        return all(one is not None and one.decision == "refused" for one in found)

    await eventually(both_refused, "neither the change nor the new one is taken")
    said = await _said(carriers, "c2")
    assert said is not None
    assert said.reason.startswith("carrier-a is quarantined: revoked")
    assert [await _carried(carriers, name) for name in ("c1", "c2")] == [1, 0]
    status = await carriers.b.store.get(G_STATUS.key(tenant="acme", chain="c1"))
    assert status is not None
    assert unseal(status.value, ChainStatus).body.phase.value != "refused", "it stands"
    await carriers.b.store.delete(mark_key("carrier-a"))

    async def goes_on() -> bool:
        return [await _carried(carriers, name) for name in ("c1", "c2")] == [2, 1]

    await eventually(goes_on, "both are taken once the link is good again")
