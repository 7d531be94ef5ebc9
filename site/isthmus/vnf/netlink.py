"""Reading an instance's counters straight from the kernel: nfnetlink and rtnetlink, two small dumps.

``nft -j list counters`` costs two processes and tens of milliseconds of CPU each second for each instance; the same
numbers by netlink cost a fraction of a millisecond. Message and attribute numbers are the kernel's own
(``linux/netfilter/nf_tables.h``, ``linux/rtnetlink.h``, ``linux/gen_stats.h``). A socket belongs to the namespace in
which it was made: a helper thread enters, makes it, and goes back; it is closed after each reading, because an
open one would keep a deleted namespace alive.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from isthmus.vnf.errors import KernelRefused, NamespaceMissing

_CLONE_NEWNET = 0x40000000
_ROUTE, _NETFILTER = 0, 12
_REQUEST_DUMP = 0x1 | 0x300
_ERROR, _DONE = 2, 3
_GET_OBJECT = (10 << 8) | 19  # NFNL_SUBSYS_NFTABLES, NFT_MSG_GETOBJ
_INET = 1
_OBJ_TABLE, _OBJ_NAME, _OBJ_DATA = 1, 2, 4
_COUNTER_BYTES, _COUNTER_PACKETS = 1, 2
_GET_QDISC, _STATS2, _STATS_QUEUE = 38, 7, 3
_ROOT_PARENT = 0xFFFFFFFF
_TYPE_MASK = 0x3FFF
_RECEIVE_BYTES = 64 * 1024
_MAX_MESSAGES = 4096


@dataclass(frozen=True, slots=True)
class Count:
    """Packets and bytes of one named counter."""

    packets: int
    bytes: int


def open_in_namespace(path: Path, family: int) -> socket.socket:
    """A netlink socket of ``family`` that belongs to the namespace at ``path``; call it in a thread of its own pool.

    Raises NamespaceMissing when there is no namespace at ``path``.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        there = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise NamespaceMissing(f"no network namespace {path.name!r}: {error.strerror}") from None
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(there, _CLONE_NEWNET) != 0:
            reason = os.strerror(ctypes.get_errno())
            raise NamespaceMissing(f"cannot enter network namespace {path.name!r}: {reason}")
        try:
            return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family)
        finally:
            if libc.setns(home, _CLONE_NEWNET) != 0:
                os.abort()  # a thread left in a customer's namespace must never go on
    finally:
        os.close(there)
        os.close(home)


def read_counters(path: Path, table: str) -> dict[str, Count]:
    """The named counters of ``table`` (family inet) in the namespace at ``path``; empty when there is no such table."""
    request = struct.pack("!BBH", _INET, 0, 0) + _attribute(_OBJ_TABLE, table.encode() + b"\0")
    counters: dict[str, Count] = {}
    with open_in_namespace(path, _NETFILTER) as link:
        for payload in _dump(link, _GET_OBJECT, request):
            found = dict(_attributes(payload[4:]))
            data = dict(_attributes(found.get(_OBJ_DATA, b"")))
            if _text(found.get(_OBJ_TABLE)) == table and _COUNTER_PACKETS in data:
                counters[_text(found.get(_OBJ_NAME))] = Count(
                    _big(data[_COUNTER_PACKETS]), _big(data.get(_COUNTER_BYTES, b"\0"))
                )
    return counters


def read_queue_drops(path: Path) -> int:
    """Packets dropped by all root queues in the namespace at ``path``."""
    drops = 0
    with open_in_namespace(path, _ROUTE) as link:
        for payload in _dump(link, _GET_QDISC, bytes(20)):
            (parent,) = struct.unpack_from("=I", payload, 12)
            stats = dict(_attributes(dict(_attributes(payload[20:])).get(_STATS2, b"")))
            if parent == _ROOT_PARENT and len(stats.get(_STATS_QUEUE, b"")) >= 12:
                drops += struct.unpack_from("=I", stats[_STATS_QUEUE], 8)[0]
    return drops


def _dump(link: socket.socket, kind: int, body: bytes) -> Iterator[bytes]:
    """Payloads of the answers to one dump request."""
    link.settimeout(2.0)
    link.sendto(struct.pack("=IHHII", 16 + len(body), kind, _REQUEST_DUMP, 1, 0) + body, (0, 0))
    for _ in range(_MAX_MESSAGES):
        data = link.recv(_RECEIVE_BYTES)
        offset = 0
        while offset + 16 <= len(data):
            length, answer = struct.unpack_from("=IH", data, offset)
            payload = data[offset + 16 : offset + length]
            if answer == _DONE:
                return
            if answer == _ERROR:
                _raise(payload)
                return
            yield payload
            offset += (max(length, 16) + 3) & ~3
    raise KernelRefused("the kernel's answer to a dump has no end")


def _raise(payload: bytes) -> None:
    (code,) = struct.unpack_from("=i", payload)
    if code not in (0, -2):  # ENOENT: there is no such table, hence no counter
        raise KernelRefused(f"netlink: {os.strerror(-code)}")


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        if length < 4:
            return
        yield kind & _TYPE_MASK, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def _text(value: bytes | None) -> str:
    return (value or b"").rstrip(b"\0").decode("ascii", "replace")


def _big(value: bytes) -> int:
    return int.from_bytes(value, "big")
