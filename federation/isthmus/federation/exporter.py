"""One direction of a link, sending side; pure (DESIGN section 6; Cilium's watchstore seen from the source).

The edge feeds it snapshots and watch batches, it gives back frames. It owns the numbering of a stream, the window of
unacknowledged bytes, the outbox, the digest of everything the peer must have, and the rule by which nobody ever sees
a key go back in time: below the *horizon* (the revision of the newest snapshot) a change is sent only if it is
still the state at the horizon.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from isthmus.federation import link_pb2 as pb
from isthmus.federation.coalescing import Change, Outbox, Ready
from isthmus.federation.digest import DigestMap, bucket_of, sum_of
from isthmus.federation.errors import LinkLost, ProtocolViolation
from isthmus.federation.filters import ExportFilter
from isthmus.federation.limits import LinkLimits
from isthmus.kv.port import Entry, EventKind, WatchBatch
from isthmus.kv.ranges import text_bytes

MANY_WAIT = 4096
"""While more keys wait no digest of what has gone so far is told: it costs a step for each."""


class Exporter:
    """``stream`` numbers are given at :meth:`begin`; all times are the caller's. ``paced``: an agreement may make keys
    wait for long; then digests are told of what has gone so far."""

    def __init__(self, export: ExportFilter, limits: LinkLimits, *, paced: bool = False) -> None:
        self._paced = paced
        self._filter = export
        self._limits = limits
        self._outbox = Outbox(len(export.roots), value_budget_bytes=limits.pending_bytes)
        self._horizon = 0
        self._at_horizon: dict[str, int] = {}
        self._floors: list[dict[str, int]] = [{} for _ in export.roots]
        self._unacked: deque[tuple[int, int]] = deque()
        self._window_bytes = limits.window_bytes
        self._had: dict[str, int | None] = {}
        """Of keys that wait: what the peer was sent of them before, as their part of the digest."""
        self.known = DigestMap()
        self.stream = 0
        self.seq = 0
        self.through = 0
        self.acked_seq = 0
        self.in_flight_bytes = 0
        self.items_sent = 0

    # -- the peer asks

    def resumed(self, window_bytes: int) -> None:
        """The peer wants a new stream: forget what was under way."""
        self._window_bytes = min(
            max(window_bytes, self._limits.batch_bytes), self._limits.window_bytes
        )
        self._unacked.clear()
        self.in_flight_bytes = 0
        self.stream = 0

    def ack(self, frame: pb.Ack) -> None:
        """The peer has stored everything up to ``seq``; raises ProtocolViolation for what was never sent."""
        if frame.stream != self.stream:
            return
        if frame.seq > self.seq:
            raise ProtocolViolation("ack-ahead", f"ack of {frame.seq}, {self.seq} was sent")
        self.acked_seq = max(self.acked_seq, frame.seq)
        while self._unacked and self._unacked[0][0] <= frame.seq:
            self.in_flight_bytes -= self._unacked.popleft()[1]

    # -- the source speaks

    def learn(self, lane: int, entries: Iterable[Entry], *, remember: bool) -> list[Change]:
        """Take note of a part of a snapshot; what of it may cross, for :meth:`pack`. ``remember`` its revisions until
        :meth:`settle`, when the watches also tell what happened before the snapshot."""
        changes = self.crossing(lane, entries)
        for change in changes:
            waiting = self._outbox.newest(lane, change.key)
            if waiting <= change.revision and change.value is not None:
                self.known.put(change.key, change.value)
            if remember:
                self._at_horizon[change.key] = change.revision
        return changes

    def crossing(self, lane: int, entries: Iterable[Entry]) -> list[Change]:
        """What of ``entries`` may cross, under its relative name."""
        changes: list[Change] = []
        for entry in entries:
            key = self._filter.relative(lane, entry.key)
            if key is not None and self._filter.value_passes(entry.key, entry.value):
                changes.append(Change(key, entry.value, entry.mod_revision))
        return changes

    def settle(self, revision: int) -> None:
        """The whole snapshot at ``revision`` was learnt: below it only its own state is news any more."""
        self._had.clear()
        self._horizon = revision
        self._outbox.keep(
            lambda change: self._is_news(change.key, change.is_delete, change.revision)
        )

    def forget(self, covered: Sequence[int]) -> None:
        """A new look at the whole source begins; the lanes' watches stand at ``covered``."""
        self.known = DigestMap()
        self._had.clear()
        self._outbox.clear(covered)
        self._at_horizon.clear()
        for floors in self._floors:
            floors.clear()
        self._horizon = 0

    def look_again(self) -> None:
        """A snapshot for a repair begins: the watches go on, what is known is read afresh. The horizon to come is above
        every floor; in a store that came back from a backup floors of the lost history would hide what is new."""
        self.known = DigestMap()
        self._had.clear()
        for floors in self._floors:
            floors.clear()
        self._at_horizon.clear()
        self._horizon = 0

    def changed(self, lane: int, batch: WatchBatch) -> None:
        """A batch of root number ``lane``. Raises LinkLost when a slow peer has too much waiting."""
        for event in batch.events:
            key = self._filter.relative(lane, event.key)
            if key is None or event.revision <= self._floors[lane].get(key, 0):
                continue
            if not self._is_news(key, event.kind is EventKind.DELETE, event.revision):
                continue
            if self._paced and not self._outbox.waits(key):
                self._begins_to_wait(key, event.revision)
            entry = event.entry
            if entry is not None and self._filter.value_passes(event.key, entry.value):
                self.known.put(key, entry.value)
                self._outbox.add(lane, key, entry.value, event.revision)
            else:  # a value that may not cross leaves no older one behind
                self.known.remove(key)
                self._outbox.add(lane, key, None, event.revision)
        self._outbox.cover(lane, batch.revision)
        if self._outbox.covered >= self._horizon:
            self._at_horizon.clear()
        self._drop_floors(self._floors[lane], batch.revision)
        if len(self._outbox) > self._limits.pending_keys:
            raise LinkLost(f"overrun: {len(self._outbox)} changed keys wait for the peer")

    def _begins_to_wait(self, key: str, revision: int) -> None:
        if revision > self._horizon:
            self._had[key] = self.known.sum_of(key)
        else:  # what is known is newer than what the peer was sent before it resumed
            self._had.pop(key, None)

    def _is_news(self, key: str, is_delete: bool, revision: int) -> bool:
        if revision > self._horizon:
            return True
        at_horizon = self._at_horizon.get(key)
        return at_horizon is None if is_delete else at_horizon == revision

    def fetched(self, change: Change, entry: Entry | None, revision: int) -> Change:
        """``change`` with the state that was read for it just now, at ``revision`` of the store: whatever the watch
        still has to tell of this key up to there is older than what goes out (the explorer found both ways)."""
        key = change.key
        source_key = self._filter.source_key(key)
        floors = next(
            floors
            for root, floors in zip(self._filter.roots, self._floors, strict=True)
            if source_key == root.source or (root.is_prefix and source_key.startswith(root.source))
        )
        floors.pop(key, None)
        floors[key] = revision  # last: revisions of reads only rise
        self._outbox.drop_older(key, revision)
        if entry is None or not self._filter.value_passes(entry.key, entry.value):
            filled = Change(key, None, change.revision)
        else:
            filled = Change(key, entry.value, entry.mod_revision)
        if self._paced and self._outbox.waits(key):  # it changed again while it was read
            self._had[key] = None if filled.value is None else sum_of(key, filled.value)
        if not self._outbox.waits(key):
            if filled.value is None:
                self.known.remove(key)
            else:
                self.known.put(key, filled.value)
        return filled

    @staticmethod
    def _drop_floors(floors: dict[str, int], covered: int) -> None:
        """The watch is past them."""
        while floors:
            key, floor = next(iter(floors.items()))
            if floor > covered:
                return
            del floors[key]

    # -- frames

    @property
    def has_room(self) -> bool:
        """True when the window lets another Batch go."""
        return self.in_flight_bytes < self._window_bytes

    @property
    def frames_in_flight(self) -> int:
        """Batches that were not acknowledged yet."""
        return len(self._unacked)

    @property
    def quiescent(self) -> bool:
        """True when the peer has been sent everything known here."""
        return self.stream != 0 and not len(self._outbox)

    @property
    def pending_keys(self) -> int:
        """Changed keys that wait."""
        return len(self._outbox)

    def begin(self, stream: int, mode: pb.Mode, at: pb.Token, buckets: Sequence[int]) -> pb.Frame:
        """The first frame of a new stream, or (mode REPAIR) the next of the running one."""
        if mode != pb.MODE_REPAIR:
            self.stream, self.seq, self.acked_seq = stream, 0, 0
            self.through = at.revision if mode == pb.MODE_FOLLOW else 0
        self.seq += 1
        return pb.Frame(
            begin=pb.Begin(stream=self.stream, seq=self.seq, mode=mode, at=at, buckets=buckets)
        )

    def pack(self, changes: Iterable[Change], now_ms: int) -> Iterable[pb.Frame]:
        """Frames within the limits for ``changes`` of a snapshot; nothing older may follow for these keys."""
        gathered: list[Change] = []
        size = 0
        waiting = len(self._outbox) > 0
        max_items, max_bytes = self._limits.batch_items, self._limits.batch_bytes
        for change in changes:
            if waiting:
                self._outbox.drop_older(change.key, change.revision)
            cost = change.size
            if gathered and (len(gathered) >= max_items or size + cost > max_bytes):
                yield self._batch(gathered, 0, now_ms)
                gathered, size = [], 0
                waiting = len(self._outbox) > 0
            gathered.append(change)
            size += cost
        if gathered:
            yield self._batch(gathered, 0, now_ms)

    def end(self) -> pb.Frame:
        """The snapshot or repair is complete."""
        self.seq += 1
        self.through = max(self.through, self._outbox.through)
        return pb.Frame(end=pb.End(stream=self.stream, seq=self.seq, through=self.through))

    def take(self, room: int | None = None, ready: Ready | None = None) -> list[Change]:
        """What is to be sent next; those with ``fetch`` must be read and go through :meth:`fetched` first. ``room`` and
        ``ready`` are an agreement's: so many at most, and only these keys."""
        items = self._limits.batch_items if room is None else min(room, self._limits.batch_items)
        taken = self._outbox.take(items, self._limits.batch_bytes, ready)
        for change in taken:
            self._had.pop(change.key, None)
        return taken

    def waiting_keys(self) -> Iterable[str]:
        """Keys that wait to be sent."""
        return self._outbox.keys()

    def batch(self, changes: list[Change], now_ms: int, proof: pb.Token | None = None) -> pb.Frame:
        """A frame of changes (maybe none: then it carries ``through`` or ``proof`` only)."""
        self.through = max(self.through, self._outbox.through)
        return self._batch(changes, self.through, now_ms, proof)

    def _batch(
        self, changes: list[Change], through: int, now_ms: int, proof: pb.Token | None = None
    ) -> pb.Frame:
        self.seq += 1
        batch = pb.Batch(
            stream=self.stream,
            seq=self.seq,
            through=through,
            sent_at_ms=now_ms,
            proof=proof,
            items=[
                pb.Item(
                    verb=pb.VERB_PUT if change.value is not None else pb.VERB_DELETE,
                    key=text_bytes(change.key),
                    value=change.value,
                    revision=change.revision,
                )
                for change in changes
            ],
        )
        size = batch.ByteSize()
        self._unacked.append((self.seq, size))
        self.in_flight_bytes += size
        self.items_sent += len(changes)
        return pb.Frame(batch=batch)

    def beat(self, now_ms: int, *, with_digest: bool) -> pb.Frame:
        """A beat; with the digest when nothing is waiting, or (where an agreement makes keys wait) of what has gone so
        far, unless that is not known of some key."""
        beat = pb.Beat(sent_at_ms=now_ms, stream=self.stream, seq=self.seq, through=self.through)
        if with_digest and self.quiescent:
            beat.digest = self.known.root()
            beat.keys = len(self.known)
        elif with_digest and self._paced and self.stream and len(self._outbox) <= MANY_WAIT:
            waiting = list(self._outbox.keys())
            if all(key in self._had for key in waiting):
                before = {key: self._had[key] for key in waiting}
                beat.digest, beat.keys = self.known.root_with(before)
        return pb.Frame(beat=beat)

    def wanted(self, changes: Iterable[Change], buckets: Sequence[int]) -> list[Change]:
        """Those of ``changes`` that lie in ``buckets``."""
        chosen = frozenset(buckets)
        return [change for change in changes if bucket_of(change.key) in chosen]
