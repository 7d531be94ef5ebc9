"""Three members: one is lost, the leader is killed, one lags behind (issue 4, endpoint fail-over).

A site may run three members; the client must find those that live, and believe only what a majority
said.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.integration.kv.server import EtcdServer, serves
from tests.support import eventually

from isthmus.kv import Put
from isthmus.kv.admin import EtcdAdmin
from isthmus.kv.errors import (
    AmbiguousOutcome,
    DeadlineExceeded,
    InvalidRequest,
    StoreError,
    Unavailable,
)
from isthmus.kv.etcd import EtcdStore
from isthmus.kv.mirror import Mirror
from isthmus.kv.settings import EtcdSettings
from isthmus.kv.writes import write_batches


class Cluster:
    """Three members on one machine."""

    def __init__(self, folder: Path) -> None:
        self.members = [EtcdServer(folder / f"m{number}", name=f"m{number}") for number in range(3)]
        cluster = ",".join(f"{member.name}={member.peer_url}" for member in self.members)
        for member in self.members:
            member.cluster = cluster
            member.extra = ("--heartbeat-interval=50", "--election-timeout=500")

    async def start(self) -> None:
        for member in self.members:
            await member.spawn()
        for member in self.members:
            await member.listening()

    def kill(self) -> None:
        for member in self.members:
            member.kill()

    def settings(self, **more: object) -> EtcdSettings:
        endpoints = tuple(member.endpoint for member in self.members)
        return EtcdSettings.model_validate({"endpoints": endpoints, **more})

    async def leader(self) -> EtcdServer:
        """Who leads now, by asking each member alone."""
        for member in self.members:
            with suppress(StoreError):
                async with EtcdStore.connect(self.settings().only(member.endpoint)) as store:
                    if (await EtcdAdmin(store, timeout_s=1).member_status()).is_leader:
                        return member
        raise AssertionError("nobody leads")


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    """Three members that serve."""
    members = Cluster(tmp_path)
    try:
        await members.start()
        async with EtcdStore.connect(members.settings()) as store:
            await serves(store)
        yield members
    finally:
        members.kill()


async def test_killed_leader_costs_no_acknowledged_write(cluster: Cluster) -> None:
    """Every acknowledged key is delivered exactly once to a watcher, over the fail-over."""
    async with (
        EtcdStore.connect(cluster.settings()) as store,
        EtcdStore.connect(cluster.settings()) as watcher,
    ):
        watch = watcher.watch("a/")
        await anext(watch)
        seen: list[str] = []

        async def read() -> None:
            async for batch in watch:
                seen.extend(event.key for event in batch.events)

        reading = asyncio.create_task(read())
        acknowledged: list[str] = []
        victim = await cluster.leader()
        for number in range(1500):
            if number == 500:
                victim.kill()
            with suppress(AmbiguousOutcome, DeadlineExceeded, Unavailable):
                await store.put(f"a/{number:05}", b"", timeout_s=2)
                acknowledged.append(f"a/{number:05}")
        assert len(acknowledged) > 1400
        await eventually(lambda: set(acknowledged) <= set(seen), "acknowledged keys are delivered")
        assert len(seen) == len(set(seen))
        reading.cancel()


async def test_mirror_and_lease_live_on_while_each_member_dies_in_turn(cluster: Cluster) -> None:
    """A rolling restart of the store is nobody's business."""
    async with EtcdStore.connect(cluster.settings()) as store:
        lease = await store.grant_lease(10)
        await store.put("a/leader", b"", lease_id=lease.lease_id)
        await write_batches(store, [Put(f"a/{number}", b"") for number in range(100)])
        mirror = Mirror(store, "a/")
        running = asyncio.create_task(mirror.run())
        await mirror.wait_synced(10)
        for number, member in enumerate(cluster.members):
            member.kill()
            await put_until_stored(store, f"a/after{number}")
            await mirrored(mirror, f"a/after{number}")
            await member.start()
            await serves(store)
        assert not lease.lost
        assert len(mirror.entries) == 104
        assert await store.get("a/leader") is not None
        running.cancel()


async def mirrored(mirror: Mirror, key: str) -> None:
    """Until the mirror has ``key``."""
    await eventually(lambda: key in mirror.entries, f"{key} is mirrored")


async def put_until_stored(store: EtcdStore, key: str) -> None:
    """An idempotent write may be repeated by its caller."""

    async def stored() -> bool:
        with suppress(AmbiguousOutcome, DeadlineExceeded, Unavailable):
            await store.put(key, b"", timeout_s=2)
            return True
        return False

    _: bool = await eventually(stored, f"{key} is stored")


async def test_reads_go_round_a_stopped_member(cluster: Cluster) -> None:
    """A read that hangs at one member is asked of another within its own deadline."""
    async with EtcdStore.connect(cluster.settings(attempt_timeout_s=0.5)) as store:
        await store.put("a/1", b"")
        leader = await cluster.leader()
        follower = next(member for member in cluster.members if member is not leader)
        await follower.freeze()
        for _ in range(9):
            assert await store.get("a/1", timeout_s=8) is not None
        follower.thaw()


async def test_a_lone_member_refuses_instead_of_inventing(cluster: Cluster) -> None:
    """Without a majority nothing is stored and nothing stale is read."""
    async with EtcdStore.connect(cluster.settings()) as store:
        await store.put("a/1", b"1")
        leader = await cluster.leader()
        for member in cluster.members:
            if member is not leader:
                member.kill()
        with pytest.raises((AmbiguousOutcome, DeadlineExceeded, Unavailable)):
            await store.put("a/1", b"2", timeout_s=2)
        with pytest.raises((DeadlineExceeded, Unavailable)):
            await store.get("a/1", timeout_s=2)


async def test_a_member_that_lags_is_not_taken_for_a_restored_store(cluster: Cluster) -> None:
    """Behind our revision, but so is only this member: wait for it or ask another, do not resync."""
    async with EtcdStore.connect(cluster.settings()) as store:
        leader = await cluster.leader()
        lagging = next(member for member in cluster.members if member is not leader)
        await lagging.freeze()
        for number in range(50):
            await put_until_stored(store, f"a/{number}")
        revision = (await store.snapshot("a/")).revision
        lagging.thaw()
        only = EtcdStore.connect(cluster.settings().only(lagging.endpoint))
        async with only:
            watch = only.watch("a/", start_revision=revision + 1)
            assert (await asyncio.wait_for(anext(watch), 15)).revision == revision
            await put_until_stored(store, "a/later")
            batch = await asyncio.wait_for(anext(watch), 15)
            assert [event.key for event in batch.events] == ["a/later"]
            await watch.aclose()


async def test_members_are_listed_moved_and_replaced(cluster: Cluster, tmp_path: Path) -> None:
    """The janitor's verbs for a member that is gone for good: remove it, add another, lead on."""
    async with EtcdStore.connect(cluster.settings()) as store:
        await store.put("a/1", b"kept")
        admin = EtcdAdmin(store)
        members = {member.name: member for member in await admin.members()}
        assert set(members) == {"m0", "m1", "m2"}
        leader = await cluster.leader()
        victim = next(member for member in cluster.members if member is not leader)
        victim.kill()

        async def removed() -> bool:
            with suppress(StoreError):
                await admin.remove_member(members[victim.name].member_id)
            return len(await admin.members()) == 2

        _: bool = await eventually(removed, "the lost member is removed")
        fresh = EtcdServer(tmp_path / "m3", name="m3")

        async def added() -> bool:
            with suppress(StoreError):
                await admin.add_member([fresh.peer_url])
            return len(await admin.members()) == 3

        __: bool = await eventually(added, "a new member is added")
        others = [member for member in cluster.members if member is not victim]
        fresh.cluster = ",".join(f"{m.name}={m.peer_url}" for m in (*others, fresh))
        fresh.extra = (*others[0].extra, "--initial-cluster-state=existing")
        cluster.members[cluster.members.index(victim)] = fresh
        await fresh.start()
        async with EtcdStore.connect(cluster.settings().only(fresh.endpoint)) as alone:
            await serves(alone)
            entry = await alone.get("a/1")
            assert entry is not None
            assert entry.value == b"kept"
            fresh_id = (await EtcdAdmin(alone).member_status()).member_id
        async with EtcdStore.connect(cluster.settings().only(leader.endpoint)) as head:
            await EtcdAdmin(head).move_leader(fresh_id)
        assert await cluster.leader() is fresh
        async with EtcdStore.connect(cluster.settings().only(leader.endpoint)) as former:
            with pytest.raises((InvalidRequest, Unavailable)):
                await EtcdAdmin(former, timeout_s=2).move_leader(fresh_id)
