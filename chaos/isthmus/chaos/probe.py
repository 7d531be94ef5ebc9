"""The witness of the data plane: a UDP echo every two milliseconds, and what became of each packet.

    python -m isthmus.chaos.probe server --bind 10.2.0.2 --port 7007 [--name site-b]
    python -m isthmus.chaos.probe client --to 10.2.0.2 --port 7007 --seconds 5 [--json FILE] [--live]

Promises about healing and re-patching (G14) and about exclusive forwarding (G2) are judged from
its record, so it measures and does not judge: each packet has its send time and, if an answer
came, its round trip and the name of the server that gave it. A loss is a packet without an answer
when the run ends. A gap begins with the first lost packet and ends with the next answered one, both
by the time they were sent: a busy machine that lets the probe itself wait is told apart
(``longest_stall_ms``) and never counts as an outage. It stands on the standard library alone and
starts fast, because it runs inside customers' namespaces.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import cast

__all__ = ["Answer", "ProbeReport", "judge", "main", "run_client", "run_server"]

_HEAD = struct.Struct("!4sQ")
_MAGIC = b"isP1"
_SO_RCVBUFFORCE = 33
DEFAULT_PORT = 7007
LINGER_S = 0.5
"""How long answers to the last packets are waited for; a WAN round trip fits in."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One packet of the run: when it left, and its round trip if an answer came (else None)."""

    sent_us: int
    rtt_us: int | None = None
    server: str = ""


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """The whole run. ``gap_from_us`` is where the longest gap begins, from the start of the run.

    ``unix_start_s`` is CLOCK_REALTIME at the start: it lays runs of two machines side by side.
    """

    interval_us: int
    unix_start_s: float
    sent: int
    received: int
    lost: int
    duplicates: int
    longest_gap_ms: float
    gap_from_us: int
    longest_lost_run: int
    longest_stall_ms: float
    rtt_ms_p50: float | None
    rtt_ms_p99: float | None
    rtt_ms_max: float | None
    servers: dict[str, int] = field(default_factory=dict)
    timeline: tuple[Answer, ...] = ()

    def summary(self) -> str:
        """One line for people."""
        rtt = "-" if self.rtt_ms_p50 is None else f"{self.rtt_ms_p50:.2f} ms"
        return (
            f"sent {self.sent} lost {self.lost} longest gap {self.longest_gap_ms:.0f} ms rtt {rtt}"
        )

    def as_json(self) -> str:
        """The record as JSON; packets are ``[sent_us, rtt_us or null, server]``."""
        record = asdict(self)
        record["timeline"] = [[a.sent_us, a.rtt_us, a.server] for a in self.timeline]
        return json.dumps(record)


def judge(
    answers: Sequence[Answer], *, interval_us: int, unix_start_s: float = 0.0, duplicates: int = 0
) -> ProbeReport:
    """Count what a run recorded, pure."""
    rtts = sorted(a.rtt_us for a in answers if a.rtt_us is not None)
    gap_us, gap_from_us = _longest_gap(answers)
    return ProbeReport(
        interval_us=interval_us,
        unix_start_s=unix_start_s,
        sent=len(answers),
        received=len(rtts),
        lost=len(answers) - len(rtts),
        duplicates=duplicates,
        longest_gap_ms=gap_us / 1000,
        gap_from_us=gap_from_us,
        longest_lost_run=_longest_lost_run(answers),
        longest_stall_ms=_longest_stall_us(answers) / 1000,
        rtt_ms_p50=_quantile_ms(rtts, 0.50),
        rtt_ms_p99=_quantile_ms(rtts, 0.99),
        rtt_ms_max=_quantile_ms(rtts, 1.0),
        servers=dict(Counter(a.server for a in answers if a.rtt_us is not None)),
        timeline=tuple(answers),
    )


def _longest_gap(answers: Sequence[Answer]) -> tuple[int, int]:
    """The longest outage and where it begins; one that lasts ends with the last packet sent."""
    longest, began = (0, 0), None
    for answer in answers:
        if answer.rtt_us is None:
            began = answer.sent_us if began is None else began
        if began is not None:
            longest = max(longest, (answer.sent_us - began, began), key=lambda gap: gap[0])
        if answer.rtt_us is not None:
            began = None
    return longest


def _longest_stall_us(answers: Sequence[Answer]) -> int:
    """The longest time in which the probe itself sent nothing."""
    return max((after.sent_us - before.sent_us for before, after in pairwise(answers)), default=0)


def _longest_lost_run(answers: Sequence[Answer]) -> int:
    longest = run = 0
    for answer in answers:
        run = run + 1 if answer.rtt_us is None else 0
        longest = max(longest, run)
    return longest


def _quantile_ms(ordered_us: Sequence[int], share: float) -> float | None:
    if not ordered_us:
        return None
    return ordered_us[min(len(ordered_us) - 1, int(share * len(ordered_us)))] / 1000


def _enlarge(endpoint: socket.socket) -> None:
    """A witness that is scheduled late must not lose what has arrived meanwhile."""
    with contextlib.suppress(OSError):  # beyond the system's limit only with the right to it
        endpoint.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 4 << 20)


class _Client:
    """Sends on a fixed grid; a late wake-up skips the slots it missed instead of bursting."""

    def __init__(
        self, target: tuple[str, int], interval_us: int, size: int, *, announce: bool
    ) -> None:
        self._announce = announce
        self._target = target
        self._interval_us = interval_us
        self._padding = b"\0" * max(0, size - _HEAD.size)
        self._sent: list[int] = []
        self._back: dict[int, tuple[int, str]] = {}
        self._start_ns = 0
        self._all_sent = False
        self._all_answered = asyncio.Event()
        self.duplicates = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        _enlarge(self._socket)

    async def run(self, seconds: float, stop: asyncio.Event, *, live: bool) -> ProbeReport:
        loop = asyncio.get_running_loop()
        unix_start_s = time.time()
        self._start_ns = time.monotonic_ns()
        loop.add_reader(self._socket, self._receive)
        reports = asyncio.create_task(self._say()) if live else None
        try:
            await self._send_all(seconds, stop)
            self._all_sent = True
            self._note_if_complete()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LINGER_S):
                    await self._all_answered.wait()
        finally:
            if reports is not None:
                reports.cancel()
            loop.remove_reader(self._socket)
            self._socket.close()
        return self._report(unix_start_s)

    def _report(self, unix_start_s: float = 0.0, *, before_us: int = sys.maxsize) -> ProbeReport:
        answers = [
            Answer(sent, *self._back.get(number, (None, "")))
            for number, sent in enumerate(self._sent)
            if sent < before_us
        ]
        return judge(
            answers,
            interval_us=self._interval_us,
            unix_start_s=unix_start_s,
            duplicates=self.duplicates,
        )

    async def _send_all(self, seconds: float, stop: asyncio.Event) -> None:
        slots = int(seconds * 1_000_000 / self._interval_us) if seconds > 0 else sys.maxsize
        slot = 0
        while slot < slots and not stop.is_set():
            self._send()
            slot = max(slot + 1, self._now_us() // self._interval_us)
            await asyncio.sleep(max(0.0, (slot * self._interval_us - self._now_us()) / 1e6))

    def _now_us(self) -> int:
        return (time.monotonic_ns() - self._start_ns) // 1000

    def _send(self) -> None:
        number = len(self._sent)
        self._sent.append(self._now_us())
        with contextlib.suppress(OSError):  # no route, refused: the packet counts as lost
            self._socket.sendto(_HEAD.pack(_MAGIC, number) + self._padding, self._target)

    def _receive(self) -> None:
        for _ in range(64):
            try:
                data = self._socket.recv(2048)
            except BlockingIOError:
                break
            except OSError:  # an ICMP error about an earlier packet
                continue
            now_us = self._now_us()
            if len(data) < _HEAD.size or data[:4] != _MAGIC:
                continue
            number = _HEAD.unpack_from(data)[1]
            if number in self._back:
                self.duplicates += 1
            elif number < len(self._sent):
                if self._announce and not self._back:
                    print("first answer", flush=True)
                name = data[_HEAD.size + len(self._padding) :].decode(errors="replace")
                self._back[number] = (now_us - self._sent[number], name)
        self._note_if_complete()

    def _note_if_complete(self) -> None:
        if self._all_sent and len(self._back) == len(self._sent):
            self._all_answered.set()

    async def _say(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            settled_us = self._now_us() - int(LINGER_S * 1e6)
            print(self._report(before_us=settled_us).summary(), flush=True)


async def run_client(
    target: tuple[str, int],
    *,
    seconds: float,
    interval_us: int = 2000,
    size: int = 64,
    stop: asyncio.Event | None = None,
    live: bool = False,
    announce: bool = False,
) -> ProbeReport:
    """Send for ``seconds`` (0: until ``stop``) and return the record.

    ``live`` prints a line each second, ``announce`` one when the first answer came.
    """
    client = _Client(target, interval_us, size, announce=announce)
    return await client.run(seconds, stop or asyncio.Event(), live=live)


class _Echo(asyncio.DatagramProtocol):
    """Sends every datagram of a probe back, with the server's name behind it."""

    def __init__(self, name: str) -> None:
        self._name = name.encode()
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if self._transport is not None and data[:4] == _MAGIC:
            self._transport.sendto(data + self._name, addr)


async def run_server(
    bind: tuple[str, int], *, name: str = "", stop: asyncio.Event | None = None
) -> None:
    """Answer probes until ``stop``; prints "ready" when it listens."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Echo(name), local_addr=bind)
    _enlarge(transport.get_extra_info("socket"))
    print("ready", flush=True)
    try:
        await (stop or asyncio.Event()).wait()
    finally:
        transport.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m isthmus.chaos.probe", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    sides = parser.add_subparsers(dest="side", required=True)
    server = sides.add_parser("server", help="answer probes")
    server.add_argument("--bind", default="0.0.0.0")
    server.add_argument("--name", default="", help="told to the client with each answer")
    client = sides.add_parser("client", help="send probes and report")
    client.add_argument("--to", required=True)
    client.add_argument("--seconds", type=float, default=5.0, help="0: until interrupted")
    client.add_argument("--interval-ms", type=float, default=2.0)
    client.add_argument("--size", type=int, default=64, help="payload bytes")
    client.add_argument("--json", default="", metavar="FILE", help="'-': standard output")
    client.add_argument("--live", action="store_true", help="one line each second")
    client.add_argument("--announce", action="store_true", help='print "first answer" once')
    for side in (server, client):
        side.add_argument("--port", type=int, default=DEFAULT_PORT)
    return parser


async def _amain(arguments: argparse.Namespace) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    if arguments.side == "server":
        await run_server((arguments.bind, arguments.port), name=arguments.name, stop=stop)
        return 0
    report = await run_client(
        (arguments.to, arguments.port),
        seconds=arguments.seconds,
        interval_us=int(arguments.interval_ms * 1000),
        size=arguments.size,
        stop=stop,
        live=arguments.live,
        announce=arguments.announce,
    )
    if arguments.json == "-":
        print(report.as_json())
        return 0
    if arguments.json:
        Path(arguments.json).write_text(report.as_json())
    print(report.summary())
    return 0 if report.received else 1


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    return asyncio.run(_amain(_parser().parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
