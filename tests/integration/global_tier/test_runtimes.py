"""One port, two runtimes, the same promises on a real store: spawn, ensure, replace, close (DESIGN section 7)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.support import eventually

from isthmus.contract import Stamp, seal, unseal
from isthmus.contract.families import G_REGIONS, G_SITES
from isthmus.contract.family import Tier
from isthmus.contract.world import RegionSummary, SiteSpec
from isthmus.deploy.etcd_process import EtcdMember, EtcdTls, free_port, run_etcd
from isthmus.deploy.lab.spec import CARRIER, GLOBAL, LabSite, LabSpec
from isthmus.deploy.lab.stores import first_light, store_settings
from isthmus.deploy.lab.trust import ADMIN, ETCD, LabTrust
from isthmus.deploy.supervisor import Supervisor
from isthmus.global_tier.settings import GlobalSettings, StoreSettings
from isthmus.kv.etcd import EtcdStore

pytestmark = [
    pytest.mark.etcd,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(240),
]
DRIVER = Path(__file__).with_name("driver.py")
GROUP = "region.europe"
START_S = 120.0


@dataclass
class Tower:
    """A runtime under test, in its own process, and the tier's store."""

    kind: str
    process: asyncio.subprocess.Process
    store: EtcdStore
    etcd: Supervisor
    etcd_name: str

    async def do(self, line: str, timeout_s: float = 60.0) -> Any:
        """One command and its answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{line}\n".encode())
        await self.process.stdin.drain()
        async with asyncio.timeout(timeout_s):
            return json.loads(await self.process.stdout.readline())

    async def ready(self, name: str = GROUP) -> dict[str, Any]:
        """Its health, once it answers and every component is ready. A restart answers later: that is no failure."""

        async def all_ready() -> dict[str, Any] | None:
            answer: dict[str, Any] = await self.do(f"ensure {name}")
            if answer.get("error") == "TimeoutError":
                return None
            assert "error" not in answer, answer
            ready = all(part["ready"] for part in answer["components"].values())
            return answer if ready else None

        found = await eventually(all_ready, f"{name} is ready", timeout_s=START_S, every_s=0.1)
        return dict(found or {})

    async def region(self) -> RegionSummary | None:
        """What the group wrote."""
        entry = await self.store.get(G_REGIONS.key(region="europe"))
        return None if entry is None else unseal(entry.value, RegionSummary).body


def settings(trust: LabTrust, port: int, kind: str) -> GlobalSettings:
    """Of the tier under test."""
    return GlobalSettings(
        trust_domain=CARRIER,
        store=StoreSettings(endpoints=(f"127.0.0.1:{port}",), server_name=trust.store_name(GLOBAL)),
        certificates=trust.certificates(GLOBAL),
        state=trust.base / "state",
        regions=("europe",),
        runtime="ray" if kind == "ray" else "in-process",
    )


@pytest_asyncio.fixture(
    scope="module",
    loop_scope="module",
    params=["in-process", pytest.param("ray", marks=pytest.mark.ray)],
)
async def tower(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Tower]:
    """A store with users and roles, and the runtime beside it."""
    kind = request.param
    base = tmp_path_factory.mktemp("rt")
    base.chmod(0o700)
    trust = LabTrust(base, LabSpec(sites=(LabSite(site="milan"),)))
    trust.enroll(time.time())
    folder = trust.folder(GLOBAL, ETCD)
    member = EtcdMember(
        data_dir=base / "etcd",
        client_port=free_port(),
        name=f"tier-{kind}",
        tls=EtcdTls(
            ca_file=folder / "authority.pem",
            cert_file=folder / "cert.pem",
            key_file=folder / "key.pem",
        ),
    )
    async with run_etcd(member) as etcd:
        endpoint = f"127.0.0.1:{member.client_port}"
        await first_light(trust, GLOBAL, Tier.GLOBAL, trust.tier_components(), endpoint)
        path = base / "settings.json"
        path.write_text(settings(trust, member.client_port, kind).model_dump_json())
        store = EtcdStore.connect(store_settings(trust, GLOBAL, ADMIN, endpoint))
        process = await start(path, kind, base / "log")
        try:
            yield Tower(kind, process, store, etcd, etcd.status()[0].name)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            await store.aclose()


async def start(path: Path, kind: str, log: Path) -> asyncio.subprocess.Process:
    """The driver as process 1 of a pid namespace: what it leaves is seen there, and dies with it."""
    alone = ("unshare", "--pid", "--fork", "--kill-child=KILL", "--mount-proc")
    user = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    with log.open("wb") as sink:
        process = await asyncio.create_subprocess_exec(
            *alone, *user, sys.executable, "-W", "default", str(DRIVER), str(path), kind,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=sink,
        )  # fmt: skip
    assert process.stdout is not None
    async with asyncio.timeout(START_S):
        line = await process.stdout.readline()
    assert line == b'"ready"\n', log.read_text()[-3000:]
    return process


async def test_a_spawned_group_does_its_work(tower: Tower) -> None:
    """Why: the runtime is there for this alone; the proof is in the store, not in its answer."""
    site = SiteSpec(site="milan", region="europe", country="it", owner="carrier")
    stamp = Stamp(origin="operator", incarnation="test")
    await tower.store.put(G_SITES.key(site="milan"), seal(site, stamp, as_of=time.time()))
    assert await tower.do(f"spawn {GROUP}") == "done"
    await tower.ready()

    async def counted() -> bool:
        region = await tower.region()
        return region is not None and region.sites == 1 and region.runtime == tower.kind

    await eventually(counted, "the region is summed up")


async def test_spawning_again_is_the_same_group(tower: Tower) -> None:
    """Why: the bootstrap ensures; it does not know what an earlier one did."""
    before = await tower.ready()
    assert await tower.do(f"spawn {GROUP}") == "done"
    after = await tower.ready()
    assert after["pid"] == before["pid"]


async def test_groups_do_not_disturb_each_other(tower: Tower) -> None:
    """Why: placement and regions live and die apart."""
    before = await tower.ready()
    await tower.do("spawn placement")
    placement = await tower.ready("placement")
    assert {"intake", "placer", "wiring", "reporter"} <= set(placement["components"])
    await tower.do("replace placement")
    await tower.ready("placement")
    assert (await tower.ready())["pid"] == before["pid"]
    assert (placement["pid"] == before["pid"]) == (tower.kind == "in-process")


async def test_a_replaced_group_is_a_new_life_with_the_same_work(tower: Tower) -> None:
    """Why: what hangs is ended; whoever comes next must take over the lead, and say that it is another."""
    before, old = await tower.ready(), await tower.region()
    assert old is not None
    await tower.do(f"replace {GROUP}")

    async def another_process() -> bool:
        return bool((await tower.ready())["pid"] != before["pid"])

    await tower.ready()
    if tower.kind == "ray":  # the old one may answer once more before it is gone
        await eventually(another_process, "another process answers", timeout_s=40)

    async def renewed() -> bool:
        now = await tower.region()
        return now is not None and now.actor_incarnation != old.actor_incarnation

    await eventually(renewed, "the new life has written", timeout_s=40)


async def test_a_store_that_dies_does_not_end_the_group(tower: Tower) -> None:
    """Why: etcd killed -9 is an ordinary day; the runtime must not take it for its own end."""
    before = await tower.ready()
    assert tower.etcd.kill(tower.etcd_name, signal.SIGKILL)
    await tower.etcd.wait_ready(tower.etcd_name, 30)
    await tower.store.delete(G_REGIONS.key(region="europe"))

    async def back() -> bool:
        return await tower.region() is not None

    await eventually(back, "the group writes again", timeout_s=40)
    assert (await tower.ready())["pid"] == before["pid"]


@pytest.mark.timeout(300)
async def test_drills_and_parts_give_the_same_bytes_on_either_runtime(tower: Tower) -> None:
    """Why: where the work ran must not show in the answer, or a decision could not be replayed in one process."""
    said = await tower.do("placement", timeout_s=240.0)
    assert said.get("same_drills") is True, said
    assert said["same_split"] is True
    assert len(said["shipped"]) == 2, "no part was shipped: the split was not tried"
    assert min(said["shipped"]) >= 300
    assert said["placed"] > 300
    print(f"{tower.kind}: {said}")


async def test_closing_leaves_nothing_and_may_be_repeated(tower: Tower) -> None:
    """Why: Ray's processes outlive a careless driver; a second cluster beside the first is a riddle for days."""
    assert await tower.do("close") == "done"
    assert await tower.do("close") == "done"

    async def alone() -> bool:
        return bool(await tower.do("processes") == [])

    await eventually(alone, "no process is left", timeout_s=30)
