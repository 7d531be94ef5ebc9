"""Leaving a federation cleanly (issue 7, point 5): in order, without order, and by the last peer a tier had."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from tests.simulation.global_tier.test_two_carriers import Carriers, ask_b, through_b, wish
from tests.simulation.global_tier.tiers import values_of
from tests.support import eventually

from isthmus.contract.chain import Confirmation
from isthmus.contract.families import G_CONFIRMATIONS, G_LINKS, G_REQUESTS, G_SITES
from isthmus.federation.leaving import forget
from isthmus.kv.memory import MemoryStore

TOLD = ("/isthmus/v1/events/", "/isthmus/v1/explain/")
"""What is kept for people who ask afterwards; the janitor ends it."""


@pytest.fixture
async def carriers() -> AsyncIterator[Carriers]:
    running = Carriers()
    await running.start()
    await running.a.apply(through_b())
    await running.a.until("web", "running")
    yield running
    await running.stop()


async def b_is_empty(carriers: Carriers) -> bool:
    """No segment, placement, wire or word for A at B, and nothing of the chain at B's sites."""
    stores = [carriers.b.store, *(site.store for site in carriers.b.sites.values())]
    left = [
        key
        for store in stores
        for key in await values_of(store)
        if ("/acme/" in key or "/w-" in key or "/summary/peers/" in key)
        and not key.startswith((*TOLD, "/isthmus/v1/remote/carrier-a/"))
    ]
    return not left


async def restart_b(carriers: Carriers, **changed: object) -> None:
    """B's operator changes what A may ask; without a change A is not listed any more."""
    await carriers.b.kill()
    (delegation,) = carriers.b.delegations
    carriers.b.delegations = (replace(delegation, **changed),) if changed else ()  # type: ignore[arg-type]
    carriers.b.start()


async def unlink(carriers: Carriers) -> None:
    """Both operators take the other out of their gateways' settings."""
    carriers.a.cut("b-sites")
    carriers.b.cut("a-sites")


async def named(store: MemoryStore, *peers: str) -> list[str]:
    """Keys in which one of ``peers`` is a whole word, but for what is told afterwards."""
    return [
        key
        for key in await values_of(store)
        if not key.startswith(TOLD) and set(peers) & set(key.split("/"))
    ]


async def test_who_asks_leaves_first_and_both_forget(carriers: Carriers) -> None:
    """Why: the order that docs/agreements.md tells: ask for nothing, unregister, unlist, forget. At the end neither
    store has a key that names the other, and no brake had to be told anything."""
    a, b = carriers.a, carriers.b
    await a.store.delete(G_REQUESTS.key(tenant="acme", chain="web"))
    await eventually(lambda: b_is_empty(carriers), "B carries nothing", timeout_s=40)
    for one, other in (("milan", "b-sites"), ("b-sites", "milan")):
        await a.store.delete(G_LINKS.key(source=one, target=other))
    await a.store.delete(G_SITES.key(site="b-sites"))

    async def nothing_sent() -> bool:
        return await a.keys("/outbox/b-sites/") == []

    await eventually(nothing_sent, "A sends B nothing")
    await unlink(carriers)
    await restart_b(carriers)
    told = [await forget(store, peer) for store, peer in (
        (a.store, "b-sites"), (b.store, "a-sites"), (b.store, "carrier-a"),
    )]  # fmt: skip
    assert [one.keys > 0 for one in told] == [True, True, False], "A asked for nothing any more"
    for site in ("tokyo", "osaka"):
        for one, other in ((site, "a-sites"), ("a-sites", site)):
            await b.store.delete(G_LINKS.key(source=one, target=other))
    await b.store.delete(G_SITES.key(site="a-sites"))

    async def forgotten() -> bool:
        left = await named(a.store, "b-sites", "carrier-b")
        return not left + await named(b.store, "a-sites", "carrier-a")

    await eventually(forgotten, "neither store names the other", timeout_s=40)
    assert await a.status("web") is None


async def test_a_last_peer_that_is_unlisted_keeps_what_runs_until_an_operators_word(
    carriers: Carriers,
) -> None:
    """Why: a tier without peers did not look at segments at all: what its last peer had was carried for ever, by
    nobody's wish, and no word of its operator ended it."""
    b = carriers.b
    await ask_b(carriers, *(wish(f"c{number}") for number in range(6)))
    await eventually(lambda: _carried(carriers, 7), "B carries seven")
    await restart_b(carriers)

    async def held() -> bool:
        told = await values_of(b.store, "/isthmus/v1/explain/intake/acme/")
        return sum(b'"held"' in value for value in told.values()) == 7

    await eventually(held, "B holds all of it, though nobody may ask")
    await unlink(carriers)
    await forget(b.store, "carrier-a")
    assert await _carried(carriers, 7)
    await b.put(G_CONFIRMATIONS.key(peer="carrier-a"), Confirmation())
    await eventually(lambda: b_is_empty(carriers), "B lets go on its operator's word", timeout_s=40)
    assert "/isthmus/v1/summary/site" not in await values_of(b.store), "told to nobody any more"


async def _carried(carriers: Carriers, number: int) -> bool:
    return len(await carriers.b.keys("/segments/acme/")) == number


async def test_a_peer_that_is_thrown_out_ends_at_once_and_is_told_so(carriers: Carriers) -> None:
    """Why: `revoked` needs no agreement of the other side; what A knows of it is B's own last word, not a silence."""
    await restart_b(carriers, revoked=True)
    status = await carriers.a.until("web", "degraded")
    assert "revoked" in status.reason
    await eventually(lambda: b_is_at_rest(carriers), "B carries nothing", timeout_s=40)
    await unlink(carriers)
    await restart_b(carriers)
    await forget(carriers.b.store, "carrier-a")
    await eventually(lambda: b_is_empty(carriers), "and tells A nothing any more", timeout_s=40)


async def b_is_at_rest(carriers: Carriers) -> bool:
    """Carried no more; the word to A stays as long as A asks."""
    return await carriers.b.keys("/segments/acme/") == []
