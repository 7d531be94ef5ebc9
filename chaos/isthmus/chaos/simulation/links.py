"""Lines between sites and their tier, and the channels on them (the seam is :mod:`isthmus.federation.channel`).

A :class:`Line` is the road: it outlives connections and has a :class:`Way` in each direction, with its delay, its
bandwidth and its faults. A :class:`SimChannel` is one end of one connection. An honest way keeps the order of its
frames and loses none while the connection stands, as TCP does: what is sent into a *blocked* way arrives when it opens
again, if the connection lives so long. Dropped, doubled and swapped frames are a dishonest transport's (attack 13).
"""

from __future__ import annotations

import asyncio
import random
from collections import deque

from isthmus.chaos.simulation.loop import VirtualLoop
from isthmus.federation.errors import LinkLost

DEPTH = 16
"""Frames under way in one direction before its sender waits: the transport's window."""


BEHIND_S = 1e-6
"""Two frames never arrive at the same moment: equal times have no order."""


class Way:
    """One direction of a line."""

    def __init__(self, name: str, chance: random.Random, latency_s: float) -> None:
        self.name = name
        self.chance = chance
        self.latency_s = latency_s
        self.extra_s = 0.0
        self.bytes_per_s = 0.0
        self.blocked = 0
        self.unread = 0
        self.drop = self.double = self.swap = 0.0
        self._held: list[tuple[SimChannel, bytes | None]] = []

    def block(self) -> None:
        """Nothing arrives any more; nobody is told."""
        self.blocked += 1

    def unblock(self) -> None:
        """What was sent meanwhile arrives now."""
        self.blocked -= 1
        if not self.blocked:
            held, self._held = self._held, []
            for channel, frame in held:
                self._arrive(channel, frame)

    def carry(self, channel: SimChannel, frame: bytes | None) -> None:
        """Bring one frame (None: the end of the stream) to ``channel``."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        now_s = loop.time()
        delay_s = self.latency_s * (0.5 + self.chance.random()) + self.extra_s
        arrives_s = max(channel.last_arrival_s + BEHIND_S, now_s + delay_s)
        if self.bytes_per_s and frame is not None:
            arrives_s += len(frame) / self.bytes_per_s
        if frame is not None and self.swap and self.chance.random() < self.swap:
            arrives_s += 3 * self.latency_s  # and the next ones overtake it
        else:
            channel.last_arrival_s = arrives_s
        loop.at(arrives_s, lambda: self._arrive(channel, frame))
        if frame is not None and self.double and self.chance.random() < self.double:
            channel.under_way += 1
            loop.at(arrives_s + self.latency_s, lambda: self._arrive(channel, frame))

    def _arrive(self, channel: SimChannel, frame: bytes | None) -> None:
        if self.blocked:
            self._held.append((channel, frame))
        elif frame is not None and self.drop and self.chance.random() < self.drop:
            channel.taken()
        else:
            channel.arrived(frame)


class Line:
    """Between ``site`` and the tier above it."""

    def __init__(self, site: str, chance: random.Random) -> None:
        self.site = site
        latency_s = chance.choice((0.001, 0.01, 0.05))
        self.up = Way(f"{site}.up", chance, latency_s)
        self.down = Way(f"{site}.down", chance, latency_s)
        self.channels: dict[SimChannel, None] = {}
        self.cut_now = 0

    @property
    def passable(self) -> bool:
        """Could a connection be made now?"""
        return not (self.cut_now or self.up.blocked or self.down.blocked)

    def reset(self) -> None:
        """Break every connection on it, both ends are told."""
        for channel in list(self.channels):
            channel.cut()

    def connect(self) -> tuple[SimChannel, SimChannel]:
        """The site's and the tier's end of a new connection."""
        site, tier = SimChannel(self, self.up), SimChannel(self, self.down)
        site.other, tier.other = tier, site
        self.channels[site] = self.channels[tier] = None
        return site, tier


class SimChannel:
    """One end; see :class:`isthmus.federation.channel.Channel`."""

    def __init__(self, line: Line, way: Way) -> None:
        self._line = line
        self._way = way
        self._inbox: deque[bytes | None] = deque()
        self._reader: asyncio.Future[None] | None = None
        self._writers: deque[asyncio.Future[None]] = deque()
        self._closed = False
        self.broken = False
        self.other: SimChannel | None = None
        self.last_arrival_s = 0.0
        self.under_way = 0

    async def send(self, frame: bytes) -> None:
        other = self.other
        while not self.broken and other is not None and other.under_way >= DEPTH:
            room = asyncio.get_running_loop().create_future()
            other._writers.append(room)
            await room
        if self.broken or self._closed or other is None:
            raise LinkLost("the channel was cut")
        other.under_way += 1
        self._way.carry(other, frame)

    async def receive(self) -> bytes | None:
        while not self._inbox or (self._inbound.unread and not self.broken):
            if self.broken:
                raise LinkLost("the channel was cut")
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        frame = self._inbox.popleft()
        if frame is not None:
            self.taken()
        return frame

    async def close(self) -> None:
        if not self._closed and not self.broken and self.other is not None:
            self._closed = True
            self._way.carry(self.other, None)
        self._line.channels.pop(self, None)

    # ---- what happens to it

    @property
    def _inbound(self) -> Way:
        return self._line.up if self._way is self._line.down else self._line.down

    def arrived(self, frame: bytes | None) -> None:
        """A frame is there."""
        if not self.broken:
            self._inbox.append(frame)
            self.wake()

    def taken(self) -> None:
        """One frame less is under way."""
        self.under_way -= 1
        while self._writers and self.under_way < DEPTH:
            room = self._writers.popleft()
            if not room.done():
                room.set_result(None)
                return

    def wake(self) -> None:
        """Whoever waits for a frame looks again."""
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def cut(self) -> None:
        """A connection reset: both ends are told, what was under way is lost."""
        for end in (self, self.other):
            if end is not None:
                end.lose()

    def lose(self) -> None:
        """This end is told that the connection is gone."""
        self.broken = True
        self._inbox.clear()
        self._line.channels.pop(self, None)
        self.wake()
        for waiting in (self._writers, self.other._writers if self.other is not None else ()):
            for room in waiting:
                if not room.done():
                    room.set_result(None)

    def abandon(self) -> None:
        """Its process is gone without a word: the other end hears nothing more (half-open)."""
        self._closed = True
        self.broken = True
        self._line.channels.pop(self, None)
        self._inbox.clear()
        self.wake()
