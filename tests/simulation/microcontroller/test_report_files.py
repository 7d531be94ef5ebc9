"""A site's process leaves its health where people and Prometheus look, and takes it away at its end."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import cast

from tests.support import eventually

from isthmus.kv.memory import MemoryStore
from isthmus.microcontroller import Runner
from isthmus.site.assembly import Assembly
from isthmus.site.main import run_site
from isthmus.site.placer import Placer
from isthmus.site.settings import SiteSettings


class OnTwin:
    """Hands out runners on a twin."""

    def runner(self, component: str) -> Runner:
        return Runner(Placer(), MemoryStore(), f"test/{component}")


async def test_health_and_metrics_are_published_and_taken_away(tmp_path: Path) -> None:
    """Why: a file of a process that is no more would say "ready" for ever (G12)."""
    settings = SiteSettings.model_validate(
        {
            "site": "milan",
            "trust_domain": "carrier.example",
            "store": {"endpoints": ["127.0.0.1:1"], "server_name": "etcd"},
            "certificates": tmp_path,
            "authority": tmp_path,
            "state": tmp_path,
            "hosts": [],
        }
    )
    stop = asyncio.Event()
    task = asyncio.create_task(run_site(settings, ["placer"], stop, cast(Assembly, OnTwin())))
    health, metrics = tmp_path / "health" / "placer.json", tmp_path / "health" / "placer.prom"
    ready = 'isthmus_microcontroller_ready{component="placer"} 1'
    await eventually(lambda: metrics.exists() and ready in metrics.read_text(), "it is ready")
    assert json.loads(health.read_text())["components"]["placer"]["leading"] is True
    stop.set()
    await asyncio.wait_for(task, 10)
    assert list(health.parent.iterdir()) == []
