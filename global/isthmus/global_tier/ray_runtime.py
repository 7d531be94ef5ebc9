"""Ray as runtime: one named actor per group, restarted for ever, disposable as a whole (DESIGN section 7).

The cluster itself is a :class:`~isthmus.global_tier.ray_pool.RayPool`. Calls have deadlines, since an actor
may be stopped in the middle (Ray has no liveness check of its own, measured); a driver that cannot reach its
cluster ends, and its supervisor starts everything again from the store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from isthmus.global_tier.group import ControllerGroup
from isthmus.global_tier.ray_pool import RayPool
from isthmus.global_tier.runtime import RuntimeFailed
from isthmus.global_tier.settings import GlobalSettings


class RayRuntime(RayPool):
    """Groups as actors of a private cluster."""

    def __init__(self, settings: GlobalSettings) -> None:
        super().__init__(settings.state / "ray")
        self._settings = settings
        self._actors: dict[str, Any] = {}

    async def spawn(self, name: str, components: tuple[str, ...]) -> None:
        """A named actor; its restarts find their work in the store. The first handle is kept: Ray ends an actor with
        the handle that made it, whoever else holds one (measured).
        """
        if name in self._actors:
            return
        actor = self._ray.remote(ControllerGroup)
        self._actors[name] = actor.options(
            name=name,
            get_if_exists=True,
            num_cpus=0,
            max_restarts=-1,
            max_task_retries=0,
            max_concurrency=16,
        ).remote(name, components, self._settings.model_dump_json())

    async def ensure(self, name: str, *, timeout_s: float) -> Mapping[str, Any]:
        """Ask the actor; one that is being restarted answers later, which is a time-out like any other."""
        exceptions = self._ray.exceptions
        try:
            async with asyncio.timeout(timeout_s):
                health: Mapping[str, Any] = await self._actors[name].ensure_running.remote()
                return health
        except exceptions.ActorUnavailableError as error:
            raise TimeoutError(str(error)) from None
        except exceptions.RayError as error:
            raise RuntimeFailed(f"actor {name}: {type(error).__name__}") from error

    async def replace(self, name: str) -> None:
        """Kill it; Ray starts a fresh one under the same name."""
        await asyncio.to_thread(self._ray.kill, self._actors[name], no_restart=False)
