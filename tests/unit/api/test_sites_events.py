"""Sites and events: what a tier knows, how old it is, and a stream that loses nothing when it is cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from tests.api_world import ApiWorld, api_world, error_of, sse_events

from isthmus.api.auth import OPERATOR, Principal
from isthmus.api.events import Follower, visible_to
from isthmus.contract import Stamp, Tier, families, seal
from isthmus.contract.instance import HostInventory, OperationalEvent, SiteSummary
from isthmus.contract.quarantine import Quarantine, mark_key
from isthmus.contract.scopes import site_summary_key
from isthmus.contract.world import SiteLiveness, SiteSpec
from isthmus.kv.errors import Unavailable
from isthmus.kv.port import Put, Txn

SUMMARY = SiteSummary(
    cpu_milli_total=4000,
    cpu_milli_free=3000,
    memory_mib_total=1024,
    memory_mib_free=512,
    hosts_up=1,
    chains=2,
)
STAMP = Stamp(origin="test", incarnation="1")


async def say(world: ApiWorld, number: int, subject: str = "acme/shop") -> int:
    """Another component writes an event."""
    event = OperationalEvent(kind="healed", subject=subject, message=f"number {number}")
    return await world.write(families.EVENTS, event, component="healer", id=f"e{number}")


async def test_a_site_answers_with_itself_and_its_hosts() -> None:
    """Everything local is visible while the site is cut off."""
    async with api_world() as world:
        host = HostInventory(host="h1", cpu_milli=4000, memory_mib=1024)
        await world.write(families.INVENTORY, host, ttl_s=10, host="h1")
        await world.write(families.SITE_SUMMARY, SUMMARY, ttl_s=10)
        (row,) = (await world.get("/v1/sites"))["sites"]
        assert (row["site"], row["summary"]["chains"]) == ("milan", 2)
        assert (row["hosts"][0]["host"], row["hosts"][0]["state"]) == ("h1", "up")
        world.store.advance(11)
        (row,) = (await world.get("/v1/sites"))["sites"]
        assert row["summary"] is None
        assert row["hosts"][0]["state"] == "unknown"


async def test_the_global_tier_never_shows_an_old_summary_as_true() -> None:
    """G12: a cut-off site is "unknown" with the age of its last word, though liveness may lag behind."""
    async with api_world(Tier.GLOBAL) as world:
        for site in ("milan", "zurich", "oslo"):
            await world.write(families.G_SITES, SiteSpec(site=site), site=site)
        for site, ttl in (("milan", 30.0), ("zurich", 5.0)):
            value = seal(SUMMARY, STAMP, as_of=world.clock(), ttl_s=ttl)
            await world.store.put(site_summary_key(site), value)
            alive = SiteLiveness(site=site, state="alive")
            await world.write(families.G_LIVENESS, alive, region="r", site=site)
        world.store.advance(6)
        rows = {row["site"]: row for row in (await world.get("/v1/sites"))["sites"]}
        assert (rows["milan"]["state"], rows["milan"]["summary"]["chains"]) == ("alive", 2)
        assert (rows["zurich"]["state"], rows["zurich"]["summary"]) == ("unknown", None)
        assert rows["zurich"]["reason"] == "last summary is 6 s old, believed for 5 s"
        assert rows["oslo"]["reason"] == "nothing was ever heard of it"
        silent = SiteLiveness(site="milan", state="silent", age_s=6)
        await world.write(families.G_LIVENESS, silent, region="r", site="milan")
        rows = {row["site"]: row for row in (await world.get("/v1/sites"))["sites"]}
        assert rows["milan"]["state"] == "silent"


async def test_the_global_tier_shows_nothing_of_a_quarantined_site_as_true() -> None:
    """G9: who was cut off by policy told what it told before; fresh figures of it are as doubtful as old ones."""
    async with api_world(Tier.GLOBAL) as world:
        for site in ("milan", "zurich"):
            await world.write(families.G_SITES, SiteSpec(site=site), site=site)
            value = seal(SUMMARY, STAMP, as_of=world.clock(), ttl_s=30.0)
            await world.store.put(site_summary_key(site), value)
            alive = SiteLiveness(site=site, state="alive")
            await world.write(families.G_LIVENESS, alive, region="r", site=site)
        mark = seal(Quarantine(reason="revoked"), STAMP, as_of=world.clock())
        for value, reason in ((mark, "revoked"), (b"torn", "its mark cannot be read")):
            await world.store.put(mark_key("milan"), value)
            rows = {row["site"]: row for row in (await world.get("/v1/sites"))["sites"]}
            assert (rows["milan"]["state"], rows["milan"]["summary"]) == ("unknown", None)
            assert rows["milan"]["reason"] == f"quarantined: {reason}"
            assert rows["zurich"]["state"] == "alive", "the mark is milan's alone"
        await world.store.delete(mark_key("milan"))
        rows = {row["site"]: row for row in (await world.get("/v1/sites"))["sites"]}
        assert rows["milan"]["state"] == "alive"


async def test_events_are_listed_oldest_first_and_cut_at_the_old_end() -> None:
    """The newest events are what an operator came for."""
    async with api_world() as world:
        revisions = [await say(world, number) for number in range(5)]
        listed = await world.get("/v1/events?limit=3")
        assert [event["revision"] for event in listed["events"]] == revisions[2:]
        assert listed["more"] is True
        assert listed["events"][0]["message"] == "number 2"
        later = await world.get(f"/v1/events?since={revisions[3]}")
        assert [event["revision"] for event in later["events"]] == revisions[4:]


class Listener:
    """Reads one stream frame by frame. (httpx's ASGI transport cannot stream; the socket test does that.)"""

    def __init__(self, world: ApiWorld, *, who: Principal = OPERATOR, beat_s: float = 30) -> None:
        self.welcome = True
        self._follower = Follower(
            world.app.service.desk,
            who,
            closing=world.app.service.closing,
            beat_s=beat_s,
            still_welcome=lambda: self.welcome,
        )
        self._text: AsyncIterator[str] = aiter(self._follower.stream())

    async def open(self, last_seen: int | None = None) -> str:
        """The first frame."""
        await self._follower.open(last_seen)
        return await self.next()

    async def next(self) -> str:
        """The next frame; "" when the stream has ended."""
        return await asyncio.wait_for(anext(self._text, ""), 10)


async def test_a_stream_tells_what_happens_from_now_on() -> None:
    """Without a resume point a listener wants news, not history."""
    async with api_world() as world:
        await say(world, 1)
        listener = Listener(world)
        assert sse_events(await listener.open()) == []
        revision = await say(world, 2)
        (event,) = sse_events(await listener.next())
        assert (event["id"], event["data"]["message"]) == (revision, "number 2")


async def test_a_stream_resumes_behind_the_last_event_seen_even_after_compaction() -> None:
    """A listener that was cut off an hour ago misses nothing that is still kept."""
    async with api_world() as world:
        first = await say(world, 1)
        await say(world, 2)
        await world.store.compact(await say(world, 3))
        found = sse_events(await Listener(world).open(first))
        assert [event["data"]["message"] for event in found] == ["number 2", "number 3"]


async def test_events_of_one_revision_share_one_id_on_the_last() -> None:
    """A cut between the two repeats the first and loses none."""
    async with api_world() as world:
        listener = Listener(world)
        await listener.open()
        event = OperationalEvent(kind="healed", subject="acme/shop", message="twin")
        value = seal(event, STAMP, as_of=world.clock())
        keys = [families.EVENTS.key(component="healer", id=name) for name in ("a", "b")]
        result = await world.store.txn(Txn(then=tuple(Put(key, value) for key in keys)))
        found = sse_events(await listener.next())
        assert [item["id"] for item in found] == [None, result.revision]


async def test_a_listener_from_the_future_is_told_that_history_restarted() -> None:
    """A store restored from a backup is at a lower revision than the listener: say so, tell all again."""
    async with api_world() as world:
        await say(world, 1)
        reset, event = sse_events(await Listener(world).open(10_000))
        assert (reset["kind"], reset["data"]) == ("reset", {"revision": world.store.revision})
        assert event["data"]["message"] == "number 1"


async def test_a_silent_stream_beats_and_a_revoked_listener_is_cut() -> None:
    """Beats find dead listeners; a token taken away ends the stream with the next beat."""
    async with api_world() as world:
        listener = Listener(world, beat_s=0.01)
        await listener.open()
        assert await listener.next() == ": beat\n\n"
        listener.welcome = False
        assert await listener.next() == ""
        assert world.store.watch_count == 0


async def test_a_closing_api_ends_its_streams() -> None:
    """Otherwise every restart would wait for the most patient listener."""
    async with api_world() as world:
        listener = Listener(world)
        await listener.open()
        world.app.close_streams()
        assert await listener.next() == ""
        assert world.store.watch_count == 0
        async with world.client() as client:
            error = error_of(await client.get("/v1/events/stream"), 503)
        assert error["code"] == "too-many-streams"


async def test_a_store_that_goes_away_ends_the_stream_with_a_reason() -> None:
    """The listener learns why and comes back with the id it has."""
    async with api_world() as world:
        listener = Listener(world)
        await listener.open()
        await say(world, 1)
        await listener.next()

        def away(call: str, key: str) -> None:
            raise Unavailable("gone")

        world.view.faults.before = away
        another = Listener(world)
        async with world.client() as client:
            assert error_of(await client.get("/v1/events/stream"), 503)["code"]
        world.view.faults.before = lambda call, key: away(call, key) if call == "watch" else None
        await another.open()
        (end,) = sse_events(await another.next())
        assert (end["kind"], end["data"]["code"]) == ("error", "store-unreachable")
        assert await another.next() == ""


async def test_the_number_of_streams_is_bounded() -> None:
    """Each costs a watch in the store."""
    async with api_world(stream_limit=2) as world, world.client() as client:
        world.app.service.counters.streams = 2
        answer = await client.get("/v1/events/stream")
        assert error_of(answer, 503)["code"] == "too-many-streams"
        assert answer.headers["Retry-After"] == "10"


def test_a_tenant_sees_events_of_its_own_chains_only() -> None:
    """A subject of the same beginning, a site, or a deeper path is not the tenant's business."""
    acme = Principal("x", "acme")
    assert visible_to(acme, "acme/shop")
    for subject in ("acme", "acme/", "acmee/shop", "globex/shop", "site/acme", "acme/shop/x", ""):
        assert not visible_to(acme, subject)
        assert visible_to(OPERATOR, subject)


async def test_event_lists_are_filtered_for_tenants() -> None:
    """The list and the stream share the filter; here over HTTP."""
    async with api_world() as world:
        await say(world, 1)
        await say(world, 2, subject="globex/web")
        await say(world, 3, subject="milan")
        acme = Principal("x", "acme")
        found = sse_events(await Listener(world, who=acme).open(0))
        assert [event["data"]["message"] for event in found] == ["number 1"]
