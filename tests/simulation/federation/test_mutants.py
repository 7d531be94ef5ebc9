"""The judge is judged: each planted bug must be found within a few seeds, or the simulation proves nothing."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from tests.link_mutants import (
    Plant,
    believes_every_token,
    never_sweeps,
    sweeps_before_end,
    takes_any_order,
)
from tests.simulation.federation.world import World

from isthmus.chaos.simulation.loop import run_virtually
from isthmus.federation.destination import TxnWriter
from isthmus.federation.exporter import Exporter
from isthmus.federation.filters import ScopeFilter
from isthmus.federation.importer import Importer
from isthmus.kv.port import Operation
from isthmus.policy.scopes import Verb

SEEDS = 60


def forgets_deletions(patch: pytest.MonkeyPatch) -> None:
    """Deletions are not exported."""
    honest = Exporter.batch

    def batch(self: Exporter, changes, now_ms, proof=None):  # type: ignore[no-untyped-def]
        return honest(self, [one for one in changes if not one.is_delete], now_ms, proof)

    patch.setattr(Exporter, "batch", batch)
    patch.setattr(Importer, "beat", lambda self, frame: None)


def exports_everything(patch: pytest.MonkeyPatch) -> None:
    """The sender's filter lets all through."""

    def check(self: ScopeFilter, verb: Verb, key: str | bytes) -> str:
        return key if isinstance(key, str) else key.decode()

    patch.setattr(ScopeFilter, "check", check)


@pytest.mark.parametrize(
    ("plant", "restores", "disturbed"),
    [
        (never_sweeps, True, 0.0),
        (sweeps_before_end, False, 0.0),
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
