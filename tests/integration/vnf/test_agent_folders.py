"""Folders come, go and are renewed under a running agent; its instances follow, each by itself (DESIGN 5, G10)."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import pytest
from tests.integration.vnf.secure_etcd import STAMP, SecureEtcd
from tests.support import eventually

from isthmus.contract.families import CONFIG
from isthmus.functions import shipped
from isthmus.kv.errors import StoreError
from isthmus.vnf.agent import Agent, AgentSettings
from isthmus.vnf.client import Configuration, VnfClient, connect

pytestmark = pytest.mark.etcd
ONE, OTHER = "i-000000000001", "i-000000000002"


@contextlib.asynccontextmanager
async def host() -> AsyncIterator[tuple[SecureEtcd, Agent, Path]]:
    """A store and an agent whose scan is slow, so that only inotify can explain what is quick."""
    with tempfile.TemporaryDirectory(prefix="af") as name:
        folder = Path(name)
        etcd = await SecureEtcd(folder / "etcd").start()
        for instance in (ONE, OTHER):
            await etcd.admit(instance)
        agent = Agent(
            AgentSettings(folder / "instances", etcd.upstream, scan_interval_s=3600.0),
            shipped(),
            life="test",
            clock=time.time,
            monotonic=time.monotonic,
            chance=random.Random(3),
        )
        running = asyncio.create_task(agent.run())
        try:
            await eventually((folder / "instances").is_dir, "the agent made its folder")
            yield etcd, agent, folder / "instances"
        finally:
            running.cancel()
            await asyncio.wait((running,), timeout=10)
            await etcd.stop()


async def _readable(place: Path, instance: str) -> bool:
    async with connect(place / "kv.sock", chance=random.Random(1)) as store:
        try:
            await store.get(CONFIG.key(owner="configurator", instance=instance), timeout_s=1.0)
        except StoreError:
            return False
        return True


async def _reaches(place: Path, instance: str) -> None:
    _: bool = await eventually(
        lambda: _readable(place, instance), f"the socket of {instance} leads to the store"
    )


async def test_a_folder_gets_its_socket_and_loses_it() -> None:
    """Appearing and vanishing is all that a launcher ever says to an agent."""
    async with host() as (etcd, agent, instances):
        place = etcd.make_folder(instances, ONE, form="process")
        etcd.make_folder(instances, OTHER, form="process")
        await eventually(lambda: agent.instances == (ONE, OTHER), "both are served")
        await _reaches(place, ONE)
        shutil.rmtree(place)
        await eventually(lambda: agent.instances == (OTHER,), "the first is gone")
        assert await _readable(instances / OTHER, OTHER)


async def test_renewed_credentials_drop_no_connection() -> None:
    """Certificates live a day; a watch must not die of it (G10)."""
    async with host() as (etcd, agent, instances):
        place = etcd.make_folder(instances, ONE, form="process")
        await _reaches(place, ONE)
        async with connect(place / "kv.sock", chance=random.Random(1)) as store:
            client = VnfClient(store, ONE, stamp=STAMP, clock=time.time, chance=random.Random(2))
            async with contextlib.aclosing(client.configurations()) as configurations:
                await etcd.configure(ONE, {"a": 1})
                await _next(configurations)
                etcd.authority.leaf(f"instance.{ONE}", place)
                await agent.reconcile()
                second = await etcd.configure(ONE, {"a": 2})
                assert (await _next(configurations)).revision == second
                assert store.counters.watch_reconnects == 0
        assert await _readable(place, ONE)  # a new connection takes the new certificate


async def test_a_revoked_instance_is_cut_and_its_neighbour_is_not() -> None:
    """Cutting one customer's function must be exactly that."""
    async with host() as (etcd, agent, instances):
        place = etcd.make_folder(instances, ONE, form="process")
        etcd.make_folder(instances, OTHER, form="process")
        for name in (ONE, OTHER):
            await _reaches(instances / name, name)
        agent.revoke(ONE)
        assert not await _readable(place, ONE)
        assert await _readable(instances / OTHER, OTHER)
        shutil.rmtree(place)
        await eventually(lambda: agent.instances == (OTHER,), "the old life is gone")
        place = etcd.make_folder(instances, ONE, form="process", incarnation=2)
        await _reaches(place, ONE)


async def _next(configurations: AsyncGenerator[Configuration, None]) -> Configuration:
    async with asyncio.timeout(20):
        return await anext(configurations)
