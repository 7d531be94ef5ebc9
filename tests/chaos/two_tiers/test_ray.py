"""Ray is compute, not memory: its actors die, hang, and all of it is killed; chains stay and new ones come (DESIGN 7).

Last in the folder: the lab's in-process controllers give way to Ray's.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.chaos.two_tiers.kit import WEB, World
from tests.support import eventually

from isthmus.chaos.lookup import outer_pid
from isthmus.contract.families import G_PLACEMENTS
from isthmus.deploy.lab.spec import GLOBAL
from isthmus.vswitch import Node

pytestmark = pytest.mark.ray
ACTOR = "ray::ControllerGroup"
NAME = f"{GLOBAL}.controllers"
START_S = 120.0
"""Ray takes 4 s on a quiet machine."""


def told(two: World) -> dict[str, Any]:
    """What the placement group says of itself."""
    path = two.lab.files.path(GLOBAL, "health/placement.json")
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


async def actor(two: World, *, not_pid: int = 0) -> int:
    """The process id here of the placement actor, once one other than ``not_pid`` is ready."""

    def ready() -> int | None:
        now = told(two)
        components = now.get("components", {}).values()
        if not components or not all(component["ready"] for component in components):
            return None
        pid = outer_pid(int(now["pid"]), ACTOR)
        return pid if pid != not_pid else None

    pid = await eventually(ready, "a placement actor is ready", timeout_s=START_S, every_s=0.1)
    assert pid is not None
    return pid


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def on_ray(standing: World) -> AsyncIterator[World]:
    """The same lab, its global microcontrollers on Ray."""
    await standing.lab.supervisor.stop(NAME)
    standing.lab.files.path(GLOBAL, "health/placement.json").unlink(missing_ok=True)
    standing.lab.spec = standing.lab.spec.model_copy(update={"runtime": "ray"})
    began = time.monotonic()
    standing.lab.start_global()
    await actor(standing)
    standing.measured("Ray: start to a placement actor that is ready", time.monotonic() - began)
    yield standing


async def test_ray_listens_on_loopback_only_and_keeps_its_token_to_itself(
    on_ray: World, two: World
) -> None:
    """Why: whoever reaches a Ray port runs code as the tier; Ray's own default listens everywhere without a token."""
    lines = (await Node(GLOBAL).run("ss", "-Hltnp")).splitlines()
    outside = [
        line
        for line in lines
        if ("ray" in line or "raylet" in line or "gcs_server" in line)
        and not line.split()[3].startswith(("127.", "[::1]", "[::ffff:127."))
    ]
    assert [line for line in lines if "gcs_server" in line], lines
    assert outside == []
    tokens = list((two.lab.base / GLOBAL).rglob("token"))
    assert tokens
    for token in tokens:
        assert stat.S_IMODE(token.stat().st_mode) == 0o600
        assert stat.S_IMODE(token.parent.stat().st_mode) == 0o700


async def test_a_placement_actor_killed_in_mid_apply_loses_nothing(
    on_ray: World, two: World
) -> None:
    """Why: the actor is a visitor of the store; whoever comes next finds the intent there (G3)."""
    pid = await actor(two)
    await two.stage.apply(two.chain("first", "milan-c", "paris-c"))
    os.kill(pid, signal.SIGKILL)
    await two.stage.apply(two.chain("second", "milan-d", "paris-d"))
    began = time.monotonic()
    for name in ("first", "second"):
        await two.stage.phase(name, "running", timeout_s=60)
    two.measured("Ray: placement actor kill -9, both chains run", time.monotonic() - began)
    assert await actor(two, not_pid=pid) != pid


@pytest.mark.slow
async def test_an_actor_that_hangs_is_replaced(on_ray: World, two: World) -> None:
    """Why: Ray restarts the dead but not the stopped (measured: a SIGSTOP is never noticed), so asking is ours."""
    pid = await actor(two)
    os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    try:
        await two.stage.apply(two.chain("patient", "milan-c", "paris-c"))
        assert await actor(two, not_pid=pid) != pid
        await two.stage.phase("patient", "running", timeout_s=60)
    finally:
        if Path(f"/proc/{pid}").exists():
            os.kill(pid, signal.SIGCONT)
    two.measured("Ray: stopped actor replaced, its chain runs", time.monotonic() - began)


async def test_all_of_ray_killed_and_nothing_that_stands_moves(on_ray: World, two: World) -> None:
    """Why: what must survive is in etcd (DESIGN section 7); a cluster is as disposable as a process."""
    pid = await actor(two)
    before = await two.keys(GLOBAL, G_PLACEMENTS.prefix())
    address = two.lab.addresses.customer("paris-a")
    async with (
        two.stage.serving("paris-a", (8080,)),
        two.stage.probing("milan-a", address) as probe,
    ):
        two.kill(NAME)
        began = time.monotonic()
        await two.stage.apply(two.chain("afterwards", "milan-c", "paris-c"))
        assert await actor(two, not_pid=pid) != pid
        await two.stage.phase("afterwards", "running", timeout_s=60)
        two.measured("Ray: all of it killed, a new chain runs", time.monotonic() - began)
    assert (probe.sent > 500, probe.lost) == (True, 0)
    after = await two.keys(GLOBAL, G_PLACEMENTS.prefix())
    assert {key: after.get(key) for key in before} == before, "nothing was placed anew"
    await two.stage.phase(WEB, "running")
    assert not Path(f"/proc/{pid}").exists(), "nothing of the old cluster is left"
