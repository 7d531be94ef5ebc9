"""The maintainer on real stores that run full, with the rights of its own certificate (issue 4, point 7)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.integration.kv.server import EtcdServer, serves
from tests.integration.vnf.secure_etcd import SERVER_NAME, Authority, SecureEtcd
from tests.support import eventually
from tests.unit.microcontroller.toys import STAMP, Clock

from isthmus.contract.families import EVENTS
from isthmus.contract.family import Tier
from isthmus.contract.roles import role
from isthmus.kv.admin import EtcdAdmin
from isthmus.kv.errors import Compacted, NoSpace, PermissionDenied, StoreError
from isthmus.kv.grants import Access, Grant
from isthmus.kv.settings import EtcdSettings
from isthmus.kv.space import EtcdSpace
from isthmus.microcontroller import Runner, Surroundings
from isthmus.microcontroller.leadership import LeadershipSettings, lead
from isthmus.microcontroller.maintenance import Maintenance
from isthmus.microcontroller.space import SpaceSettings

pytestmark = pytest.mark.etcd
QUOTA = 3_000_000
KEY = "/isthmus/v1/x/filler/same"
LAZY = SpaceSettings(worth_bytes=200_000, high_share=0.95)
"""Acts after the alarm only."""


@dataclass
class SmallEtcd(SecureEtcd):
    """One member with a tiny quota."""

    async def start(self) -> SmallEtcd:
        self.authority = Authority(self.folder / "trust")
        cert, key = self.authority.leaf("etcd", self.folder / "etcd-tls")
        self.server = EtcdServer(
            self.folder / "data",
            tls=(self.authority.ca_file, cert, key),
            extra=(f"--quota-backend-bytes={QUOTA}",),
        )
        await self.server.start()
        self.root = self.store_of("root")
        await serves(self.root)
        self.admin = EtcdAdmin(self.root)
        await self.admin.enable_auth()
        for component in ("maintenance", "janitor"):
            rights = role(Tier.SITE, component)
            grants = [Grant.of(g.target, Access[g.access.name]) for g in rights.grants]
            await self.admin.ensure_role(rights.name, grants)
            await self.admin.ensure_user(component, ["root" if rights.root else component])
        return self

    def settings_of(self, component: str) -> EtcdSettings:
        cert, key = self.files_of(component)
        return EtcdSettings(
            endpoints=(self.server.endpoint,),
            ca_file=self.authority.ca_file,
            cert_file=cert,
            key_file=key,
            server_name=SERVER_NAME,
        )

    async def fill(self, writes: int) -> None:
        """History of one key: 30 kB each time."""
        for number in range(writes):
            await self.root.put(KEY, b"%d" % number + b"v" * 30_000)

    async def fill_up(self) -> None:
        """Until the alarm."""
        with pytest.raises(NoSpace):
            await self.fill(1000)


@pytest.fixture
async def etcd(tmp_path: Path) -> AsyncIterator[SmallEtcd]:
    small = SmallEtcd(tmp_path)
    try:
        yield await small.start()
    finally:
        await small.stop()


@contextlib.asynccontextmanager
async def maintained(etcd: SmallEtcd, settings: SpaceSettings) -> AsyncIterator[Runner]:
    """With a maintainer of its own user."""
    space = EtcdSpace(etcd.settings_of("maintenance"))
    runner = Runner(
        Maintenance(space, settings), etcd.store_of("maintenance"), "test/maintenance", restart_s=0.05
    )  # fmt: skip
    task = asyncio.create_task(runner.run())
    try:
        yield runner
    finally:
        runner.stop()
        await asyncio.wait_for(task, 20)
        await runner.store.aclose()


async def kinds(etcd: SmallEtcd) -> set[str]:
    snapshot = await etcd.root.snapshot(EVENTS.prefix(component="maintenance"))
    return {entry.value.decode().split('"kind":"')[1].split('"')[0] for entry in snapshot.entries}


async def test_a_full_store_is_cured_and_takes_writes_again(etcd: SmallEtcd) -> None:
    """Why: NOSPACE stops a whole site; nobody should have to be called at night for etcd's history. A maintainer that
    needed leadership could not even begin: a full store grants no lease."""
    await etcd.root.put("/isthmus/v1/x/filler/kept", b"kept")
    await etcd.fill_up()
    with pytest.raises(NoSpace):
        await etcd.root.put(KEY, b"one more")
    with pytest.raises(NoSpace):
        await etcd.root.grant_lease(5)
    async with maintained(etcd, LAZY):

        async def takes_writes() -> bool:
            with contextlib.suppress(StoreError):
                await etcd.root.put(KEY, b"again")
                return True
            return False

        _: bool = await eventually(takes_writes, "the store takes writes again")
        assert await etcd.admin.alarms() == ()
        status = await etcd.admin.member_status()
        assert status.quota_bytes == QUOTA
        assert status.db_size_bytes < QUOTA / 2

        async def told() -> bool:
            return "store-cured" in await kinds(etcd)

        __: bool = await eventually(told, "people are told")
    kept = await etcd.root.get("/isthmus/v1/x/filler/kept")
    assert kept is not None
    assert kept.value == b"kept"


async def test_a_store_that_fills_never_reaches_the_alarm(etcd: SmallEtcd) -> None:
    """Why: before is better than after: three quotas' worth of history, no write refused. (Each look of the
    maintainer comes in time: what fills a store within its period is the alarm's, the test above.)"""
    eager = SpaceSettings(worth_bytes=200_000, high_share=0.4, period_s=0.05)
    async with maintained(etcd, eager) as runner:
        for _ in range(20):
            await etcd.fill(15)
            await looked(runner)
        assert await etcd.admin.alarms() == ()
        assert {"store-high", "store-defragmented"} <= await kinds(etcd)


async def test_history_within_the_declared_cut_can_be_resumed(etcd: SmallEtcd) -> None:
    """Why: the window is a promise to who was cut off; what is older is gone."""
    clock = Clock()
    settings = SpaceSettings(longest_cut_s=60, least_revisions=5, compact_step=1, period_s=0.02)
    space = EtcdSpace(etcd.settings_of("maintenance"))
    runner = Runner(
        Maintenance(space, settings),
        etcd.store_of("maintenance"),
        "test/maintenance",
        Surroundings(now=clock),
    )
    task = asyncio.create_task(runner.run())
    try:
        first = await etcd.root.put(KEY, b"old")
        await looked(runner)
        clock.now_s += 40
        second = await etcd.root.put(KEY, b"younger")
        for _ in range(10):
            await etcd.root.put(KEY, b"newest")
        await looked(runner)
        assert (await etcd.root.get(KEY, revision=first)) is not None
        clock.now_s += 30

        async def forgotten() -> bool:
            try:
                await etcd.root.get(KEY, revision=first - 1)
            except Compacted:
                return True
            return False

        __: bool = await eventually(forgotten, "what is older than the cut is gone")
        watch = etcd.root.watch(KEY, start_revision=second)
        await anext(watch)
        batch = await asyncio.wait_for(anext(watch), 10)
        assert batch.events[0].revision == second
        await watch.aclose()
    finally:
        runner.stop()
        await asyncio.wait_for(task, 20)
        await runner.store.aclose()


async def looked(runner: Runner) -> None:
    """Until it has looked at least once more, from beginning to end."""
    seen = runner.health.settled_total
    await eventually(lambda: runner.health.settled_total >= seen + 2, "it looked again")


async def test_who_keeps_space_needs_root_and_the_janitor_has_none(etcd: SmallEtcd) -> None:
    """Why: ADR 0006 stands on this; the day etcd has a finer right, this fails and the root can go."""
    async with etcd.store_of("janitor") as store:
        await etcd.root.put(KEY, b"x")
        admin = EtcdAdmin(store)
        for refused in (store.compact(2), admin.defragment(), admin.add_user("mine")):
            with pytest.raises(PermissionDenied):
                await refused
        rights = LeadershipSettings(ttl_s=2)
        key = "/isthmus/v1/leases/janitor"
        async with asyncio.timeout(10), lead(store, key, STAMP, Surroundings(), rights) as led:
            assert led[0].epoch  # what it does have works
