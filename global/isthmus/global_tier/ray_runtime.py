"""Ray as runtime: one named actor per group, restarted for ever, disposable as a whole (DESIGN section 7).

The only module that imports Ray. A private local cluster on loopback: own folder, own token with mode 0600, no
dashboard. Calls have deadlines, since an actor may be stopped in the middle (Ray has no liveness check of its own,
measured); a driver that cannot reach its cluster ends, and its supervisor starts everything again from the store.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from isthmus.global_tier.group import ControllerGroup
from isthmus.global_tier.runtime import RuntimeFailed
from isthmus.global_tier.settings import GlobalSettings
from isthmus.trust import files

NAMESPACE = "isthmus-global"
OBJECT_STORE_BYTES = 80 * 1024 * 1024
"""The least Ray takes: facts travel through the store, not through Ray."""
INIT_TIMEOUT_S = 120
MAP_TIMEOUT_S = 600


def prepare_environment(folder: Path) -> None:
    """Set what Ray reads before its import: loopback only, a token of our own, no usage reports."""
    files.make_directory(folder)
    token = folder / "token"
    if not token.exists():
        files.write_secret(token, secrets.token_hex(32).encode())
    # HOME moves below; compiled placement kernels (a minute's work) stay where they are found again.
    os.environ.setdefault("XDG_CACHE_HOME", str(Path.home() / ".cache"))
    os.environ.update(
        {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
            "RAY_DEDUP_LOGS": "0",
            "HOME": str(folder),
        }
    )
    os.environ.pop("RAY_ADDRESS", None)


class RayRuntime:
    """Groups as actors of a private cluster."""

    def __init__(self, settings: GlobalSettings) -> None:
        self._settings = settings
        self._folder = settings.state / "ray"
        self._actors: dict[str, Any] = {}
        self._ray: Any = None

    async def start(self) -> None:
        """Start the cluster; RuntimeFailed when it does not come up."""
        prepare_environment(self._folder)
        # Ray opens its folder to everybody and fills it: a fresh one per life, below one that is closed.
        sessions = self._folder / "t"
        await asyncio.to_thread(shutil.rmtree, sessions, True)
        import ray

        self._ray = ray
        try:
            async with asyncio.timeout(INIT_TIMEOUT_S):
                await asyncio.to_thread(
                    ray.init,
                    address="local",
                    namespace=NAMESPACE,
                    num_cpus=2,
                    object_store_memory=OBJECT_STORE_BYTES,
                    include_dashboard=False,
                    logging_level="ERROR",
                    log_to_driver=False,
                    _temp_dir=str(sessions),
                    _node_ip_address="127.0.0.1",
                )
        except TimeoutError:
            raise RuntimeFailed(f"Ray did not start within {INIT_TIMEOUT_S} s") from None
        except Exception as error:
            raise RuntimeFailed(f"Ray did not start: {error}") from error

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

    async def map(
        self, function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]]
    ) -> list[Any]:
        """One Ray task per entry, answers in order; RuntimeFailed when a task cannot be finished in time."""
        remote = self._ray.remote(function).options(num_cpus=1, max_retries=2)
        handles = [remote.remote(*task) for task in tasks]
        try:
            answers: list[Any] = await asyncio.to_thread(
                self._ray.get, handles, timeout=MAP_TIMEOUT_S
            )
        except self._ray.exceptions.RayError as error:
            raise RuntimeFailed(f"placement tasks: {type(error).__name__}") from error
        return answers

    async def close(self) -> None:
        """End the cluster."""
        if self._ray is not None and self._ray.is_initialized():
            await asyncio.to_thread(self._ray.shutdown)
