"""The global tier leaves its health where people and Prometheus look, as a site does, and takes it away at its end."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from tests.support import eventually

from isthmus.contract.family import Tier
from isthmus.global_tier.group import ControllerGroup
from isthmus.global_tier.main import run_global
from isthmus.global_tier.settings import GlobalSettings, StoreSettings
from isthmus.kv.memory import MemoryStore
from isthmus.microcontroller import Runner
from isthmus.microcontroller.janitor import Janitor


def on_twin(_: ControllerGroup, component: str) -> Runner:
    """A runner of that name on a twin."""
    return Runner(Janitor(Tier.GLOBAL, component=component), MemoryStore(), f"test/{component}")


async def test_each_group_publishes_metrics_and_takes_them_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why: a tier that a monitoring system cannot see is watched by nobody; one that left its files looks alive."""
    monkeypatch.setattr(ControllerGroup, "_runner", on_twin)
    settings = GlobalSettings(
        trust_domain="carrier.example",
        store=StoreSettings(endpoints=("127.0.0.1:1",), server_name="etcd"),
        certificates=tmp_path,
        state=tmp_path,
        regions=("europe",),
    )
    stop = asyncio.Event()
    task = asyncio.create_task(run_global(settings, stop))
    folder = tmp_path / "health"

    def ready(group: str, component: str) -> bool:
        path = folder / f"{group}.prom"
        line = f'isthmus_microcontroller_ready{{component="{component}"}} 1'
        return path.exists() and line in path.read_text()

    await eventually(lambda: ready("placement", "placer"), "placement is ready")
    await eventually(lambda: ready("region.europe", "region.europe"), "the region is ready")
    told = json.loads((folder / "placement.json").read_text())
    assert told["components"]["placer"]["leading"] is True
    stop.set()
    await asyncio.wait_for(task, 10)
    assert list(folder.iterdir()) == []
