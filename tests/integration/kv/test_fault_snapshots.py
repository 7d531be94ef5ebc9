"""Snapshots and leases of servers that die, stand still or forget (G5; attack 15)."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress

import pytest
from tests.integration.kv.faults import SERVES_AGAIN_S, restarted
from tests.integration.kv.server import EtcdServer, serves
from tests.support import eventually

from isthmus.deploy.binaries import find
from isthmus.kv import Entry, Put
from isthmus.kv.errors import (
    Compacted,
    DeadlineExceeded,
    Unavailable,
)
from isthmus.kv.etcd import EtcdStore
from isthmus.kv.leasing import EtcdLease
from isthmus.kv.writes import write_batches


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
