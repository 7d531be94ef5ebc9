"""Runs one runtime on command, in a pid namespace of its own; a line of JSON for each line read.

python driver.py SETTINGS KIND      spawn NAME | ensure NAME | replace NAME | close | processes
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from isthmus.global_tier.ray_runtime import RayRuntime
from isthmus.global_tier.runtime import InProcessRuntime, Runtime
from isthmus.global_tier.settings import GlobalSettings


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
