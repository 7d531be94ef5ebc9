"""Three members as deployed: one is lost, the leader is killed, one is replaced, and nobody above notices (issue 4).

What must hold through all of it: no acknowledged write is lost, none is doubled, the mirror equals the source.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.integration.kv.authority import Authority
from tests.support import eventually
from tests.unit.microcontroller.toys import STAMP

from isthmus.deploy.etcd_cluster import EtcdCluster, members_of, process, run_cluster
from isthmus.deploy.etcd_process import EtcdMember, EtcdPeers, EtcdTls, etcd_argv, free_port
from isthmus.kv.admin import EtcdAdmin
from isthmus.kv.errors import Conflict, StoreError
from isthmus.kv.etcd import EtcdStore
from isthmus.kv.mirror import Mirror
from isthmus.kv.port import Compare, Put, Target, Txn
from isthmus.kv.settings import EtcdSettings
from isthmus.kv.space import EtcdSpace
from isthmus.microcontroller import Context, State, Surroundings, Writer
from isthmus.microcontroller.maintenance import Maintenance
from isthmus.microcontroller.space import SpaceSettings

FAST = ("--heartbeat-interval=50", "--election-timeout=500")


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[EtcdCluster]:
    """Three members; clients and peers show certificates."""
    authority = Authority(tmp_path / "ca")
    cert, key = authority.issue("member")
    tls = EtcdTls(ca_file=authority.file, cert_file=cert, key_file=key)
    members = members_of(
        tmp_path, ("m1", "m2", "m3"), tls=tls, peer_tls=tls, extra=FAST, unsafe_no_fsync=True
    )
    reach = EtcdSettings.model_validate(
        {"endpoints": (members[0].endpoint,), **authority.client_files("root")}
    )
    async with run_cluster(members, settings=reach) as running:
        yield running


@dataclass
class Scribe:
    """Creates numbered keys, each once, as fast as the store takes them; knows what was acknowledged."""

    store: EtcdStore
    acknowledged: list[str] = field(default_factory=list)
    next_number: int = 0

    async def run(self) -> None:
        while True:
            await self.write(f"a/{self.next_number:06}")
            self.next_number += 1

    async def write(self, key: str) -> None:
        """Repeat until it is known to be there: a compare makes that safe, whatever became of the attempt before."""
        create = Txn((Compare(key, Target.VERSION, 0),), (Put(key, key.encode()),))
        while True:
            with suppress(Conflict, StoreError):
                await self.store.txn(create, timeout_s=2)
                self.acknowledged.append(key)
                return
            await asyncio.sleep(0.01)

    async def goes_on(self, writes: int = 50) -> None:
        """Until it has written more."""
        goal = len(self.acknowledged) + writes
        await eventually(lambda: len(self.acknowledged) >= goal, f"{writes} more writes")


@asynccontextmanager
async def traffic(cluster: EtcdCluster) -> AsyncIterator[Scribe]:
    """A writer and a mirror; at the end everything acknowledged is there, once, at the source and in the mirror."""
    async with (
        EtcdStore.connect(cluster.settings) as writing,
        EtcdStore.connect(cluster.settings) as reading,
    ):
        scribe, mirror = Scribe(writing), Mirror(reading, "a/")
        tasks = [asyncio.create_task(scribe.run()), asyncio.create_task(mirror.run())]
        try:
            await mirror.wait_synced(10)
            await scribe.goes_on()
            yield scribe
            tasks[0].cancel()
            with suppress(asyncio.CancelledError):
                await tasks[0]
            source = await reading.snapshot("a/")
            held = {entry.key: entry for entry in source.entries}
            assert set(scribe.acknowledged) <= set(held), "an acknowledged write is lost"
            assert {entry.version for entry in source.entries} == {1}, "a write was doubled"

            async def equal() -> bool:
                # Looked at again each time: the write that was cancelled may still take effect.
                entries = (await reading.snapshot("a/")).entries
                return dict(mirror.entries) == {entry.key: entry for entry in entries}

            await eventually(equal, "the mirror equals the source")
        finally:
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task


@pytest.mark.etcd
async def test_a_lost_member_a_killed_leader_and_a_replacement(cluster: EtcdCluster) -> None:
    """Why: one after the other, as a bad week has them; the store above is one and the same all the time."""
    async with traffic(cluster) as scribe:
        leader = await cluster.leader()
        follower = next(member for member in cluster.members if member is not leader)
        cluster.supervisor.kill(process(follower), signal.SIGKILL)
        await scribe.goes_on()
        await cluster.supervisor.wait_ready(process(follower), 20)
        cluster.supervisor.kill(process(await cluster.leader()), signal.SIGKILL)
        await scribe.goes_on()
        await asyncio.gather(
            *(cluster.supervisor.wait_ready(process(member), 20) for member in cluster.members)
        )
        lost = cluster.members[0]
        fresh = await cluster.replace(lost, lost.data_dir.with_name("fresh"))
        await scribe.goes_on()
        assert fresh in cluster.members
        async with EtcdStore.connect(cluster.settings.only(fresh.endpoint)) as alone:
            names = {member.name for member in await EtcdAdmin(alone).members()}
            assert names == {member.name for member in cluster.members}
            assert await alone.get(scribe.acknowledged[0]) is not None, "it has the old keys, too"


@pytest.mark.etcd
async def test_every_member_is_defragmented_while_writes_go_on(cluster: EtcdCluster) -> None:
    """Why: one at a time and the leader last: the pause of one is nobody's business."""
    space = EtcdSpace(cluster.settings)
    order: list[str] = []
    real = space.defragment

    async def noted(endpoint: str) -> None:
        order.append(endpoint)
        await real(endpoint)

    space.defragment = noted  # type: ignore[method-assign]
    eager = SpaceSettings(worth_bytes=0, fragmented_share=1.0, high_share=1e-7)
    async with traffic(cluster), EtcdStore.connect(cluster.settings) as store:
        leader = await cluster.leader()
        surroundings = Surroundings()
        writer = Writer(store, State(), STAMP, surroundings)
        context = Context("maintenance", State(), writer, surroundings)
        await Maintenance(space, eager).reconcile("*space", context)
        assert sorted(order) == sorted(member.endpoint for member in cluster.members)
        assert order[-1] == leader.endpoint
    await space.aclose()


def test_peers_in_the_clear_stay_on_loopback() -> None:
    """Why: who speaks to a peer port without a certificate can join the cluster and read everything."""
    cluster = {"a": "http://10.0.0.1:2380"}
    with pytest.raises(ValueError, match=r"peers\.tls"):
        EtcdMember(
            data_dir=Path("a"),
            client_port=1,
            name="a",
            peers=EtcdPeers(port=2380, host="10.0.0.1", cluster=cluster),
        )


def test_a_member_must_be_in_its_own_cluster() -> None:
    """Why: etcd's own message about it is an essay; ours names the field."""
    with pytest.raises(ValueError, match=r"peers\.cluster"):
        EtcdMember(
            data_dir=Path("a"),
            client_port=1,
            name="a",
            peers=EtcdPeers(port=2380, cluster={"b": "http://127.0.0.1:2380"}),
        )


def test_a_single_member_has_no_peer_port() -> None:
    """Why: what a site of one member does not need, nobody can attack."""
    argv = etcd_argv(EtcdMember(data_dir=Path("a"), client_port=free_port()), Path("etcd"))
    assert "--listen-peer-urls=unix://peer.sock" in argv
    assert not any(argument.startswith("--peer-") for argument in argv)
