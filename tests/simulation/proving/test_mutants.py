"""The instrument is tested: each planted bug must be found within a stated number of seeds, or it measures nothing.

Mutants sit in the real code paths. Where a mutant needs a certain fault to show itself, only seeds with that kind of
fault are drawn; what finds it is always a judge or the world's own rest, never knowledge of the mutant.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

import pytest
from tests.link_mutants import (
    Plant,
    believes_every_token,
    never_sweeps,
    sweeps_before_end,
    takes_any_order,
)

from isthmus.chaos.simulation.customers import Customers
from isthmus.chaos.simulation.run import Outcome, run, schedule_of
from isthmus.chaos.simulation.shrink import shrink
from isthmus.chaos.simulation.story import LONGEST, story
from isthmus.chaos.simulation.world_carrier import CarrierWorld
from isthmus.contract.chain import Segment
from isthmus.contract.envelope import Envelope
from isthmus.contract.peering import Delegation, Load, load
from isthmus.federation import link_pb2 as pb
from isthmus.federation.destination import TxnWriter
from isthmus.federation.export_pump import ExportPump
from isthmus.federation.importer import Importer
from isthmus.global_tier.wiring import Wiring
from isthmus.microcontroller import Context
from isthmus.site import brake
from isthmus.site.healer import Healer
from isthmus.site.intake import Intake

pytestmark = pytest.mark.timeout(900)
LINES = ("line.reset", "line.cut", "line.half-open", "process.crash", "store.compact")
BACK = ("store.rollback", "store.backup", "store.restore", "line.reset")


def resumes_from_the_present(patch: pytest.MonkeyPatch) -> None:
    """The exporter follows from where its store stands now, not from where the peer stood."""
    honest = ExportPump._begin_following

    async def begin(self: ExportPump, token: pb.Token, at: pb.Token) -> None:
        token.revision = at.revision
        await honest(self, token, at)

    patch.setattr(ExportPump, "_begin_following", begin)
    patch.setattr(Importer, "beat", lambda self, frame: None)


def deletions_leave_nothing(patch: pytest.MonkeyPatch) -> None:
    """As it was before the simulation found it: a deletion has no witness (docs/bugs-found.md)."""
    honest_init, honest_shown = TxnWriter.__init__, TxnWriter._continuity

    def init(self: TxnWriter, *given: Any, mark: Any = None, **named: Any) -> None:
        honest_init(self, *given, **named)

    def shown(self: TxnWriter) -> Any:
        self._gone = ""
        return honest_shown(self)

    patch.setattr(TxnWriter, "__init__", init)
    patch.setattr(TxnWriter, "_continuity", shown)


def found(
    world: str, kinds: tuple[str, ...] | None, within: int, broken: str | None = None
) -> Outcome:
    """The first run of the first ``within`` seeds that fails; with what begins with ``broken``, if that is asked."""
    for seed in range(within):
        outcome = run(schedule_of(seed, world, kinds))
        if any(broken is None or failure.startswith(broken) for failure in outcome.failures):
            return outcome
    pytest.fail(f"not found within {within} seeds")


def condemned(
    plant: Plant, kinds: tuple[str, ...], within: int, broken: str, patch: pytest.MonkeyPatch
) -> Outcome:
    """The first carrier that fails so with the mutant planted; one that never comes to rest is not waited for long."""
    patch.setattr(CarrierWorld, "settles_s", 15.0)
    plant(patch)
    return found("carrier", kinds, within, broken)


@pytest.mark.parametrize(
    ("plant", "kinds", "within", "broken"),
    [
        (sweeps_before_end, LINES, 30, "G6"),
        (never_sweeps, LINES, 30, "G6"),
        (resumes_from_the_present, LINES, 20, "G"),
        (believes_every_token, BACK, 60, "G"),
        (deletions_leave_nothing, ("store.rollback",), 420, "G"),
        (takes_any_order, ("line.swap", "line.double", "line.drop"), 60, "G"),
    ],
)
def test_a_mutant_of_the_links_is_found(
    plant: Plant,
    kinds: tuple[str, ...],
    within: int,
    broken: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Why: a judge that never condemned anybody may be asleep."""
    plant(monkeypatch)
    outcome = found("links", kinds, within)
    assert any(failure.startswith(broken) for failure in outcome.failures), outcome.failures


def test_a_failure_is_shrunk_and_told_in_thirty_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Why: nine faults and a thousand records are nobody's evening; one fault and a page are."""
    sweeps_before_end(monkeypatch)
    failing = found("links", None, 30)
    shrunk = shrink(failing)
    assert not shrunk.outcome.ok
    assert len(shrunk.schedule.faults) <= max(2, len(failing.schedule.faults) // 2)
    assert shrunk.schedule.lasts_s <= failing.schedule.lasts_s
    told = story(shrunk.outcome).splitlines()
    assert len(told) <= LONGEST
    assert f"seed {failing.schedule.seed}" in told[0]
    assert any("G6" in line for line in told)


def believes_the_future(patch: pytest.MonkeyPatch) -> None:
    """As it was before the simulation found it: a fact from an hour ahead counts as fresh."""

    def expired(self: Envelope[Any], now: float) -> bool:
        return self.ttl_s > 0 and self.age_s(now) > self.ttl_s

    patch.setattr(Envelope, "expired", expired)


def believes_for_ever(patch: pytest.MonkeyPatch) -> None:
    """Facts do not age."""
    patch.setattr(Envelope, "expired", lambda self, now: False)


def claims_the_first_number(patch: pytest.MonkeyPatch) -> None:
    """Every wire gets the same network identifier."""

    async def claim(wire: str, context: Context) -> int:
        return 1000

    patch.setattr(Wiring, "_claim", staticmethod(claim))


def never_heals(patch: pytest.MonkeyPatch) -> None:
    """Lost sandboxes stay lost."""

    async def reconcile(self: Healer, item: str, context: Context) -> None:
        return None

    patch.setattr(Healer, "reconcile", reconcile)


def accepts_an_older_epoch(patch: pytest.MonkeyPatch) -> None:
    """A site takes whatever the tier shows, also what it showed before its store was taken back."""
    honest = Intake._check_delegation

    def check(self: Intake, context: Context, peer: str, segment: Segment) -> None:
        honest(self, context, peer, segment.model_copy(update={"epoch": 1 << 40}))

    patch.setattr(Intake, "_check_delegation", check)


def holds_replacements(patch: pytest.MonkeyPatch) -> None:
    """As it was before a kill found it: a chain whose circuits go to a successor counts as deleted (bugs-found.md).

    The world's brake is as tight as a small site's, and its customers only ever replace.
    """

    def weigh(
        delegation: Delegation, carried: Mapping[str, Segment], wished: Set[str], new: object
    ) -> Load:
        return load(delegation, carried, wished, ())

    patch.setattr(brake, "weigh", weigh)
    _only_replace(patch)


def _only_replace(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(CarrierWorld, "brake_floor", 1)
    patch.setattr(Customers, "moods", ("replace",))


def test_an_honest_brake_lets_replacements_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Why: the mutant below must fail for what it does, not for the tight brake of its world."""
    _only_replace(monkeypatch)
    outcome = run(schedule_of(2, "carrier", ("line.cut",)))
    assert outcome.ok, outcome.failures


@pytest.mark.parametrize(
    ("plant", "kinds", "within", "broken"),
    [
        (accepts_an_older_epoch, ("store.rollback",), 6, "epoch"),
        (holds_replacements, ("line.cut",), 8, "rest"),
        (believes_the_future, ("clock.jump",), 8, "G12"),
        (believes_for_ever, ("line.cut", "line.half-open"), 6, "G12"),
        (claims_the_first_number, ("line.reset",), 3, "rest"),
        (never_heals, ("instance.lost",), 4, "rest"),
    ],
)
def test_a_mutant_of_the_carrier_is_found(
    plant: Plant,
    kinds: tuple[str, ...],
    within: int,
    broken: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Why: as above, for the controllers."""
    condemned(plant, kinds, within, broken, monkeypatch)
