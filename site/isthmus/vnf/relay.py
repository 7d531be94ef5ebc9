"""The way of a network function to the store: a Unix socket, and behind it TLS with the instance's own certificate.

An instance has no management leg (DESIGN section 5, "How a VNF reaches the store"). A Unix socket crosses network
namespaces, so the relay stands outside, opens one TLS connection (client certificate of the instance, ALPN ``h2``,
server verified by name) per connection it accepts, and copies bytes both ways. It understands none of them:
rights are enforced by the store, which knows the instance by its certificate. A function in any language
needs only an etcd client, and never sees a key file.

Bounds: connections, bytes buffered per direction (a slow side stops the other), time to connect. ``cut`` ends all
connections and refuses new ones (revocation, G9); ``admit`` lets them in again, with new credentials if files changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import ssl
from dataclasses import dataclass
from pathlib import Path

from isthmus.vnf.errors import FolderRefused

_LOG = logging.getLogger(__name__)
MAX_SOCKET_PATH_BYTES = 107
"""Of a Unix socket's path in Linux (unix(7)), without the closing zero."""
_CHUNK_BYTES = 32 * 1024
_SHUTDOWN_S = 2.0


@dataclass(frozen=True, slots=True)
class Upstream:
    """The site's store: where it listens, under which name, signed by whom."""

    host: str
    port: int
    server_name: str
    ca_file: Path


@dataclass(frozen=True, slots=True)
class RelayLimits:
    """One connection per client library is usual; eight leave room for tools, and bound what a mad one can take."""

    connections: int = 8
    connect_timeout_s: float = 5.0
    buffer_bytes: int = 64 * 1024


def client_context(upstream: Upstream, cert_file: Path, key_file: Path) -> ssl.SSLContext:
    """The TLS side of one instance; raises FolderRefused naming what cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # a tier's own authority is anchor enough
    context.set_alpn_protocols(["h2"])
    try:
        context.load_verify_locations(upstream.ca_file)
        context.load_cert_chain(cert_file, key_file)
    except (OSError, ssl.SSLError) as error:
        raise FolderRefused(f"{cert_file.parent.name}: credentials unusable: {error}") from None
    return context


class Relay:
    """Serves one instance's socket. ``start``, then ``cut``/``admit`` as often as needed, then ``aclose``."""

    def __init__(
        self, socket: Path, upstream: Upstream, cert_file: Path, key_file: Path, limits: RelayLimits
    ) -> None:
        self._socket = socket
        self._upstream = upstream
        self._files = (cert_file, key_file)
        self._limits = limits
        self._context: ssl.SSLContext | None = None
        self._server: asyncio.AbstractServer | None = None
        self._splices: set[asyncio.Task[None]] = set()
        self.refused = 0
        """Connections turned away: over the limit, or cut off."""

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._splices)

    async def start(self) -> None:
        """Listen; raises FolderRefused when the socket cannot be made."""
        if len(os.fsencode(self._socket)) > MAX_SOCKET_PATH_BYTES:
            raise FolderRefused(
                f"socket path {self._socket} is longer than {MAX_SOCKET_PATH_BYTES} bytes; "
                "give the state a shorter folder"
            )
        self.admit()
        try:
            self._server = await asyncio.start_unix_server(
                self._accept, self._socket, limit=self._limits.buffer_bytes
            )
            self._socket.chmod(0o600)
        except OSError as error:
            raise FolderRefused(f"{self._socket}: cannot listen: {error.strerror}") from None

    def admit(self) -> None:
        """Let connections in, with the credentials that lie in the files now."""
        self._context = client_context(self._upstream, *self._files)

    def cut(self) -> None:
        """End every connection now, and refuse new ones until :meth:`admit`."""
        self._context = None
        for splice in self._splices:
            splice.cancel()

    async def aclose(self) -> None:
        """Stop listening, end every connection, remove the socket. Idempotent."""
        self.cut()
        if self._server is not None:
            self._server.close()
            self._server = None
            with contextlib.suppress(OSError):
                self._socket.unlink()
        if self._splices:
            await asyncio.wait(set(self._splices), timeout=2.0)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        context = self._context
        if context is None or len(self._splices) >= self._limits.connections:
            self.refused += 1
            writer.transport.abort()
            return
        splice = asyncio.current_task()
        assert splice is not None
        self._splices.add(splice)
        try:
            await self._splice(context, reader, writer)
            writer.close()  # after what is still buffered
        except asyncio.CancelledError:
            writer.transport.abort()  # cut; nobody awaits a connection's own task
        except (OSError, ssl.SSLError, TimeoutError) as error:
            _LOG.info("relay %s: store not reached: %s", self._socket.parent.name, error)
            writer.transport.abort()
        finally:
            self._splices.discard(splice)

    async def _splice(
        self, context: ssl.SSLContext, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        async with asyncio.timeout(self._limits.connect_timeout_s):
            up_reader, up_writer = await asyncio.open_connection(
                self._upstream.host,
                self._upstream.port,
                ssl=context,
                server_hostname=self._upstream.server_name,
                limit=self._limits.buffer_bytes,
                ssl_shutdown_timeout=_SHUTDOWN_S,
            )
        try:
            for side in (writer, up_writer):
                side.transport.set_write_buffer_limits(high=self._limits.buffer_bytes)
            async with asyncio.TaskGroup() as both:
                there = both.create_task(_copy(reader, up_writer))
                back = both.create_task(_copy(up_reader, writer))
                await asyncio.wait((there, back), return_when=asyncio.FIRST_COMPLETED)
                there.cancel()
                back.cancel()
            up_writer.close()
        except BaseException:
            up_writer.transport.abort()
            raise


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until the reader's end; ``drain`` holds it back while the writer's side is slow."""
    with contextlib.suppress(OSError, ssl.SSLError):
        while data := await reader.read(_CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
