"""An explorer that finds nothing proves nothing: each of these planted mistakes must yield a counter-example."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from isthmus.chaos.exploration.copying import by_pickle
from isthmus.chaos.exploration.epoch_world import EpochScene, EpochWorld
from isthmus.chaos.exploration.explorer import Exploration, explore
from isthmus.chaos.exploration.lease_world import LeaseScene, LeaseWorld
from isthmus.chaos.exploration.link_ends import ExportEnd, Factory
from isthmus.chaos.exploration.link_world import LinkWorld, Scene
from isthmus.chaos.exploration.worlds import COMPACT, CUT, FETCH, RESTORE
from isthmus.contract.chain import Segment
from isthmus.contract.envelope import Stamp
from isthmus.federation import link_pb2 as pb
from isthmus.federation.coalescing import Change
from isthmus.federation.exporter import Exporter
from isthmus.federation.importer import Importer, Work
from isthmus.kv.port import Entry, KeyValueStore
from isthmus.microcontroller import Context
from isthmus.microcontroller.clock import Surroundings
from isthmus.microcontroller.leadership import try_to_lead
from isthmus.microcontroller.writer import Fence, Writer
from isthmus.site.intake import Intake

Acquire = Callable[..., object]


def _must_break(found: Exploration, *promises: str) -> None:
    assert not found.ok, f"the mutant lives: {found.text}"
    assert found.broken.startswith(promises), found.text
    assert found.story, "a counter-example tells how it came to be"


# -- the link


class NoFloor(Exporter):
    """What is read late has no floor: older events of the key may follow."""

    def fetched(self, change: Change, entry: Entry | None, revision: int) -> Change:
        return super().fetched(change, entry, 0)


class NoHorizon(Exporter):
    """After a resume every event is news, also those before the look at the store."""

    def _is_news(self, key: str, is_delete: bool, revision: int) -> bool:
        return True


class ThroughHead(ExportEnd):
    """Resumes from where the store stands, not from where the peer stands."""

    def _follow(self, token: pb.Token, at: pb.Token) -> list[pb.Frame]:
        ahead = pb.Token()
        ahead.CopyFrom(token)
        ahead.revision = at.revision
        return super()._follow(ahead, at)


class EndsEarly(Importer):
    """Sweeps at the beginning of a set, before the peer has named it."""

    def begin(self, frame: pb.Begin) -> None:
        super().begin(frame)
        self.early = sorted(self._stale)

    def batch(self, frame: pb.Batch, size: int) -> Work | None:
        work = super().batch(frame, size)
        if work is not None:
            gone: list[tuple[str, bytes | None]] = [(key, None) for key in self.early]
            work.writes[:0] = gone
            self.early = []
        return work


class NeverSweeps(Importer):
    """Forgets to remove what the set does not name."""

    def end(self, frame: pb.End) -> Work | None:
        self._stale = set()
        return super().end(frame)


class NoOrder(Importer):
    """Takes any frame of the stream, and does not notice that the source's revision goes back, either."""

    def batch(self, frame: pb.Batch, size: int) -> Work | None:
        self.through = 0
        return super().batch(frame, size)

    def _in_order(self, stream: int, seq: int) -> bool:
        self.seq = max(self.seq, seq)
        return not self._waiting_begin and stream == self.stream


class StepsOver(ExportEnd):
    """Meets a compaction and goes on behind it, without a new set."""

    def hear(self) -> str:
        if self._next < self._mvcc.compacted and not self._disconnected:
            self._next = self._mvcc.compacted + 1
            return "stepped over"
        return super().hear()


class Forgets(Importer):
    """Never compares digests."""

    def beat(self, frame: pb.Beat) -> pb.Frame | None:
        return None


ONE_KEY = Scene(puts=2, disorders=1, keys=("a",))
LINK_MUTANTS = {
    "no floor under fetched values": (Factory(exporter=NoFloor), FETCH, 11),
    "no horizon after a resume": (Factory(exporter=NoHorizon), CUT, 8),
    "resume from the header's revision": (
        Factory(Exporter, Forgets, export_end=ThroughHead),
        CUT,
        8,
    ),
    "sweep before End": (Factory(importer=EndsEarly), COMPACT, 8),
    "no sweep at End": (Factory(importer=NeverSweeps), COMPACT, 8),
    "frames in any order": (Factory(importer=NoOrder), ONE_KEY, 10),
    "a compaction stepped over": (Factory(Exporter, Forgets, export_end=StepsOver), COMPACT, 8),
    "no digests after a restore": (Factory(importer=Forgets), RESTORE, 9),
}


@pytest.mark.parametrize("name", LINK_MUTANTS)
def test_mutants_of_the_link(name: str) -> None:
    """Order, no blanking, convergence: each guard of the protocol is needed by some order of events."""
    factory, scene, depth = LINK_MUTANTS[name]
    found = explore(lambda: LinkWorld(scene, factory), depth, save=by_pickle)
    _must_break(found, "G4", "G5", "G6")


@pytest.mark.parametrize("scene", [CUT, COMPACT], ids=["cut", "compact"])
def test_resuming_does_not_lean_on_digests(scene: Scene) -> None:
    """Digests would heal a wrong resume, and hide it: without them it must be right by itself."""
    found = explore(lambda: LinkWorld(scene, Factory(importer=Forgets)), 7, save=by_pickle)
    assert found.ok, found.text


# -- leadership


class NoFence(Writer):
    """Compares the key it writes, and not the leader's."""

    async def _commit(self, key: str, current: Entry | None, operation: object) -> int:
        self.fence, fence = None, self.fence
        try:
            return await super()._commit(key, current, operation)  # type: ignore[arg-type]
        finally:
            self.fence = fence


class BlindWriter(Writer):
    """Reads its own state once, and never again."""

    async def _current(self, key: str) -> Entry | None:
        return None


async def seize(
    store: KeyValueStore, key: str, lease_id: int, stamp: Stamp, surroundings: Surroundings
) -> Fence | None:
    """Takes the leader's key whoever has it."""
    await store.delete(key)
    return await try_to_lead(store, key, lease_id, stamp, surroundings)


async def epoch_only(
    store: KeyValueStore, key: str, lease_id: int, stamp: Stamp, surroundings: Surroundings
) -> Fence | None:
    """The fence as it was: the create revision alone."""
    fence = await try_to_lead(store, key, lease_id, stamp, surroundings)
    return None if fence is None else Fence(fence.key, fence.epoch)


async def same_name(
    store: KeyValueStore, key: str, lease_id: int, stamp: Stamp, surroundings: Surroundings
) -> Fence | None:
    """Believes that it leads because the key is there."""
    fence = await try_to_lead(store, key, lease_id, stamp, surroundings)
    leader = await store.get(key)
    return fence or (None if leader is None else Fence(key, leader.create_revision, leader.value))


def test_no_compare_of_the_leaders_key() -> None:
    """The old leader writes after its pause."""
    scene = LeaseScene(writes=1)
    found = explore(lambda: LeaseWorld(scene, writer=NoFence), 12, settle=False)
    _must_break(found, "G2'")


def test_the_epoch_alone_is_no_fence_over_a_restore() -> None:
    """What the explorer found: two leaders with one epoch."""
    scene = LeaseScene(writes=1, restores=1)
    found = explore(lambda: LeaseWorld(scene, acquire=epoch_only), 10, settle=False)
    _must_break(found, "G2'")
    assert any(move == "restore" for move in found.moves)


def test_believing_in_a_foreign_key() -> None:
    """Two lead at once."""
    found = explore(lambda: LeaseWorld(LeaseScene(), acquire=same_name), 8, settle=False)
    _must_break(found, "G2'")


# -- epochs


class TakesOlder(Intake):
    """Accepts any epoch."""

    def _check_delegation(self, context: Context, peer: str, segment: Segment) -> None:
        newest = segment.model_copy(update={"epoch": 1 << 40})
        super()._check_delegation(context, peer, newest)


class TakesNone(Intake):
    """Refuses the next epoch, too."""

    def _check_delegation(self, context: Context, peer: str, segment: Segment) -> None:
        older = segment.model_copy(update={"epoch": 0})
        super()._check_delegation(context, peer, older)


@pytest.mark.parametrize(("mutant", "promise"), [(TakesOlder, "G2'"), (TakesNone, "G3")])
def test_mutants_of_the_epoch_rule(mutant: type[Intake], promise: str) -> None:
    """Too lax goes back, too strict stands still."""
    found = explore(lambda: EpochWorld(EpochScene(), mutant), 8)
    _must_break(found, promise)


RESTORED = EpochScene(decisions=2, replays=1, restores=1)


def test_a_restored_tier_learns_the_epochs_in_force_from_its_sites() -> None:
    """Why: its store counts again from below; found by this world when the revision alone was asked."""
    found = explore(lambda: EpochWorld(RESTORED), 10)
    assert not found.broken, str(found)
    assert found.hits["restore"], "restores did happen"


def test_a_tier_that_asks_its_revision_alone_is_refused_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The mutant of the above: what the placer did before."""
    world = "isthmus.chaos.exploration.epoch_world"
    monkeypatch.setattr(
        f"{world}.next_epoch", lambda revision, standing, _: max(revision, standing + 1)
    )
    monkeypatch.setattr(f"{world}.forgotten", lambda standing, in_force: False)
    found = explore(lambda: EpochWorld(RESTORED), 10)
    _must_break(found, "G3")
    assert "restore" in found.moves
