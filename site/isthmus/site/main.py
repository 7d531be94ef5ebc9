"""``python -m isthmus.site.main --settings FILE (--all | COMPONENT...)``: the site's microcontrollers as processes.

All in one process or each in its own: they talk through the store alone, so nobody else notices (R3, R5).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from isthmus.microcontroller import Runner, prometheus_text
from isthmus.site.assembly import Assembly, component_names
from isthmus.site.settings import SettingsRefused, SiteSettings, load

HEALTH_PERIOD_S = 0.5
STOP_TIMEOUT_S = 5.0


async def run_site(
    settings: SiteSettings,
    components: Sequence[str],
    stop: asyncio.Event,
    assembly: Assembly | None = None,
) -> None:
    """Run ``components`` until ``stop``; health goes to ``<state>/health/<components>.json``, as metrics to ``.prom``
    beside it (for a node exporter's textfile collector). ``assembly`` brings plug-ins of other makers."""
    if assembly is None:
        calls = None if settings.record_calls is None else CallLog(settings.record_calls)
        assembly = Assembly(settings, calls=calls)
    runners = [assembly.runner(component) for component in components]
    health = settings.state / "health" / f"{_label(components)}.json"
    health.parent.mkdir(parents=True, exist_ok=True)
    tasks = [
        asyncio.create_task(runner.run(), name=runner.controller.component) for runner in runners
    ]
    watching = asyncio.create_task(_health(health, runners))
    try:
        await stop.wait()
    finally:
        for runner in runners:
            runner.stop()
        await asyncio.wait(tasks, timeout=STOP_TIMEOUT_S)
        for task in (*tasks, watching):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        for runner in runners:
            await runner.store.aclose()
        for report in (health, health.with_suffix(".prom")):
            report.unlink(missing_ok=True)


async def _health(path: Path, runners: Sequence[Runner]) -> None:
    while True:
        report = {runner.controller.component: runner.health.as_dict() for runner in runners}
        _publish(path, json.dumps({"pid": os.getpid(), "components": report}))
        _publish(path.with_suffix(".prom"), prometheus_text(runner.health for runner in runners))
        await asyncio.sleep(HEALTH_PERIOD_S)


def _publish(path: Path, text: str) -> None:
    """At once or not at all."""
    staged = path.with_suffix(".new")
    staged.write_text(text)
    staged.replace(path)


class CallLog(list[dict[str, Any]]):
    """Calls to the infrastructure, each also appended to a file as a line of JSON (R16)."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def append(self, call: dict[str, Any]) -> None:
        """Remember one call; only the file grows."""
        with self._path.open("a") as stream:
            stream.write(json.dumps(call) + "\n")


def _label(components: Sequence[str]) -> str:
    return "all" if len(components) > 1 else components[0]


def main(argv: Sequence[str] | None = None) -> int:
    """Exit codes: 0 after a clean stop, 2 for unusable settings."""
    parser = argparse.ArgumentParser(prog="isthmus site run", description=__doc__)
    parser.add_argument("--settings", type=Path, required=True)
    parser.add_argument("--all", action="store_true", help="every microcontroller of the site")
    parser.add_argument("components", nargs="*", help="e.g. placer launcher.h1")
    options = parser.parse_args(argv)
    logging.basicConfig(
        level=os.environ.get("ISTHMUS_LOG", "INFO").upper(),
        format="%(asctime)s %(levelname)s %(message)s",
        stream=sys.stderr,
    )
    try:
        settings = load(options.settings)
        known = component_names(settings)
        components = known if options.all else tuple(options.components)
        for name in components:
            if name not in known:
                raise SettingsRefused(f"no component {name!r} here; there are: {', '.join(known)}")
        if not components:
            raise SettingsRefused("name components, or give --all")
    except SettingsRefused as error:
        print(f"isthmus site run: {error}", file=sys.stderr)
        return 2
    return asyncio.run(until_signalled(settings, components))


async def until_signalled(
    settings: SiteSettings, components: Sequence[str], assembly: Assembly | None = None
) -> int:
    """Run until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await run_site(settings, components, stop, assembly)
    return 0


if __name__ == "__main__":
    sys.exit(main())
