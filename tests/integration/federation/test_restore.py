"""Attack 15 with the real tools: a restored store has the same ids and soon a higher revision (measured)."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Literal

import pytest
from tests.federation_support import intents_at_site, outbox, until
from tests.integration.federation.lab import Lab, lab
from tests.integration.federation.test_link_real import agree, fill
from tests.integration.kv.server import EtcdServer

from isthmus.deploy.binaries import find

pytestmark = pytest.mark.etcd


async def run(program: Literal["etcdctl", "etcdutl"], *arguments: str) -> None:
    """One of etcd's own tools."""
    process = await asyncio.create_subprocess_exec(
        str((await find(program)).path), *arguments,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(30):
        _, error = await process.communicate()
    assert process.returncode == 0, error.decode()


async def restore(server: EtcdServer, backup: Path) -> None:
    """By hand, as an operator in a hurry does it: nothing bumped, nothing marked."""
    server.kill()
    shutil.rmtree(server.data)
    await run(
        "etcdutl", "snapshot", "restore", str(backup), f"--data-dir={server.data}",
        f"--name={server.name}", f"--initial-cluster={server.name}={server.peer_url}",
        f"--initial-cluster-token={server.token}",
        f"--initial-advertise-peer-urls={server.peer_url}",
    )  # fmt: skip
    await server.start()


async def ghosts(world: Lab) -> list[str]:
    """Intents at the site that the hub does not have."""
    held = await intents_at_site(world.site)
    return [key for key in held if await world.hub.get(outbox(key)) is None]


@pytest.mark.parametrize("linked", [True, False], ids=["under-an-open-link", "while-cut"])
async def test_restored_source_leaves_no_ghost(linked: bool, tmp_path: Path) -> None:
    """It grows past the old revision before anybody looks: what it lost must go, what it has must come."""
    async with lab(tmp_path) as world:
        await fill(world, 100)
        await until(lambda: agree(world), "first copy")
        backup = tmp_path / "backup.db"
        await run(
            "etcdctl", f"--endpoints={world.hub_etcd.endpoint}", "snapshot", "save", str(backup)
        )
        for number in range(20):
            await world.hub.put(outbox(f"intents/ghosts/g{number}"), b"after the backup")
        await world.hub.put(outbox("intents/acme/c1"), b"lost by the restore")
        await until(lambda: agree(world), "ghosts arrive")
        if not linked:
            await world.proxy.enabled(False)
            await until(lambda: not world.seen["site"].connected, "cut")
        await restore(world.hub_etcd, backup)
        for number in range(60):
            await world.hub.put(outbox(f"intents/new/n{number}"), b"a new history")
        await world.proxy.enabled(True)
        await until(lambda: agree(world), "equal again", timeout_s=40)
        assert await ghosts(world) == []
        held = await intents_at_site(world.site)
        assert held["intents/acme/c1"] == b"v"
        assert len(held) == 160


async def test_restored_destination_is_filled_again(tmp_path: Path) -> None:
    """The mirror's own store goes back: its token is old, its keys are old; all of it is repaired."""
    async with lab(tmp_path) as world:
        await fill(world, 50)
        await until(lambda: agree(world), "first copy")
        backup = tmp_path / "backup.db"
        await run(
            "etcdctl", f"--endpoints={world.site_etcd.endpoint}", "snapshot", "save", str(backup)
        )
        await fill(world, 120, value=b"newer")
        await world.hub.delete(outbox("intents/acme/c3"))
        await until(lambda: agree(world), "changes")
        await restore(world.site_etcd, backup)
        await world.hub.put(outbox("intents/acme/c4"), b"newest")
        await until(lambda: agree(world), "equal again", timeout_s=40)
        assert len(await intents_at_site(world.site)) == 119
