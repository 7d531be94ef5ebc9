"""G11 on real processes: a partner floods its carrier's gateway; a site behind toxiproxy does not feel it.

What the simulated world "partners" cannot have is scarce processor time: both links end in one gateway process.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.federation_support import SITE, summary, until
from tests.integration.federation.lab import PARTNER, Lab, lab
from tests.integration.kv.server import EtcdServer

from isthmus.chaos.history import Header, Memory
from isthmus.chaos.history.judge import judge_all
from isthmus.chaos.history.verdict import Outcome
from isthmus.contract.scopes import import_root
from isthmus.federation import PeerSettings, read_status
from isthmus.federation.digest import META
from isthmus.federation.settings import QuotaSettings
from isthmus.identity import Identity
from isthmus.kv.etcd import EtcdStore
from isthmus.kv.port import Delete, Put, Txn

pytestmark = [pytest.mark.etcd, pytest.mark.slow]
ALPS = "alps"
AGENT = Identity.of_site(PARTNER, ALPS, "federation")
QUOTA = QuotaSettings(
    max_keys=500, max_total_bytes=1 << 20, max_changes_per_s=200.0, burst_changes=300
)
SAMPLES = 40


class Carrier:
    """A gateway, an honest site behind toxiproxy, and a partner, each a process; three etcds."""

    def __init__(self, world: Lab) -> None:
        self.world = world
        self.etcd = EtcdServer(world.folder / "alps-etcd")
        self.processes: list[asyncio.subprocess.Process] = []
        self.memory = Memory(Header("processes", 1, "-", "flood"), time.monotonic)

    async def start(self) -> None:
        world = self.world
        await self.etcd.start()
        self.alps: EtcdStore = self.etcd.store()
        world.enroll(AGENT)
        await world.proxy.fault("latency", "upstream", latency=10, jitter=3)
        honest = next(iter(world.gateway_settings().peers))
        partner = PeerSettings(name=ALPS, identity=str(AGENT), quota=QUOTA)
        files = {
            "gateway": world.gateway_settings(peers=(honest, partner)),
            "site": world.site_settings(),
            ALPS: world.site_settings(
                name=ALPS,
                credentials=world.credentials(AGENT),
                dial=(f"127.0.0.1:{world.port}",),
                store=self.etcd.settings(),
            ),
        }
        for name, settings in files.items():
            path = world.folder / f"{name}.json"
            path.write_text(settings.model_dump_json())
            main = "gateway_main" if name == "gateway" else "site_main"
            words = (sys.executable, "-m", f"isthmus.federation.{main}", str(path))
            status = ("--status", str(self.status(name)))
            self.processes.append(await asyncio.create_subprocess_exec(*words, *status))

    def status(self, name: str) -> Path:
        return self.world.folder / f"{name}.status"

    async def stop(self) -> None:
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        await self.alps.aclose()
        self.etcd.kill()

    async def linked(self) -> bool:
        """Both links stand and have copied what there is."""
        path = self.status("gateway")
        return path.exists() and sum(link.synced for link in read_status(path)) == 2

    def denied(self, peer: str) -> int:
        """Changes over its quota."""
        (link,) = (one for one in read_status(self.status("gateway")) if one.peer == peer)
        return sum(count for why, count in link.denied.items() if "quota" in why)

    async def share(self, number: int) -> None:
        """One change of the honest site, timed until it can be read above."""
        value, key = b"%d" % number, import_root(SITE) + "summary/chains/acme/web"
        began_s = time.monotonic()
        await self.world.site.put(summary("chains/acme/web"), value)
        async with asyncio.timeout(20):
            while (entry := await self.world.hub.get(key)) is None or entry.value != value:  # noqa: ASYNC110 (another process)
                await asyncio.sleep(0.002)
        told = {"converged_s": time.monotonic() - began_s, "denied": self.denied(SITE)}
        self.memory.recorder.note("hub", "share", {"peer": SITE, "flooding": False, **told})

    async def flood(self) -> None:
        """3,000 changes a second: new keys, large values and one key again and again."""
        for number in itertools.count():
            puts = [
                Put(summary(f"chains/flood/c{(60 * number + one) % 5000}"), b"x" * (one * 10))
                for one in range(60)
            ]
            await self.alps.txn(Txn((), tuple(puts)))
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def carrier(folder: Path) -> AsyncIterator[Carrier]:
    """Running and linked."""
    async with lab(folder, linked=False) as world:
        made = Carrier(world)
        try:
            await made.start()
            await until(made.linked, "both links stand", timeout_s=30)
            yield made
        finally:
            await made.stop()


async def test_a_partner_that_floods_starves_nobody_and_recovers(tmp_path: Path) -> None:
    """Why: the promise is about a busy gateway, and in virtual time no process is ever busy."""
    async with carrier(tmp_path) as running:
        for number in range(SAMPLES):
            await running.share(number)
        flood = asyncio.create_task(running.flood())
        running.memory.recorder.note(
            "hub", "share", {"peer": ALPS, "flooding": True, "converged_s": 0.0, "denied": 0}
        )
        await until(lambda: running.denied(ALPS) > 1000, "the flood is refused", timeout_s=30)
        for number in range(SAMPLES, 2 * SAMPLES):
            await running.share(number)
        flood.cancel()
        await asyncio.gather(flood, return_exceptions=True)
        (verdict,) = judge_all(running.memory.history.records, ["G11"])
        print(verdict.text)
        assert verdict.outcome is Outcome.KEPT, verdict.text
        root = import_root(ALPS)
        held = (await running.world.hub.snapshot(root)).entries
        kept = [one for one in held if not one.key.removeprefix(root).startswith(META)]
        assert len(kept) <= QUOTA.max_keys
        await running.alps.put(summary("chains/acme/late"), b"honest")
        for chunk in _chunks(5000, 100):
            keys = (Delete(summary(f"chains/flood/c{number}")) for number in chunk)
            await running.alps.txn(Txn((), tuple(keys)))

        async def recovered() -> bool:
            entries = (await running.world.hub.snapshot(root)).entries
            names = {one.key.removeprefix(root) for one in entries}
            return {name for name in names if not name.startswith(META)} == {
                "summary/chains/acme/late"
            }

        await until(recovered, "what it was refused comes, and nothing of the flood", timeout_s=60)


def _chunks(total: int, size: int) -> list[range]:
    return [range(start, start + size) for start in range(0, total, size)]
