"""A private Ray cluster of this process: what the runtime's actors live in, and placement work is spread over.

With ``ray_runtime`` the only module that imports Ray. On loopback: own folder, own token with mode 0600, no dashboard.
The command line opens one for a single question (:func:`opened`) in a folder that goes when the answer is there.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from isthmus.global_tier.runtime import RuntimeFailed
from isthmus.trust import files

NAMESPACE = "isthmus-global"
OBJECT_STORE_BYTES = 80 * 1024 * 1024
"""The least Ray takes: facts travel through the store, not through Ray."""
INIT_TIMEOUT_S = 120
MAP_TIMEOUT_S = 600
SOCKET_PATH_BYTES = 107
"""The kernel's limit for the path of a Unix socket; Ray puts some sixty characters below our folder."""
SHORT_PLACES = ("/tmp", "/var/tmp", "/dev/shm")


def installed() -> bool:
    """Whether Ray is here; nothing is imported to find out."""
    return importlib.util.find_spec("ray") is not None


def too_long_by(sessions: Path) -> int:
    """By how many bytes the paths of Ray's sockets below this folder exceed what the kernel takes."""
    deepest = f"session_2026-11-23_12-00-00_000000_{os.getpid()}/sockets/plasma_store"
    return max(0, len(os.fsencode(sessions / deepest)) - SOCKET_PATH_BYTES)


def short_folder() -> Path:
    """A new private folder whose paths are short enough: in TMPDIR, or where it is usually short.

    RuntimeFailed, with what to do, where there is none.
    """
    for base in dict.fromkeys((tempfile.gettempdir(), *SHORT_PLACES)):
        if not os.access(base, os.W_OK) or too_long_by(Path(base) / "isthmus-12345678" / "t"):
            continue
        return Path(tempfile.mkdtemp(prefix="isthmus-", dir=base))
    raise RuntimeFailed(
        f"Ray's sockets need a shorter folder than {tempfile.gettempdir()}; set TMPDIR to one of at "
        "most 24 characters"
    )


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


class RayPool:
    """The cluster itself: start, map, close."""

    def __init__(self, folder: Path, *, workers: int = 2) -> None:
        self._folder = folder
        self._workers = workers
        self._ray: Any = None

    async def start(self) -> None:
        """Start the cluster; RuntimeFailed when it does not come up."""
        prepare_environment(self._folder)
        # Ray opens its folder to everybody and fills it: a fresh one per life, below one that is closed.
        sessions = self._folder / "t"
        if too_long := too_long_by(sessions):
            raise RuntimeFailed(
                f"Ray did not start: {self._folder} is {too_long} bytes too long for the paths of its sockets; "
                "give the tier a shorter state folder"
            )
        await asyncio.to_thread(shutil.rmtree, sessions, True)
        import ray

        self._ray = ray
        try:
            async with asyncio.timeout(INIT_TIMEOUT_S):
                await asyncio.to_thread(
                    ray.init,
                    address="local",
                    namespace=NAMESPACE,
                    num_cpus=self._workers,
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


@asynccontextmanager
async def opened(*, workers: int) -> AsyncIterator[RayPool]:
    """A cluster for one question; its processes and its folder are gone afterwards, whatever happened."""
    folder = short_folder()
    home = os.environ.get("HOME")
    pool = RayPool(folder, workers=workers)
    try:
        await pool.start()
        yield pool
    finally:
        await pool.close()
        if home is not None:
            os.environ["HOME"] = home
        await asyncio.to_thread(shutil.rmtree, folder, True)
