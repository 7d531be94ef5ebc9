"""Gateway and site agent as processes of their own: killed -9 in turn under churn, ended cleanly by SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.federation_support import outbox, summary, until
from tests.integration.federation.lab import Lab, lab
from tests.integration.federation.test_link_real import agree

from isthmus.federation import read_status

pytestmark = pytest.mark.etcd


class Agents:
    """Both main programs of one lab."""

    def __init__(self, world: Lab) -> None:
        self.world = world
        self.running: dict[str, asyncio.subprocess.Process] = {}

    def file(self, name: str) -> Path:
        return self.world.folder / name

    async def start(self, name: str) -> None:
        settings = (
            self.world.gateway_settings() if name == "gateway" else self.world.site_settings()
        )
        path = self.file(f"{name}.json")
        path.write_text(settings.model_dump_json())
        self.running[name] = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            f"isthmus.federation.{name}_main",
            str(path),
            "--tap",
            str(self.file(f"{name}.tap")),
            "--status",
            str(self.file(f"{name}.status")),
        )

    async def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> int:
        process = self.running.pop(name)
        process.send_signal(number)
        async with asyncio.timeout(10):
            return await process.wait()


@contextlib.asynccontextmanager
async def agents(folder: Path) -> AsyncIterator[Agents]:
    """Both running."""
    async with lab(folder, linked=False) as world:
        made = Agents(world)
        try:
            for name in ("gateway", "site"):
                await made.start(name)
            yield made
        finally:
            for name in list(made.running):
                await made.kill(name)


async def test_killed_at_random_under_churn_ends_with_equal_digests(tmp_path: Path) -> None:
    """G3, G4 on the link: nothing acknowledged at the source is missing at the destination afterwards."""
    chance = random.Random(7)
    async with agents(tmp_path) as both:
        world = both.world
        await until(lambda: agree(world), "empty and equal")
        for round_ in range(6):
            for _ in range(20):
                number = chance.randrange(40)
                if chance.random() < 0.3:
                    await world.hub.delete(outbox(f"intents/acme/c{number}"))
                else:
                    value = b"%d" % chance.randrange(10**9)
                    await world.hub.put(outbox(f"intents/acme/c{number}"), value)
                await world.site.put(summary(f"chains/acme/c{number}"), b"%d" % round_)
            name = ("gateway", "site")[round_ % 2]
            await both.kill(name)
            await both.start(name)
        await until(lambda: agree(world), "digests agree", timeout_s=30)


async def test_sigterm_ends_cleanly_and_status_and_tap_tell(tmp_path: Path) -> None:
    """An operator's view without any API, and a stop that a supervisor understands."""
    async with agents(tmp_path) as both:
        world = both.world
        await world.hub.put(outbox("intents/acme/web"), b"an intent in clear")
        await until(lambda: both.file("site.status").exists(), "status is written")
        await until(
            lambda: read_status(both.file("site.status"))[0].digests_equal, "status says equal"
        )
        status = read_status(both.file("site.status"))[0]
        assert (status.peer, status.connected, status.keys_imported) == ("global", True, 1)
        frames = [json.loads(line) for line in both.file("site.tap").read_text().splitlines()]
        values = [item["value"] for frame in frames for item in frame.get("items", ())]
        assert "an intent in clear" in values
        assert {frame["direction"] for frame in frames} == {"sent", "received"}
        for name in ("site", "gateway"):
            assert await both.kill(name, signal.SIGTERM) == 0
