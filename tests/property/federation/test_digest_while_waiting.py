"""While keys wait for an agreement's interval, the digest told is of what the peer was sent so far: exactly that."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.federation_support import DOWN, SITE, outbox

from isthmus.contract.scopes import tier_exports
from isthmus.federation import link_pb2 as pb
from isthmus.federation.digest import DigestMap
from isthmus.federation.exporter import Exporter
from isthmus.federation.filters import DenialLog, ExportFilter, ScopeFilter
from isthmus.federation.limits import LinkLimits
from isthmus.kv.port import Entry, Event, EventKind, WatchBatch

KEYS = ("intents/t/a", "intents/t/b", "intents/t/c")
MOVES = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(("put", "delete", "resume")), st.sampled_from(KEYS)),
        st.tuples(st.just("send"), st.sets(st.sampled_from(KEYS))),
    ),
    max_size=40,
)
AT = pb.Token(incarnation="1", revision=1, nonce_revision=1, nonce="n")


class _World:
    """An exporter, its source and what its peer holds. ``budget`` 0: every value is read when its turn comes."""

    def __init__(self, budget: int) -> None:
        self.lanes = tier_exports(SITE)
        full = outbox(KEYS[0])
        self.lane = next(
            number for number, root in enumerate(self.lanes) if full.startswith(root.source)
        )
        check = ExportFilter(self.lanes, ScopeFilter(DOWN), DenialLog())
        self.exporter = Exporter(check, LinkLimits(pending_bytes=budget), paced=True)
        self.source: dict[str, Entry] = {}
        self.peer = DigestMap()
        self.revision = 1
        self.resume("")

    def put(self, key: str) -> None:
        self.revision += 1
        full = outbox(key)
        entry = Entry(full, b"%d" % self.revision, self.revision, self.revision, 1, 0)
        self.source[key] = entry
        self._heard(Event(EventKind.PUT, full, self.revision, entry))

    def delete(self, key: str) -> None:
        if self.source.pop(key, None) is not None:
            self.revision += 1
            self._heard(Event(EventKind.DELETE, outbox(key), self.revision, None))

    def _heard(self, event: Event) -> None:
        for lane in range(len(self.lanes)):
            events = (event,) if lane == self.lane else ()
            self.exporter.changed(lane, WatchBatch(self.revision, events))

    def send(self, ready: set[str]) -> None:
        for change in self.exporter.take(None, ready.__contains__):
            sent = change
            if change.fetch:
                sent = self.exporter.fetched(change, self.source.get(change.key), self.revision)
            self._arrives(sent.key, sent.value)

    def resume(self, _: str) -> None:
        """A new life: the peer gets the whole set."""
        self.exporter.resumed(1 << 20)
        self.exporter.forget([self.revision] * len(self.lanes))
        self.exporter.begin(self.revision, pb.MODE_SNAPSHOT, AT, ())
        self.peer = DigestMap()
        for change in self.exporter.learn(self.lane, self.source.values(), remember=False):
            self._arrives(change.key, change.value)

    def _arrives(self, key: str, value: bytes | None) -> None:
        if value is None:
            self.peer.remove(key)
        else:
            self.peer.put(key, value)


@given(MOVES, st.sampled_from((0, 8, 1000)))
def test_the_digest_is_of_what_was_let_through(
    moves: list[tuple[str, object]], budget: int
) -> None:
    """Why: with a key that always waits no digest was compared at all, and a mirror that had lost another key stayed
    wrong for as long. (Mutants: the source's root; no note of what was sent before.)"""
    world = _World(budget)
    for what, about in moves:
        getattr(world, what)(about)
        beat = world.exporter.beat(0, with_digest=True).beat
        assert beat.digest == world.peer.root()
        assert beat.keys == len(world.peer)


def test_a_key_that_waits_since_before_a_resume_tells_no_digest() -> None:
    """Why: what is known is then newer than what the peer has of it, and a wrong digest would ask for a repair that the
    agreement makes wait: again and again. Once it went, digests are told."""
    world = _World(1000)
    world.put(KEYS[0])
    exporter = world.exporter
    exporter.forget([1] * len(world.lanes))
    exporter.learn(world.lane, world.source.values(), remember=True)
    exporter.settle(world.revision)
    exporter.begin(9, pb.MODE_FOLLOW, AT, ())
    world._heard(Event(EventKind.PUT, outbox(KEYS[0]), 2, world.source[KEYS[0]]))
    assert not exporter.beat(0, with_digest=True).beat.digest
    world.send({KEYS[0]})
    assert exporter.beat(0, with_digest=True).beat.digest == world.peer.root()
