"""Processes inside sandboxes of form ``process``: started, found again, watched through a pidfd.

What runs is one command of the operator's settings, the same for every sandbox; it finds all it
needs in its ``share_dir``. A process is recognised after a restart by living in the namespace.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from isthmus.infrastructure.linux.kernel import pids_inside
from isthmus.infrastructure.ports import Change, InstanceSpec, InstanceState
from isthmus.vswitch import NETNS_DIR, Node

__all__ = ["ProcessKeeper"]

LOG_NAME = "process.log"


def _open_log(share_dir: str) -> int:
    """What a process says goes into its own folder, or nowhere if it has none."""
    path = Path(share_dir) / LOG_NAME if share_dir else Path(os.devnull)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def _spawn(argv: Sequence[str], share_dir: str) -> int:
    """A process that outlives us, so nobody's transport or handle may hold it; we hear of its end by its pidfd."""
    output = _open_log(share_dir)
    try:
        return os.posix_spawnp(
            argv[0],
            list(argv),
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, output, 1),
                (os.POSIX_SPAWN_DUP2, output, 2),
            ],
            setsid=True,
            setsigmask=(),
        )
    finally:
        os.close(output)


class ProcessKeeper:
    """Knows which sandboxes must have a process and hears when one ends."""

    def __init__(self, argv: tuple[str, ...]) -> None:
        self._argv = argv
        self._kept: dict[str, int] = {}
        self._watched: dict[int, int] = {}
        self._children: set[int] = set()
        self.changes: set[asyncio.Queue[Change]] = set()

    async def ensure(self, spec: InstanceSpec, netns: Node) -> None:
        """Start the process of a sandbox unless one lives there already."""
        alive = await asyncio.to_thread(pids_inside, netns.path)
        if alive:
            self._keep(spec.instance_id, min(alive))
            return
        words = {"share_dir": spec.share_dir, "instance_id": spec.instance_id}
        argv = [word.format(**words) for word in self._argv]
        pid = _spawn(netns.command(*argv), spec.share_dir)
        self._children.add(pid)
        self._keep(spec.instance_id, pid)

    def fault(self, state: InstanceState) -> str:
        """Why the process part of a sandbox is not right; empty if it is or none is due."""
        if state.instance_id not in self._kept:
            return ""
        if pids_inside(NETNS_DIR / state.netns):
            return ""
        return "its process ended"

    async def close(self) -> None:
        """Stop watching; the processes go on."""
        loop = asyncio.get_running_loop()
        for descriptor in self._watched.values():
            loop.remove_reader(descriptor)
            os.close(descriptor)
        self._watched.clear()
        self._kept.clear()

    def _keep(self, instance_id: str, pid: int) -> None:
        if self._kept.get(instance_id) == pid:
            return
        self._kept[instance_id] = pid
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            self._watched[pid] = descriptor
            loop = asyncio.get_running_loop()
            loop.add_reader(descriptor, self._ended, instance_id, pid)
            return
        self._tell(instance_id)

    def _ended(self, instance_id: str, pid: int) -> None:
        descriptor = self._watched.pop(pid, -1)
        if descriptor >= 0:
            asyncio.get_running_loop().remove_reader(descriptor)
            os.close(descriptor)
        if pid in self._children:
            self._children.discard(pid)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        self._tell(instance_id)

    def _tell(self, instance_id: str) -> None:
        for queue in self.changes:
            if not queue.full():
                queue.put_nowait(Change(instance_id, "its process ended"))
