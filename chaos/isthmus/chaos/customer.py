"""A customer's premises: a small web server, a client, a connection attempt; run inside the customer's namespace.

    python -m isthmus.chaos.customer serve --bind 172.20.2.1 --ports 8080 5999 --text hello
    python -m isthmus.chaos.customer get 172.20.2.1 8080
    python -m isthmus.chaos.customer connect 172.20.2.1 5999
    python -m isthmus.chaos.customer first 172.20.2.1 8080

All but ``serve`` answer with one line of JSON. Standard library alone: it starts in a tenth of a second.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import json
import signal
import socket
import sys
import time
from collections.abc import Sequence
from typing import cast

TIMEOUT_S = 3.0
FIRST_TIMEOUT_S = 30.0


async def serve(bind: str, ports: Sequence[int], text: str) -> None:
    """Answer every request with ``text`` and the address it came from, until SIGTERM."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await reader.readuntil(b"\r\n\r\n")
            peer = writer.get_extra_info("peername")[0]
            body = json.dumps({"text": text, "from": peer}).encode()
            head = f"HTTP/1.0 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            writer.write(head + body)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()

    servers = [await asyncio.start_server(answer, bind, port) for port in ports]
    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(_Echo, local_addr=(bind, ports[0]))
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    print("serving", flush=True)
    await stop.wait()
    for server in servers:
        server.close()


async def get(host: str, port: int) -> dict[str, object]:
    """One HTTP request; the answer's JSON beside how long it took."""
    started = time.perf_counter()
    try:
        async with asyncio.timeout(TIMEOUT_S):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            await writer.drain()
            data = await reader.read()
            writer.close()
    except OSError as error:
        return {"ok": False, "error": _name(error)}
    took_ms = round((time.perf_counter() - started) * 1000, 2)
    _, _, body = data.partition(b"\r\n\r\n")
    try:
        return {"ok": True, "ms": took_ms, **json.loads(body)}
    except ValueError:
        return {"ok": False, "error": "no answer"}


async def connect(host: str, port: int) -> dict[str, object]:
    """``open``, ``refused`` (somebody said no) or ``silent`` (nobody said anything)."""
    started = time.perf_counter()
    try:
        async with asyncio.timeout(TIMEOUT_S):
            _, writer = await asyncio.open_connection(host, port)
            writer.close()
            outcome = "open"
    except OSError as error:
        outcome = _name(error)
    return {"outcome": outcome, "ms": round((time.perf_counter() - started) * 1000, 2)}


class _Echo(asyncio.DatagramProtocol):
    """Sends every datagram back."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer."""
        self._transport.sendto(data, addr)


def first(host: str, port: int, timeout_s: float) -> dict[str, object]:
    """Send a datagram every 5 ms until one comes back; when that was (UTC seconds). No route yet is no error."""
    deadline = time.monotonic() + timeout_s
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        line.settimeout(0.005)
        while time.monotonic() < deadline:
            try:
                line.sendto(b"first", (host, port))
                line.recv(64)
                return {"ok": True, "at": time.time()}
            except TimeoutError:
                continue
            except OSError:
                time.sleep(0.005)
    return {"ok": False, "at": time.time()}


def _name(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "silent"
    return "refused" if error.errno == errno.ECONNREFUSED else str(error)


def main(argv: Sequence[str]) -> int:
    """Exit code 0; the answer says what happened."""
    parser = argparse.ArgumentParser(prog="isthmus.chaos.customer", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    server = verbs.add_parser("serve")
    server.add_argument("--bind", required=True)
    server.add_argument("--ports", type=int, nargs="+", required=True)
    server.add_argument("--text", default="hello")
    for verb in ("get", "connect", "first"):
        client = verbs.add_parser(verb)
        client.add_argument("host")
        client.add_argument("port", type=int)
    options = parser.parse_args(argv)
    if options.verb == "serve":
        asyncio.run(serve(options.bind, options.ports, options.text))
        return 0
    if options.verb == "first":
        print(json.dumps(first(options.host, options.port, FIRST_TIMEOUT_S)))
        return 0
    work = get if options.verb == "get" else connect
    print(json.dumps(asyncio.run(work(options.host, options.port))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
