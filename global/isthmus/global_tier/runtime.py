"""What runs the groups: one narrow port, two implementations, one set of tests (DESIGN section 7).

A runtime is compute and supervision only. It may lose everything at any time; what must survive is in the store.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any, Protocol

from isthmus.global_tier.group import ControllerGroup
from isthmus.global_tier.settings import GlobalSettings

ENSURE_PERIOD_S = 1.0
"""How often every group is asked whether it runs; also how long a restarted actor stays idle at most."""

ENSURE_TIMEOUT_S = 5.0
"""A restarted actor needs 1 to 2 s, on a busy machine more."""
HANGS_AFTER = 3


class RuntimeFailed(Exception):
    """The runtime itself is broken: end this process, its supervisor starts a new one from the store."""


class Runtime(Protocol):
    """Spawn, ask, end."""

    async def spawn(self, name: str, components: tuple[str, ...]) -> None:
        """Make the group exist; idempotent."""
        ...

    async def ensure(self, name: str, *, timeout_s: float) -> Mapping[str, Any]:
        """The group runs; its health. Raises TimeoutError when it does not answer, RuntimeFailed when nothing can."""
        ...

    async def replace(self, name: str) -> None:
        """The group hangs: end it and start a fresh one."""
        ...

    async def close(self) -> None:
        """End everything; idempotent."""
        ...


class InProcessRuntime:
    """Groups as tasks of this process."""

    def __init__(self, settings: GlobalSettings) -> None:
        self._settings = settings
        self._groups: dict[str, ControllerGroup] = {}

    async def spawn(self, name: str, components: tuple[str, ...]) -> None:
        """Make the group."""
        if name not in self._groups:
            document = self._settings.model_dump_json()
            self._groups[name] = ControllerGroup(name, components, document)

    async def ensure(self, name: str, *, timeout_s: float) -> Mapping[str, Any]:
        """Start it if needed."""
        async with asyncio.timeout(timeout_s):
            return await self._groups[name].ensure_running()

    async def replace(self, name: str) -> None:
        """Stop it; the next ensure starts it."""
        await self._groups[name].stop()

    async def close(self) -> None:
        """Stop all."""
        for group in self._groups.values():
            await group.stop()


async def keep(runtime: Runtime, settings: GlobalSettings, stop: asyncio.Event) -> None:
    """Keep every group running until ``stop``; a group that hangs three times in a row is replaced."""
    silent: dict[str, int] = {}
    try:
        for name, components in settings.groups.items():
            await runtime.spawn(name, components)
        while not stop.is_set():
            # All at once: a group that hangs must not make the others wait for its deadlines.
            await asyncio.gather(*(_ensure(runtime, name, silent) for name in settings.groups))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), ENSURE_PERIOD_S)
    finally:
        await runtime.close()


async def _ensure(runtime: Runtime, name: str, silent: dict[str, int]) -> None:
    """Ask one group; replace it when it has not answered ``HANGS_AFTER`` times in a row."""
    try:
        await runtime.ensure(name, timeout_s=ENSURE_TIMEOUT_S)
        silent[name] = 0
    except TimeoutError:
        silent[name] = silent.get(name, 0) + 1
        if silent[name] >= HANGS_AFTER:
            await runtime.replace(name)
            silent[name] = 0
