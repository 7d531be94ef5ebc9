"""Servers that die, stand still, forget and come back older (G5, G6; attacks 15 and 16).

Each row of the behaviour matrix of the client research is a test here: what made the other clients
unusable must not happen to ours.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from contextlib import suppress
from pathlib import Path

import pytest
from tests.integration.kv.faults import SERVES_AGAIN_S, lost, restarted
from tests.integration.kv.server import EtcdServer, serves
from tests.support import eventually

from isthmus.kv.admin import EtcdAdmin
from isthmus.kv.errors import (
    AmbiguousOutcome,
    DeadlineExceeded,
    NoSpace,
    StoreError,
    TooLarge,
    Unavailable,
)


async def test_watch_survives_kill_and_delivers_the_gap(own_etcd: EtcdServer) -> None:
    """Other clients went silent for ever, or raised; ours resumes behind its last event."""
    async with own_etcd.store() as store, own_etcd.store() as writer:
        watch = store.watch("a/")
        await anext(watch)
        await writer.put("a/1", b"")
        assert (await anext(watch)).events[0].key == "a/1"
        waiting = asyncio.ensure_future(anext(watch))
        await restarted(own_etcd)
        await writer.put("a/2", b"", timeout_s=SERVES_AGAIN_S)
        batch = await asyncio.wait_for(waiting, SERVES_AGAIN_S)
        assert batch.resumed
        assert not batch.events
        seen = (await asyncio.wait_for(anext(watch), 5)).events
        assert [event.key for event in seen] == ["a/2"]
        assert store.counters.watch_reconnects >= 1
        await watch.aclose()


async def test_watch_loses_and_repeats_nothing_over_many_kills(own_etcd: EtcdServer) -> None:
    """Catch-up comes in batches of 1,000 revisions whose header runs ahead: resuming there would lose
    events. Every acknowledged key must come exactly once, in order, over five kills."""
    async with own_etcd.store() as store, own_etcd.store() as writer:
        watch = store.watch("a/")
        await anext(watch)
        seen: list[str] = []
        revisions: list[int] = []

        async def read() -> None:
            async for batch in watch:
                for event in batch.events:
                    seen.append(event.key)
                    revisions.append(event.revision)

        reading = asyncio.create_task(read())
        acknowledged: list[str] = []
        attempted = 0

        async def write() -> None:
            nonlocal attempted
            while True:
                attempted += 1
                key = f"a/{attempted:06}"
                with suppress(AmbiguousOutcome, DeadlineExceeded, Unavailable):
                    await writer.put(key, b"", timeout_s=1)
                    acknowledged.append(key)

        writers = [asyncio.create_task(write()) for _ in range(8)]
        for _ in range(5):
            before = len(acknowledged)

            def grown(than: int = before) -> bool:
                return len(acknowledged) > than + 500

            await eventually(grown, "500 more acknowledged writes", timeout_s=30)
            await restarted(own_etcd)
        for writing in writers:
            writing.cancel()
        await asyncio.gather(*writers, return_exceptions=True)
        await writer.put("a/last", b"", timeout_s=SERVES_AGAIN_S)
        await eventually(lambda: seen and seen[-1] == "a/last", "the last key is delivered")
        reading.cancel()
        assert set(acknowledged) <= set(seen)
        assert len(seen) == len(set(seen))
        assert revisions == sorted(revisions)


async def test_stopped_server_is_noticed_in_about_three_seconds(own_etcd: EtcdServer) -> None:
    """Its kernel goes on acknowledging; keep-alive alone noticed nothing in 26 s (measured)."""
    async with own_etcd.store() as store:
        watch = store.watch("a/")
        await anext(watch)
        waiting = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0)
        await own_etcd.freeze()
        loop = asyncio.get_running_loop()
        stopped_s = loop.time()
        await eventually(lambda: lost(store), "the stop is noticed")
        noticed_s = loop.time() - stopped_s
        settings = store.calls.settings
        assert noticed_s <= settings.silence_s + settings.heartbeat_s + 1.0
        own_etcd.thaw()
        batch = await asyncio.wait_for(waiting, SERVES_AGAIN_S)
        assert batch.resumed
        await watch.aclose()


async def test_idle_watch_is_not_taken_for_a_dead_one(own_etcd: EtcdServer) -> None:
    """etcd answers no progress request before the watch's start revision has happened: on an idle
    store every watch of a fresh mirror would be cut every three seconds."""
    async with own_etcd.store(heartbeat_s=0.1, silence_s=0.5) as store:
        revision = await store.put("a/1", b"")
        watch = store.watch("a/", start_revision=revision + 1)
        await anext(watch)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3):
                await anext(watch)
        assert store.counters.watch_silences == 0
        assert store.counters.watch_reconnects == 0


async def test_slow_consumer_is_not_taken_for_a_dead_server(own_etcd: EtcdServer) -> None:
    """A consumer that works for longer than the silence limit keeps its watch, and misses nothing."""
    async with own_etcd.store(heartbeat_s=0.1, silence_s=0.3) as store:
        watch = store.watch("a/")
        await anext(watch)
        await store.put("a/1", b"")
        await anext(watch)
        await asyncio.sleep(1.0)  # the consumer's work: the time is the test's subject
        await store.put("a/2", b"")
        batch = await asyncio.wait_for(anext(watch), 5)
        assert [event.key for event in batch.events] == ["a/2"]
        assert not batch.resumed
        await watch.aclose()


async def test_calls_to_a_stopped_server_end_at_their_deadline(own_etcd: EtcdServer) -> None:
    """A read says so; a write says that it may have happened, and is not repeated by us."""
    async with own_etcd.store() as store:
        await store.put("a/1", b"")
        await own_etcd.freeze()
        with pytest.raises(DeadlineExceeded) as read:
            await store.get("a/1", timeout_s=0.5)
        assert not read.value.maybe_applied
        assert read.value.retryable
        with pytest.raises(DeadlineExceeded) as write:
            await store.put("a/1", b"2", timeout_s=0.5)
        assert write.value.maybe_applied
        assert not write.value.retryable
        own_etcd.thaw()


async def test_a_server_that_is_not_there_is_unavailable(own_etcd: EtcdServer) -> None:
    """Nothing was applied, so we tried again until the deadline; then the error is typed."""
    async with own_etcd.store() as store:
        await store.put("a/1", b"")
        own_etcd.kill()
        await own_etcd.vanished()
        with pytest.raises((AmbiguousOutcome, Unavailable)):  # it may find the dying connection
            await store.put("a/1", b"2", timeout_s=1)
        with pytest.raises(Unavailable):
            await store.put("a/1", b"2", timeout_s=1)
        assert store.counters.retries > 0
        await own_etcd.start()
        await store.put("a/1", b"3", timeout_s=SERVES_AGAIN_S)


async def test_acknowledged_writes_survive_and_ambiguous_ones_say_so(own_etcd: EtcdServer) -> None:
    """G3 begins here: "ok" means stored; a broken connection is never reported as either."""
    outcomes: dict[str, str] = {}
    async with own_etcd.store() as store:
        done = asyncio.Event()

        async def write(worker: int) -> None:
            for number in itertools.count():
                key = f"a/{worker}/{number}"
                try:
                    await store.put(key, b"", timeout_s=5)
                    outcomes[key] = "stored"
                except (AmbiguousOutcome, DeadlineExceeded):
                    outcomes[key] = "unknown"
                except Unavailable:
                    outcomes[key] = "not stored"
                if done.is_set():
                    return

        writers = [asyncio.create_task(write(worker)) for worker in range(8)]
        await eventually(lambda: len(outcomes) > 400, "writes are under way")
        await own_etcd.freeze()
        answered = [-1]

        def all_wait() -> bool:
            answered.append(len(outcomes))
            return answered[-1] == answered[-2]

        await eventually(all_wait, "no more answers: each writer waits for one", every_s=0.3)
        await restarted(own_etcd)
        before = len(outcomes)
        await eventually(lambda: len(outcomes) > before + 100, "writes go on")
        done.set()
        await asyncio.gather(*writers)
        await serves(store)
        there = {entry.key for entry in (await store.snapshot("a/")).entries}
    assert {key for key, outcome in outcomes.items() if outcome == "stored"} <= there
    assert not {key for key, outcome in outcomes.items() if outcome == "not stored"} & there
    assert "unknown" in outcomes.values()


async def test_full_store_is_a_typed_error_and_can_be_repaired(tmp_path: Path) -> None:
    """The NOSPACE alarm: writes are refused as such, and after compaction, defragmentation and
    disarming they work again (the janitor's verbs)."""
    server = EtcdServer(tmp_path / "member", extra=("--quota-backend-bytes=2200000",))
    await server.start()
    try:
        async with server.store() as store:
            await serves(store)
            admin = EtcdAdmin(store)

            async def fill() -> None:
                for number in range(400):
                    await store.put("a/same", b"%d" % number + b"v" * 30_000)

            with pytest.raises(NoSpace):
                await fill()
            alarms = await admin.alarms()
            assert [alarm.kind for alarm in alarms] == ["NOSPACE"]
            assert (await store.status()).alarms
            assert (await store.get("a/same")) is not None
            await store.compact((await store.status()).revision)

            async def smaller() -> bool:
                await admin.defragment()
                return (await admin.member_status()).db_size_bytes < 1_000_000

            _: bool = await eventually(smaller, "defragmentation gave the space back")
            for alarm in alarms:
                await admin.disarm(alarm)
            await store.put("a/same", b"again")
            assert await admin.alarms() == ()
    finally:
        server.kill()


async def test_value_over_the_request_limit_names_size_and_way_out(own_etcd: EtcdServer) -> None:
    """Not a raw RESOURCE_EXHAUSTED: the message says what to do with large data (R41)."""
    async with own_etcd.store() as store:
        with pytest.raises(TooLarge, match="pointer"):
            await store.put("a/big", b"v" * (2 << 20))
        with pytest.raises(StoreError):
            await store.put("a/big", b"v" * (20 << 20))


def stand_still(seconds: float) -> None:
    """Stall the whole loop: the stall is the test's subject."""
    time.sleep(seconds)


async def test_a_starved_client_does_not_blame_the_server(own_etcd: EtcdServer) -> None:
    """Our own loop stood still for longer than the silence limit (a busy machine, a debugger): what
    the server said meanwhile waits in the socket, and the watch must not be cut for it."""
    async with own_etcd.store(heartbeat_s=0.2, silence_s=0.8) as store:
        watch = store.watch("a/")
        await anext(watch)
        waiting = asyncio.ensure_future(anext(watch))
        for _ in range(3):
            await asyncio.sleep(0.05)
            stand_still(1.5)
        await store.put("a/1", b"")
        batch = await asyncio.wait_for(waiting, 5)
        assert [event.key for event in batch.events] == ["a/1"]
        assert store.counters.watch_silences == 0
        await watch.aclose()
