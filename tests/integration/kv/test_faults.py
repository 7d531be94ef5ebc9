"""Servers that die, stand still, forget and come back older (G5, G6; attacks 15 and 16).

Each row of the behaviour matrix of the client research is a test here: what made the other clients
unusable must not happen to ours.
"""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from tests.integration.kv.server import EtcdServer, serves
from tests.support import eventually

from isthmus.deploy.binaries import find
from isthmus.kv import Delete, Entry, Put
from isthmus.kv.admin import EtcdAdmin
from isthmus.kv.errors import (
    AmbiguousOutcome,
    Compacted,
    DeadlineExceeded,
    FutureRevision,
    NoSpace,
    StoreError,
    TooLarge,
    Unavailable,
)
from isthmus.kv.etcd import EtcdStore
from isthmus.kv.leasing import EtcdLease
from isthmus.kv.mirror import Mirror
from isthmus.kv.writes import write_batches

SERVES_AGAIN_S = 15.0


@asynccontextmanager
async def following(store: EtcdStore, prefix: str) -> AsyncIterator[Mirror]:
    """A mirror that is synced."""
    mirror = Mirror(store, prefix)
    task = asyncio.create_task(mirror.run())
    try:
        await mirror.wait_synced(10)
        yield mirror
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def lost(store: EtcdStore) -> bool:
    """Has a watch been given up: for its silence, or by gRPC's ping, whichever was first?"""
    return store.counters.watch_reconnects > 0


async def restarted(server: EtcdServer) -> None:
    """kill -9, and again at once on the same data."""
    server.kill()
    await server.start()


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


# ---- snapshots


async def test_snapshot_goes_on_after_a_kill_in_its_middle(own_etcd: EtcdServer) -> None:
    """Each key once, all of one revision, though the stream was cut and keys were written meanwhile."""
    async with own_etcd.store(page_keys=1000) as store:
        puts = [Put(f"a/{number:06}", b"v" * 2000) for number in range(8000)]
        revision = await write_batches(store, puts)
        keys: list[str] = []
        killed = False
        async for pinned, entries in store.stream_snapshot("a/"):
            assert pinned == revision
            keys += [entry.key for entry in entries]
            if not killed:
                killed = True
                await restarted(own_etcd)
                await store.put("a/later", b"", timeout_s=SERVES_AGAIN_S)
        assert keys == [put.key for put in puts]
        assert store.counters.snapshot_resumes + store.counters.retries >= 1


async def test_snapshot_of_a_stopped_server_ends_at_its_deadline(own_etcd: EtcdServer) -> None:
    """A stream whose server stands still hangs for ever by itself (measured): each chunk has a limit."""
    async with own_etcd.store(chunk_timeout_s=0.5) as store:
        puts = [Put(f"a/{number:06}", b"v" * 5000) for number in range(6000)]
        await write_batches(store, puts)
        stream = store.stream_snapshot("a/", timeout_s=2)
        await anext(stream)
        await own_etcd.freeze()
        with pytest.raises((DeadlineExceeded, Unavailable)):
            await asyncio.wait_for(_rest_of(stream), 20)
        own_etcd.thaw()
        await serves(store)
        again = store.stream_snapshot("a/", timeout_s=20)
        seen = len((await anext(again))[1])
        await own_etcd.freeze()
        reading = asyncio.create_task(_rest_of(again))
        resumed = store.counters.snapshot_resumes
        await eventually(lambda: store.counters.snapshot_resumes > resumed, "a chunk is overdue")
        own_etcd.thaw()
        assert seen + await asyncio.wait_for(reading, 20) == 6000


async def _rest_of(stream: AsyncGenerator[tuple[int, Sequence[Entry]], None]) -> int:
    return sum([len(entries) async for _, entries in stream])


async def test_snapshot_of_a_compacted_revision_in_its_middle_is_refused(
    own_etcd: EtcdServer,
) -> None:
    """Half of a snapshot is no snapshot; ``snapshot`` itself pins again."""
    async with own_etcd.store(max_message_bytes=1 << 20) as store:
        await write_batches(store, [Put(f"a/{n:06}", b"v" * 2000) for n in range(4000)])

        async def read_slowly() -> None:
            async for _pinned, _entries in store.stream_snapshot("a/"):
                last = await store.put("b/later", b"")
                with suppress(Compacted):
                    await store.compact(last)
                await restarted(own_etcd)

        with pytest.raises(Compacted):
            await read_slowly()
        assert len((await store.snapshot("a/")).entries) == 4000


@pytest.mark.parametrize("streams", [True, False], ids=["stream", "pages"])
async def test_snapshot_of_small_then_large_values_stays_bounded(
    own_etcd: EtcdServer, streams: bool
) -> None:
    """Chunks grow by number of keys: after many small ones etcd sends one of 188 MB (measured)."""
    async with own_etcd.store() as writer, own_etcd.store(max_message_bytes=1 << 20) as store:
        small = [Put(f"a/small{number:06}", b"s") for number in range(12_000)]
        large = [Put(f"a/tall{number:06}", b"L" * 60_000) for number in range(120)]
        await write_batches(writer, [*small, *large], timeout_s=30)
        store._streams_snapshots = streams
        keys: list[str] = []
        async for _, entries in store.stream_snapshot("a/"):
            assert sum(len(entry.value) for entry in entries) <= 1 << 20
            keys += [entry.key for entry in entries]
        assert keys == [put.key for put in (*small, *large)]


async def test_server_without_streams_is_asked_for_pages(own_etcd: EtcdServer) -> None:
    """etcd before 3.7 knows no RangeStream; the answer is the same and the lack is remembered."""
    async with own_etcd.store(page_keys=700) as store:
        await write_batches(store, [Put(f"a/{number:06}", b"") for number in range(2000)])
        streamed = await store.snapshot("a/")
        store._streams_snapshots = False
        sizes = [len(entries) async for _, entries in store.stream_snapshot("a/")]
        assert sizes == [700, 700, 600]
        assert await store.snapshot("a/") == streamed
        assert not store._streams_snapshots


async def test_catch_up_over_the_message_bound_is_delivered_whole(own_etcd: EtcdServer) -> None:
    """A catch-up of 1,000 revisions comes as one message: over the bound it is asked for in fragments,
    and a revision is still never split."""
    async with own_etcd.store() as writer, own_etcd.store(max_message_bytes=3 << 20) as store:
        first = await writer.put("a/begin", b"")
        for number in range(40):
            puts = [Put(f"a/{number}/{part}", b"v" * 50_000) for part in range(20)]
            await write_batches(writer, puts)
        last = await writer.put("a/end", b"")
        watch = store.watch("a/", start_revision=first)
        keys: list[str] = []
        boundaries: list[tuple[int, int]] = []
        async for batch in watch:
            if batch.events:
                keys += [event.key for event in batch.events]
                boundaries.append((batch.events[0].revision, batch.revision))
            if batch.revision == last:
                break
        await watch.aclose()
        assert len(keys) == 802
        assert len(set(keys)) == 802
        assert all(end < begin for (_, end), (begin, _) in itertools.pairwise(boundaries))


# ---- leases


async def test_lease_is_kept_over_a_restart(own_etcd: EtcdServer) -> None:
    """A store that restarts within the time to live costs nobody its leadership."""
    async with own_etcd.store() as store:
        lease = await store.grant_lease(6)
        await store.put("a/leader", b"", lease_id=lease.lease_id)
        await restarted(own_etcd)
        await serves(store)
        before = store.counters.lease_renewals
        await eventually(lambda: store.counters.lease_renewals > before + 2, "renewals go on")
        assert not lease.lost
        assert await store.get("a/leader") is not None


async def test_holder_cut_off_knows_first(own_etcd: EtcdServer) -> None:
    """The verdict is the holder's own, counted from when the last renewal was sent; a store that comes
    back later does not revive it."""
    async with own_etcd.store() as store:
        lease = await store.grant_lease(2)
        assert isinstance(lease, EtcdLease)
        await eventually(lambda: store.counters.lease_renewals > 0, "a first renewal")
        await own_etcd.freeze()
        await asyncio.wait_for(lease.wait_lost(), lease.ttl_s + 3)
        assert lease.lost
        assert lease.remaining_s == 0
        own_etcd.thaw()
        await serves(store)
        assert lease.lost
        assert store.counters.leases_lost == 1
        await lease.revoke()


async def test_lease_revoked_behind_our_back_is_noticed(own_etcd: EtcdServer) -> None:
    """An operator may take leadership away; the holder must not go on believing."""
    async with own_etcd.store() as store, own_etcd.store() as operator:
        lease = await store.grant_lease(3)
        program = (await find("etcdctl")).path
        process = await asyncio.create_subprocess_exec(
            str(program),
            f"--endpoints={own_etcd.endpoint}",
            "lease",
            "revoke",
            f"{lease.lease_id:x}",
            stdout=subprocess.DEVNULL,
        )
        assert await process.wait() == 0
        await asyncio.wait_for(lease.wait_lost(), 5)
        assert lease.lost
        await operator.put("a/1", b"")


async def test_verdict_counts_suspended_time(own_etcd: EtcdServer) -> None:
    """A laptop lid, a VM pause: the loop's clock stands still, the boot clock does not (attack 17)."""
    now_s = 100.0
    async with EtcdStore.connect(own_etcd.settings(), clock=lambda: now_s) as store:
        lease = await store.grant_lease(10)
        assert not lease.lost
        now_s = 109.9
        assert not lease.lost
        now_s = 110.0
        assert lease.lost
        await asyncio.wait_for(lease.wait_lost(), 5)


# ---- mirrors


async def test_mirror_never_blanks_over_kills(own_etcd: EtcdServer) -> None:
    """Consumers must not see keys vanish because a server did (G6: no transient delete-all)."""
    async with own_etcd.store() as store:
        await write_batches(store, [Put(f"a/{number}", b"1") for number in range(300)])
        async with following(store, "a/") as mirror:
            least = len(mirror.entries)
            changed: list[str] = []

            def note(keys: object) -> None:
                nonlocal least
                changed.extend(keys)  # type: ignore[arg-type]
                least = min(least, len(mirror.entries))

            mirror.subscribe(note)
            for number in range(3):
                await restarted(own_etcd)
                await store.put(f"a/{number}", b"2", timeout_s=SERVES_AGAIN_S)
                await store.put("a/extra", b"%d" % number)

                def arrived(value: bytes = b"%d" % number) -> bool:
                    entry = mirror.entries.get("a/extra")
                    return entry is not None and entry.value == value

                await eventually(arrived, "the write after the kill is mirrored")
            assert least == 300
            assert set(changed) == {"a/0", "a/1", "a/2", "a/extra"}
            assert mirror.counters.snapshots == 1


async def test_mirror_survives_compaction_while_cut(own_etcd: EtcdServer) -> None:
    """History went while it was away: it takes a snapshot, and reports what differs, deletions too."""
    async with own_etcd.store() as store, own_etcd.store() as writer:
        await write_batches(writer, [Put(f"a/{number}", b"1") for number in range(50)])
        async with following(store, "a/") as mirror:
            changed: list[str] = []
            mirror.subscribe(changed.extend)
            await own_etcd.freeze()
            await eventually(lambda: lost(store), "the stop is noticed")
            own_etcd.kill()
            elsewhere = EtcdServer(own_etcd.data)  # the same data under another port
            await elsewhere.start()
            async with elsewhere.store() as other:
                await serves(other)
                await write_batches(other, [Put("a/1", b"2"), Delete("a/2"), Put("a/new", b"")])
                await other.compact((await other.status()).revision)
            elsewhere.kill()
            await own_etcd.start()
            await eventually(lambda: "a/new" in mirror.entries, "the mirror is right again")
            await eventually(lambda: "a/2" not in mirror.entries, "the deleted key is swept")
            assert set(changed) == {"a/1", "a/2", "a/new"}
            expected = (await store.snapshot("a/")).entries
            assert dict(mirror.entries) == {entry.key: entry for entry in expected}


async def backup_of(server: EtcdServer, path: Path) -> Path:
    """``etcdctl snapshot save``."""
    program = (await find("etcdctl")).path
    process = await asyncio.create_subprocess_exec(
        str(program),
        f"--endpoints={server.endpoint}",
        "snapshot",
        "save",
        str(path),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert await process.wait() == 0
    return path


async def restored(server: EtcdServer, backup: Path, data: Path, *more: str) -> None:
    """The same member from a backup: same name, token and URLs, so that the ids are the same."""
    server.kill()
    program = (await find("etcdutl")).path
    process = await asyncio.create_subprocess_exec(
        str(program),
        "snapshot",
        "restore",
        str(backup),
        f"--name={server.name}",
        f"--initial-cluster={server.name}={server.peer_url}",
        f"--initial-cluster-token={server.token}",
        f"--initial-advertise-peer-urls={server.peer_url}",
        f"--data-dir={data}",
        *more,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert await process.wait() == 0
    server.data = data
    await server.start()


async def test_watch_says_when_the_store_went_back(own_etcd: EtcdServer, tmp_path: Path) -> None:
    """Attack 15: restored from a backup, the store is behind us; etcd would be silent until it has
    caught up with our revision by other writes."""
    async with own_etcd.store() as store:
        await store.put("a/1", b"")
        backup = await backup_of(own_etcd, tmp_path / "backup")
        watch = store.watch("a/")
        await anext(watch)
        for number in range(20):
            await store.put(f"a/{number}", b"")
        seen = 0
        while seen < 20:
            seen += len((await anext(watch)).events)
        waiting = asyncio.ensure_future(anext(watch))
        await restored(own_etcd, backup, tmp_path / "restored")
        with pytest.raises(FutureRevision, match="backup"):
            await asyncio.wait_for(waiting, SERVES_AGAIN_S)


@pytest.mark.parametrize("writes_after", [0, 3, 60], ids=["behind", "just behind", "ahead"])
async def test_mirror_follows_a_restored_store(
    own_etcd: EtcdServer, tmp_path: Path, writes_after: int
) -> None:
    """By hand, without a bump of revisions: same ids, other history. The mirror ends with exactly the
    store's set (0 missing, 0 ghosts), also when the new history has run past its revision."""
    async with own_etcd.store() as store, own_etcd.store() as writer:
        await write_batches(writer, [Put(f"a/{number}", b"1") for number in range(5)])
        backup = await backup_of(own_etcd, tmp_path / "backup")
        async with following(store, "a/") as mirror:
            for number in range(20):
                revision = await writer.put(f"a/lost{number}", b"")
            await mirror.wait_revision(revision, 5)
            await own_etcd.freeze()
            await eventually(lambda: lost(store), "the stop is noticed")
            own_etcd.kill()
            elsewhere = EtcdServer(
                tmp_path / "elsewhere", peer_port=own_etcd.peer_port, token=own_etcd.token
            )
            await restored(elsewhere, backup, tmp_path / "restored")
            async with elsewhere.store() as other:
                await serves(other)
                for number in range(writes_after):
                    await other.put(f"a/new{number}", b"")
            elsewhere.kill()
            own_etcd.data = elsewhere.data
            await own_etcd.start()

            def right() -> bool:
                return set(mirror.entries) == {f"a/{number}" for number in range(5)} | {
                    f"a/new{number}" for number in range(writes_after)
                }

            await eventually(right, "the mirror holds exactly the restored set")


async def test_restore_with_bump_reads_as_compacted(own_etcd: EtcdServer, tmp_path: Path) -> None:
    """What ``isthmus backup restore`` does: no client can resume by accident."""
    async with own_etcd.store() as store:
        await store.put("a/1", b"1")
        backup = await backup_of(own_etcd, tmp_path / "backup")
        async with following(store, "a/") as mirror:
            await mirror.wait_revision(await store.put("a/lost", b""), 5)
            await restored(
                own_etcd,
                backup,
                tmp_path / "restored",
                "--bump-revision=1000000",
                "--mark-compacted",
            )
            await eventually(lambda: set(mirror.entries) == {"a/1"}, "the mirror is right")
            assert mirror.revision > 1_000_000


# ---- space


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
