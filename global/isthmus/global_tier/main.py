"""``python -m isthmus.global_tier.main --settings FILE``: the global microcontrollers, in process or on Ray.

This is the bootstrap: it ensures the groups and nothing else. When its runtime breaks it ends with code 75 ("try
again") and its supervisor starts it anew; nothing is lost, because nothing was kept here.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from isthmus.global_tier.group import health_file
from isthmus.global_tier.runtime import InProcessRuntime, Runtime, RuntimeFailed, keep
from isthmus.global_tier.settings import GlobalSettings, SettingsRefused, load

TRY_AGAIN = 75


async def run_global(settings: GlobalSettings, stop: asyncio.Event) -> None:
    """Run the tier's groups until ``stop``; raises RuntimeFailed when the runtime breaks. What the groups told of their
    health is taken away at the end, whatever ran them: a file of what is no more would say "ready" for ever (G12)."""
    runtime: Runtime
    if settings.runtime == "ray":
        from isthmus.global_tier.ray_runtime import RayRuntime

        on_ray = RayRuntime(settings)
        await on_ray.start()
        runtime = on_ray
    else:
        runtime = InProcessRuntime(settings)
    try:
        await keep(runtime, settings, stop)
    finally:
        for name in settings.groups:
            told = health_file(settings, name)
            for path in (told, told.with_suffix(".prom")):
                path.unlink(missing_ok=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit codes: 0 after a clean stop, 2 for unusable settings, 75 when the runtime broke."""
    parser = argparse.ArgumentParser(prog="isthmus global run", description=__doc__)
    parser.add_argument("--settings", type=Path, required=True)
    options = parser.parse_args(argv)
    logging.basicConfig(
        level=os.environ.get("ISTHMUS_LOG", "INFO").upper(),
        format="%(asctime)s %(levelname)s %(message)s",
        stream=sys.stderr,
    )
    try:
        settings = load(options.settings)
    except SettingsRefused as error:
        print(f"isthmus global run: {error}", file=sys.stderr)
        return 2
    return asyncio.run(_until_signalled(settings))


async def _until_signalled(settings: GlobalSettings) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        await run_global(settings, stop)
    except RuntimeFailed as error:
        logging.getLogger("isthmus.global_tier").error("%s; ending, to be started again", error)
        return TRY_AGAIN
    return 0


if __name__ == "__main__":
    sys.exit(main())
