"""One direction of a link, receiving side; pure (DESIGN section 6: mark stale, snapshot, sweep, follow).

Frames of the peer come in, operations on relative keys come out, each checked again whatever the sender checked (G8).
Nothing is removed before the peer has named the whole set, so readers never see it blank (G6); a frame out of
order never reaches the store (G5, attack 13); what a peer may hold is bounded by its quota (G11).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from isthmus.contract.envelope import VALUE_LIMIT_BYTES
from isthmus.federation import link_pb2 as pb
from isthmus.federation.digest import BUCKETS, DigestMap
from isthmus.federation.errors import ProtocolViolation
from isthmus.federation.filters import DenialLog, KeyCheck, ValueCheck
from isthmus.federation.limits import LinkLimits
from isthmus.policy.errors import KeyRefused
from isthmus.policy.keys import check_key
from isthmus.policy.quotas import Quota, Usage, decide_put
from isthmus.policy.scopes import Decision, Verb

BEATS_BETWEEN_COMPARES = 3
"""A repair takes time; asking again at each beat would start it again each time."""
PATIENCE = 2
"""So often the time between two repairs doubles for a peer that sends more than its quota again and again."""


@dataclass(slots=True)
class Work:
    """What the edge has to do, in order: ``writes`` (None: delete) to relative keys, then ``ack``. ``cursor`` is the
    resume token once they are stored. ``parallel``: keys are distinct and may be written in any order.
    ``synced``: with this the whole set of the peer is here."""

    writes: list[tuple[str, bytes | None]] = field(default_factory=list)
    ack: pb.Ack | None = None
    cursor: pb.Token | None = None
    parallel: bool = False
    synced: bool = False


class Importer:
    """``known`` is what the store holds of this peer, ``token`` where the last link stopped."""

    def __init__(
        self,
        check: KeyCheck,
        quota: Quota | None,
        limits: LinkLimits,
        denials: DenialLog,
        known: DigestMap,
        token: pb.Token | None,
        values: ValueCheck | None = None,
    ) -> None:
        self._filter = check
        self._values = values
        self._quota = quota
        self._limits = limits
        self._denials = denials
        self._token = token
        self._stale: set[str] = set()
        self._mode: pb.Mode = pb.MODE_UNSPECIFIED
        self._buckets: frozenset[int] = frozenset()
        self._open = False
        self._waiting_begin = True
        self._compare_wait = 0
        self._refused: set[str] = set()
        self.known = known
        self.stream = 0
        self.seq = 0
        self.through = 0
        self.unacked_bytes = 0
        self.dropped_frames = 0
        self.resyncs = 0
        self.repairs = 0
        self.items_received = 0
        self._full: tuple[int, int] | None = None
        self._overruns = 0
        self.digests_equal: bool | None = None
        self.synced = False
        self.source_ms = 0

    @property
    def waiting(self) -> bool:
        """True from asking for a stream until it begins."""
        return self._waiting_begin

    def resume(self) -> pb.Frame:
        """Ask for a new stream, from where we stand."""
        self._waiting_begin = True
        self._open = False
        self.stream, self.seq, self.unacked_bytes = 0, 0, 0
        buckets = self.known.buckets if len(self.known) else ()
        resume = pb.Resume(window_bytes=self._limits.window_bytes, buckets=buckets)
        if self._token is not None:
            resume.token.CopyFrom(self._token)
        return pb.Frame(resume=resume)

    def begin(self, frame: pb.Begin) -> None:
        """A new stream, or a repair within the running one."""
        if frame.mode == pb.MODE_REPAIR and not self._waiting_begin:
            if not self._in_order(frame.stream, frame.seq):
                return
        elif frame.mode in (pb.MODE_SNAPSHOT, pb.MODE_FOLLOW):
            self._new_stream(frame)  # a source whose history broke begins a snapshot unasked
        else:
            raise ProtocolViolation("begin-mode", f"mode {frame.mode} cannot begin a stream")
        if any(bucket >= BUCKETS for bucket in frame.buckets) or len(frame.buckets) > BUCKETS:
            raise ProtocolViolation("begin-buckets", f"there are {BUCKETS} buckets")
        self._mode = frame.mode
        self._open = frame.mode != pb.MODE_FOLLOW
        self._buckets = frozenset(frame.buckets) if self._open else frozenset()
        self._stale = self.known.keys_in(self._buckets)
        if frame.mode == pb.MODE_SNAPSHOT:
            self.resyncs += 1
        elif frame.mode == pb.MODE_REPAIR:
            self.repairs += 1

    def _new_stream(self, frame: pb.Begin) -> None:
        if not self._waiting_begin and frame.mode == pb.MODE_FOLLOW:
            raise ProtocolViolation("begin-unasked", "a stream was begun that was not asked for")
        if frame.seq != 1 or frame.stream == 0 or not frame.at.incarnation:
            raise ProtocolViolation("begin-malformed", "a stream begins at 1, with a history")
        if frame.mode == pb.MODE_FOLLOW:
            token = self._token
            if token is None or frame.at.incarnation != token.incarnation:
                raise ProtocolViolation("begin-follow", "follows a history that we do not have")
        self._token = _copy(frame.at)
        self._waiting_begin = False
        self.stream, self.seq = frame.stream, 1
        self.through = frame.at.revision if frame.mode == pb.MODE_FOLLOW else 0

    def batch(self, frame: pb.Batch, size: int) -> Work | None:
        """The writes of one Batch of ``size`` bytes; None when the frame is not for now."""
        if len(frame.items) > self._limits.batch_items:
            raise ProtocolViolation("batch-items", f"{len(frame.items)} items in one frame")
        if not self._in_order(frame.stream, frame.seq):
            return None
        self.unacked_bytes += size
        if self.unacked_bytes > 2 * self._limits.window_bytes + self._limits.frame_bytes:
            raise ProtocolViolation("window", f"{self.unacked_bytes} bytes were not acknowledged")
        if frame.through and frame.through < self.through:
            raise ProtocolViolation("through-back", "the source's history runs backwards")
        work = Work(parallel=self._open, ack=pb.Ack(stream=self.stream, seq=self.seq))
        for item in frame.items:
            self._item(item, work.writes)
        self.source_ms = max(self.source_ms, frame.sent_at_ms)
        self.items_received += len(frame.items)
        self._advance(frame.through, frame.proof if frame.HasField("proof") else None, work)
        return work

    def end(self, frame: pb.End) -> Work | None:
        """The set is complete: sweep what was not named."""
        if not self._in_order(frame.stream, frame.seq):
            return None
        if not self._open:
            raise ProtocolViolation("end-unasked", "nothing was begun that could end")
        work = Work(ack=pb.Ack(stream=self.stream, seq=self.seq))
        for key in sorted(self._stale):
            self.known.remove(key)
            if key not in self._refused:
                work.writes.append((key, None))
        self._stale = set()
        self._open = False
        self._advance(frame.through, None, work)
        if self._mode == pb.MODE_SNAPSHOT:
            work.synced = self.synced = True
            self._token_revision(work)
        return work

    def stored(self, size: int) -> None:
        """``size`` bytes of batches have been written and acknowledged."""
        self.unacked_bytes = max(0, self.unacked_bytes - size)

    def beat(self, frame: pb.Beat) -> pb.Frame | None:
        """A beat; a Compare when its digest says that we differ."""
        self.source_ms = max(self.source_ms, frame.sent_at_ms)
        if self._waiting_begin or frame.stream == 0:
            return None
        if frame.stream != self.stream or frame.seq > self.seq:
            raise ProtocolViolation("gap", f"a beat tells of frame {frame.seq} after {self.seq}")
        if not frame.digest or frame.seq != self.seq or self._open:
            return None
        self.digests_equal = frame.digest == self.known.root()
        if self.digests_equal:
            self._compare_wait, self._overruns, self._full = 0, 0, None
            self.synced = True
            return None
        self._compare_wait -= 1
        if self._compare_wait > 0 or not self._room():
            return None
        self._compare_wait = BEATS_BETWEEN_COMPARES << min(self._overruns, PATIENCE)
        return pb.Frame(
            compare=pb.Compare(stream=self.stream, seq=self.seq, buckets=self.known.buckets)
        )

    def _in_order(self, stream: int, seq: int) -> bool:
        """True for the next frame of the stream; duplicates and foreign streams are dropped, a gap ends the link."""
        if self._waiting_begin or stream != self.stream or seq <= self.seq:
            self.dropped_frames += 1
            return False
        if seq != self.seq + 1:
            raise ProtocolViolation("gap", f"frame {seq} after {self.seq}")
        self.seq = seq
        return True

    def _advance(self, through: int, proof: pb.Token | None, work: Work) -> None:
        if proof is not None and self._token is not None:
            if proof.incarnation != self._token.incarnation:
                raise ProtocolViolation("proof-history", "the proof is of another history")
            self._token.nonce = proof.nonce
            self._token.nonce_revision = proof.nonce_revision
        if through > self.through:
            self.through = through
        if not self._open and (through or proof is not None):
            self._token_revision(work)

    def _token_revision(self, work: Work) -> None:
        if self._token is not None and self.through:
            self._token.revision = self.through
            work.cursor = _copy(self._token)

    def _item(self, item: pb.Item, writes: list[tuple[str, bytes | None]]) -> None:
        if item.verb == pb.VERB_PUT:
            self._put(item, writes)
        elif item.verb == pb.VERB_DELETE:
            key = self._filter.check(Verb.DELETE, item.key)
            if not isinstance(key, str):
                self._deny(Verb.DELETE, item.key, key)
                return
            self._stale.discard(key)
            if self.known.remove(key) and key not in self._refused:
                writes.append((key, None))
            self._refused.discard(key)
        else:
            verb = Decision(False, "verb-unknown", f"verb {item.verb} does not exist")
            self._deny(Verb.PUT, item.key, verb)

    def _put(self, item: pb.Item, writes: list[tuple[str, bytes | None]]) -> None:
        key = self._filter.check(Verb.PUT, item.key)
        if not isinstance(key, str):
            self._deny(Verb.PUT, item.key, key)
            self._remember_refused(item)
            return
        if self._quota is not None and not self._fits(self._quota, key, item):
            return
        verdict = None if self._values is None else self._values.judge_value(key, item.value, None)
        if verdict is not None:
            self._refuse_value(key, item, verdict, writes)
            return
        self._stale.discard(key)
        changed = self.known.put(key, item.value)
        if changed or key in self._refused:
            writes.append((key, item.value))
        self._refused.discard(key)

    def _fits(self, quota: Quota, key: str, item: pb.Item) -> bool:
        usage = Usage(len(self.known), self.known.total_bytes)
        held = None if key in self._refused else self.known.size(key)
        decision = decide_put(quota, usage, len(key), len(item.value), held)
        if not decision.allowed:
            self._denials.add("import", Verb.PUT, item.key, decision)
            self._full = (usage.keys, usage.total_bytes)
        return decision.allowed

    def _room(self) -> bool:
        """May what was refused for its quota fit now? Something of the peer has gone since."""
        if self._full is None:
            return True
        keys, size = self._full
        if len(self.known) >= keys and self.known.total_bytes >= size:
            return False
        self._full = None
        self._overruns += 1
        return True

    def _refuse_value(
        self, key: str, item: pb.Item, verdict: Decision, writes: list[tuple[str, bytes | None]]
    ) -> None:
        """More detail than was agreed: it is not stored, and leaves no older value behind that would pass for new."""
        self._deny(Verb.PUT, item.key, verdict)
        self._stale.discard(key)
        if key in self.known and key not in self._refused:
            writes.append((key, None))
        self.known.put(key, item.value)
        self._refused.add(key)

    def _remember_refused(self, item: pb.Item) -> None:
        """The digest must speak of what the peer sent; the store never sees it. Bounded by ``max_denials``."""
        try:
            key = check_key(item.key)
        except KeyRefused:
            return
        if key not in self.known and len(item.value) <= VALUE_LIMIT_BYTES:
            self._refused.add(key)
        if key in self._refused:
            self.known.put(key, item.value)

    def _deny(self, verb: Verb, key: bytes, decision: Decision) -> None:
        self._denials.add("import", verb, key, decision)
        if self._denials.total("import") > self._limits.max_denials:
            raise ProtocolViolation(
                "denials", f"more than {self._limits.max_denials} keys outside the scope"
            )


def _copy(token: pb.Token) -> pb.Token:
    copy = pb.Token()
    copy.CopyFrom(token)
    return copy
