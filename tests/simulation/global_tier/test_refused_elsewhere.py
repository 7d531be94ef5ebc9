"""A part of a chain that a site or a peer refuses goes elsewhere, whole tiers with their sites (issue 7)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from tests.simulation.global_tier.tiers import HollowTier, chain
from tests.support import eventually

from isthmus.contract import unseal
from isthmus.contract.chain import (
    ChainSpec,
    ChainStatus,
    Explanation,
    Phase,
    RefusedRequest,
    SegmentIntent,
)
from isthmus.contract.families import (
    G_EXPLAIN,
    G_OUTBOX_INTENTS,
    G_PLACEMENTS,
)
from isthmus.contract.instance import SiteSummary
from isthmus.contract.peering import Delegation
from isthmus.contract.scopes import site_chain_prefix, site_summary_key
from isthmus.contract.world import Placement
from isthmus.global_tier import refusals
from isthmus.global_tier.numbers import Numbers

OTHERS = ("others",)
"""A site that takes chains of these tenants only refuses ours."""
FIREWALL = [{"name": "fw", "type": "firewall", "config": {"default_policy": "accept"}}]


class World:
    """A tier with milan, where chains begin and end, and what else a test puts beside it."""

    def __init__(self) -> None:
        self.tier = HollowTier("global", Numbers(1000, 1999))
        self.peers: list[HollowTier] = []

    async def start(self) -> None:
        for tier in (*self.peers, self.tier):
            tier.start()
            for site in tier.sites:
                await tier.heard(site)

    async def stop(self) -> None:
        for tier in (self.tier, *self.peers):
            await tier.stop()

    async def placed(self) -> Placement:
        entry = await self.tier.store.get(G_PLACEMENTS.key(tenant="acme", chain="web"))
        assert entry is not None
        return unseal(entry.value, Placement).body

    async def placed_or_none(self) -> Placement | None:
        """The same, perhaps not yet."""
        there = await self.tier.store.get(G_PLACEMENTS.key(tenant="acme", chain="web"))
        return None if there is None else await self.placed()

    async def explained(self) -> Explanation:
        key = G_EXPLAIN.key(component="placer", tenant="acme", chain="web")
        entry = await self.tier.store.get(key)
        assert entry is not None
        return unseal(entry.value, Explanation).body

    async def add_peer(self, *tenants: str) -> HollowTier:
        """Another carrier with a site, as ``b-sites``."""
        peer = HollowTier("carrier-b", Numbers(2000, 2999), (Delegation("global", tenants),))
        await peer.add_site("tokyo")
        self.peers.append(peer)
        await self.tier.add_tier(peer, ("tokyo-a",), as_name="b-sites", relation="beside")
        return peer


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    await made.tier.add_site("milan", price_milli=5_000)
    yield made
    await made.stop()


def away(*sites: str, cpu_milli: int = 100, bandwidth_kbps: int = 10_000) -> ChainSpec:
    """From milan to milan, its firewall at one of ``sites``."""
    functions = [{**FIREWALL[0], "resources": {"cpu_milli": cpu_milli, "memory_mib": 16}}]
    return chain(
        "web",
        ("milan", "milan-a"),
        ("milan", "milan-b"),
        functions=functions,
        constraints={"sites": list(sites)},
        bandwidth_kbps=bandwidth_kbps,
    )


async def test_a_chain_that_a_site_refuses_runs_at_another(world: World) -> None:
    """Why: it stayed for ever at who refused it, and the next site was free all the time."""
    await world.tier.add_site("paris", price_milli=10, tenants=OTHERS)
    await world.tier.add_site("rome", price_milli=9_000)
    await world.start()
    await world.tier.apply(away("paris", "rome"))
    status = await world.tier.until("web", "running")
    assert status.path == ("milan", "rome/fw", "milan")
    (refused,) = (await world.placed()).refusals
    assert (refused.site, refused.times, refused.constraint) == ("paris", 1, "delegation")
    told = await world.explained()
    assert told.decision == "accepted"
    (why,) = [one for one in told.candidates if one.name == "paris"]
    assert "may not ask for tenant 'acme'" in why.verdict
    assert await world.tier.keys("/outbox/paris/intents/") == []
    assert "site-refused" in str(await events(world.tier))


async def test_a_peer_that_refuses_is_left_for_another(world: World) -> None:
    """Why: the other carrier decides for itself; its no must reach our placer, not only our user."""
    await world.add_peer(*OTHERS)
    await world.tier.add_site("rome", price_milli=9_000)
    await world.tier.register_again("b-sites", ("tokyo-a",), price_milli=10)
    await world.start()
    await world.tier.apply(away("b-sites", "rome"))
    status = await world.tier.until("web", "running")
    assert status.path == ("milan", "rome/fw", "milan")
    assert [one.site for one in (await world.placed()).refusals] == ["b-sites"]


async def test_what_ran_at_a_peer_that_revokes_runs_elsewhere(world: World) -> None:
    """Why: an agreement ends on one side; what ran there was degraded for ever (G9)."""
    peer = await world.add_peer("acme")
    await world.tier.add_site("rome", price_milli=9_000)
    await world.tier.register_again("b-sites", ("tokyo-a",), price_milli=10)
    await world.start()
    await world.tier.apply(away("b-sites", "rome"))
    there = await world.tier.until("web", "running")
    assert "b-sites/fw" in there.path
    await peer.kill()
    peer.delegations = (Delegation("global", revoked=True),)
    peer.start()
    await world.tier.until("web", "running", lambda status: "rome/fw" in status.path)
    (refused,) = (await world.placed()).refusals
    assert (refused.site, refused.constraint) == ("b-sites", "revoked")


async def test_a_peer_tries_its_own_sites_before_it_refuses(world: World) -> None:
    """Why: its first site's no is not its own: told at once, the chain would leave a carrier that can carry it."""
    peer = HollowTier("carrier-b", Numbers(2000, 2999), (Delegation("global"),))
    await peer.add_site("kyoto", price_milli=10, tenants=OTHERS)
    await peer.add_site("tokyo", price_milli=9_000)
    world.peers.append(peer)
    await world.tier.add_tier(peer, (), as_name="b-sites", relation="beside", price_milli=10)
    await world.start()
    await world.tier.apply(away("b-sites"))
    status = await world.tier.until("web", "running")
    assert "b-sites/fw" in status.path
    placed = await world.placed()
    assert placed.refusals == (), "the peer never said no"


async def test_two_that_refuse_are_not_asked_in_turn(world: World) -> None:
    """Why: without a back-off of its own for each, the chain goes to and fro as fast as reports come (ping-pong)."""
    await world.tier.add_site("paris", price_milli=10, tenants=OTHERS)
    await world.tier.add_site("rome", price_milli=9_000, tenants=OTHERS)
    await world.start()
    async with asked(world) as seen:
        await world.tier.apply(away("paris", "rome"))
        status = await world.tier.until("web", "refused", both_named)
        assert "no other permitted site, because " in status.reason
        before = await world.placed()
        await two_more_reports(world, "rome")
        # Another leader knows as much: nothing is asked anew.
        await world.tier.kill()
        world.tier.start()
        await two_more_reports(world, "rome")
        await world.tier.until("web", "refused", both_named)
    assert await world.placed() == before
    assert [one.times for one in before.refusals] == [1, 1]
    functions = [site for site, names in seen if names]
    assert functions == ["paris", "rome"]
    assert (await world.explained()).constraint == refusals.BELOW


async def test_after_its_back_off_each_is_asked_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why: a refusal is not for ever: who has room again in a minute must be found without anybody's word."""
    monkeypatch.setattr(refusals, "FIRST_S", 0.3)
    await world.tier.add_site("paris", price_milli=10, tenants=OTHERS)
    await world.tier.add_site("rome", price_milli=9_000, tenants=OTHERS)
    await world.start()
    await world.tier.apply(away("paris", "rome"))

    async def twice() -> bool:
        return [one.times >= 2 for one in (await world.placed()).refusals] == [True, True]

    await world.tier.until("web", "refused", both_named)
    await eventually(twice, "both refused a second time", timeout_s=40)


async def test_it_is_asked_again_though_nobody_says_anything_new(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why: a site reports as often as it likes; the end of a back-off must not wait for its next word."""
    monkeypatch.setattr(refusals, "FIRST_S", 0.3)
    await world.tier.register("paris", ("paris-a",), price_milli=10)
    await world.start()
    room = {"cpu_milli_total": 999, "cpu_milli_free": 999, "memory_mib_total": 999}
    told = {**room, "memory_mib_free": 999, "hosts_up": 1, "chains": 0}
    summary = SiteSummary.model_validate({**told, "function_types": ("firewall/1",)})
    await world.tier.put(site_summary_key("paris"), summary)
    await world.tier.apply(away("paris"))
    placed = await eventually(world.placed_or_none, "placed at paris")
    assert placed is not None
    world.tier.cut("milan")
    no = RefusedRequest(epoch=placed.epoch, constraint="capacity", reason="full")
    said = ChainStatus(phase=Phase.REFUSED, epoch=placed.epoch, refused=no)
    await world.tier.put(f"{site_chain_prefix('paris')}acme/web", said)

    async def anew() -> bool:
        return (await world.placed()).epoch > placed.epoch

    await eventually(anew, "paris is asked again", timeout_s=10)


async def test_who_thinks_again_is_believed_at_once(world: World) -> None:
    """Why: a circuit is plugged in, an operator changes his mind: the site takes it by itself, and no word that it
    refused may stay."""
    site = await world.tier.add_site("paris", price_milli=10, tenants=OTHERS)
    await world.start()
    await world.tier.apply(away("paris"))
    await world.tier.until("web", "refused", lambda status: "site paris refused" in status.reason)
    before = await world.placed()
    await site.kill("intake")
    site.delegations = (Delegation("global"),)
    site.start_component("intake")
    await world.tier.until("web", "running")
    assert (await world.explained()).decision == "accepted"
    assert (await world.placed()).epoch == before.epoch, "nothing had to be placed anew"


async def test_a_changed_request_begins_anew(world: World) -> None:
    """Why: what was refused was another request: smaller, it may be welcome, and must not wait ten minutes for that."""
    await world.tier.add_site("paris", price_milli=10, tenants=OTHERS)
    await world.tier.add_site("rome", price_milli=9_000)
    await world.start()
    await world.tier.apply(away("paris", "rome"))
    await world.tier.until("web", "running")
    before = await world.placed()
    async with asked(world) as seen:
        await world.tier.apply(away("paris", "rome", bandwidth_kbps=1_000))

        async def moved() -> bool:
            now = await world.placed()
            return now.bandwidth_kbps == 1_000 and len(now.refusals) == 1

        await eventually(moved, "the changed chain was refused and moved")
    (refused,) = (await world.placed()).refusals
    assert (refused.site, refused.times) == ("paris", 1)
    assert refused.epoch > before.epoch
    assert ("paris", ("fw",)) in seen


async def test_no_site_with_room_is_said_with_what_the_site_said(world: World) -> None:
    """Why: two hosts with 1000 free each are 2000 in a summary; the site says no, and a customer must read which."""
    await world.tier.add_site("paris", hosts=("h1", "h2"), price_milli=10)
    await world.start()
    await world.tier.apply(away("paris", "milan", cpu_milli=1_500))
    status = await world.tier.until(
        "web", "refused", lambda status: "no other permitted site" in status.reason
    )
    assert "site paris refused: no place at paris: capacity" in status.reason
    crossed = await world.tier.store.get(f"{site_chain_prefix('paris')}acme/web")
    assert crossed is not None
    assert b"h1" not in crossed.value, "no name of a host crosses"
    assert (await world.explained()).figures, "the numbers that failed here"


async def test_the_old_version_carries_until_the_new_one_is_made(world: World) -> None:
    """Why: milan carries the chain and refuses its next version: told to make room first, nothing would carry until
    paris has started, and if paris refused, too, nothing at all."""
    tier = HollowTier("global", Numbers(1000, 1999))
    world.tier, old = tier, world.tier
    await old.stop()
    ends = ("h1-a", "h1-b", "h2-a", "h2-b")
    milan = await tier.add_site("milan", hosts=("h1", "h2"), attachments=ends, price_milli=10)
    await tier.add_site("paris", price_milli=9_000)
    await world.start()
    await tier.apply(grown(500))
    await tier.until("web", "running", lambda status: "milan/fw" in status.path)
    await milan.apply(local())
    await milan.until("acme", "here", "running")
    await tier.heard("milan", lambda told: told.cpu_milli_free <= 1_400)
    async with changes(tier) as log:
        await tier.apply(grown(900))
        await tier.until("web", "running", lambda status: "paris/fw" in status.path)
    (refused,) = (await world.placed()).refusals
    assert (refused.site, refused.constraint) == ("milan", "capacity")
    ready = log.index(("running", "paris", ()))
    bare = log.index(("asked", "milan", ()))
    assert ready < bare, log


def grown(cpu_milli: int) -> ChainSpec:
    """The chain of milan, with a firewall of this size."""
    functions = [{**FIREWALL[0], "resources": {"cpu_milli": cpu_milli, "memory_mib": 16}}]
    return chain("web", ("milan", "h1-a"), ("milan", "h2-b"), functions=functions)


def local() -> ChainSpec:
    """A chain of milan's own users with 300 on each host."""
    needs = {"cpu_milli": 300, "memory_mib": 16}
    functions = [{**FIREWALL[0], "name": name, "resources": needs} for name in ("x", "y")]
    return chain(
        "here", ("milan", "h1-b"), ("milan", "h2-a"), functions=functions,
        constraints={"anti_affinity": [["x", "y"]]},
    )  # fmt: skip


def both_named(status: ChainStatus) -> bool:
    return all(f"site {name} refused" in status.reason for name in ("paris", "rome"))


async def events(tier: HollowTier) -> list[bytes]:
    found = await tier.store.snapshot("/isthmus/v1/events/placer/")
    return [entry.value for entry in found.entries]


async def two_more_reports(world: World, site: str) -> None:
    """Wait until the site has told its refusal twice more: the tier had reason to look again."""
    key = f"{site_chain_prefix(site)}acme/web"
    told = 0
    last = await world.tier.store.get(key)

    async def more() -> bool:
        nonlocal told, last
        now = await world.tier.store.get(key)
        if now is not None and last is not None and now.mod_revision > last.mod_revision:
            told, last = told + 1, now
        return told >= 2

    await eventually(more, f"{site} says it again", timeout_s=20)


@contextlib.asynccontextmanager
async def asked(world: World) -> AsyncIterator[list[tuple[str, tuple[str, ...]]]]:
    """Each time another placement of the chain is asked of a site: the site and the functions."""
    async with changes(world.tier) as log:
        seen: list[tuple[str, tuple[str, ...]]] = []
        yield seen
        seen += [(site, names) for what, site, names in log if what == "asked"]


@contextlib.asynccontextmanager
async def changes(tier: HollowTier) -> AsyncIterator[list[tuple[str, str, tuple[str, ...]]]]:
    """What was asked of sites, and the first report of a site that all functions run, in the order of the store."""
    log: list[tuple[str, str, tuple[str, ...]]] = []
    epochs: dict[str, int] = {}

    async def follow() -> None:
        async for batch in tier.store.watch("/isthmus/v1/"):
            for event in batch.events:
                if event.entry is None:
                    continue
                out = G_OUTBOX_INTENTS.parse(event.key)
                if out is not None and out["chain"] == "web":
                    segment = unseal(event.entry.value, SegmentIntent).body.segment
                    if epochs.get(out["site"]) != segment.epoch:
                        epochs[out["site"]] = segment.epoch
                        names = tuple(one.name for one in segment.functions)
                        log.append(("asked", out["site"], names))
                for site in tier.links:
                    if event.key == f"{site_chain_prefix(site)}acme/web":
                        status = unseal(event.entry.value, ChainStatus).body
                        if status.functions and all(f.phase == "running" for f in status.functions):
                            log.append(("running", site, ()))

    task = asyncio.create_task(follow())
    await asyncio.sleep(0)
    try:
        yield log
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
