"""Runs one runtime on command, in a pid namespace of its own; a line of JSON for each line read.

python driver.py SETTINGS KIND      spawn NAME | ensure NAME | replace NAME | close | processes
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from isthmus.global_tier.placement_jobs import InProcess, as_bytes, solve_split, what_if
from isthmus.global_tier.ray_runtime import RayRuntime
from isthmus.global_tier.runtime import InProcessRuntime, Runtime
from isthmus.global_tier.settings import GlobalSettings
from isthmus.placement.batch import solve
from isthmus.placement.generator import drawn, make
from isthmus.placement.solution import dump
from isthmus.placement.split import split
from isthmus.placement.whatif import scenarios


def processes() -> list[str]:
    """Living processes of this namespace but ours; the dead that nobody buried do not count."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            if int(folder.name) != os.getpid() and state != "Z":
                words = (folder / "cmdline").read_bytes().decode().split("\0")
                found.append(f"{folder.name} {' '.join(words)[:100]}")
    return found


async def placement_work(runtime: Runtime) -> dict[str, Any]:
    """Failure drills and a split batch here and on the runtime: whether they agree, and seconds each took."""
    problem = make(drawn(45, 3), 700, regime="both", seed=3)
    network, chains = problem.network, problem.chains
    usage = solve(network, chains, work=0, exact=False).usage
    losses = scenarios(network, ("site",))
    mapper = runtime if isinstance(runtime, RayRuntime) else InProcess()
    said: list[bytes] = []
    spent: list[float] = []
    for one, tasks in ((InProcess(), 1), (mapper, 2), (mapper, 2)):  # the second finds warm workers
        began = time.perf_counter()
        said.append(as_bytes(await what_if(usage, losses, one, tasks=tasks)))
        spent.append(time.perf_counter() - began)
    # Drawn chains cross regions; only those that stay at home are shipped in parts.
    at_home = [replace(chain, egress=chain.ingress) for chain in chains]
    answers = []
    for one in (InProcess(), mapper):
        began = time.perf_counter()
        answers.append(await solve_split(network, at_home, one, workers=2, work=20, seed=1))
        spent.append(time.perf_counter() - began)
    bytes_of = [json.dumps(dump(answer), sort_keys=True) for answer in answers]
    return {
        "drills": len(losses),
        "same_drills": said[0] == said[1] == said[2],
        "same_split": bytes_of[0] == bytes_of[1],
        "shipped": [len(part.chains) for part in split(network, at_home, 2).parts],
        "placed": len(answers[0].placements),
        "seconds": spent,
    }


async def obey(runtime: Runtime, settings: GlobalSettings, line: str) -> Any:
    """One command."""
    verb, _, name = line.strip().partition(" ")
    match verb:
        case "spawn":
            await runtime.spawn(name, settings.groups[name])
        case "ensure":
            return dict(await runtime.ensure(name, timeout_s=5.0))
        case "replace":
            await runtime.replace(name)
        case "placement":
            return await placement_work(runtime)
        case "close":
            await runtime.close()
        case "processes":
            return processes()
    return "done"


async def main(path: str, kind: str) -> None:
    """Until end of input."""
    settings = GlobalSettings.model_validate_json(Path(path).read_text())
    runtime: Runtime
    if kind == "ray":
        runtime = on_ray = RayRuntime(settings)
        await on_ray.start()
    else:
        runtime = InProcessRuntime(settings)
    print(json.dumps("ready"), flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        try:
            answer = await obey(runtime, settings, line)
        except Exception as error:
            answer = {"error": type(error).__name__, "text": str(error)}
        print(json.dumps(answer), flush=True)
    await runtime.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
