"""Hearing at once that something of ours is gone, without a process of its own.

Two sources, both pushed by the kernel: inotify on the folder of namespace names (a deleted name
is heard before the kernel has taken the namespace apart) and rtnetlink link messages of every
node (RFC 3549; a socket stays in the namespace it was opened in, so one short-lived thread per
node enters, opens and leaves). A lost message becomes "look at everything": watching is a hint,
listing is the truth.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import struct
from collections.abc import AsyncGenerator, Iterator
from typing import Literal

from isthmus.infrastructure.linux.names import Leg, Sandbox, attachment_of
from isthmus.infrastructure.linux.settings import LinuxSettings
from isthmus.infrastructure.ports import Change
from isthmus.vswitch import NETNS_DIR

__all__ = ["link_changes", "watch_kernel"]

Kind = Literal["instance", "attachment"]
_IN_CREATE, _IN_DELETE, _IN_Q_OVERFLOW = 0x100, 0x200, 0x4000
_CLONE_NEWNET = 0x40000000
_RTMGRP_LINK, _RTM_NEWLINK, _RTM_DELLINK = 1, 16, 17
_IFLA_IFALIAS, _IFF_UP = 20, 1
_EVERYTHING = "messages of the kernel were lost"
MAX_PENDING_CHANGES = 1024
_MOUNT_WAIT_S = 0.01
_libc = ctypes.CDLL(None, use_errno=True)


def link_changes(message: bytes, scope: str, kind: Kind) -> Iterator[Change]:
    """Read rtnetlink messages: which of our links is gone or down."""
    place = 0
    while place + 16 <= len(message):
        size, what = struct.unpack_from("=IH", message, place)
        if size < 16 or place + size > len(message):
            return
        if what in (_RTM_NEWLINK, _RTM_DELLINK) and size >= 32:
            flags = struct.unpack_from("=I", message, place + 24)[0]
            if what == _RTM_DELLINK or not flags & _IFF_UP:
                alias = _alias(message[place + 32 : place + size])
                subject = _subject(alias, scope, kind)
                if subject:
                    word = "gone" if what == _RTM_DELLINK else "down"
                    yield Change(subject, f"a link of it is {word}")
        place += (size + 3) & ~3


def _alias(attributes: bytes) -> str:
    place = 0
    while place + 4 <= len(attributes):
        size, what = struct.unpack_from("=HH", attributes, place)
        if size < 4:
            break
        if what == _IFLA_IFALIAS:
            return attributes[place + 4 : place + size].rstrip(b"\0").decode(errors="replace")
        place += (size + 3) & ~3
    return ""


def _subject(alias: str, scope: str, kind: Kind) -> str:
    if kind == "attachment":
        return attachment_of(alias, scope) or ""
    leg = Leg.of(alias, scope)
    return leg.instance_id if leg else ""


class _KernelWatch:
    """Sockets of all nodes and the folder watch, feeding one bounded queue."""

    def __init__(self, settings: LinuxSettings, kind: Kind) -> None:
        self._settings = settings
        self._kind: Kind = kind
        self._loop = asyncio.get_running_loop()
        self._sockets: dict[str, socket.socket] = {}
        self._folder = -1
        self._tasks: set[asyncio.Task[None]] = set()
        self.changes: asyncio.Queue[Change] = asyncio.Queue(MAX_PENDING_CHANGES)

    async def open(self) -> None:
        self._folder = _open_inotify()
        self._loop.add_reader(self._folder, self._read_folder)
        for node in self._settings.nodes:
            await self._listen(node)

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._folder >= 0:
            self._loop.remove_reader(self._folder)
            os.close(self._folder)
        for node in list(self._sockets):
            self._hang_up(node)

    def tell(self, change: Change) -> None:
        if self.changes.full():
            while not self.changes.empty():
                self.changes.get_nowait()
            change = Change("", _EVERYTHING)
        self.changes.put_nowait(change)

    async def _listen(self, node: str) -> bool:
        """Listen to a node; False if it is not there (its creation will be heard)."""
        self._hang_up(node)
        path = str(self._settings.node(node).path)
        try:
            channel = await asyncio.to_thread(_open_netlink, path)
        except OSError:
            return False
        self._sockets[node] = channel
        self._loop.add_reader(channel, self._read_links, channel)
        return True

    def _hang_up(self, node: str) -> None:
        channel = self._sockets.pop(node, None)
        if channel is not None:
            self._loop.remove_reader(channel)
            channel.close()

    def _read_links(self, channel: socket.socket) -> None:
        try:
            message = channel.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:  # ENOBUFS: the kernel dropped messages for us
            self.tell(Change("", _EVERYTHING))
            return
        for change in link_changes(message, self._settings.scope, self._kind):
            self.tell(change)

    def _read_folder(self) -> None:
        for mask, name in _inotify_events(os.read(self._folder, 1 << 16)):
            if mask & _IN_Q_OVERFLOW:
                self.tell(Change("", _EVERYTHING))
            elif name in self._settings.nodes.values():
                self._node_changed(name, gone=bool(mask & _IN_DELETE))
            elif mask & _IN_DELETE and self._kind == "instance":
                sandbox = Sandbox.of(name, self._settings.scope)
                if sandbox is not None:
                    self.tell(Change(sandbox.instance_id, "its network namespace is gone"))

    def _node_changed(self, netns: str, *, gone: bool) -> None:
        for node, name in self._settings.nodes.items():
            if name == netns and gone:
                self._hang_up(node)
                self.tell(Change("", f"node {node} is gone"))
            elif name == netns:
                task = asyncio.ensure_future(self._listen_again(node))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _listen_again(self, node: str) -> None:
        """The name is made before the namespace is mounted on it: try until it can be entered."""
        path = self._settings.node(node).path
        while path.exists():
            if await self._listen(node):
                self.tell(Change("", f"node {node} is back"))
                return
            await asyncio.sleep(_MOUNT_WAIT_S)


def _open_inotify() -> int:
    descriptor = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "inotify_init1")
    path = os.fsencode(NETNS_DIR)
    if _libc.inotify_add_watch(descriptor, path, _IN_CREATE | _IN_DELETE) < 0:
        number = ctypes.get_errno()
        os.close(descriptor)
        raise OSError(number, f"cannot watch {NETNS_DIR}: {os.strerror(number)}")
    return int(descriptor)


def _inotify_events(data: bytes) -> Iterator[tuple[int, str]]:
    place = 0
    while place + 16 <= len(data):
        _, mask, _, length = struct.unpack_from("=iIII", data, place)
        name = data[place + 16 : place + 16 + length].rstrip(b"\0").decode(errors="replace")
        place += 16 + length
        yield mask, name


def _open_netlink(path: str) -> socket.socket:
    """Open a link-message socket inside a namespace; runs in a thread, which it moves and returns.

    Only the calling thread changes namespace, and it comes back before it is used again.
    """
    with open("/proc/thread-self/ns/net") as home, open(path) as there:
        if _libc.setns(there.fileno(), _CLONE_NEWNET) < 0:
            raise OSError(ctypes.get_errno(), f"cannot enter {path}")
        try:
            channel = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
            )
        finally:
            if _libc.setns(home.fileno(), _CLONE_NEWNET) < 0:
                os._exit(70)  # a thread lost in a foreign namespace must not serve anybody
    try:
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        channel.bind((0, _RTMGRP_LINK))
    except OSError:
        channel.close()
        raise
    return channel


async def watch_kernel(
    settings: LinuxSettings, kind: Kind, extra: set[asyncio.Queue[Change]] | None = None
) -> AsyncGenerator[Change, None]:
    """Yield a change for everything of ours that vanishes; first one for "look at everything"."""
    watch = _KernelWatch(settings, kind)
    try:
        await watch.open()
        if extra is not None:
            extra.add(watch.changes)
        yield Change("", "watching begins")
        while True:
            yield await watch.changes.get()
    finally:
        if extra is not None:
            extra.discard(watch.changes)
        watch.close()
