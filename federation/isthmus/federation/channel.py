"""The seam under a link: frames as bytes, both ways, in order or not at all.

Behind it stand the gRPC stream (:mod:`isthmus.federation.transport`) and, in simulations, :func:`pair`, which can be
cut, can stall and can lose its order on purpose.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from isthmus.federation.errors import LinkLost


class Channel(Protocol):
    """Raises LinkLost when the transport is broken."""

    async def send(self, frame: bytes) -> None:
        """Hand over one frame; waits while the other side does not read (back pressure)."""
        ...

    async def receive(self) -> bytes | None:
        """The next frame, None when the other side ended the stream."""
        ...

    async def close(self) -> None:
        """End it. Idempotent."""
        ...


class MemoryChannel:
    """One end of :func:`pair`."""

    def __init__(self, depth: int) -> None:
        self._inbox: asyncio.Queue[bytes | None] = asyncio.Queue(depth)
        self._other: MemoryChannel | None = None
        self._broken = False
        self.stalled = asyncio.Event()
        self.stalled.set()

    def join(self, other: MemoryChannel) -> None:
        """What is sent here arrives there."""
        self._other = other

    async def send(self, frame: bytes) -> None:
        await self.stalled.wait()
        if self._broken or self._other is None or self._other._broken:
            raise LinkLost("the channel was cut")
        await self._other._inbox.put(frame)

    async def receive(self) -> bytes | None:
        if self._broken and self._inbox.empty():
            raise LinkLost("the channel was cut")
        frame = await self._inbox.get()
        if frame is None and self._broken:
            raise LinkLost("the channel was cut")
        return frame

    async def close(self) -> None:
        self._end(broken=False)

    def cut(self) -> None:
        """Break it at both ends at once, as a connection reset does."""
        self._end(broken=True)
        if self._other is not None:
            self._other._end(broken=True)

    def _end(self, *, broken: bool) -> None:
        self._broken = self._broken or broken
        ends = [self] if broken else [end for end in (self._other,) if end is not None]
        for end in ends:
            if broken:
                while not end._inbox.empty():
                    end._inbox.get_nowait()
            if not end._inbox.full():
                end._inbox.put_nowait(None)


def pair(depth: int = 16) -> tuple[MemoryChannel, MemoryChannel]:
    """Two ends of one in-memory stream; each direction holds at most ``depth`` frames."""
    one, two = MemoryChannel(depth), MemoryChannel(depth)
    one.join(two)
    two.join(one)
    return one, two
