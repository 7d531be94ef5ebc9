"""When a stored change is acknowledged: at once by an end that keeps up, later by one that is late itself.

The sender lets two frames wait for an answer (``follow_frames``), so every millisecond of an answer is one of lag; a
gateway with hundreds of busy peers must all the same shed messages. A clock of our own: no wall time is judged.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from tests.federation_support import until

from isthmus.federation import link_pb2 as pb
from isthmus.federation.destination import Write
from isthmus.federation.digest import DigestMap
from isthmus.federation.filters import DenialLog, ScopeFilter
from isthmus.federation.import_pump import ACK_PER_LATE, ON_TIME_S, ImportPump
from isthmus.federation.limits import LinkLimits
from isthmus.federation.raw_ends import LIMITS as MIRROR_LIMITS
from isthmus.policy.quotas import Quota
from isthmus.policy.scopes import Scope

TOKEN = pb.Token(incarnation="one", revision=1, nonce_revision=1, nonce="n")


@dataclass
class _Store:
    """A destination that takes everything at once."""

    written: list[Write] = field(default_factory=list)

    async def open(self) -> tuple[DigestMap, pb.Token | None, bool]:
        return DigestMap(), TOKEN, True

    async def write(self, writes: Sequence[Write], *, parallel: bool) -> None:
        self.written += writes

    async def mark(self, cursor: pb.Token | None, *, synced: bool, keys: int) -> None:
        return

    async def check(self) -> None:
        return


class _Rig:
    """A pump that follows a stream; each look at the clock costs ``per_look_s``."""

    def __init__(self, limits: LinkLimits, quota: Quota | None = None) -> None:
        self.now_s = 100.0
        self.per_look_s = 0.0
        self.sent: list[pb.Frame] = []
        self.store = _Store()
        self.seq = 1
        check = ScopeFilter(Scope.mirror("any", ("intents/",)))
        self.pump = ImportPump(
            self.store, check, quota, limits, DenialLog(), self._send, monotonic_s=self._clock
        )

    def _clock(self) -> float:
        self.now_s += self.per_look_s
        return self.now_s

    async def _send(self, frame: pb.Frame) -> None:
        self.sent.append(frame)

    @property
    def acked(self) -> int:
        """The newest acknowledged frame."""
        return max((f.ack.seq for f in self.sent if f.HasField("ack")), default=0)

    async def begin(self) -> None:
        await self.pump.open()
        self.pump.on_begin(pb.Begin(stream=7, seq=1, mode=pb.MODE_FOLLOW, at=TOKEN))

    def change(self) -> None:
        """One changed key comes."""
        self.seq += 1
        item = pb.Item(verb=pb.VERB_PUT, key=b"intents/t/c", value=b"%d" % self.seq, revision=9)
        batch = pb.Batch(stream=7, seq=self.seq, through=self.seq, items=[item])
        self.pump.on_batch(batch)


@contextlib.asynccontextmanager
async def _following(limits: LinkLimits) -> AsyncIterator[_Rig]:
    rig = _Rig(limits)
    await rig.begin()
    work = asyncio.create_task(rig.pump.run())
    try:
        await asyncio.sleep(0)  # it waits now
        yield rig
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


async def _turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def test_an_end_that_keeps_up_answers_in_the_same_turn_of_the_loop() -> None:
    """Ten milliseconds of politeness were most of the lag at 1,000 changes a second: no timer stands before it."""
    async with _following(LinkLimits()) as rig:
        for _ in range(20):
            rig.change()
            await _turns(5)
            assert rig.acked == rig.seq, "stored, but not answered"
        assert len(rig.store.written) == 20


async def test_a_late_end_answers_later_and_many_frames_at_once() -> None:
    """What makes 200 busy peers bearable: each answer that waits lets its peer gather."""
    async with _following(LinkLimits()) as rig:
        rig.pump._late_s = 0.05
        for _ in range(10):
            rig.change()
            await _turns(5)
        assert len(rig.store.written) == 10, "storing never waits"
        assert rig.acked == 0
        rig.now_s += 1.0  # due by any measure
        rig.change()
        await until(lambda: rig.acked == rig.seq, "one answer for all")
        assert sum(f.HasField("ack") for f in rig.sent) == 1


async def test_lateness_is_measured_from_the_waking_and_forgotten_again() -> None:
    """It is what the other work of the process costs: nobody sets it by hand."""
    async with _following(LinkLimits()) as rig:
        rig.per_look_s = 0.03  # between being roused and having its turn
        for _ in range(30):
            rig.change()
            await _turns(5)
        assert rig.pump._late_s > 0.02
        delay_s = rig.pump._ack_delay_s
        assert 0.05 < delay_s <= LinkLimits().latest_ack_s
        rig.per_look_s = 0.0
        rig.now_s += 1.0
        for _ in range(60):
            rig.change()
            await _turns(5)
            rig.now_s += rig.pump._ack_delay_s
        await until(lambda: rig.pump._ack_delay_s == 0.0, "on time again")


def test_the_delay_grows_from_nothing_and_is_bounded() -> None:
    """No step at the edge of being late; and never near a verdict about silence."""
    rig = _Rig(LinkLimits())
    delays = []
    for late_ms in range(200):
        rig.pump._late_s = late_ms / 1e3
        delays.append(rig.pump._ack_delay_s)
    assert delays[0] == delays[int(ON_TIME_S * 1e3)] == 0.0
    assert all(0 <= b - a <= ACK_PER_LATE / 1e3 + 1e-9 for a, b in itertools.pairwise(delays))
    assert max(delays) == LinkLimits().latest_ack_s < LinkLimits().beat_s


def test_a_mirror_never_waits_with_an_answer() -> None:
    """One peer in a process of its own: there is nobody whose messages must be shed."""
    rig = _Rig(MIRROR_LIMITS)
    rig.pump._late_s = 3.0
    assert rig.pump._ack_delay_s == 0.0


async def test_a_repair_counts_against_the_peers_rate() -> None:
    """Why: a peer may begin a repair unasked, and what it writes then is stored in any order and all at once: without
    its rate the way round every other bound (G11)."""
    rate = Quota(max_changes_per_s=1000.0, burst_changes=10)
    rig = _Rig(LinkLimits(), rate)
    await rig.begin()
    rig.pump.on_begin(pb.Begin(stream=7, seq=2, mode=pb.MODE_REPAIR, at=TOKEN, buckets=range(256)))
    keys = [pb.Item(verb=pb.VERB_PUT, key=b"intents/t/c%d" % n, value=b"x") for n in range(60)]
    rig.pump.on_batch(pb.Batch(stream=7, seq=3, items=keys))
    work = asyncio.create_task(rig.pump.run())

    async def stored() -> bool:
        return len(rig.store.written) == 60

    await until(stored, "the repair is stored")
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    assert rig.pump.slowed_s == 0.05, "50 over the burst, at 1,000 a second"
