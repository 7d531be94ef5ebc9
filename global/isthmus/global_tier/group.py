"""A group of global microcontrollers that live and die together, whoever runs them (DESIGN section 7).

A plain class: in process it is run as it is, under Ray an actor is a thin shell around it. Its constructor touches
nothing outside (an actor whose ``__init__`` fails on a restart is dead for ever, measured), and every method may be
called twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from isthmus.contract.family import Tier
from isthmus.global_tier.carrying import Policy
from isthmus.global_tier.intake import Intake
from isthmus.global_tier.placer import Placer
from isthmus.global_tier.region import Region
from isthmus.global_tier.reporter import Reporter
from isthmus.global_tier.representative import Representative
from isthmus.global_tier.settings import GlobalSettings
from isthmus.global_tier.wiring import Wiring
from isthmus.identity import Identity
from isthmus.kv.etcd import EtcdStore
from isthmus.kv.settings import EtcdSettings
from isthmus.kv.space import EtcdSpace
from isthmus.microcontroller import Microcontroller, Runner, prometheus_text
from isthmus.microcontroller.janitor import Janitor
from isthmus.microcontroller.maintenance import Maintenance

NOBODY_ASKS = Policy()
HEALTH_PERIOD_S = 0.5
STOP_TIMEOUT_S = 5.0


def controller(
    component: str,
    runtime: str,
    store: EtcdSettings | None = None,
    *,
    name: str = "global",
    policy: Policy = NOBODY_ASKS,
) -> Microcontroller:
    """The controller of a component's name; ``store`` for the one that keeps its space. ``name`` and ``policy`` are for
    a tier that stands for its sites towards peers."""
    kind, _, rest = component.partition(".")
    if kind == "region":
        return Region(rest, runtime)
    made: dict[str, Microcontroller] = {
        "intake": Intake(policy),
        "placer": Placer(runtime, policy.tier),
        "wiring": Wiring(policy.numbers),
        "reporter": Reporter(),
        "representative": Representative(name, policy),
        "janitor": Janitor(Tier.GLOBAL),
    }
    if store is not None:
        made["maintenance"] = Maintenance(EtcdSpace(store))
    return made[kind]


def health_file(settings: GlobalSettings, group: str) -> Path:
    """Where a group tells its health; its metrics lie beside it, with the suffix ``.prom``."""
    return settings.state / "health" / f"{group}.json"


def _publish(path: Path, text: str) -> None:
    """At once or not at all."""
    staged = path.with_suffix(".new")
    staged.write_text(text)
    staged.replace(path)


class ControllerGroup:
    """``document`` is a GlobalSettings as JSON, so that an actor's arguments are plain text."""

    def __init__(self, name: str, components: Sequence[str], document: str) -> None:
        self.name = name
        self.components = tuple(components)
        self._settings = GlobalSettings.model_validate_json(document)
        self._runners: list[Runner] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def ensure_running(self) -> dict[str, Any]:
        """Start what does not run; the health of all. Called again and again, also after a restart."""
        if not self._runners:
            self._runners = [self._runner(component) for component in self.components]
        if not self._tasks:
            self._tasks = [asyncio.create_task(runner.run()) for runner in self._runners]
            self._tasks.append(asyncio.create_task(self._tell()))
        for task in self._tasks:
            if task.done():
                task.result()
        return self.health()

    def health(self) -> dict[str, Any]:
        """Process id and the health of each component."""
        return {
            "pid": os.getpid(),
            "components": {
                runner.controller.component: runner.health.as_dict() for runner in self._runners
            },
        }

    async def stop(self) -> None:
        """Give leadership back and end."""
        for runner in self._runners:
            runner.stop()
        running = [task for task in self._tasks[:-1] if not task.done()]
        if running:
            await asyncio.wait(running, timeout=STOP_TIMEOUT_S)
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        for runner in self._runners:
            await runner.store.aclose()
        self._runners, self._tasks = [], []

    async def _tell(self) -> None:
        """Health as JSON, and as metrics beside it (for a node exporter's textfile collector), as a site does."""
        path = health_file(self._settings, self.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            _publish(path, json.dumps(self.health()))
            metrics = prometheus_text(runner.health for runner in self._runners)
            _publish(path.with_suffix(".prom"), metrics)
            await asyncio.sleep(HEALTH_PERIOD_S)

    def _runner(self, component: str) -> Runner:
        settings = self._settings
        folder = settings.certificates / component
        reach = EtcdSettings(
            endpoints=settings.store.endpoints,
            server_name=settings.store.server_name,
            ca_file=folder / "ca.pem",
            cert_file=folder / "cert.pem",
            key_file=folder / "key.pem",
        )
        origin = str(Identity.of_global(settings.trust_domain, component))
        made = controller(
            component, settings.runtime, reach, name=settings.name, policy=settings.policy
        )
        return Runner(made, EtcdStore.connect(reach), origin)
