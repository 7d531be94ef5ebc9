"""The judge is judged: each planted bug must be found within a few seeds, or the simulation proves nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from tests.simulation.federation.world import World

from isthmus.chaos.simulation.loop import run_virtually
from isthmus.federation import link_pb2 as pb
from isthmus.federation.destination import TxnWriter
from isthmus.federation.exporter import Exporter
from isthmus.federation.filters import ScopeFilter
from isthmus.federation.import_pump import ImportPump
from isthmus.federation.importer import Importer, Work
from isthmus.federation.source import PeerSource
from isthmus.kv.port import Operation
from isthmus.policy.scopes import Verb

SEEDS = 60
Plant = Callable[[pytest.MonkeyPatch], None]


def never_sweeps(patch: pytest.MonkeyPatch) -> None:
    """Ghosts: what is gone at the source stays, as in a mirror without phases."""
    honest = Importer.end

    def end(self: Importer, frame: pb.End) -> Work | None:
        self._stale = set()
        return honest(self, frame)

    patch.setattr(Importer, "end", end)
    patch.setattr(Importer, "beat", lambda self, frame: None)


def sweeps_first(patch: pytest.MonkeyPatch) -> None:
    """Blanking: everything is removed when a snapshot begins, as a naive resync does."""
    honest = ImportPump.on_begin

    def on_begin(self: ImportPump, frame: pb.Begin) -> None:
        honest(self, frame)
        importer = self._importer()
        stale = sorted(importer._stale)
        for key in stale:
            importer.known.remove(key)
        self._enqueue(Work(writes=[(key, None) for key in stale]), 0)

    patch.setattr(ImportPump, "on_begin", on_begin)


def believes_every_token(patch: pytest.MonkeyPatch) -> None:
    """A restored store passes for its old self, as cluster id and revision do."""

    async def shown(self: PeerSource, *_: object) -> bool:
        return True

    patch.setattr(PeerSource, "_shown", shown)
    patch.setattr(Importer, "beat", lambda self, frame: None)


def forgets_deletions(patch: pytest.MonkeyPatch) -> None:
    """Deletions are not exported."""
    honest = Exporter.batch

    def batch(self: Exporter, changes, now_ms, proof=None):  # type: ignore[no-untyped-def]
        return honest(self, [one for one in changes if not one.is_delete], now_ms, proof)

    patch.setattr(Exporter, "batch", batch)
    patch.setattr(Importer, "beat", lambda self, frame: None)


def takes_any_order(patch: pytest.MonkeyPatch) -> None:
    """Sequence numbers are ignored."""

    def in_order(self: Importer, stream: int, seq: int) -> bool:
        self.seq = seq
        return True

    patch.setattr(Importer, "_in_order", in_order)


def exports_everything(patch: pytest.MonkeyPatch) -> None:
    """The sender's filter lets all through."""

    def check(self: ScopeFilter, verb: Verb, key: str | bytes) -> str:
        return key if isinstance(key, str) else key.decode()

    patch.setattr(ScopeFilter, "check", check)


@pytest.mark.parametrize(
    ("plant", "restores", "disturbed"),
    [
        (never_sweeps, True, 0.0),
        (sweeps_first, False, 0.0),
        (believes_every_token, True, 0.0),
        (forgets_deletions, False, 0.0),
        (takes_any_order, False, 0.3),
        (exports_everything, False, 0.0),
    ],
)
def test_planted_bug_is_found(
    plant: Plant, restores: bool, disturbed: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found as a broken promise or as a run that never converges."""
    plant(monkeypatch)
    for seed in range(SEEDS):
        try:
            run_virtually(World(seed, restores=restores, disturbed=disturbed).run())
        except (AssertionError, TimeoutError):
            return
    pytest.fail(f"{plant.__name__} was not found in {SEEDS} seeds")


def test_importer_that_trusts_its_own_store_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without asking for its last write, an importer never notices that its store lost keys."""

    async def check(self: TxnWriter) -> None:
        return

    honest = TxnWriter.commit

    async def commit(self: TxnWriter, operations: Sequence[Operation]) -> None:
        self._newest, self._witness = 0, None
        await honest(self, operations)

    monkeypatch.setattr(TxnWriter, "check", check)
    monkeypatch.setattr(TxnWriter, "commit", commit)
    for seed in range(SEEDS):
        try:
            run_virtually(World(seed, target_restores=True).run())
        except TimeoutError:
            return
    pytest.fail(f"not found in {SEEDS} seeds")
