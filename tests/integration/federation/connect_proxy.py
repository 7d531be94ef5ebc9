"""A small HTTP CONNECT proxy, as a carrier's edge sites sit behind: it joins two sockets and remembers what it saw."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field


@dataclass
class ConnectProxy:
    """``asked`` holds the targets, ``carried`` the first bytes that went through."""

    refuse: bool = False
    port: int = 0
    asked: list[str] = field(default_factory=list)
    carried: bytearray = field(default_factory=bytearray)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self._writers.add(writer)
        try:
            request = (await reader.readuntil(b"\r\n\r\n")).decode()
            verb, target, _ = request.split(" ", 2)
            self.asked.append(f"{verb} {target}")
            if self.refuse:
                writer.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")
                await writer.drain()
                return
            host, _, port = target.rpartition(":")
            there, onward = await asyncio.open_connection(host, int(port))
            self._writers.add(onward)
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await asyncio.gather(self._copy(reader, onward), self._copy(there, writer))
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                self.carried += data[: max(0, 200_000 - len(self.carried))]
                writer.write(data)
                await writer.drain()
        writer.close()

    def drop(self) -> None:
        """Cut every connection."""
        for writer in self._writers:
            writer.close()
        self._writers.clear()


@contextlib.asynccontextmanager
async def connect_proxy(*, refuse: bool = False) -> AsyncIterator[ConnectProxy]:
    """A running one."""
    proxy = ConnectProxy(refuse)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.drop()
        await server.wait_closed()
