"""The distance between two sites of a lab: data packets wait in here as long as light would take.

    python -m isthmus.deploy.wan_relay run --config FILE       (in the namespace of the WAN)
    python -m isthmus.deploy.wan_relay tx-off DEVICE...        (in a site's namespace)

A kernel without netem cannot delay, so the wires' UDP packets take a way through user space: an nft
TPROXY rule hands them to a transparent socket, they wait in a queue for the time of their (source
network, destination network), and a raw socket sends them on with the addresses they came with.
Neither end notices: no address of the relay is configured anywhere. Behind each rule stands a drop,
so a killed relay is a full cut of the data and nothing else.

A wire's packets may come as unfinished super-packets (checksum and segmentation are left to
hardware that is not there); a relay would pass on garbage. ``tx-off`` makes the kernel finish them
before they enter the WAN, so it belongs on every site's device towards it.

The file, again read on SIGHUP: ``{"port": 4789, "delays": [{"from": "10.101.0.0/16",
"to": "10.102.0.0/16", "delay_us": 20000, "jitter_us": 0, "loss_permille": 0}, ...]}``; each
direction is an entry of its own, and pairs that are not listed are forwarded without us.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import fcntl
import heapq
import ipaddress
import json
import random
import selectors
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

__all__ = ["Delay", "RelayConfig", "RelayConfigError", "main", "nft_script", "parse_config"]

TABLE: Final = "isthmus_wan"
MARK: Final = 0x1517
ROUTE_TABLE: Final = 1517
LISTEN_PORT: Final = 14789
MAX_QUEUED_PACKETS: Final = 50_000
"""About 75 MB of full packets; what comes on top is dropped, as a router would."""
_BURST: Final = 64
_IP_TRANSPARENT, _IP_ORIGDSTADDR, _SO_RCVBUFFORCE = 19, 20, 33
_SIOCETHTOOL, _ETHTOOL_STXCSUM = 0x8946, 0x17
_IP_HEADER = struct.Struct("!BBHHHBBH4s4s")
_UDP_HEADER = struct.Struct("!HHHH")


class RelayConfigError(Exception):
    """The configuration is wrong; the message names the field, its value and what it should be."""


@dataclass(frozen=True, slots=True)
class Delay:
    """What happens to packets from one network to another."""

    source: ipaddress.IPv4Network
    destination: ipaddress.IPv4Network
    delay_us: int
    jitter_us: int = 0
    loss_permille: int = 0


@dataclass(frozen=True, slots=True)
class RelayConfig:
    """The whole file. The most specific source, then destination, decides."""

    delays: tuple[Delay, ...]
    port: int = 4789
    seed: int = 1

    def find(self, source: str, destination: str) -> Delay | None:
        """Return the entry for two addresses, or None."""
        src, dst = ipaddress.IPv4Address(source), ipaddress.IPv4Address(destination)
        fits = [d for d in self.delays if src in d.source and dst in d.destination]
        return max(fits, key=lambda d: (d.source.prefixlen, d.destination.prefixlen), default=None)


def parse_config(text: str) -> RelayConfig:
    """Read the file's text; refuse what it does not mean."""
    try:
        data = json.loads(text)
    except ValueError as error:
        raise RelayConfigError(f"not JSON: {error}") from None
    if not isinstance(data, dict) or not isinstance(data.get("delays"), list):
        raise RelayConfigError("the file is an object with a list 'delays'")
    port = _number(data, "port", 4789, 1, 65535)
    seed = _number(data, "seed", 1, 0, 2**31)
    delays = tuple(_delay(item, place) for place, item in enumerate(data["delays"]))
    return RelayConfig(delays=delays, port=port, seed=seed)


def _delay(item: Any, place: int) -> Delay:
    where = f"delays[{place}]"
    if not isinstance(item, dict):
        raise RelayConfigError(f"{where} is not an object")
    networks = []
    for name in ("from", "to"):
        try:
            networks.append(ipaddress.IPv4Network(item.get(name)))
        except ValueError as error:
            raise RelayConfigError(f"{where}.{name}: {error}") from None
    return Delay(
        source=networks[0],
        destination=networks[1],
        delay_us=_number(item, "delay_us", 0, 0, 60_000_000, where),
        jitter_us=_number(item, "jitter_us", 0, 0, 60_000_000, where),
        loss_permille=_number(item, "loss_permille", 0, 0, 1000, where),
    )


def _number(
    data: dict[str, Any], name: str, default: int, low: int, high: int, where: str = "config"
) -> int:
    value = data.get(name, default)
    if type(value) is not int or not low <= value <= high:
        raise RelayConfigError(f"{where}.{name} is {value!r}; give a whole number {low}..{high}")
    return value


def nft_script(config: RelayConfig) -> str:
    """The rules that lead the packets here, and drop them if nobody listens."""
    pairs = "".join(
        f"  ip saddr {d.source} ip daddr {d.destination} udp dport {config.port} "
        f"meta mark set {MARK} tproxy to :{LISTEN_PORT} accept\n"
        f"  ip saddr {d.source} ip daddr {d.destination} udp dport {config.port} drop\n"
        for d in sorted(
            config.delays, key=lambda d: (-d.source.prefixlen, -d.destination.prefixlen)
        )
    )
    return (
        f"add table ip {TABLE}\ndelete table ip {TABLE}\ntable ip {TABLE} {{\n"
        " chain divert { type filter hook prerouting priority mangle; policy accept;\n"
        f"{pairs} }}\n}}\n"
    )


def steer_packets(config: RelayConfig) -> None:
    """Load the rules that lead packets here: one transaction, so a change leaks nothing."""
    _run(["nft", "-f", "-"], nft_script(config))


def route_marked_packets() -> None:
    """Make packets that carry the mark our own, whatever their destination."""
    for argv in (
        ["ip", "rule", "del", "fwmark", str(MARK), "lookup", str(ROUTE_TABLE)],
        ["ip", "rule", "add", "fwmark", str(MARK), "lookup", str(ROUTE_TABLE), "pref", "1517"],
        ["ip", "route", "replace", "local", "0.0.0.0/0", "dev", "lo", "table", str(ROUTE_TABLE)],
    ):
        _run(argv, "", check=argv[2] != "del")


def _run(argv: list[str], text: str, *, check: bool = True) -> None:
    done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=10, check=False)
    if check and done.returncode:
        raise RelayConfigError(f"{' '.join(argv)}: {done.stderr.strip()}")


def packet(source: tuple[str, int], destination: tuple[str, int], payload: bytes) -> bytes:
    """An IPv4/UDP packet (RFC 791, RFC 768) with both ends given; no UDP checksum, as RFC 7348
    section 5 prefers for VXLAN over IPv4; the kernel fills the header's."""
    udp_length = _UDP_HEADER.size + len(payload)
    header = _IP_HEADER.pack(
        0x45,
        0,
        _IP_HEADER.size + udp_length,
        0,
        0,
        63,
        socket.IPPROTO_UDP,
        0,
        socket.inet_aton(source[0]),
        socket.inet_aton(destination[0]),
    )
    return header + _UDP_HEADER.pack(source[1], destination[1], udp_length, 0) + payload


class Relay:
    """Two sockets and one queue ordered by the time a packet is due."""

    def __init__(self, config: RelayConfig) -> None:
        self._loop = asyncio.get_running_loop()
        self._random = random.Random(config.seed)
        self._queue: list[tuple[float, int, bytes, str]] = []
        self._known: dict[tuple[str, str], Delay | None] = {}
        self._config = config
        self._number = 0
        self._timer: asyncio.TimerHandle | None = None
        self.relayed = 0
        self.dropped = 0
        self._in = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._in.setsockopt(socket.SOL_IP, _IP_TRANSPARENT, 1)
        self._in.setsockopt(socket.SOL_IP, _IP_ORIGDSTADDR, 1)
        with contextlib.suppress(OSError):  # more than the limit needs a right we may not have
            self._in.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 16 << 20)
        self._in.bind(("0.0.0.0", LISTEN_PORT))
        self._out = socket.socket(
            socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_RAW
        )
        self._loop.add_reader(self._in, self._receive)

    def use(self, config: RelayConfig) -> None:
        """Go on with another configuration; what already waits keeps its time."""
        self._config = config
        self._known.clear()

    def close(self) -> None:
        """Stop; packets that still wait are lost, as on a line that is cut."""
        self._loop.remove_reader(self._in)
        if self._timer is not None:
            self._timer.cancel()
        self._in.close()
        self._out.close()

    def _receive(self) -> None:
        for _ in range(_BURST):
            try:
                payload, ancillary, _, source = self._in.recvmsg(65535, 64)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                continue
            destination = _original_destination(ancillary)
            if destination is not None:
                self._enqueue(payload, source, destination)
        self._send_due()

    def _enqueue(
        self, payload: bytes, source: tuple[str, int], destination: tuple[str, int]
    ) -> None:
        delay = self._delay(source[0], destination[0])
        lost = delay is None or len(self._queue) >= MAX_QUEUED_PACKETS
        if delay is None or lost or self._random.randrange(1000) < delay.loss_permille:
            self.dropped += 1
            return
        wait_us = delay.delay_us
        if delay.jitter_us:
            wait_us += self._random.randrange(delay.jitter_us + 1)
        self._number += 1
        due = self._loop.time() + wait_us / 1e6
        entry = (due, self._number, packet(source, destination, payload), destination[0])
        heapq.heappush(self._queue, entry)

    def _delay(self, source: str, destination: str) -> Delay | None:
        key = (source, destination)
        if key not in self._known:
            self._known[key] = self._config.find(source, destination)
        return self._known[key]

    def _send_due(self) -> None:
        now = self._loop.time()
        while self._queue and self._queue[0][0] <= now:
            _, _, data, address = heapq.heappop(self._queue)
            try:
                self._out.sendto(data, (address, 0))
                self.relayed += 1
            except OSError:  # no route, too long for the next link: lost, as in a router
                self.dropped += 1
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._queue:
            self._timer = self._loop.call_at(self._queue[0][0], self._send_due)


def _original_destination(ancillary: list[tuple[int, int, bytes]]) -> tuple[str, int] | None:
    for level, kind, data in ancillary:
        if level == socket.SOL_IP and kind == _IP_ORIGDSTADDR:
            port, address = struct.unpack_from("!H4s", data, 2)
            return socket.inet_ntoa(address), port
    return None


def disable_tx_checksum(device: str) -> None:
    """Let the kernel finish packets before they leave by ``device`` (ETHTOOL_STXCSUM 0)."""
    value = ctypes.create_string_buffer(struct.pack("II", _ETHTOOL_STXCSUM, 0))
    request = struct.pack("16sP8x", device.encode(), ctypes.addressof(value))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        fcntl.ioctl(handle, _SIOCETHTOOL, request)


async def _run_relay(path: Path) -> int:
    config = parse_config(path.read_text())
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    relay = Relay(config)

    def reload() -> None:
        try:
            fresh = parse_config(path.read_text())
            steer_packets(fresh)
        except (OSError, RelayConfigError) as error:
            print(f"wan relay: {path}: {error}; the old configuration stays", file=sys.stderr)
            return
        relay.use(fresh)
        print(f"wan relay: {len(fresh.delays)} delays", flush=True)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, reload)
    try:
        route_marked_packets()
        steer_packets(config)
        print("ready", flush=True)
        await stop.wait()
    finally:
        relay.close()
    print(f"wan relay: relayed {relay.relayed}, dropped {relay.dropped}", flush=True)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m isthmus.deploy.wan_relay")
    actions = parser.add_subparsers(dest="action", required=True)
    run = actions.add_parser("run", help="relay until SIGTERM; SIGHUP reads the file again")
    run.add_argument("--config", required=True, type=Path)
    off = actions.add_parser("tx-off", help="finish checksums before packets enter the WAN")
    off.add_argument("device", nargs="+")
    arguments = parser.parse_args(argv)
    try:
        if arguments.action == "tx-off":
            for device in arguments.device:
                disable_tx_checksum(device)
            return 0
        # select() waits for microseconds, epoll only for whole milliseconds
        with asyncio.Runner(
            loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())
        ) as runner:
            return runner.run(_run_relay(arguments.config))
    except (OSError, RelayConfigError) as error:
        print(f"wan relay: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
