"""Benchmarks of the whole: a chain over two sites from ``apply`` to its first packet, a heal, a lab's time and memory.

References are measured in the same run: the bare kernel set-up of the same namespaces, without any store.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from isthmus.chaos.demo import chains
from isthmus.chaos.demo.acts_traffic import all_alive
from isthmus.chaos.demo.facts import Facts
from isthmus.chaos.demo.stage import Stage, eventually
from isthmus.chaos.memory import by_tier_mb
from isthmus.deploy.lab.carrier import carrier
from isthmus.deploy.lab.engine import Lab
from isthmus.deploy.lab.spec import GLOBAL, LabLink, LabSite, LabSpec
from isthmus.infrastructure.linux import AttachmentPlace, LinuxCompute, LinuxFabric, LinuxSettings
from isthmus.infrastructure.ports import AttachmentSpec, InstanceSpec
from isthmus.vswitch import Node

RUNS = 12
CHAIN = "bench"


def two_sites() -> LabSpec:
    """Milan and Paris, 1 ms apart: the figure is the control plane's, not the distance's."""
    return LabSpec(
        name="bench",
        sites=(
            LabSite(site="milan", attachments=("milan-a", "milan-b")),
            LabSite(site="paris", attachments=("paris-a",)),
        ),
        links=(LabLink(a="milan", b="paris", latency_us=1000),),
    )


@asynccontextmanager
async def stage(folder: Path, spec: LabSpec) -> AsyncIterator[Stage]:
    """A lab and the demo's hands; progress on standard error."""

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    async with Lab(spec, folder, say) as lab:
        made = Stage(lab, Facts(say))
        try:
            await eventually(partial(all_alive, made), "every site is heard of", timeout_s=60)
            yield made
        finally:
            await made.close()


def _spec(*, sites: bool) -> dict[str, Any]:
    functions = [
        {"name": "fw", "type": "firewall", "config": {"default_policy": "accept"}},
        chains.nat("nat"),
        chains.limiter("limit", 1_000_000),
    ]
    egress = "paris-a" if sites else "milan-b"
    more: dict[str, Any] = {"anti_affinity": [["fw", "limit"]]} if sites else {}
    return chains.chain(CHAIN, "milan-a", egress, functions, **more)


async def instantiate(folder: Path) -> dict[str, Any]:
    """``apply`` to the first packet through three functions over two sites."""
    took_s: list[float] = []
    bare_s: list[float] = []
    async with stage(folder, two_sites()) as made:
        address = made.lab.addresses.customer("paris-a")
        async with made.serving("paris-a", (chains.WEB_PORT,)):
            for run in range(RUNS + 1):
                waiting = asyncio.create_task(
                    made.customer("milan-a", "first", address, str(chains.WEB_PORT))
                )
                began = time.time()
                await made.apply(_spec(sites=True))
                answer = await waiting
                if not answer["ok"]:
                    raise RuntimeError("no packet came through within 30 s")
                if run:  # the first one warms everything
                    took_s.append(float(answer["at"]) - began)
                await _remove(made)
        for run in range(RUNS):
            bare_s.append(await _bare(run))
    reference = statistics.median(bare_s)
    return _document(
        "instantiate",
        [
            _figure("p50", statistics.median(took_s), "s", "<= 3 (later 1.5)", 3.0, reference),
            _figure("p99 (max of runs)", max(took_s), "s", "<= 3", 3.0, reference),
            _figure("bare kernel set-up of the same", reference, "s", "", None, None),
        ],
        {"took_s": took_s, "bare_s": bare_s},
    )


async def _remove(made: Stage) -> None:
    await made.api().delete(f"/v1/chains/acme/{CHAIN}")

    async def gone() -> bool:
        answers = [await made.chain(CHAIN, tier) for tier in (GLOBAL, "milan", "paris")]
        netns = await Node(None).run("ip", "netns", "list")
        busy = [name for name in netns.split() if "@" in name]
        return not any(answers) and not busy

    await eventually(gone, "the chain is gone everywhere", timeout_s=30)


async def _bare(run: int) -> float:
    """Three instances and two customers' lines on two nodes, straight through the plug-ins."""
    root = Node(None)
    names = [f"bare{run}{letter}" for letter in "abcd"]
    for name in names:
        await root.ip([f"netns add {name}"])
    settings = LinuxSettings(
        scope=f"bare{run}",
        nodes={"h1": names[0], "h2": names[1]},
        attachments={
            "x": AttachmentPlace(names[2], "172.30.0.1/32"),
            "y": AttachmentPlace(names[3], "172.30.0.2/32"),
        },
    )
    compute, fabric = LinuxCompute(settings), LinuxFabric(settings)
    began = time.monotonic()
    for index, node in enumerate(("h1", "h1", "h2")):
        await compute.ensure_instance(InstanceSpec(f"bare{run}-{index}", 1, node))
    await fabric.ensure_attachment(AttachmentSpec("x", "h1"))
    await fabric.ensure_attachment(AttachmentSpec("y", "h2"))
    took = time.monotonic() - began
    for index in range(3):
        await compute.remove_instance(f"bare{run}-{index}")
    for name in names:
        await root.ip([f"netns del {name}"])
    return took


async def heal(folder: Path) -> dict[str, Any]:
    """A function's namespace is deleted under traffic: the longest gap between two answers."""
    gaps_ms: list[float] = []
    async with stage(folder, two_sites()) as made:
        address = made.lab.addresses.customer("milan-b")
        async with made.serving("milan-b", (chains.WEB_PORT,)):
            await made.apply(_spec(sites=False))
            await made.phase(CHAIN, "running", tier="milan")
            for run in range(RUNS // 2):
                turn = (
                    run % 3
                )  # each function in turn: what dies often is healed later and later, on purpose
                status = (await made.chain(CHAIN, "milan"))["status"]
                functions = status.get("body", status)["functions"]
                life = functions[turn]["incarnation"]
                dump = await made.peek("milan", "dump")
                netns = next(
                    json.loads(text)["body"]["netns"]
                    for key, text in dump.items()
                    if "/runtime/" in key and key.endswith(functions[turn]["instance"])
                )
                async with made.probing("milan-a", address) as probe:
                    await Node(None).run("ip", "netns", "del", netns)
                    await eventually(
                        partial(_alive, made, turn, life),
                        "a new life carries packets",
                        timeout_s=130,
                    )
                    await asyncio.sleep(0.5)  # some answers after the heal, for the record
                gaps_ms.append(probe.longest_gap_ms)
    return _document(
        "heal",
        [
            _figure(
                "deleted namespace p50", statistics.median(gaps_ms), "ms", "<= 1000", 1000.0, None
            ),
            _figure("deleted namespace max", max(gaps_ms), "ms", "<= 1000", 1000.0, None),
        ],
        {"gaps_ms": gaps_ms},
    )


async def _alive(made: Stage, turn: int, life: int) -> bool:
    status = (await made.chain(CHAIN, "milan"))["status"]
    body = status.get("body", status)
    return bool(body["functions"][turn]["incarnation"] > life and body["phase"] == "running")


async def install(folder: Path) -> dict[str, Any]:
    """A lab of four sites and the tier above: seconds to ready, megabytes, with and without Ray."""
    figures: list[dict[str, Any]] = []
    series: dict[str, Any] = {}
    for runtime, goal_mb in (("in-process", 3072.0), ("ray", 4096.0)):
        base = folder / runtime[:3]
        base.mkdir(mode=0o700)
        began = time.monotonic()
        # The namespaces of the first lab live as long as this world: each gets its own.
        command = [sys.executable, "-m", "isthmus.deploy.world", "--", sys.executable, "-m",
                   "isthmus.chaos.bench_lab", str(base), runtime]  # fmt: skip
        result = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, timeout=300, check=True
        )
        told = json.loads(result.stdout.strip().splitlines()[-1])
        series[runtime] = told
        total = sum(told["pss_mb"].values())
        series[runtime]["wall_s"] = round(time.monotonic() - began, 1)
        figures += [
            _figure(f"lab of four sites ready, {runtime}", told["up_s"], "s", "<= 60", 60.0, None),
            _figure(f"PSS of the lab, {runtime}", total, "MB", f"<= {goal_mb:.0f}", goal_mb, None),
            _figure(
                f"PSS of one site, {runtime}", told["pss_mb"]["milan"], "MB", "<= 350", 350.0, None
            ),
        ]
    return _document("install", figures, series)


async def _one_lab(base: Path, runtime: str) -> dict[str, Any]:
    spec = carrier("ray" if runtime == "ray" else "in-process")
    began = time.monotonic()
    async with Lab(spec, base) as lab:
        health = base / GLOBAL / "health" / "placement.json"
        await lab.eventually(health.exists, "the placement group runs", timeout_s=180)
        up_s = time.monotonic() - began
        await asyncio.sleep(5)  # until first allocations have settled; not a wait for a fact
        return {"up_s": round(up_s, 1), "pss_mb": by_tier_mb(lab.supervisor.status())}


def _figure(
    name: str, value: float, unit: str, goal: str, bound: float | None, reference: float | None
) -> dict[str, Any]:
    return {
        "name": name,
        "value": round(value, 4),
        "unit": unit,
        "goal": goal,
        "met": None if bound is None else value <= bound,
        "reference": None if reference is None else round(reference, 4),
        "ratio": None if not reference else round(value / reference, 2),
    }


def _document(name: str, figures: list[dict[str, Any]], series: dict[str, Any]) -> dict[str, Any]:
    return {
        "bench": name,
        "commit": commit(),
        "seed": 0,
        "versions": {"python": platform.python_version(), "kernel": platform.release()},
        "machine": {"cpus": os.cpu_count(), "load": round(os.getloadavg()[0], 1)},
        "figures": figures,
        "series": series,
    }


def commit() -> str:
    """The commit that was measured, when this is a checkout."""
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    return done.stdout.strip()


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_one_lab(Path(sys.argv[1]), sys.argv[2]))))
