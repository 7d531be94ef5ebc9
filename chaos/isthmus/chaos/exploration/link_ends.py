"""The exporting end of an explored link: the real core, with its pump's order of steps and nothing concurrent.

:class:`ExportEnd` does what :class:`~isthmus.federation.export_pump.ExportPump` does between two awaits as one
step; :class:`ImportEnd` what :class:`~isthmus.federation.import_pump.ImportPump` does with one frame. Where a pump
waits for a clock (a beat, a proof), the explorer chooses the moment.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from isthmus.chaos.exploration.freezing import freeze
from isthmus.chaos.exploration.link_import import AllPass, ImportEnd
from isthmus.chaos.exploration.stepped import SteppedStore, at_once
from isthmus.contract.envelope import Stamp
from isthmus.contract.scopes import ExportRoot
from isthmus.federation import link_pb2 as pb
from isthmus.federation.coalescing import Change
from isthmus.federation.digest import ALL_BUCKETS
from isthmus.federation.exporter import Exporter
from isthmus.federation.filters import DenialLog, ExportFilter
from isthmus.federation.importer import Importer
from isthmus.federation.limits import LinkLimits
from isthmus.federation.source import HistoryChanged, PeerSource
from isthmus.kv.errors import Compacted, FutureRevision
from isthmus.kv.mvcc import MvccStore
from isthmus.kv.port import Entry, WatchBatch

ROOT = ExportRoot("/isthmus/v1/outbox/b/", "")
STAMP = Stamp(origin="a", incarnation="1")


@dataclass(slots=True)
class Numbers:
    """Identifiers in order, the same in every run."""

    last: int = 0

    def __call__(self) -> str:
        self.last += 1
        return f"id-{self.last}"


def _no_time() -> float:
    return 0.0


_Taken = tuple[Change, tuple[Entry | None, int] | None]
"""A change on its way out, and what was read for it, once it was read."""


@dataclass(slots=True)
class _Sets:
    """A snapshot or repair that is being sent, entry by entry."""

    revision: int
    buckets: Sequence[int]
    learn: bool
    sent: int = 0


class ExportEnd:
    """See the module."""

    def __init__(
        self, factory: Factory, mvcc: MvccStore, numbers: Numbers, value_budget: int
    ) -> None:
        self._mvcc = mvcc
        self._numbers = numbers
        limits = LinkLimits(pending_bytes=value_budget, batch_items=1)
        roots = (ROOT,)
        self._filter = ExportFilter(roots, AllPass(), DenialLog())
        self.exporter = factory.exporter(self._filter, limits)
        self.source = factory.source(
            SteppedStore(mvcc), roots, "b", stamp=STAMP, ids=numbers, utc_s=_no_time
        )
        self._resume: pb.Resume | None = None
        self._buckets: Sequence[int] | None = None
        self._compare: pb.Compare | None = None
        self._sets: _Sets | None = None
        self._taken: list[_Taken] | None = None
        self._next: int = 0
        self._disconnected = False
        self._broken = False
        self._doubted = False
        self._unproved = False
        self._sent_before = 0

    # -- the watch

    def disconnected(self) -> None:
        """The connection to the store broke."""
        self._disconnected = True

    @property
    def watch_ready(self) -> bool:
        """True when the watch has something to tell."""
        if not self._next or self._broken:
            return False
        return self._disconnected or self._next < self._mvcc.compacted or self._event() is not None

    @property
    def heard(self) -> int:
        """The revision up to which the watch was heard; everything when there is none."""
        return self._next - 1 if self._next else self._mvcc.revision

    def _event(self) -> WatchBatch | None:
        for revision, events in self._mvcc.log_after(self._next - 1):
            ours = tuple(event for event in events if event.key.startswith(ROOT.source))
            if ours:
                return WatchBatch(revision, ours)
        return None

    def hear(self) -> str:
        """The next batch, or that the history broke."""
        if self._disconnected:
            return self._stand_again()
        if self._next < self._mvcc.compacted:
            self._broken = True
            return "compacted"
        batch = self._event()
        assert batch is not None
        self._next = batch.revision + 1
        self.exporter.changed(0, batch)
        self.source.saw(batch)
        return f"heard revision {batch.revision}"

    def _stand_again(self) -> str:
        self._disconnected = False
        try:
            if self._mvcc.revision < self._next - 1:
                raise FutureRevision("restored", revision=self._mvcc.revision)
            at_once(self.source.check())
        except (FutureRevision, HistoryChanged) as error:
            self._broken = True
            return f"the history is another one: {error}"
        self._doubted = True
        self.exporter.changed(0, WatchBatch(self._next - 1, (), resumed=True))
        return "stands again"

    # -- steps

    @property
    def ready(self) -> bool:
        """True when there is a step to do."""
        waits = (
            self._resume
            or self._sets
            or self._taken
            or self._broken
            or self._doubted
            or self._compare
        )
        return bool(waits) or (self._next > 0 and self.exporter.pending_keys > 0)

    def step(self) -> list[pb.Frame]:
        """The next one, as the pump would choose it."""
        try:
            return self._step()
        except (HistoryChanged, Compacted, FutureRevision):
            return self._again()

    def _step(self) -> list[pb.Frame]:
        if self._taken is not None:
            return self._send_taken(self._taken)
        if self._resume is not None:
            return self._serve(self._resume)
        if self._sets is not None:
            return self._send_set(self._sets)
        if self._broken:
            return self._again()
        if self._doubted:
            self._look_again()
            return []
        if self._compare is not None:
            return self._repair(self._compare)
        if self._taken is None:
            self._taken = [(change, None) for change in self.exporter.take()]
        return self._send_taken(self._taken)

    def _send_taken(self, taken: list[_Taken]) -> list[pb.Frame]:
        """What was taken; a value that is fetched is read in one step and arrives in the next."""
        change, read = taken[0]
        if change.fetch and read is None:
            found = at_once(self.source.get(self._filter.source_key(change.key)))
            taken[0] = (change, found)
            return []
        self._taken = None
        filled = change if read is None else self.exporter.fetched(change, *read)
        self._unproved = True
        return [self.exporter.batch([filled], 0)]

    def _serve(self, resume: pb.Resume) -> list[pb.Frame]:
        self._resume, self._sets, self._broken = None, None, False
        self._buckets = tuple(resume.buckets) or None
        self._sent_before = self.exporter.items_sent
        self.exporter.resumed(resume.window_bytes)
        token = resume.token if resume.HasField("token") else None
        holds, at = at_once(self.source.open(token))
        self._unproved = False
        if holds and token is not None:
            return self._follow(token, at)
        return self._snapshot(at)

    def _again(self) -> list[pb.Frame]:
        """The history broke: a snapshot under a new one, unasked."""
        if self.exporter.items_sent != self._sent_before:
            self._buckets = None
        self._sets, self._broken = None, False
        self._sent_before = self.exporter.items_sent
        self.exporter.resumed(1 << 20)
        _, at = at_once(self.source.open(None))
        self._unproved = False
        return self._snapshot(at)

    def _follow(self, token: pb.Token, at: pb.Token) -> list[pb.Frame]:
        start = token.revision
        if start > at.revision:
            raise HistoryChanged("the token is ahead of the store")
        self.exporter.forget([start])
        self._learn(at.revision, remember=True)
        self.exporter.settle(at.revision)
        self._stand(start + 1)
        begun = pb.Token(
            incarnation=at.incarnation,
            revision=start,
            nonce_revision=at.nonce_revision,
            nonce=at.nonce,
        )
        return [self.exporter.begin(self._stream(), pb.MODE_FOLLOW, begun, ())]

    def _snapshot(self, at: pb.Token) -> list[pb.Frame]:
        self.exporter.forget([at.revision])
        self._stand(at.revision + 1)
        differing: Sequence[int] = ALL_BUCKETS
        if self._buckets is not None:
            self._learn(at.revision, remember=False)
            differing = self.exporter.known.differing(self._buckets)
        self._sets = _Sets(at.revision, differing, learn=self._buckets is None)
        return [self.exporter.begin(self._stream(), pb.MODE_SNAPSHOT, at, differing)]

    def _repair(self, compare: pb.Compare) -> list[pb.Frame]:
        self._compare = None
        at = self._look_again()
        differing = self.exporter.known.differing(tuple(compare.buckets))
        self._sets = _Sets(at.revision, differing, learn=False)
        return [self.exporter.begin(0, pb.MODE_REPAIR, at, differing)]

    def _look_again(self) -> pb.Token:
        self._doubted = False
        at = at_once(self.source.renew())
        self.exporter.look_again()
        self._learn(at.revision, remember=True)
        self.exporter.settle(at.revision)
        return at

    def _learn(self, revision: int, *, remember: bool) -> None:
        entries = self._mvcc.snapshot(ROOT.source, revision).entries
        self.exporter.learn(0, entries, remember=remember)

    def _send_set(self, sets: _Sets) -> list[pb.Frame]:
        entries = self._mvcc.snapshot(ROOT.source, sets.revision).entries if sets.buckets else ()
        one = entries[sets.sent : sets.sent + 1]
        if not one:
            self._sets = None
            return [self.exporter.end()]
        sets.sent += 1
        if sets.learn:
            changes = self.exporter.learn(0, one, remember=False)
        else:
            changes = self.exporter.wanted(self.exporter.crossing(0, one), sets.buckets)
        return list(self.exporter.pack(changes, 0))

    def _stand(self, revision: int) -> None:
        self._next, self._disconnected, self._broken = revision, False, False

    def _stream(self) -> int:
        return int(self._numbers().partition("-")[2])

    # -- proofs, beats, answers

    @property
    def proof_due(self) -> bool:
        """True when a newer proof may be sent."""
        return self._unproved and not self.ready

    def prove(self) -> list[pb.Frame]:
        """Renew the proof."""
        try:
            proof = at_once(self.source.renew())
        except HistoryChanged:
            return self._again()
        self._unproved = False
        return [self.exporter.batch([], 0, proof)]

    @property
    def _following(self) -> bool:
        return self._next > 0 and not self.ready

    def beat(self) -> pb.Frame:
        """With the digest, when nothing waits."""
        return self.exporter.beat(0, with_digest=self._following)

    def beat_differs(self, imports: ImportEnd) -> bool:
        """True when a beat would tell the importer something."""
        differs = self.exporter.known.root() != imports.importer.known.root()
        return self._following and self.exporter.quiescent and differs

    def answered(self, frame: pb.Frame) -> None:
        """A frame of the importer."""
        kind = frame.WhichOneof("kind")
        if kind == "resume":
            self._resume, self._compare = frame.resume, None
        elif kind == "ack":
            self.exporter.ack(frame.ack)
        elif kind == "compare" and frame.compare.stream == self.exporter.stream:
            self._compare = frame.compare

    def state(self) -> Hashable:
        """For the explorer."""
        return (
            freeze(vars(self.exporter)),
            freeze(self.source._written),
            freeze(self._resume),
            freeze(self._compare),
            freeze(self._buckets),
            freeze(self._sets),
            freeze(self._taken),
            (self._next, self._disconnected, self._broken, self._doubted, self._unproved),
            self.exporter.items_sent == self._sent_before,
        )


@dataclass(frozen=True, slots=True)
class Factory:
    """The classes a world is made of; a test plants its mutants here."""

    exporter: type[Exporter] = Exporter
    importer: type[Importer] = Importer
    source: type[PeerSource] = PeerSource
    export_end: type[ExportEnd] = ExportEnd
