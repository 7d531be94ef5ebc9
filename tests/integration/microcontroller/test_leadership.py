"""Leadership on a real etcd: who is frozen comes back as nobody (G4, attack 14)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.integration.kv.server import EtcdServer, serves
from tests.support import eventually
from tests.unit.microcontroller.toys import STAMP, Clock, Copier, Verdict, writer_on

from isthmus.contract import seal, unseal
from isthmus.contract.families import HEALTH, LEASES, STATUS
from isthmus.kv.leasing import EtcdLease
from isthmus.microcontroller import NotLeader, Runner, Surroundings
from isthmus.microcontroller.leadership import LeadershipSettings, lead

pytestmark = pytest.mark.etcd
LEADER = LEASES.key(component="monitor")
KEY = HEALTH.key(instance="a")
QUICK = LeadershipSettings(ttl_s=2, retry_s=0.5)


@pytest.fixture
async def etcd(tmp_path: Path) -> AsyncIterator[EtcdServer]:
    server = EtcdServer(tmp_path / "member")
    try:
        await server.start()
        async with server.store() as store:
            await serves(store)
        yield server
    finally:
        server.kill()


def runner_on(server: EtcdServer, text: str) -> Runner:
    return Runner(Copier(text=text), server.store(), f"test/{text}", leadership=QUICK)


async def test_a_killed_leader_is_followed_by_its_candidate(etcd: EtcdServer) -> None:
    """Why: of two placers one decides; when its process dies without a word, the other within seconds."""
    one, two = runner_on(etcd, "first"), runner_on(etcd, "second")
    tasks = [asyncio.create_task(one.run())]
    async with etcd.store() as store:
        try:
            await store.put(
                STATUS.key(tenant="t", chain="a"), seal(Verdict(), STAMP, as_of=0.0)
            )  # fmt: skip
            await eventually(lambda: one.health.settled_total, "the first works")
            tasks.append(asyncio.create_task(two.run()))
            await eventually(lambda: two.health.component, "the second waits")
            await one.store.aclose()  # no revocation: as a process that was killed
            await eventually(lambda: two.health.settled_total, "the second took over")
            entry = await store.get(KEY)
            assert entry is not None
            assert unseal(entry.value, Verdict).body.text == "second"
            leader = await store.get(LEADER)
            assert leader is not None
            assert unseal(entry.value, Verdict).epoch == leader.create_revision
            assert not one.health.ready
            two.stop()
            await asyncio.wait_for(tasks[1], 10)
            assert await store.get(LEADER) is None
        finally:
            for task in tasks:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            await two.store.aclose()


async def test_a_frozen_leader_wakes_up_to_a_refusal(etcd: EtcdServer) -> None:
    """Why: it does not know that time has passed; its first write is refused by the store itself."""
    surroundings = Surroundings()
    async with (
        etcd.store() as old_store,
        etcd.store() as new_store,
        contextlib.AsyncExitStack() as old,
    ):
        fence, lease = await old.enter_async_context(
            lead(old_store, LEADER, STAMP, surroundings, QUICK)
        )
        writer = writer_on(old_store, fence=fence, clock=Clock())
        await writer.put(KEY, Verdict(text="first"))
        assert isinstance(lease, EtcdLease)
        lease._task.cancel()  # frozen: no renewals, no verdict of its own
        second = STAMP.model_copy(update={"incarnation": "second"})
        async with asyncio.timeout(15):
            async with lead(new_store, LEADER, second, surroundings, QUICK) as (newer, _):
                assert newer.epoch > fence.epoch
                with pytest.raises(NotLeader):
                    await writer.put(KEY, Verdict(text="late"))
                entry = await new_store.get(KEY)
                assert entry is not None
                assert unseal(entry.value, Verdict).body.text == "first"
                fresh = writer_on(new_store, fence=newer, clock=Clock())
                assert await fresh.put(KEY, Verdict(text="second"))
        assert lease.lost, "its own clock says so, too"
