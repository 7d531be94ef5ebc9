"""A peer that asked for more than its quota converges again when there is room (found by the world "partners").

Once over its quota a peer was never repaired again while the link lived: an honest key of it, refused because its own
flood had filled the room, stayed away for ever after the flood was taken back.
"""

from __future__ import annotations

from isthmus.federation import link_pb2 as pb
from isthmus.federation.digest import DigestMap
from isthmus.federation.filters import DenialLog, ScopeFilter
from isthmus.federation.importer import BEATS_BETWEEN_COMPARES, PATIENCE, Importer
from isthmus.federation.limits import LinkLimits
from isthmus.policy.quotas import Quota
from isthmus.policy.scopes import Scope

ALL = Scope.mirror("all", ("wires/",))
AT = pb.Token(incarnation="i", revision=1, nonce="n", nonce_revision=1)


class Peer:
    """What the other side sends; ``quota`` keys fit."""

    def __init__(self, quota: int, total_bytes: int = 10_000) -> None:
        self.importer = Importer(
            ScopeFilter(ALL), Quota(max_keys=quota, max_total_bytes=total_bytes),
            LinkLimits(), DenialLog(), DigestMap(), None,
        )  # fmt: skip
        self.importer.resume()
        self.seq = 0
        self.importer.begin(
            pb.Begin(stream=1, seq=self._next(), at=AT, mode=pb.MODE_SNAPSHOT, buckets=range(256))
        )
        self.importer.end(pb.End(stream=1, seq=self._next(), through=1))

    def _next(self) -> int:
        self.seq += 1
        return self.seq

    def put(self, *keys: str, value: bytes = b"v") -> list[str]:
        """What of it is stored."""
        items = [pb.Item(verb=pb.VERB_PUT, key=key.encode(), value=value) for key in keys]
        work = self.importer.batch(pb.Batch(stream=1, seq=self._next(), items=items), 1)
        return [key for key, _ in work.writes] if work is not None else []

    def delete(self, *keys: str) -> None:
        items = [pb.Item(verb=pb.VERB_DELETE, key=key.encode()) for key in keys]
        self.importer.batch(pb.Batch(stream=1, seq=self._next(), items=items), 1)

    def asked(self, beats: int, digest: bytes = b"another digest") -> list[int]:
        """In which of so many beats we are asked for a repair; ``digest`` is what the source has."""
        beat = pb.Beat(stream=1, seq=self.seq, digest=digest)
        return [number for number in range(beats) if self.importer.beat(beat) is not None]


def test_a_full_quota_is_not_repaired_in_vain() -> None:
    """Why: what does not fit would cross again every few seconds, for ever."""
    peer = Peer(2)
    assert peer.put("wires/a", "wires/b", "wires/c") == ["wires/a", "wires/b"]
    assert peer.asked(50) == []


def test_room_of_keys_brings_the_refused_ones_back() -> None:
    """Why: see the module."""
    peer = Peer(2)
    peer.put("wires/a", "wires/b", "wires/c")
    peer.delete("wires/a")
    assert peer.asked(1) == [0], "at the next beat"


def test_room_of_bytes_counts_too() -> None:
    """Why: one value that shrinks makes room for others without a key that goes."""
    peer = Peer(9, total_bytes=120)
    peer.put("wires/a", value=b"x" * 90)
    assert peer.put("wires/b", value=b"x" * 90) == []
    assert peer.asked(9) == []
    peer.put("wires/a", value=b"x")
    assert peer.asked(1) == [0]


def test_who_overruns_again_and_again_is_asked_less_often() -> None:
    """Why: a flood that puts and deletes would have us ask for all of it at each beat; but never so seldom that an
    honest end of it goes unnoticed for minutes."""
    peer = Peer(2)
    gaps = []
    for number in range(5):
        peer.put("wires/a", "wires/b", f"wires/c{number}")
        peer.delete("wires/a")
        gaps.append(next(n for n in range(1, 1000) if peer.asked(1)))
    longest = BEATS_BETWEEN_COMPARES << PATIENCE
    assert gaps == sorted(gaps)
    assert gaps[0] == 1
    assert gaps[-1] == gaps[-2] <= longest


def test_a_digest_that_is_equal_forgives() -> None:
    """Why: who overran its quota last week is repaired like anybody today."""
    peer = Peer(2)
    for number in range(4):
        peer.put("wires/a", "wires/b", f"wires/c{number}")
        peer.delete("wires/a")
        assert any(peer.asked(1) for _ in range(1000))
    peer.asked(1, digest=peer.importer.known.root())
    assert peer.importer.digests_equal
    assert peer.asked(1) == [0]
