"""Drives one :class:`~isthmus.federation.exporter.Exporter` from a store to a channel: an edge.

Asked by the peer (Resume), it proves its history, opens a watch per root and sends a snapshot or only what changed;
then it follows. A store that lost its history (compacted, restored) leads to a snapshot under a new incarnation,
never to silence (attack 16). Memory is the outbox's and the window's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from isthmus.failpoint import afailpoint
from isthmus.federation import link_pb2 as pb
from isthmus.federation.coalescing import Change
from isthmus.federation.digest import ALL_BUCKETS
from isthmus.federation.exporter import Exporter
from isthmus.federation.filters import ExportFilter
from isthmus.federation.limits import LinkLimits
from isthmus.federation.pacing import Pacer
from isthmus.federation.source import HistoryChanged, Source
from isthmus.kv.errors import Compacted, FutureRevision

Send = Callable[[pb.Frame], Awaitable[None]]
SHORTEST_S = 0.005
"""A wait for an agreement's rate is never shorter: rounding must not spin."""
SETTLE_S = 1.0
"""A watch that has had nothing for so long after a resume has caught up: then a digest is worth telling."""


class ExportPump:
    """``send`` writes one frame; ``monotonic_s`` and ``utc_ms`` are clocks; ``streams`` gives random stream numbers."""

    def __init__(
        self,
        source: Source,
        export: ExportFilter,
        limits: LinkLimits,
        send: Send,
        *,
        monotonic_s: Callable[[], float],
        utc_ms: Callable[[], int],
        streams: Callable[[], int],
        pacer: Pacer | None = None,
    ) -> None:
        if pacer is not None:
            items = min(limits.batch_items, pacer.burst)
            limits = limits.model_copy(update={"batch_items": items})
        self.exporter = Exporter(export, limits, paced=pacer is not None)
        self._pacer = pacer
        self._source = source
        self._filter = export
        self._limits = limits
        self._send = send
        self._now_s = monotonic_s
        self._utc_ms = utc_ms
        self._streams = streams
        self._wake = asyncio.Event()
        self._resume: pb.Resume | None = None
        self._compare: pb.Compare | None = None
        self._broken: Exception | None = None
        self._lanes: list[asyncio.Task[None]] = []
        self._unproved_since: float | None = None
        self._moved_at_s = 0.0
        self._acked_at_s = 0.0
        self._following = False
        self._catching_up = False
        self._doubted = False

    # -- frames of the peer's importer

    def on_resume(self, frame: pb.Resume) -> None:
        """Start again from where the peer stands."""
        self._resume = frame
        self._compare = None
        self._wake.set()

    def on_ack(self, frame: pb.Ack) -> None:
        """Room in the window."""
        self.exporter.ack(frame)
        self._acked_at_s = self._now_s()
        self._wake.set()

    def on_compare(self, frame: pb.Compare) -> None:
        """The peer has another set than we told."""
        if frame.stream == self.exporter.stream and len(frame.buckets) == len(ALL_BUCKETS):
            self._compare = frame
            self._wake.set()

    def beat(self) -> pb.Frame:
        """The next beat, with the digest once things have settled."""
        if self._catching_up:
            self._catching_up = self._now_s() - self._moved_at_s < SETTLE_S
        tell = self._following and not self._catching_up and self._broken is None
        return self.exporter.beat(self._utc_ms(), with_digest=tell)

    def stalled(self, now_s: float) -> bool:
        """True when something is under way and nothing was acknowledged for too long (attack 12)."""
        waiting = self.exporter.in_flight_bytes > 0
        return waiting and now_s - self._acked_at_s > self._limits.stalled_after_s

    # -- the loop

    async def run(self) -> None:
        """Until cancelled, or an error that ends the link."""
        try:
            while True:
                while self._resume is None:
                    await self._wait(None)
                resume, self._resume = self._resume, None
                await self._serve(resume)
        finally:
            self._stop_lanes()

    async def _serve(self, resume: pb.Resume) -> None:
        """One Resume; returns when the peer asks again. A broken history begins a new one."""
        token: pb.Token | None = resume.token if resume.HasField("token") else None
        buckets: Sequence[int] | None = tuple(resume.buckets) or None
        while self._resume is None:
            sent = self.exporter.items_sent
            self._unproved_since = None
            try:
                self.exporter.resumed(resume.window_bytes)
                holds, at = await self._source.open(token)
                await afailpoint("export.history_opened")
                if holds and token is not None:
                    await self._begin_following(token, at)
                else:
                    await self._send_snapshot(at, buckets)
                await self._follow()
            except (HistoryChanged, Compacted, FutureRevision):
                token = None
                if self.exporter.items_sent != sent:
                    buckets = None
            finally:
                self._following = self._catching_up = False
                self._stop_lanes()

    async def _begin_following(self, token: pb.Token, at: pb.Token) -> None:
        """Only what changed behind ``token``; a local look at ``at`` keeps anything from going back in time."""
        start = token.revision
        if start > at.revision:
            raise HistoryChanged("the token is ahead of the store")
        self.exporter.forget([start] * len(self._source.roots))
        await self._learn(at.revision, remember=True)
        self.exporter.settle(at.revision)
        self._start_lanes(start + 1)
        self._catching_up = True
        at = pb.Token(
            incarnation=at.incarnation,
            revision=start,
            nonce_revision=at.nonce_revision,
            nonce=at.nonce,
        )
        await self._send(self.exporter.begin(self._streams(), pb.MODE_FOLLOW, at, ()))
        await afailpoint("export.begun")

    async def _send_snapshot(self, at: pb.Token, buckets: Sequence[int] | None) -> None:
        """The whole set at ``at``, or what differs from the peer's ``buckets``."""
        self.exporter.forget([at.revision] * len(self._source.roots))
        self._start_lanes(at.revision + 1)
        differing: Sequence[int] = ALL_BUCKETS
        if buckets is not None:
            await self._learn(at.revision, remember=False)
            differing = self.exporter.known.differing(buckets)
        await self._send(self.exporter.begin(self._streams(), pb.MODE_SNAPSHOT, at, differing))
        await afailpoint("export.begun")
        await self._send_sets(at.revision, differing, learn=buckets is None)

    async def _repair(self, compare: pb.Compare) -> None:
        """Send the sets again in which the peer differs, from a fresh look at the store."""
        at = await self._look_again()
        differing = self.exporter.known.differing(tuple(compare.buckets))
        await self._send(self.exporter.begin(0, pb.MODE_REPAIR, at, differing))
        await self._send_sets(at.revision, differing, learn=False)

    async def _look_again(self) -> pb.Token:
        """Read afresh what the peer must have. After a lost connection to the store this finds what a backup that
        holds our newest nonce undid: the digest of the next beat tells the peer (seed 2696 found it)."""
        self._doubted = False
        at = await self._source.renew()
        self.exporter.look_again()
        await self._learn(at.revision, remember=True)
        self.exporter.settle(at.revision)
        return at

    async def _learn(self, revision: int, *, remember: bool) -> None:
        for lane in range(len(self._source.roots)):
            async for entries in self._source.snapshot(lane, revision):
                self.exporter.learn(lane, entries, remember=remember)

    async def _send_sets(self, revision: int, buckets: Sequence[int], *, learn: bool) -> None:
        for lane in range(len(self._source.roots) if buckets else 0):
            async for entries in self._source.snapshot(lane, revision):
                if learn:
                    changes = self.exporter.learn(lane, entries, remember=False)
                else:
                    changes = self.exporter.wanted(self.exporter.crossing(lane, entries), buckets)
                for frame in self.exporter.pack(changes, self._utc_ms()):
                    await self._paced(frame.batch)
                    await self._send_data(frame)
                    await self._room()
                if self._resume is not None:
                    return
        await afailpoint("export.set_sent")
        await self._send(self.exporter.end())
        self._moved()

    async def _follow(self) -> None:
        """Send what changes; returns when the peer asks for a new stream."""
        exporter = self.exporter
        while self._resume is None:
            self._following = self._compare is None and not self._doubted
            self._raise_broken()
            if self._doubted:
                await self._look_again()
            elif self._compare is not None:
                compare, self._compare = self._compare, None
                await self._repair(compare)
            elif exporter.pending_keys and exporter.has_room and self._keeps_up:
                self._following = False  # between taking and sending, the digest is ahead
                taken = self._take()
                if not taken:
                    self._following = True  # nothing is between: what went so far can be compared
                    await self._wait(self._held_s())
                    continue
                changes = [await self._filled(change) for change in taken]
                await afailpoint("export.batch_taken")
                await self._send_data(exporter.batch(changes, self._utc_ms()))
                await afailpoint("export.batch_sent")
                self._moved()
                if self._unproved_since is None:
                    self._unproved_since = self._now_s()
            elif self._proof_due():
                proof = await self._source.renew()
                await afailpoint("export.proof_renewed")
                self._unproved_since = None
                await self._send(exporter.batch([], self._utc_ms(), proof))
            else:
                await self._wait(self._until_proof_s())

    @property
    def _keeps_up(self) -> bool:
        """False while the peer owes us so many answers that what waits had better gather."""
        return self.exporter.frames_in_flight < self._limits.follow_frames

    def _take(self) -> list[Change]:
        """What may go now: by an agreement's rate and intervals, where there are any."""
        pacer, now_s = self._pacer, self._now_s()
        if pacer is None:
            return self.exporter.take()
        ready = (lambda key: pacer.ready(key, now_s)) if pacer.spaced else None
        taken = self.exporter.take(pacer.room(now_s), ready)
        pacer.took([change.key for change in taken], now_s)
        return taken

    def _held_s(self) -> float:
        """Until the agreement lets something of what waits go."""
        if self._pacer is None:
            return 0.0
        now_s = self._now_s()
        due = (self._pacer.due_s(key, now_s) for key in self.exporter.waiting_keys())
        wait_s = self._pacer.wait_s(1, now_s)
        if self._pacer.spaced:
            wait_s = max(wait_s, min(due, default=0.0))
        return max(SHORTEST_S, wait_s)

    async def _paced(self, batch: pb.Batch) -> None:
        """A set keeps the agreement's rate, too; its keys count for their intervals."""
        if self._pacer is None:
            return
        while (wait_s := self._pacer.wait_s(len(batch.items), self._now_s())) > 0:
            self._raise_broken()
            if self._resume is not None:
                return
            await self._wait(max(SHORTEST_S, wait_s))
        self._pacer.took([item.key.decode() for item in batch.items], self._now_s())

    async def _send_data(self, frame: pb.Frame) -> None:
        if self.exporter.in_flight_bytes and self.exporter.seq == self.exporter.acked_seq + 1:
            self._acked_at_s = self._now_s()  # the first that waits for an answer
        await self._send(frame)

    async def _filled(self, change: Change) -> Change:
        if not change.fetch:
            return change
        entry, revision = await self._source.get(self._filter.source_key(change.key))
        return self.exporter.fetched(change, entry, revision)

    def _proof_due(self) -> bool:
        left_s = self._until_proof_s()
        return left_s is not None and left_s <= 0

    def _until_proof_s(self) -> float | None:
        if self._unproved_since is None or self.exporter.pending_keys:
            return None
        return self._unproved_since + self._limits.proof_every_s - self._now_s()

    # -- watches

    def _start_lanes(self, start_revision: int) -> None:
        self._stop_lanes()
        self._broken = None
        self._moved()
        self._lanes = [
            asyncio.get_running_loop().create_task(self._watch(lane, start_revision))
            for lane in range(len(self._source.roots))
        ]

    def _stop_lanes(self) -> None:
        for task in self._lanes:
            task.cancel()
        self._lanes = []

    async def _watch(self, lane: int, start_revision: int) -> None:
        try:
            async for batch in self._source.watch(lane, start_revision):
                if batch.resumed:
                    await self._source.check()
                    self._doubted = True
                self.exporter.changed(lane, batch)
                self._source.saw(batch)
                if batch.events:
                    self._moved()
                self._wake.set()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self._broken = error
            self._wake.set()

    def _raise_broken(self) -> None:
        if self._broken is not None:
            raise self._broken

    async def _room(self) -> None:
        while not self.exporter.has_room and self._resume is None:
            self._raise_broken()
            await self._wait(None)

    def _moved(self) -> None:
        self._moved_at_s = self._now_s()

    async def _wait(self, timeout_s: float | None) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout(timeout_s):
                await self._wake.wait()
        except TimeoutError:
            return
