"""Being told when a folder changes, by the kernel (inotify(7)), without another dependency.

A notice is only a reason to look: events are read and thrown away, the folder is scanned. Where the kernel grants no
inotify (limits of a shared machine) the waiter says so once and the caller's scan interval is all there is.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
from pathlib import Path

_LOG = logging.getLogger(__name__)
_IN_CREATE, _IN_DELETE, _IN_MOVED_FROM, _IN_MOVED_TO = 0x100, 0x200, 0x40, 0x80
_IN_CLOSE_WRITE, _IN_ONLYDIR = 0x8, 0x1000000
_MASK = _IN_CREATE | _IN_DELETE | _IN_MOVED_FROM | _IN_MOVED_TO | _IN_CLOSE_WRITE | _IN_ONLYDIR
_READ_BYTES = 64 * 1024


class FolderWatch:
    """``changed`` is set whenever something in ``folder`` came, went or was rewritten."""

    def __init__(self, folder: Path) -> None:
        self.changed = asyncio.Event()
        self._fd = self._open(folder)
        if self._fd >= 0:
            asyncio.get_running_loop().add_reader(self._fd, self._read)

    @property
    def live(self) -> bool:
        """False when the kernel granted no watch."""
        return self._fd >= 0

    def close(self) -> None:
        """Stop being told. Idempotent."""
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _read(self) -> None:
        try:
            os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return
        self.changed.set()

    @staticmethod
    def _open(folder: Path) -> int:
        libc = ctypes.CDLL(None, use_errno=True)
        fd: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if fd >= 0:
            watch: int = libc.inotify_add_watch(fd, os.fsencode(folder), _MASK)
            if watch >= 0:
                return fd
            os.close(fd)
        _LOG.warning("no inotify on %s: %s", folder, os.strerror(ctypes.get_errno()))
        return -1
