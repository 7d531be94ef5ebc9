"""The gRPC stream under a link, and the limits of its connection (DESIGN section 6, attacks 9 to 11).

Frames are bytes here: they are decoded where their size has been judged. HTTP/2 windows are 256 KiB, since the default
keeps 8 MB of stale data in flight (measured). There are no keep-alive pings: the link beats, and an idle site stays
below 1 kbit/s.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import grpc
import grpc.aio

from isthmus.federation.errors import (
    FederationError,
    LinkEnded,
    LinkLost,
    PeerRefused,
    Stopping,
)
from isthmus.federation.limits import LinkLimits
from isthmus.identity.text import visible
from isthmus.kv.cancellation import cancellations, pass_on_cancellation

SERVICE = "isthmus.federation.v1.Link"
METHOD = f"/{SERVICE}/Open"
WINDOW_BYTES = 256 * 1024
ANY_ADDRESS = json.dumps({"loadBalancingConfig": [{"pick_first": {"shuffleAddressList": True}}]})
"""gRPC's service config of a caller: else all sites would go to the address that sorts first, and a gateway behind
the same name would idle. One that does not answer holds up the next address by 250 ms (RFC 8305)."""
STATUS_S = 1.0
"""How long a broken call may take to say its status; it comes with the end of the stream."""
_BROKEN = (grpc.RpcError, grpc.aio.UsageError, grpc.aio.InternalError, asyncio.InvalidStateError)
_REFUSALS = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)


def channel_options(limits: LinkLimits) -> list[tuple[str, int | str]]:
    """Of both ends."""
    return [
        ("grpc.max_receive_message_length", limits.frame_bytes),
        ("grpc.max_send_message_length", limits.frame_bytes),
        ("grpc.max_metadata_size", 4 * 1024),
        ("grpc.absolute_max_metadata_size", 8 * 1024),
        ("grpc.http2.lookahead_bytes", WINDOW_BYTES),
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.max_frame_size", 64 * 1024),
        ("grpc.http2.write_buffer_size", WINDOW_BYTES),
        ("grpc.keepalive_time_ms", 2**31 - 1),
    ]


def server_options(
    limits: LinkLimits, *, handshake_timeout_ms: int, max_streams: int
) -> list[tuple[str, int | str]]:
    """Of a gateway: what strangers may cost."""
    return [
        *channel_options(limits),
        ("grpc.so_reuseport", 0),
        ("grpc.server_handshake_timeout_ms", handshake_timeout_ms),
        ("grpc.max_concurrent_streams", max_streams),
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
        ("grpc.http2.max_ping_strikes", 2),
        ("grpc.max_connection_idle_ms", 30_000),
    ]


class ServerChannel:
    """The gateway's end of one call."""

    def __init__(self, context: Any) -> None:
        self._context = context

    async def send(self, frame: bytes) -> None:
        try:
            await self._context.write(frame)
        except _BROKEN as error:
            raise _lost(error) from None

    async def receive(self) -> bytes | None:
        try:
            message = await self._context.read()
        except _BROKEN as error:
            raise _lost(error) from None
        return message if isinstance(message, bytes) else None

    async def close(self) -> None:
        """The call ends when its handler returns."""


class ClientChannel:
    """The site's end: one call on a connection of its own."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._call: Any = None

    async def open(self, timeout_s: float) -> None:
        """Connect and start the call; raises LinkLost."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._connected()
        except TimeoutError:
            raise LinkLost(f"no connection within {timeout_s} s") from None
        self._call = self._channel.stream_stream(METHOD)()

    async def _connected(self) -> None:
        """One pass over the addresses of the name. gRPC would go on with the same ones after a pause of its own; when
        to dial again, and where the name leads by then, is the dialler's."""
        state = self._channel.get_state(try_to_connect=True)
        while state is not grpc.ChannelConnectivity.READY:
            if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
                raise LinkLost("no connection: no address of the gateway's name took it")
            await self._channel.wait_for_state_change(state)
            state = self._channel.get_state(try_to_connect=True)

    async def send(self, frame: bytes) -> None:
        cancelled = cancellations()
        try:
            await self._call.write(frame)
        except _BROKEN as error:
            pass_on_cancellation(cancelled)
            raise await self._why(error) from None

    async def receive(self) -> bytes | None:
        cancelled = cancellations()
        try:
            message = await self._call.read()
        except _BROKEN as error:
            pass_on_cancellation(cancelled)
            raise await self._why(error) from None
        return message if isinstance(message, bytes) else None

    async def close(self) -> None:
        if self._call is not None:
            self._call.cancel()
        await self._channel.close()

    async def _why(self, error: BaseException) -> FederationError:
        """The call's own status: who writes into a call that was just refused gets an INTERNAL that says nothing."""
        with contextlib.suppress(TimeoutError, *_BROKEN):
            async with asyncio.timeout(STATUS_S):
                code, details = await self._call.code(), await self._call.details()
            if code in _REFUSALS:
                return PeerRefused(f"{code.name}: {visible(details or '')}")
            if details == Stopping.code:
                return LinkEnded(Stopping.code, "the gateway stops")
        return _lost(error)


def _lost(error: BaseException) -> LinkLost:
    if isinstance(error, grpc.aio.AioRpcError):
        return LinkLost(f"{error.code().name}: {visible(error.details() or '')}")
    return LinkLost(visible(str(error)) or type(error).__name__)
