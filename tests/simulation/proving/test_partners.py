"""The world "partners": a right that ends and a flood, in many seeds, and the mutants that each judge must catch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import pytest

from isthmus.chaos.simulation.coverage import expected
from isthmus.chaos.simulation.pool import Task, run_batch
from isthmus.chaos.simulation.run import run, schedule_of
from isthmus.chaos.simulation.world_partners import PartnersWorld
from isthmus.federation.destination import TxnWriter, Write
from isthmus.federation.import_pump import ImportPump
from isthmus.federation.importer import Importer

pytestmark = pytest.mark.timeout(900)
Plant = Callable[[pytest.MonkeyPatch], None]
FIXED = tuple(range(1, 31))


def test_the_fixed_seeds_keep_every_promise_and_try_each() -> None:
    """Why: G9 and G11 are promises about a tier under faults, not about one quiet link."""
    summary = run_batch(Task("partners", FIXED))
    assert not summary.failures, summary.failures
    assert summary.stats.zeros(expected("partners")) == []


def test_a_fresh_set_of_each_day_keeps_every_promise() -> None:
    """Why: a fixed set goes blind. Reproduce: isthmus simulate --world partners --seeds <the seed named here>."""
    first = int(datetime.now(UTC).strftime("%y%m%d")) * 1000
    print(f"fresh seeds: {first}-{first + 7}")
    summary = run_batch(Task("partners", tuple(range(first, first + 8))))
    assert not summary.failures, summary.failures


def nobody_watches(patch: pytest.MonkeyPatch) -> None:
    """The gateway never asks again whether who is linked still may be."""
    honest = PartnersWorld.__init__

    def init(self: PartnersWorld, *given: object) -> None:
        honest(self, *given)  # type: ignore[arg-type]
        self.guarded = False

    patch.setattr(PartnersWorld, "__init__", init)


def every_key_for_itself(patch: pytest.MonkeyPatch) -> None:
    """No quota, no rate, and each key in a transaction of its own, all at once: who asks for most gets most."""

    async def at_once(self: ImportPump, changes: int) -> None:
        """Nobody waits for its rate."""

    async def write(self: TxnWriter, writes: Sequence[Write], *, parallel: bool) -> None:
        self._room = asyncio.Semaphore(10**6)
        self._witness, self._gone = None, ""
        single = ([one] for chunk in self._chunks(writes) for one in chunk)
        await asyncio.gather(*(self._bounded(chunk) for chunk in single))

    patch.setattr(ImportPump, "_slow_down", at_once)
    patch.setattr(Importer, "_fits", lambda self, quota, key, item: True)
    patch.setattr(TxnWriter, "write", write)


def no_room(patch: pytest.MonkeyPatch) -> None:
    """As many keys as one likes."""
    patch.setattr(Importer, "_fits", lambda self, quota, key, item: True)


def never_repaired(patch: pytest.MonkeyPatch) -> None:
    """As it was: once over its quota a peer is not repaired while the link lives (docs/bugs-found.md)."""
    patch.setattr(Importer, "_room", lambda self: self._full is None)


@pytest.mark.parametrize(
    ("plant", "kind", "within", "words"),
    [
        pytest.param(nobody_watches, "partner.revoked", 30, "G9 broken", id="revoked"),
        pytest.param(nobody_watches, "partner.expired", 30, "G9 broken", id="expired"),
        pytest.param(every_key_for_itself, "partner.flood", 40, "G11 broken", id="no-fairness"),
        pytest.param(no_room, "partner.flood", 20, "are its quota", id="no-room"),
        pytest.param(never_repaired, "partner.flood", 60, "not equal", id="never-repaired"),
    ],
)
def test_a_mutant_is_found(
    plant: Plant, kind: str, within: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why: a judge that condemns nobody measures nothing."""
    monkeypatch.setattr(PartnersWorld, "settles_s", 30.0)
    plant(monkeypatch)
    for seed in range(within):
        outcome = run(schedule_of(seed, "partners", (kind,)))
        if words in "\n".join(outcome.failures):
            return
    pytest.fail(f"not found within {within} seeds")
