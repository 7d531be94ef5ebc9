"""Drives one :class:`~isthmus.federation.importer.Importer` from a channel to a store: an edge.

Frames are checked as they come and stored in order by one task; only what is stored is acknowledged, and the window
bounds what waits in between. Following merges what has piled up: one write holds the newest state of each key.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from isthmus.failpoint import afailpoint
from isthmus.federation import link_pb2 as pb
from isthmus.federation.destination import Destination
from isthmus.federation.filters import DenialLog, KeyCheck, ValueCheck
from isthmus.federation.importer import Importer, Work
from isthmus.federation.limits import LinkLimits
from isthmus.policy.quotas import Bucket, Quota

MAX_SLOWDOWN_S = 5.0
"""One pause; longer ones would look like a stalled importer to the peer."""
ON_TIME_S = 0.002
"""Woken within this, an end is not late: it acknowledges at once, and what waits for the answer leaves at once."""
ACK_PER_LATE = 5.0
"""An end that is late itself answers later still, by so many times; its peers, who wait for answers, then send fewer,
larger frames. So a gateway with hundreds of busy peers sheds messages, not changes."""
LATE_WEIGHT = 0.2
"""Of the newest lateness in the running mean."""
ROUNDING_S = 1e-3
"""Two sums of the same moments may differ; a wait of nothing would spin."""
Send = Callable[[pb.Frame], Awaitable[None]]


class ImportPump:
    """``send`` writes one frame, ``monotonic_s`` is a clock."""

    def __init__(
        self,
        destination: Destination,
        check: KeyCheck,
        quota: Quota | None,
        limits: LinkLimits,
        denials: DenialLog,
        send: Send,
        *,
        monotonic_s: Callable[[], float],
        values: ValueCheck | None = None,
    ) -> None:
        self._values = values
        self._destination = destination
        self._check = check
        self._quota = quota
        self._limits = limits
        self._denials = denials
        self._send = send
        self._now_s = monotonic_s
        self._queue: deque[tuple[Work, int]] = deque()
        self._wake = asyncio.Event()
        self._cursor: pb.Token | None = None
        self._answer: pb.Frame | None = None
        self._ack: tuple[float, pb.Ack] | None = None
        self._ack_bytes = 0
        self._late_s = 0.0
        self._woken_s: float | None = None
        self._bucket: Bucket | None = None
        self.slowed_s = 0.0
        self._marked_at_s = 0.0
        self._asked_at_s = 0.0
        self._checked_at_s = monotonic_s()
        self.importer: Importer | None = None

    async def open(self) -> None:
        """Take over the sub-tree and ask the peer for its keys."""
        known, token, synced = await self._destination.open()
        await afailpoint("import.opened")
        self.importer = Importer(
            self._check, self._quota, self._limits, self._denials, known, token, self._values
        )
        self.importer.synced = synced
        self._asked_at_s = self._now_s()
        await self._send(self.importer.resume())

    def unanswered(self, now_s: float) -> bool:
        """True when the peer was asked for a stream and has not begun one for too long."""
        waiting = self.importer is not None and self.importer.waiting
        return waiting and now_s - self._asked_at_s > self._limits.stalled_after_s

    # -- frames of the peer's exporter

    def on_begin(self, frame: pb.Begin) -> None:
        """A stream, a snapshot or a repair begins."""
        self._importer().begin(frame)

    def on_batch(self, frame: pb.Batch) -> None:
        """Changes."""
        size = frame.ByteSize()
        self._enqueue(self._importer().batch(frame, size), size)

    def on_end(self, frame: pb.End) -> None:
        """A snapshot or repair is complete."""
        self._enqueue(self._importer().end(frame), 0)

    def on_beat(self, frame: pb.Beat) -> None:
        """A digest that differs is answered; by the loop, since a reader that waits to write can lock both ends."""
        answer = self._importer().beat(frame)
        if answer is not None:  # one that waits to be sent is not taken back by a beat without
            self._answer = answer
            self._rouse()

    def _importer(self) -> Importer:
        if self.importer is None:
            raise AssertionError("frames are read only after open()")
        return self.importer

    def _enqueue(self, work: Work | None, size: int) -> None:
        if work is not None:
            self._queue.append((work, size))
            self._rouse()

    def _rouse(self) -> None:
        if self._woken_s is None:
            self._woken_s = self._now_s()
        self._wake.set()

    # -- the loop

    async def run(self) -> None:
        """Store what is queued, for ever."""
        while True:
            if not self._queue and self._answer is None:
                await self._wait()
            if self._queue:
                await self._store_some()
            if self._answer is not None:
                answer, self._answer = self._answer, None
                await self._send(answer)
            await self._ack_if_due()
            await self._mark_if_due()
            await self._check_if_due()

    async def _store_some(self) -> None:
        """Everything queued that may be written together."""
        parallel = self._queue[0][0].parallel
        newest: dict[str, bytes | None] = {}
        size = received = 0
        last: Work | None = None
        synced = False
        while self._queue and self._queue[0][0].parallel == parallel and not synced:
            work, bytes_ = self._queue.popleft()
            received += len(work.writes)
            for key, value in work.writes:
                newest.pop(key, None)
                newest[key] = value  # last: the order of writes follows the source
            size += bytes_
            last = work
            synced = work.synced
            if work.cursor is not None:
                self._cursor = work.cursor
        await self._slow_down(received)
        if newest:
            await self._destination.write(list(newest.items()), parallel=parallel)
            await afailpoint("import.batch_stored")
        if synced:
            await self._mark(synced=True)
        self._importer().stored(size)
        self._ack_bytes += size
        if last is not None and last.ack is not None:
            self._ack = self._ack or (self._now_s(), last.ack)
            self._ack = (self._ack[0], last.ack)
        if parallel or synced:
            await self._acknowledge()

    async def _ack_if_due(self) -> None:
        """At once where we keep up; else one acknowledgement for many small frames: each costs both ends a message."""
        if self._ack is None:
            return
        over_s = self._now_s() - self._ack[0] - self._ack_delay_s
        if over_s >= -ROUNDING_S or self._ack_bytes >= self._limits.window_bytes // 8:
            await self._acknowledge()

    @property
    def _ack_delay_s(self) -> float:
        late_s = max(0.0, self._late_s - ON_TIME_S)
        return min(self._limits.latest_ack_s, ACK_PER_LATE * late_s)

    async def _acknowledge(self) -> None:
        if self._ack is not None:
            (_, ack), self._ack, self._ack_bytes = self._ack, None, 0
            await self._send(pb.Frame(ack=ack))
            await afailpoint("import.acknowledged")

    async def _slow_down(self, changes: int) -> None:
        """Over its rate a peer waits: its acknowledgements come later, so it coalesces at its own end (G11)."""
        if self._quota is None:
            return
        now_s = self._now_s()
        bucket = self._bucket or Bucket.full(self._quota, now_s)
        self._bucket, wait_s = bucket.take(self._quota, now_s, changes)
        if wait_s > 0:
            self.slowed_s += wait_s
            await asyncio.sleep(min(wait_s, MAX_SLOWDOWN_S))

    async def _mark_if_due(self) -> None:
        due = self._now_s() - self._marked_at_s >= self._limits.cursor_every_s
        if self._cursor is not None and due:
            await self._mark(synced=False)

    async def _check_if_due(self) -> None:
        if self._now_s() - self._checked_at_s >= self._limits.check_every_s:
            self._checked_at_s = self._now_s()
            await self._destination.check()

    async def _mark(self, *, synced: bool) -> None:
        cursor, self._cursor = self._cursor, None
        self._marked_at_s = self._now_s()
        keys = len(self._importer().known)
        await afailpoint("import.before_cursor")
        await self._destination.mark(cursor, synced=synced, keys=keys)
        await afailpoint("import.cursor_written")

    async def _wait(self) -> None:
        patience_s = self._limits.check_every_s
        if self._cursor is not None:
            patience_s = self._limits.cursor_every_s
        if self._ack is not None:
            patience_s = max(ROUNDING_S, self._ack[0] + self._ack_delay_s - self._now_s())
        due_s = self._now_s() + patience_s
        self._wake.clear()
        self._woken_s = None
        try:
            async with asyncio.timeout(patience_s):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._note_lateness(due_s if self._woken_s is None else self._woken_s)

    def _note_lateness(self, due_s: float) -> None:
        """How long after its moment this end gets its turn: what all the other work of the process costs it."""
        late_s = max(0.0, self._now_s() - due_s)
        self._late_s += LATE_WEIGHT * (late_s - self._late_s)
